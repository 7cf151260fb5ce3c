"""Locks between real processes: one at a time, freed by SIGKILL, no file left behind."""

import errno
import fcntl
import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from structdiff.system.errors import UserError
from structdiff.system.locks import exclusive, hold, holder, try_lock

HOLDER = """
import sys, time
from pathlib import Path
from structdiff.system.locks import exclusive
with exclusive(Path(sys.argv[1]), lambda: None):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def held(tmp_path):
    path = tmp_path / "lock"
    command = [sys.executable, "-c", HOLDER, str(path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield path, process
    process.kill()
    process.wait()


def test_a_killed_holder_frees_the_lock(held):
    path, process = held
    with path.open("ab") as file:
        assert not try_lock(file)
    told = []
    with ThreadPoolExecutor(1) as pool:

        def wait():
            with exclusive(path, lambda: told.append(True)):
                pass

        waiting = pool.submit(wait)
        while not told:
            time.sleep(0.01)
        assert not waiting.done()
        process.send_signal(signal.SIGKILL)
        waiting.result(timeout=300)
    assert told == [True]
    assert not path.exists()


COUNTER = """
import sys
from pathlib import Path
from structdiff.system import locks
locks.SECONDS_BETWEEN_TRIES = 0.001
path = Path(sys.argv[1])
for _ in range(50):
    with locks.exclusive(path / "lock", lambda: None):
        value = int((path / "count").read_text())
        (path / "count").write_text(str(value + 1))
"""


def test_nobody_shares_the_block(tmp_path):
    (tmp_path / "count").write_text("0")
    command = [sys.executable, "-c", COUNTER, str(tmp_path)]
    processes = [subprocess.Popen(command) for _ in range(3)]
    assert [process.wait() for process in processes] == [0, 0, 0]
    assert (tmp_path / "count").read_text() == "150"
    assert not (tmp_path / "lock").exists()


def refuse(name):
    return f"held by {name}"


def test_a_second_holder_is_refused_by_the_name_of_the_first(tmp_path):
    path = tmp_path / "new" / "lock"
    assert holder(path) is None
    with hold(path, refuse) as lock:
        assert lock.note == ""
        lock.leave("job 17")
        assert holder(path) == f"process {os.getpid()} on {socket.gethostname()}"
        with (
            pytest.raises(UserError, match=f"held by process {os.getpid()} on"),
            hold(path, refuse),
        ):
            pass
    assert holder(path) is None
    with hold(path, refuse) as lock:
        assert lock.note == "job 17"


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_where_there_are_no_locks_it_is_said_once_and_living_holders_count(
    tmp_path, monkeypatch, capsys, number
):
    def flock(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    path = tmp_path / "lock"
    with path.open("w") as file:
        assert try_lock(file) is None
    with exclusive(path, lambda: pytest.fail("waits")), exclusive(path, lambda: None):
        pass
    other = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    name = f"process {other.pid} on {socket.gethostname()}"
    path.write_text(f"{name}\nnote")
    assert holder(path) == name
    with pytest.raises(UserError, match=f"held by {name}"), hold(path, refuse):
        pass
    other.communicate()
    assert holder(path) is None
    with hold(path, refuse) as lock:
        assert lock.note == "note"
    assert capsys.readouterr().err.count("without file locks") == 1
