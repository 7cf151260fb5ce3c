"""Asked to stop, a training saves and ends in time; there is only one trainer in a folder."""

import os
import signal
import subprocess
import sys
import time

import pytest
import yaml

from structdiff.errors import UserError
from structdiff.training import lock, metrics
from structdiff.training.checkpoint import read
from structdiff.training.interrupt import EXIT_STATUS, Interrupt

SLOW = (
    "import time; from structdiff.training import loop; "
    "loop.step_coin = lambda *a, c=loop.step_coin: (time.sleep({seconds}), c(*a))[1]"
)


def _wait_for_step(output_dir, step, process=None, seconds=60):
    """Wait until a run has noted a step."""
    end = time.monotonic() + seconds
    while not any(
        line["event"] == "step" and line["step"] >= step
        for line in metrics.read(output_dir / "metrics.jsonl")
    ):
        assert time.monotonic() < end, "no step was noted in time"
        time.sleep(0.02)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT])
def test_a_signal_saves_and_stops(
    start, make_config, uninterrupted, assert_identical, tmp_path, number
):
    process = start(make_config(), tmp_path, before=SLOW.format(seconds=0.2))
    _wait_for_step(tmp_path, 4)
    sent = time.monotonic()
    os.kill(process.pid, number)
    process.join()
    assert time.monotonic() - sent < 30
    assert process.exitcode == EXIT_STATUS
    noted = metrics.read(tmp_path / "metrics.jsonl")[-1]["step"]
    assert read(tmp_path / "checkpoints" / "checkpoint_latest.pth")["step"] == noted
    assert not (tmp_path / "summary.json").exists()
    process = start(make_config(), tmp_path)
    process.join()
    assert process.exitcode == 0
    assert_identical(uninterrupted, tmp_path)


def test_a_signal_during_validation_saves_and_stops(
    start, make_config, uninterrupted, assert_identical, tmp_path
):
    slow = (
        "import os, signal; from structdiff.training.loop import Trainer; "
        "Trainer.validate = lambda self, i, v=Trainer.validate: "
        "(os.kill(os.getpid(), signal.SIGTERM), v(self, i))[1]"
    )
    process = start(make_config(), tmp_path, before=slow)
    process.join()
    assert process.exitcode == EXIT_STATUS
    assert [x["event"] for x in metrics.read(tmp_path / "metrics.jsonl")][-1] == "step"
    state = read(tmp_path / "checkpoints" / "checkpoint_latest.pth")
    assert (state["step"], state["epoch"], state["validation"]) == (6, 1, None)
    process = start(make_config(), tmp_path)
    process.join()
    assert process.exitcode == 0
    assert_identical(uninterrupted, tmp_path)


def test_a_second_trainer_is_refused_while_the_first_is_alive(start, make_config, tmp_path, capfd):
    first = start(make_config(), tmp_path, before=SLOW.format(seconds=0.3))
    _wait_for_step(tmp_path, 1)
    assert lock.holder(tmp_path).startswith(f"process {first.pid} on ")
    second = start(make_config(), tmp_path)
    second.join()
    assert second.exitcode == 1  # no command line here, that prints it and exits with 2
    assert f"another trainer is at work here (process {first.pid} on" in capfd.readouterr().err
    os.kill(first.pid, signal.SIGKILL)
    first.join()
    assert lock.holder(tmp_path) is None
    third = start(make_config(), tmp_path)
    third.join()
    assert third.exitcode == 0


def test_the_lock_in_one_process(tmp_path):
    with (
        lock.hold(tmp_path),
        pytest.raises(UserError, match="another trainer"),
        lock.hold(tmp_path),
    ):
        pass
    with lock.hold(tmp_path):
        assert lock.holder(tmp_path) is not None


def test_handlers_are_put_back():
    before = signal.getsignal(signal.SIGTERM)
    with Interrupt() as interrupt:
        assert not interrupt.requested
        os.kill(os.getpid(), signal.SIGUSR1)
        assert interrupt.requested
        assert interrupt.name == "SIGUSR1"
    assert signal.getsignal(signal.SIGTERM) is before


def _command(config, peptides, output_dir, tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(config.model_dump(mode="json")))
    options = ["--config", file, "--peptides", peptides, "--output-dir", output_dir]
    return [sys.executable, "-m", "structdiff", "train", *map(str, options)]


def test_two_processes_through_the_command_line(
    make_config, peptides, uninterrupted, assert_identical, tmp_path
):
    """SIGTERM, then the death of a worker, then to the end: the same metrics as one process."""
    output_dir = tmp_path / "out"
    config = make_config(num_epochs=40, num_gpus=2, gradient_accumulation_steps=2)
    command = _command(config, peptides, output_dir, tmp_path)
    process = subprocess.Popen(command)
    _wait_for_step(output_dir, 2)
    sent = time.monotonic()
    process.terminate()
    assert process.wait(30) == EXIT_STATUS
    assert time.monotonic() - sent < 30
    state = read(output_dir / "checkpoints" / "checkpoint_latest.pth")
    lines = metrics.read(output_dir / "metrics.jsonl")
    assert state["step"] == lines[-1]["step"]
    assert state["world_size"] == 2
    process = subprocess.Popen(command)
    _wait_for_step(output_dir, state["step"] + 2)
    os.kill(int(lock.holder(output_dir).split()[1]), signal.SIGKILL)
    assert process.wait(120) == 0
    steps = [x["step"] for x in metrics.read(output_dir / "metrics.jsonl") if x["event"] == "step"]
    assert steps == list(range(1, 121))
