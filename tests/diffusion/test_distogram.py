"""Expected distances are learned, and give a chain its confidence."""

import math

import pytest
import torch

from structdiff.diffusion.distogram import (
    distance_bins,
    distance_loss,
    expected_lddt,
    probability_between,
)
from structdiff.model import DISTANCE_BINS
from structdiff.protein.geometry import ANGLES, lddt, rebuild

MASK = torch.arange(20) < torch.tensor([20, 20, 20, 13])[:, None]


def helix_hairpins() -> torch.Tensor:
    """Two helices with a turn between them, four of them, ``(4, 20, 4, 3)``."""
    torsions = torch.tensor([-60.0, -45.0, 180.0]).repeat(4, 20, 1)
    torsions[:, 9:11, 0], torsions[:, 9:11, 1] = 60.0, 30.0
    return rebuild(torch.deg2rad(torsions), torch.tensor(ANGLES).expand(4, 20, 3))


def certain_of(ca: torch.Tensor) -> torch.Tensor:
    """Logits that are sure of the distances of a chain."""
    return 20.0 * torch.nn.functional.one_hot(distance_bins(ca), DISTANCE_BINS)


def test_the_loss_is_that_of_a_classifier_and_blind_to_pads():
    ca = helix_hairpins()[..., 1, :]
    ignorant = distance_loss(torch.zeros(4, 20, 20, DISTANCE_BINS), ca, MASK)
    assert torch.allclose(ignorant[MASK], torch.tensor(math.log(DISTANCE_BINS)))
    assert (distance_loss(certain_of(ca), ca, MASK)[MASK] < 1e-3).all()
    moved = torch.where(MASK[..., None], ca, ca + 50)
    assert torch.equal(
        distance_loss(certain_of(ca), moved, MASK)[MASK],
        distance_loss(certain_of(ca), ca, MASK)[MASK],
    )


def test_a_chain_with_the_expected_distances_is_trusted_and_another_is_not():
    ca = helix_hairpins()[..., 1, :]
    noise = torch.randn(ca.shape, generator=torch.Generator().manual_seed(0))
    before = torch.ones(4)
    for size in (0.0, 0.5, 1.5, 4.0):
        moved = ca + size * noise
        told = expected_lddt(certain_of(ca), moved, MASK)
        for one, actual, inside in zip(told, lddt_of(moved, ca), MASK, strict=True):
            assert one[inside] == pytest.approx(actual[inside].float(), abs=0.12)
        mean = torch.stack([one[inside].mean() for one, inside in zip(told, MASK, strict=True)])
        assert (mean < before + 1e-6).all()
        before = mean


def lddt_of(model: torch.Tensor, reference: torch.Tensor) -> list[torch.Tensor]:
    """Return each residue's lDDT, NaN on pads."""
    found = []
    for a, b, inside in zip(model, reference, MASK, strict=True):
        found.append(torch.full((20,), math.nan, dtype=torch.float64))
        found[-1][inside] = lddt(a[inside], b[inside])
    return found


def test_the_probability_between_two_edges_is_that_of_the_bins_between_them():
    apart = torch.tensor([4.9, 5.1, 5.9, 6.1])
    ca = torch.stack([torch.zeros(4, 3), torch.nn.functional.pad(apart[:, None], (0, 2))], dim=1)
    certain = torch.nn.functional.one_hot(distance_bins(ca)[:, 0, 1], DISTANCE_BINS).float()
    assert probability_between(certain, 5.0, 6.0).tolist() == [0, 1, 1, 0]
