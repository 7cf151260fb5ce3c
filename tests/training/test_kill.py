"""Killed at any moment and started again, a run ends exactly as if nothing had happened."""

import os
import random
import signal
import time

import pytest

from structdiff.training import metrics

KILLS = int(os.environ.get("STRUCTDIFF_KILLS", "20"))

COUNT_DOWN = """
import os, signal
left = {count}
def dies(function):
    def counted(*arguments, **options):
        global left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments, **options)
    return counted
for name in ("fsync", "replace", "rename", "link", "unlink", "truncate"):
    setattr(os, name, dies(getattr(os, name)))
"""


SAVE_EACH_STEP = "from structdiff.training import trainer; trainer.SECONDS_BETWEEN_SAVES = 0\n"


def _finish(start, config, output_dir):
    process = start(config, output_dir)
    process.join()
    assert process.exitcode == 0


@pytest.mark.workflow
def test_sigkill_at_random_moments(start, make_config, uninterrupted, assert_identical, tmp_path):
    """Many kills of one run: weights, averages, optimizer and metrics are bit-identical."""
    moments = random.Random(0)
    config = make_config()
    killed = 0
    while killed < KILLS:
        process = start(config, tmp_path, before=SAVE_EACH_STEP)
        process.join(moments.uniform(0.05, 1.2))
        if process.exitcode is not None:  # it got to the end: another folder for the other kills
            assert process.exitcode == 0
            assert_identical(uninterrupted, tmp_path)
            (tmp_path / "summary.json").unlink()
            tmp_path = tmp_path / "again"
            continue
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        killed += 1
    _finish(start, config, tmp_path)
    assert_identical(uninterrupted, tmp_path)
    steps = [x["step"] for x in metrics.read(tmp_path / "metrics.jsonl") if x["event"] == "step"]
    assert steps == list(range(1, 10))


@pytest.mark.workflow
@pytest.mark.parametrize("first", [1, 20])
def test_sigkill_at_every_operation_on_files(
    start, make_config, uninterrupted, assert_identical, tmp_path, first
):
    """Killed at an fsync, rename or link of a save, whichever it is, nothing is lost."""
    config = make_config()
    count = first
    while count < first + 19:
        process = start(config, tmp_path, before=SAVE_EACH_STEP + COUNT_DOWN.format(count=count))
        process.join()
        if process.exitcode == 0:
            break
        assert process.exitcode == -signal.SIGKILL
        count += 1
    else:
        _finish(start, config, tmp_path)
    assert_identical(uninterrupted, tmp_path)


def test_sigkill_in_a_long_epoch_loses_only_what_came_after_the_last_save(
    start, make_config, uninterrupted, assert_identical, tmp_path
):
    """State saved within an epoch is taken up in the middle of it."""
    slow = (
        SAVE_EACH_STEP
        + "import time; trainer.step_uniform = lambda *a, c=trainer.step_uniform: ("
        + ("time.sleep(0.2), c(*a))[1]")
    )
    process = start(make_config(), tmp_path, before=slow)
    while not (tmp_path / "checkpoints" / "checkpoint_previous.pth").exists():
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    _finish(start, make_config(), tmp_path)
    assert_identical(uninterrupted, tmp_path)
    begins = [x["step"] for x in metrics.read(tmp_path / "metrics.jsonl") if x["event"] == "start"]
    assert begins[0] == 0
    assert begins[1] % 3 != 0
