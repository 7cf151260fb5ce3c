"""Waiting for a trainer that outlives what had started it."""

import subprocess
import sys

from structdiff.training.lock import hold

COMMAND = [sys.executable, "-m", "structdiff.training.lock"]


def test_it_waits_for_the_end_of_a_trainer(tmp_path):
    with hold(tmp_path):
        waiting = subprocess.Popen([*COMMAND, tmp_path], stdout=subprocess.PIPE, text=True)
        assert "waiting for the end of process" in waiting.stdout.readline()
        assert waiting.poll() is None
    assert waiting.wait(30) == 0


def test_it_waits_for_nobody(tmp_path):
    subprocess.run([*COMMAND, tmp_path / "never trained"], check=True, timeout=30)
