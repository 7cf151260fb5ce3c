"""A compiled network trains the same, and resumes exactly; it needs a C++ compiler on a CPU."""

import shutil

import numpy as np
import pytest
import torch

from structdiff.model import ConditionSpec
from structdiff.training.checkpoint import read
from structdiff.training.dataset import TrainingSet
from structdiff.training.distributed import World
from structdiff.training.interrupt import Interrupt
from structdiff.training.logger import NullLogger

ALONE = World(0, 1, torch.device("cpu"))


def _one_length(count=40, length=8):
    """Return a training set of one length: one shape to compile, with and without a gradient."""
    random = np.random.default_rng(0)
    arrays = {
        "tokens": random.integers(0, 20, count * length).astype(np.uint8),
        "offsets": np.arange(0, count * length + 1, length),
        "labels": random.random((count, 2)) < 0.5,
        "split": (np.arange(count) % 5 == 0).astype(np.uint8),
        "backbone": np.zeros((count * length, 4, 3), dtype=np.float32),
        "weight": np.zeros(count * length, dtype=np.float32),
        "has_structure": np.zeros(count, dtype=bool),
        "ids": np.arange(count).astype(str),
    }
    return TrainingSet(arrays, ConditionSpec(["a", "b"]))


@pytest.mark.workflow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs g++ on a CPU")
def test_compiled_it_trains_the_same_and_resumes_exactly(make_config, make_trainer, tmp_path):
    torch.set_num_threads(1)
    data = _one_length()

    def train(name, epochs, state=None, **settings):
        sizes = {"batch_size": 8, "gradient_accumulation_steps": 1, "num_epochs": 3}
        config = make_config(self_conditioning=0.0, **sizes, **settings)
        trainer = make_trainer(config, data, tmp_path / name, ALONE)
        if state is not None:
            trainer.load(state)
        with Interrupt() as interrupt:
            while trainer.progress.epoch < epochs:
                trainer._train_epoch(trainer.progress.epoch, NullLogger(), interrupt)
                trainer._close_epoch(trainer.progress.epoch, NullLogger(), interrupt)
        return trainer

    eager = train("eager", 3)
    compiled = train("compiled", 3, compile=True)
    torch.testing.assert_close(
        compiled.model.state_dict(), eager.model.state_dict(), rtol=1e-4, atol=1e-5
    )
    first = train("first", 1, compile=True)
    first.writer.checkpoints.save(first.state())
    torch.compiler.reset()
    saved = read(tmp_path / "first" / "checkpoints" / "checkpoint_latest.pth")
    resumed = train("resumed", 3, saved, compile=True)
    torch.testing.assert_close(
        resumed.model.state_dict(), compiled.model.state_dict(), rtol=0, atol=0
    )
