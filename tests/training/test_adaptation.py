"""Adaptation of a starting model: never worse than its start, near it, resumed exactly."""

import json

import pytest
import torch

from structdiff import selection
from structdiff.pretrained import load_model
from structdiff.training import adaptation, stage
from structdiff.training.adaptation import FEW_UNTIL, KEPT, fit_output
from structdiff.training.checkpoint import BEST, LATEST, read
from structdiff.training.distributed import World
from structdiff.training.interrupt import Interrupt
from structdiff.training.logger import NullLogger

ALONE = World(0, 1, torch.device("cpu"))


@pytest.fixture
def short_fit(monkeypatch):
    """Fit the output in a few steps: these tests are about what comes after it."""
    monkeypatch.setattr(adaptation, "FIT_STEPS", 4)


@pytest.fixture
def make(make_config, make_training_set, make_trainer, tmp_path):
    """Return a function that makes a trainer that starts from its random weights."""

    def function(**training):
        config = make_config(init="released", **training)
        trainer = make_trainer(config, make_training_set(), tmp_path, ALONE)
        with torch.no_grad():  # outputs start at zero
            torch.nn.init.normal_(trainer.model.sequence_out.weight, std=0.5)
            torch.nn.init.normal_(trainer.model.neighbours_out.tables[0].weight, std=0.05)
        trainer.start.update()
        trainer.ema.load_state_dict(trainer.model.state_dict())
        return trainer

    return function


def run(trainer):
    with Interrupt() as interrupt:
        trainer.run(NullLogger(), interrupt)
    return trainer


def changed(trainer, start) -> set[str]:
    return {name for name, p in trainer.model.named_parameters() if not torch.equal(p, start[name])}


def test_the_fit_of_the_output_lowers_the_loss_of_unseen_peptides(make):
    trainer = make()
    with Interrupt() as interrupt:
        before = trainer.validate(interrupt)["total"]
        fit_output(trainer.ema, trainer.loss_computer, trainer.loader, trainer.training)
        assert trainer.validate(interrupt)["total"] < before - 0.05
    old, new = trainer.model, trainer.ema
    ratios = [
        (new_layer.weight / old_layer.weight).nan_to_num(nan=1.0)
        for old_layer, new_layer in (
            (old.sequence_out, new.sequence_out),
            (old.neighbours_out.tables[0], new.neighbours_out.tables[0]),
        )
    ]
    scale = ratios[0].mean()
    assert scale < 0.9  # random logits are too confident
    assert all(torch.allclose(ratio, scale.expand_as(ratio), rtol=1e-3) for ratio in ratios)
    names = {name for name, p in new.named_parameters() if not torch.equal(p, _named(old)[name])}
    assert names == {
        *("sequence_out.weight", "sequence_out.bias", "neighbours_out.tables.0.weight")
    }


def _named(network) -> dict:
    return dict(network.named_parameters())


def test_few_weights_are_trained_first_and_then_all(make):
    trainer = make(num_epochs=10, optimizer={"lr": 1e-3, "weight_decay": 0.0})
    before = {name: p.detach().clone() for name, p in trainer.model.named_parameters()}
    with Interrupt() as interrupt:
        tasks = [(step, trainer._plan(step)[0]) for step in range(trainer.total_steps)]
        for step, rows, micro_batches in trainer.loader.stream(tasks, 0):
            trainer.step(rows, micro_batches, interrupt)
            trainer.finish()
            if step < FEW_UNTIL * trainer.total_steps:
                few = changed(trainer, before)
                assert "sequence_out.bias" in few
                assert "blocks.1.modulation_offset" in few
                assert not any("mlp" in name or "qkv" in name for name in few)
    assert {name.split(".")[0] for name in changed(trainer, before)} >= {"blocks", "position_in"}
    assert "blocks.0.qkv.weight" in changed(trainer, before)


def test_the_averaged_weights_stay_between_the_start_and_the_trained_ones(make):
    trainer = make(num_epochs=10, optimizer={"lr": 1e-3, "weight_decay": 0.0})
    start = {name: p.detach().clone() for name, p in trainer.model.named_parameters()}
    for _, rows, micro_batches in trainer.loader.stream([(0, trainer._plan(0)[0])], 0):
        with Interrupt() as interrupt:
            trainer.step(rows, micro_batches, interrupt)
    decay = min(trainer.training.ema_decay, 2 / 11)
    moved = {name: p - start[name] for name, p in trainer.model.named_parameters()}
    averaged = {name: p - start[name] for name, p in trainer.ema.named_parameters()}
    assert moved["sequence_out.bias"].abs().max() > 0
    for name, change in moved.items():
        torch.testing.assert_close(averaged[name], (1 - decay) * KEPT * change)


def test_weight_decay_pulls_towards_the_start(make):
    def distance(decay: float) -> float:
        optimizer = {"lr": 1e-3, "weight_decay": decay}
        trainer = run(make(optimizer=optimizer, scheduler={"name": "constant", "warmup_steps": 0}))
        start = trainer.start.state_dict()
        named = _named(trainer.model)
        return sum((named[name] - value).square().sum().item() for name, value in start.items())

    assert distance(1000.0) == 0
    assert 0 < distance(100.0) < 0.5 * distance(0.0)


def test_the_start_is_kept_where_no_epoch_is_better(make, short_fit, tmp_path):
    # A learning rate at which the losses only rise.
    trainer = run(make(optimizer={"lr": 3.0}, scheduler={"warmup_steps": 0}))
    best = read(tmp_path / "checkpoints" / BEST)
    assert (best["epoch"], best["step"]) == (0, 0)
    assert best["validation"]["total"] < trainer.progress.history[-1]["validation"]["total"]
    assert all(torch.equal(value, best["start"][name]) for name, value in _saved(best))


def _saved(state):
    names = state["start"].keys()
    return [(name, value) for name, value in state["ema"].items() if name in names]


@pytest.mark.workflow
def test_a_resumed_run_is_bit_identical_and_selects_the_best(
    uninterrupted, peptides, make_config, short_fit, tmp_path, assert_identical
):
    settings = {"init": str(uninterrupted / "checkpoints" / LATEST), "validate_every": 1}
    settings["optimizer"] = {"lr": 1e-3, "weight_decay": 10.0}
    settings["scheduler"] = {"name": "constant", "warmup_steps": 0}
    straight, resumed = tmp_path / "straight", tmp_path / "resumed"
    config = make_config(**settings)
    stage.run(config, peptides, None, straight)
    first = tmp_path / "one epoch"
    stage.run(make_config(**settings, save_every=1), peptides, None, first)
    # Continue from the first epoch of the same run.
    epoch = first / "checkpoints" / "checkpoint_epoch_1.pth"
    stage.run(config, peptides, None, resumed, resume=epoch)
    assert_identical(straight, resumed)
    lines = [json.loads(line) for line in (straight / "metrics.jsonl").read_text().splitlines()]
    validated = [line["epoch"] for line in lines if line["event"] == "validation"]
    assert validated == [0, 1, 2, 3]
    selection.run(config, straight, tmp_path / "selection")
    model = load_model(tmp_path / "selection" / "model.safetensors")
    losses = {x["epoch"]: x["total"] for x in lines if x["event"] == "validation"}
    assert model.info["epoch"] == min(losses, key=losses.get)
    assert model.info["init"]["from"] == settings["init"]


def test_the_start_of_a_state_is_restored(make):
    trainer, other = make(), make(seed=1)
    other.load(trainer.state())
    expected = trainer.start.state_dict()
    assert all(
        torch.equal(value, expected[name]) for name, value in other.start.state_dict().items()
    )
    assert set(expected) == set(_named(trainer.model))
