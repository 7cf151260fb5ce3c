"""Checkpoints written in the background: what is on the disk, and when, and what fails."""

import threading

import pytest
import torch

from structdiff.system.errors import UserError
from structdiff.training.background_save import CheckpointWriter
from structdiff.training.checkpoint import Checkpoints, read


class Slow(Checkpoints):
    """Checkpoints that are written only when they are let go."""

    def __init__(self, directory):
        super().__init__(directory, keep=2)
        self.go, self.error = threading.Event(), None

    def save(self, state, **options):
        self.go.wait()
        if self.error is not None:
            raise self.error
        super().save(state, **options)


def _state(device, step):
    return {
        "model": {"w": torch.full((4, 4), float(step), device=device)},
        "ema": {"w": torch.zeros(4, 4, device=device)},
        "optimizer": {"state": {0: {"m": torch.ones(3, device=device)}}, "param_groups": []},
        "step": step,
    }


def test_training_continues_while_a_checkpoint_is_written(device, tmp_path):
    checkpoints, reported = Slow(tmp_path), []
    writer = CheckpointWriter(checkpoints, device)
    state = _state(device, 1)
    writer.start(state, lambda: reported.append(1), epoch=1)
    writer.copied()
    state["model"]["w"].fill_(-1.0)
    writer.look()
    assert not reported and not checkpoints.latest.exists()
    checkpoints.go.set()
    writer.wait()
    assert reported == [1]
    saved = read(tmp_path / "checkpoint_epoch_1.pth")
    assert torch.equal(saved["model"]["w"], torch.ones(4, 4))
    assert torch.equal(saved["optimizer"]["state"][0]["m"], torch.ones(3))


def test_the_next_one_waits_for_the_one_before(device, tmp_path):
    checkpoints, reported = Slow(tmp_path), []
    checkpoints.go.set()
    writer = CheckpointWriter(checkpoints, device)
    for step in range(1, 4):
        writer.start(_state(device, step), lambda step=step: reported.append(step), epoch=step)
        assert reported == list(range(1, step))
    writer.wait()
    writer.wait()
    assert reported == [1, 2, 3]
    steps = [read(path)["step"] for path in checkpoints.candidates()]
    assert steps == [3, 2, 3, 2]  # latest, previous, the two epochs that are kept


def test_an_error_of_the_writer_is_raised_in_the_loop(device, tmp_path):
    checkpoints, reported = Slow(tmp_path), []
    checkpoints.error = UserError("the disk is full")
    checkpoints.go.set()
    writer = CheckpointWriter(checkpoints, device)
    writer.start(_state(device, 1), lambda: reported.append(1))
    with pytest.raises(UserError, match="the disk is full"):
        writer.wait()
    writer.wait()
    assert not reported
