"""Muon takes the matrices of the blocks and AdamW the rest; a resumed run goes on exactly."""

import pytest
import torch

from structdiff.training.distributed import World
from structdiff.training.interrupt import Interrupt
from structdiff.training.logger import NullLogger
from structdiff.training.optimizer import Muon

ALONE = World(0, 1, torch.device("cpu"))


@pytest.fixture
def make_muon(make_config, make_training_set, make_trainer, tmp_path):
    config = make_config(optimizer={"name": "muon", "lr": 1e-3}, structure_repeats=2)
    return lambda: make_trainer(config, make_training_set(), tmp_path, ALONE)


def _run(trainer, epochs):
    """Train some of the epochs in memory."""
    with Interrupt() as interrupt:
        for epoch in range(trainer.progress.epoch, epochs):
            trainer._train_epoch(epoch, NullLogger(), interrupt)
            trainer._close_epoch(epoch, NullLogger(), interrupt)
    return trainer


def test_each_parameter_has_one_optimizer(make_muon):
    trainer = make_muon()
    muon, decayed, others = (group["params"] for group in trainer.optimizer.param_groups)
    blocks = trainer.model.blocks
    assert {id(p) for p in muon} == {
        id(m.weight) for m in blocks.modules() if isinstance(m, torch.nn.Linear)
    }
    together = [id(p) for p in (*muon, *decayed, *others)]
    assert sorted(together) == sorted(id(p) for p in trainer.parameters)
    assert trainer.model.sequence_out.weight in set(decayed)


def test_muon_follows_the_one_of_torch():
    generator = torch.Generator().manual_seed(0)
    shapes = [(12, 4), (4, 12), (8, 8), (12, 4)]
    ours, theirs = ([torch.nn.Parameter(torch.ones(shape)) for shape in shapes] for _ in range(2))
    settings = {"lr": 1e-2, "weight_decay": 0.1}
    mine = Muon(ours, **settings, world=ALONE)
    other = torch.optim.Muon(theirs, **settings, adjust_lr_fn="match_rms_adamw")
    for _ in range(3):
        for one, two in zip(ours, theirs, strict=True):
            one.grad = torch.randn(one.shape, generator=generator)
            two.grad = one.grad.clone()
        mine.step()
        other.step()
    for one, two in zip(ours, theirs, strict=True):  # torch rounds to bfloat16
        assert torch.allclose(one, two, atol=2e-4)
        assert not torch.allclose(one, torch.ones_like(one), atol=1e-2)


def test_every_parameter_moves(make_muon):
    trainer = make_muon()
    before = {name: p.clone() for name, p in trainer.model.named_parameters()}
    _run(trainer, 2)
    still = [n for n, p in trainer.model.named_parameters() if torch.equal(p, before[n])]
    assert still == []


def test_a_resumed_run_is_bit_identical(make_muon):
    straight = _run(make_muon(), 3).state()
    half = _run(make_muon(), 1).state()
    resumed = make_muon()
    resumed.load(half)
    state = _run(resumed, 3).state()
    for part in ("model", "ema"):
        torch.testing.assert_close(state[part], straight[part], rtol=0, atol=0)
    torch.testing.assert_close(
        state["optimizer"]["muon"]["state"], straight["optimizer"]["muon"]["state"], rtol=0, atol=0
    )
    assert state["history"] == straight["history"]


def test_processes_share_the_matrices():
    class Silent(World):
        def sum(self, tensor):
            """Leave the share of one process as it is."""

    generator = torch.Generator().manual_seed(0)
    momenta = [torch.randn(6, 4, generator=generator) for _ in range(3)]
    parameters = [torch.nn.Parameter(torch.zeros(6, 4))]
    whole, first, second = (
        Muon(parameters, lr=1e-2, weight_decay=0.0, world=world)._orthogonalise(momenta)
        for world in (ALONE, Silent(0, 2, ALONE.device), Silent(1, 2, ALONE.device))
    )
    assert torch.equal(first + second, whole)
    assert not first[1].any()
    assert not second[::2].any()
