"""The store of the processes is not reachable from other machines."""

import os
import socket
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import pytest
import torch.distributed as dist
import yaml

from structdiff.training import metrics
from structdiff.training.store import (
    BETWEEN_NODES,
    VARIABLE,
    address_towards,
    interface_of,
    open_store,
    reachable,
    serve,
)

LISTENING = "0A"
SLOW = """
import time
from structdiff.training import trainer
trainer.step_uniform = lambda *a, c=trainer.step_uniform: (time.sleep(0.5), c(*a))[1]
"""


def _descendants(pid: int) -> set[int]:
    """Return a process and all that it has started."""
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        children.setdefault(parent, []).append(int(path.parent.name))
    tree = [pid]
    for process in tree:
        tree += children.get(process, [])
    return set(tree)


def _listening(pids: set[int]) -> set[str]:
    """Return the local addresses, as hexadecimal numbers, on which processes listen."""
    inodes = set()
    for pid in pids:
        for link in Path(f"/proc/{pid}/fd").glob("*"):
            try:
                target = link.readlink().as_posix()
            except OSError:
                continue
            inodes |= {target[8:-1]} if target.startswith("socket:[") else set()
    rows = [
        line.split()
        for table in ("tcp", "tcp6")
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]
    ]
    return {row[1].rpartition(":")[0] for row in rows if row[3] == LISTENING and row[9] in inodes}


def _loopback(address: str) -> bool:
    return address == "0100007F" or address == "0" * 24 + "01000000"


def test_the_test_sees_what_listens():
    with socket.create_server(("", 0)):
        assert "00000000" in _listening({os.getpid()})
    assert _listening({os.getpid()}) == set()


@pytest.fixture
def slow_python(tmp_path, monkeypatch):
    """Make training steps slow in every process that is started."""
    folder = tmp_path / "slow"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(
        "import sys\n"
        "if '-m' in sys.orig_argv and 'structdiff.training.worker' in sys.orig_argv:\n"
        + "".join(f"    {line}\n" for line in SLOW.strip().splitlines())
    )
    monkeypatch.setenv("PYTHONPATH", str(folder))


@pytest.mark.workflow
def test_nothing_listens_outside_the_loopback(make_config, peptides, tmp_path, slow_python):
    config = make_config(num_gpus=2, gradient_accumulation_steps=2)
    file, output_dir = tmp_path / "config.yaml", tmp_path / "out"
    file.write_text(yaml.safe_dump(config.model_dump(mode="json")))
    options = ["--config", file, "--peptides", peptides, "--output-dir", output_dir]
    process = subprocess.Popen([sys.executable, "-m", "structdiff", "train", *map(str, options)])
    seen: set[str] = set()
    try:
        while process.poll() is None:
            tree = _descendants(process.pid)
            seen |= _listening(tree)
            steps = [x for x in metrics.read(output_dir / "metrics.jsonl") if x["event"] == "step"]
            if len(steps) >= 3:
                break
            time.sleep(0.05)
        assert len(tree) >= 3, "the processes are not there"
        assert process.poll() is None, "it ended before it was looked at"
        assert all(map(_loopback, seen)), seen
    finally:
        process.terminate()
        process.wait()


@pytest.mark.parametrize(("host", "address"), [("127.0.0.1", "0100007F"), ("localhost", None)])
def test_between_nodes_it_listens_on_the_address_that_they_meet_at(monkeypatch, host, address):
    port = _free_port()
    monkeypatch.setenv(VARIABLE, BETWEEN_NODES)
    for name, value in {
        "MASTER_ADDR": host,
        "MASTER_PORT": port,
        "RANK": 0,
        "WORLD_SIZE": 1,
    }.items():
        monkeypatch.setenv(name, str(value))
    store = open_store(timedelta(seconds=20))
    addresses = _listening({os.getpid()})
    assert addresses == {address} if address else all(map(_loopback, addresses))
    client = dist.TCPStore(host, port, is_master=False, timeout=timedelta(seconds=20))
    store.set("key", "value")
    assert client.get("key") == b"value"


def test_the_launchers_store_is_served_once(monkeypatch):
    port, timeout = _free_port(), timedelta(seconds=20)
    with serve("127.0.0.1", port, timeout), serve("127.0.0.1", port, timeout):
        client = dist.TCPStore("127.0.0.1", port, is_master=False, timeout=timeout)
        client.set("key", "value")
        assert _listening({os.getpid()}) == {"0100007F"}


def test_a_name_that_leads_to_the_loopback_is_replaced_by_an_address(monkeypatch):
    """Debian's /etc/hosts gives the machine's own name the address 127.0.1.1."""
    from structdiff.training import store

    own = {"node1": "127.0.0.1", "node2": "192.0.2.6"}
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.1.1", 0))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *a, **k: found)
    monkeypatch.setattr(store, "_own_address", lambda host, port: own[host])
    monkeypatch.setattr(store, "slurm_nodes", lambda: ["node1", "node2"])
    assert reachable("node1", 1) == "192.0.2.6"
    monkeypatch.setattr(store, "slurm_nodes", lambda: ["node1"])
    assert address_towards("node1", 1) is None
    assert reachable("node1", 1) == "node1"
    with store._listen("node1", 0) as listener:  # never on all interfaces
        assert listener.getsockname()[0] == "127.0.1.1"


def test_another_machines_address_is_not_served():
    from structdiff.training import store

    assert store._listen("192.0.2.1", _free_port()) is None
    assert store._listen("no-such-host.invalid", _free_port()) is None


def test_the_interface_of_an_address():
    assert interface_of("127.0.0.1") == "lo"
    assert interface_of("192.0.2.1") is None
    assert address_towards("127.0.0.1", 9) == "127.0.0.1"


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]
