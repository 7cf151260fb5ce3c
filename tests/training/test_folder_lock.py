"""Waiting for a trainer that outlives what had started it."""

import subprocess
import sys

from structdiff.training.folder_lock import hold, wait

WAIT = "import sys; from pathlib import Path; from structdiff.training import folder_lock; "
WAIT += "folder_lock.wait(Path(sys.argv[1]))"


def test_it_waits_for_the_end_of_a_trainer(tmp_path):
    command = [sys.executable, "-c", WAIT, tmp_path]
    with hold(tmp_path):
        waiting = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert "waiting for it to end" in waiting.stdout.readline()
        assert waiting.poll() is None
    assert waiting.wait(30) == 0


def test_it_waits_for_nobody(tmp_path):
    wait(tmp_path / "never trained")
