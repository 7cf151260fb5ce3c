"""The store of the processes is not reachable from other machines."""

import ipaddress
import socket
import subprocess
import sys
import time
from contextlib import suppress
from datetime import timedelta

import psutil
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

SLOW = """
import time
from structdiff.training import trainer
trainer.step_uniform = lambda *a, c=trainer.step_uniform: (time.sleep(0.5), c(*a))[1]
"""


def _listening(process: psutil.Process) -> set[str]:
    """Return the IP addresses on which a process and those that it has started listen."""
    addresses = set()
    for each in (process, *process.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            found = each.net_connections("tcp")
            addresses |= {x.laddr.ip for x in found if x.status == psutil.CONN_LISTEN}
    return addresses


def _loopback(address: str) -> bool:
    return ipaddress.ip_address(address).is_loopback


def test_the_test_sees_what_listens():
    with socket.create_server(("", 0)):
        assert "0.0.0.0" in _listening(psutil.Process())
    assert _listening(psutil.Process()) == set()


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
            started = psutil.Process(process.pid).children(recursive=True)
            seen |= _listening(psutil.Process(process.pid))
            steps = [x for x in metrics.read(output_dir / "metrics.jsonl") if x["event"] == "step"]
            if len(steps) >= 3:
                break
            time.sleep(0.05)
        assert len(started) >= 2, "the processes are not there"
        assert process.poll() is None, "it ended before it was looked at"
        assert all(map(_loopback, seen)), seen
    finally:
        process.terminate()
        process.wait()


@pytest.mark.parametrize(("host", "address"), [("127.0.0.1", "127.0.0.1"), ("localhost", None)])
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
    addresses = _listening(psutil.Process())
    assert addresses == {address} if address else all(map(_loopback, addresses))
    client = dist.TCPStore(host, port, is_master=False, timeout=timedelta(seconds=20))
    store.set("key", "value")
    assert client.get("key") == b"value"


def test_the_launchers_store_is_served_once(monkeypatch):
    port, timeout = _free_port(), timedelta(seconds=20)
    with serve("127.0.0.1", port, timeout), serve("127.0.0.1", port, timeout):
        client = dist.TCPStore("127.0.0.1", port, is_master=False, timeout=timeout)
        client.set("key", "value")
        assert _listening(psutil.Process()) == {"127.0.0.1"}


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
