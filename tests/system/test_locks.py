"""Locks between real processes: one at a time, freed by SIGKILL, no file left behind."""

import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from structdiff.system.locks import exclusive, try_lock

HOLDER = """
import sys, time
from pathlib import Path
from structdiff.system.locks import exclusive
with exclusive(Path(sys.argv[1]), lambda: None):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    path = tmp_path / "lock"
    command = [sys.executable, "-c", HOLDER, str(path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield path, process
    process.kill()
    process.wait()


def test_a_killed_holder_frees_the_lock(holder):
    path, process = holder
    with path.open("ab") as file:
        assert not try_lock(file)
    told = []
    with ThreadPoolExecutor(1) as pool:

        def wait():
            with exclusive(path, lambda: told.append(True)):
                return time.monotonic()

        waiting = pool.submit(wait)
        while not told:
            time.sleep(0.01)
        assert not waiting.done()
        process.send_signal(signal.SIGKILL)
        waiting.result(timeout=10)
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
