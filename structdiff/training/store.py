"""Key-value store through which the processes of a training exchange their network addresses.

torch unpickles what it reads from a store, and its TCP store listens on every interface of the
machine. Therefore the processes of a training on one node use a file in a folder that only their
user can read. With several nodes, the store listens only on the address where the nodes meet.

`structdiff.training.launch` sets the environment variable `VARIABLE`, which the processes inherit
and which says which store they use; `structdiff.training.distributed` opens this store.
"""

import fcntl
import ipaddress
import os
import socket
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch.distributed as dist

__all__ = [
    "BETWEEN_NODES",
    "VARIABLE",
    "address_towards",
    "interface_of",
    "open_store",
    "reachable",
    "serve",
    "slurm_nodes",
]

VARIABLE = "STRUCTDIFF_STORE"
"""Name of the environment variable that says which store is used. Its value is the start of the
path of a file (one node) or `BETWEEN_NODES`."""
BETWEEN_NODES = "tcp"


def open_store(timeout: timedelta) -> dist.Store | None:
    """Open the store that the processes of this training share.

    Each restart of the processes uses a new store. Returns None if `structdiff.training.launch` did
    not start this process. ``timeout`` is how long an operation of a store between nodes waits.
    """
    choice, rank = os.environ.get(VARIABLE), int(os.environ["RANK"])
    size = int(os.environ["WORLD_SIZE"])
    if choice is None:
        return None
    if choice != BETWEEN_NODES:
        return dist.FileStore(f"{choice}-{os.environ['TORCHELASTIC_RESTART_COUNT']}", size)
    host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    listener = _listen(host, port) if rank == 0 else None
    return _tcp_store(host, port, timeout, listener, size)


@contextmanager
def serve(host: str, port: int, timeout: timedelta) -> Iterator[None]:
    """Serve a store on ``host`` to the launchers of all nodes, within the block.

    Do nothing if ``host`` is another machine, or if the port is in use.
    """
    listener = _listen(host, port)
    server = None if listener is None else _tcp_store(host, port, timeout, listener, None)
    yield
    del server


def slurm_nodes() -> list[str]:
    """Return the names of the nodes of this SLURM step; an empty list if they are not known."""
    nodes = os.environ.get("SLURM_STEP_NODELIST")
    if nodes is None:
        return []
    command = ["scontrol", "show", "hostnames", nodes]
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    except (OSError, subprocess.CalledProcessError):  # a container without SLURM's programs
        return []


def reachable(host: str, port: int) -> str:
    """Return a name or an address under which all nodes can reach a host.

    The result is ``host`` itself, with one exception. If ``host`` is this machine's name, it may
    resolve to a loopback address (as in Debian's /etc/hosts), which other nodes cannot use.
    Then the result is the address that this machine uses towards the other nodes of the SLURM step,
    if there are any. ``port`` is used only to look up addresses.
    """
    found = _addresses(host, port, socket.SOCK_STREAM)
    if found and _is_loopback(found[0][4][0]) and not _is_loopback(host):
        for node in slurm_nodes():
            own = address_towards(node, port)
            if own is not None and not _is_loopback(own):
                return own
    return host


def address_towards(host: str, port: int) -> str | None:
    """Return the IP address that this machine uses towards a host; None if unknown.

    A loopback address counts as unknown, unless ``host`` is a loopback address or ``localhost``.
    """
    own = _own_address(host, port)
    return None if own and _is_loopback(own) and not _is_loopback(host) else own


def _own_address(host: str, port: int) -> str | None:
    for family, kind, _, _, address in _addresses(host, port, socket.SOCK_DGRAM):
        with socket.socket(family, kind) as probe:
            try:
                probe.connect(address)  # a datagram socket sends nothing here
            except OSError:
                continue
            return str(probe.getsockname()[0])
    return None


def interface_of(address: str) -> str | None:
    """Return the name of the network interface that has the IPv4 ``address``; None if none has."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _, name in socket.if_nameindex():
            request = struct.pack("256s", name.encode()[:15])
            try:
                reply = fcntl.ioctl(probe, 0x8915, request)  # SIOCGIFADDR
            except OSError:  # an interface without an IPv4 address
                continue
            if socket.inet_ntoa(reply[20:24]) == address:
                return name
    return None


def _tcp_store(
    host: str, port: int, timeout: timedelta, listener: socket.socket | None, size: int | None
) -> dist.TCPStore:
    serving: dict[str, Any] = {} if listener is None else {"master_listen_fd": listener.detach()}
    return dist.TCPStore(
        host,
        port,
        size,
        is_master=listener is not None,
        timeout=timeout,
        wait_for_workers=False,
        use_libuv=True,
        **serving,
    )


def _listen(host: str, port: int) -> socket.socket | None:
    """Return a socket that listens; None if ``host`` is another machine or the port is in use."""
    for family, kind, _, _, address in _addresses(host, port, socket.SOCK_STREAM):
        listener = socket.socket(family, kind)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(address)
            listener.listen(socket.SOMAXCONN)
        except OSError:
            listener.close()
            continue
        return listener
    return None


def _addresses(host: str, port: int, kind: socket.SocketKind) -> list:
    try:
        return socket.getaddrinfo(host, port, type=kind)
    except OSError:  # the name is unknown on this machine
        return []


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
