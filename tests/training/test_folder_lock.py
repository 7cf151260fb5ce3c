"""Waiting for a trainer that outlives what had started it."""

import subprocess
import sys
import time

import pytest

from structdiff.training import metrics
from structdiff.training.folder_lock import hold, wait

WAIT = "import sys; from pathlib import Path; from structdiff.training import folder_lock; "
WAIT += "folder_lock.wait(Path(sys.argv[1]))"


def test_it_waits_for_the_end_of_a_trainer(tmp_path):
    command = [sys.executable, "-c", WAIT, tmp_path]
    with hold(tmp_path):
        waiting = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert "waiting for it to end" in waiting.stdout.readline()
        assert waiting.poll() is None
    assert waiting.wait(300) == 0


def test_it_waits_for_nobody(tmp_path):
    wait(tmp_path / "never trained")


NO_LOCKS = """
import errno, fcntl
def flock(*arguments):
    raise OSError(errno.ENOLCK, "No locks available")
fcntl.flock = flock
"""


@pytest.mark.workflow
def test_without_file_locks_it_trains_and_is_watched(
    start, make_config, uninterrupted, assert_identical, tmp_path
):
    """A second trainer is refused by the first one's process number."""
    slow = (
        "import time; from structdiff.training import trainer; "
        "trainer.step_uniform = lambda *a, c=trainer.step_uniform: (time.sleep(0.3), c(*a))[1]"
    )
    output_dir = tmp_path / "out"
    first = start(make_config(), output_dir, before=NO_LOCKS + slow)
    while not metrics.read(output_dir / "metrics.jsonl"):
        time.sleep(0.02)
    second = start(make_config(), output_dir, before=NO_LOCKS)
    second.join()
    look = [sys.executable, "-c", NO_LOCKS + LOOK, output_dir]
    shown = subprocess.run(look, capture_output=True, text=True, check=True)
    assert shown.stdout.split() == ["running", str(first.pid)]
    first.join()
    assert (first.exitcode, second.exitcode) == (0, 1)
    said = tmp_path.joinpath("out.said").read_text()
    assert f"another trainer is at work here (process {first.pid} on" in said
    assert "is on a file system without file locks" in said
    shown = subprocess.run(look, capture_output=True, text=True, check=True)
    assert shown.stdout.split()[0] == "finished"
    assert_identical(uninterrupted, output_dir)


LOOK = """
import sys
import time
from pathlib import Path
from structdiff.training.monitor import snapshot
now = snapshot(Path(sys.argv[1]))
print(now.state, (now.holder or "process -").split()[1])
"""
