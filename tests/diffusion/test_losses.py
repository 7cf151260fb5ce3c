"""Losses: what counts in them, and how often each task is trained."""

from dataclasses import fields as fields_of

import numpy as np
import pytest
import torch

from structdiff.diffusion import TaskMix, losses, noise
from structdiff.diffusion.losses import (
    DESIGNED_FROM_NOISE,
    FOLDED_FROM_NOISE,
    MOST_JITTER,
    _jitter,
    _levels,
    smooth_lddt,
)
from structdiff.model import Condition
from structdiff.training.dataset import Batch

LENGTHS = np.array([8, 9, 12, 20])
STEP = {"self_conditioning": False, "label_dropout": 0.1, "task_mix": TaskMix(0.1, 0.1, 0.1)}


def rows(batch: Batch, which: slice | torch.Tensor) -> Batch:
    """Return some peptides of a batch."""
    values = {field.name: getattr(batch, field.name) for field in fields_of(batch)}
    del values["padded"]
    condition = Condition(values.pop("condition").labels[which])
    return Batch(condition=condition, **{name: value[which] for name, value in values.items()})


def test_a_peptide_without_a_structure_has_no_structure_loss(process, model, make_batch):
    drawn = noise(0, 0, LENGTHS, 0, 4, 20, 3)
    found = losses(model, process, make_batch(), drawn, **STEP)
    assert (found.structure[:3] > 0).all()
    assert found.structure[3] == 0
    assert found.sequence[3] > 0


def test_pads_do_not_change_the_losses(process, model, make_batch):
    narrow = losses(model, process, make_batch(20), noise(0, 0, LENGTHS, 0, 4, 20, 3), **STEP)
    batch = make_batch(20)
    wide = Batch(
        batch.index,
        *(torch.cat([x, torch.zeros_like(x[:, :4])], dim=1) for x in (batch.tokens, batch.mask)),
        batch.condition,
        *(
            torch.cat([x, torch.zeros_like(x[:, :4])], dim=1)
            for x in (batch.backbone, batch.weight)
        ),
        batch.has_structure,
    )
    found = losses(model, process, wide, noise(0, 0, LENGTHS, 0, 4, 24, 3), **STEP)
    assert torch.allclose(found.sequence, narrow.sequence, rtol=1e-4)
    assert torch.allclose(found.structure, narrow.structure, rtol=1e-4)


def test_the_losses_of_the_parts_are_the_losses_of_the_whole(process, model, make_batch):
    batch = make_batch()
    whole = losses(model, process, batch, noise(0, 0, LENGTHS, 0, 4, 20, 3), **STEP)
    for i in range(4):
        part = rows(batch, slice(i, i + 1))
        found = losses(model, process, part, noise(0, 0, LENGTHS, i, i + 1, 20, 3), **STEP)
        assert found.sequence[0] == pytest.approx(whole.sequence[i].item(), rel=1e-4)
        assert found.structure[0] == pytest.approx(whole.structure[i].item(), rel=1e-4)


def test_tasks_are_drawn_as_often_as_asked(process, make_batch):
    size, fields = 4000, make_batch()

    def levels(row: int, task_mix: TaskMix) -> tuple[torch.Tensor, torch.Tensor]:
        batch = rows(fields, torch.full((size,), row))
        drawn = noise(0, 0, np.full(size, 8), 0, size, 8, 3)
        return _levels(process, batch, drawn, task_mix)

    def share(condition: torch.Tensor) -> float:
        return condition.float().mean().item()

    sequence, structure = levels(0, TaskMix(0.3, 0.1, 0.2))
    assert share(sequence == 0) == pytest.approx(0.3, abs=0.02)
    assert share(structure == 0) == pytest.approx(0.1, abs=0.02)
    assert share(structure[sequence > 0] == 1) == pytest.approx(0.2 / 0.7, abs=0.02)
    assert share(structure[sequence == 0] == 1) == pytest.approx(FOLDED_FROM_NOISE, abs=0.04)
    assert share(sequence[structure == 0] == 1) == pytest.approx(DESIGNED_FROM_NOISE, abs=0.08)
    sequence, structure = levels(3, TaskMix(0.3, 0.1, 0.2))  # without a structure
    assert (sequence > 0).all() and share(sequence == 1) < 0.01
    assert (structure == 1).all()
    sequence, structure = levels(0, TaskMix(0.0, 0.0, 0.0))
    assert (sequence > 0).all()
    assert (structure > 0).all()


def test_only_given_backbones_are_jittered(make_batch):
    backbone = make_batch().backbone
    level, strength = torch.tensor([0.0, 0.0, 0.5, 1.0]), torch.tensor([1.0, 0.5, 1.0, 1.0])
    uniforms = noise(0, 0, LENGTHS, 0, 4, 20, 3).residues[..., 20:]
    moved = _jitter(backbone, level, strength, uniforms) - backbone
    spread = [moved[row, : LENGTHS[row]].std().item() for row in range(4)]
    assert spread == pytest.approx([MOST_JITTER, MOST_JITTER / 2, 0, 0], rel=0.25)


def test_smooth_lddt_is_highest_for_the_truth_and_blind_to_rigid_motion(make_batch):
    true = make_batch().backbone[:3, :8, 1]
    mask = torch.ones(3, 8, dtype=torch.bool)
    rotation = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(3))).Q
    same = smooth_lddt(true @ rotation.T + 5.0, true, mask)
    assert torch.allclose(same, smooth_lddt(true, true, mask), atol=1e-4)
    moved = true + torch.randn(true.shape, generator=torch.Generator().manual_seed(4)) * 3
    assert (same.mean(1) > smooth_lddt(moved, true, mask).mean(1) + 0.1).all()
    alone = torch.arange(8) < torch.ones(3, 1)  # has no neighbour to keep its distance from
    assert (smooth_lddt(moved, true, alone) == 0).all()
