"""Folding depends on the sequence alone; refinement keeps distances and resolves clashes."""

import math

import torch

from structdiff.diffusion import fold, refinement
from structdiff.diffusion.distogram import distance_bins
from structdiff.diffusion.disulfides import disulfide_penalty
from structdiff.diffusion.refinement import fit_backbone, resolve_clashes
from structdiff.diffusion.structure_process import TorsionProcess
from structdiff.model import DISTANCE_BINS, no_estimate
from structdiff.protein.geometry import (
    ANGLES,
    clash_penalty,
    internal_coordinates,
    lddt,
    rebuild,
)
from structdiff.protein.residues import encode

PROCESS = TorsionProcess()
NO_PAIRS = torch.zeros(0, 3, dtype=torch.int64)
MASK = torch.arange(20) < torch.tensor([20, 20, 20, 13])[:, None]


def uniforms(*shape: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(shape, generator=generator).clamp(1e-6, 1 - 1e-6)


def helix_hairpins() -> torch.Tensor:
    """Two helices with a turn between them, four of them, ``(4, 20, 4, 3)``."""
    torsions = torch.tensor([-60.0, -45.0, 180.0]).repeat(4, 20, 1)
    torsions[:, 9:11, 0], torsions[:, 9:11, 1] = 60.0, 30.0
    return rebuild(torch.deg2rad(torsions), torch.tensor(ANGLES).expand(4, 20, 3))


def no_preference(backbone: torch.Tensor) -> torch.Tensor:
    """Return 0 for each backbone."""
    return 0 * backbone.sum((1, 2, 3))


def lddt_of(model: torch.Tensor, reference: torch.Tensor) -> list[torch.Tensor]:
    """Return each residue's lDDT, NaN on pads."""
    found = []
    for a, b, inside in zip(model, reference, MASK, strict=True):
        found.append(torch.full((20,), math.nan, dtype=torch.float64))
        found[-1][inside] = lddt(a[inside], b[inside])
    return found


def test_a_fold_is_the_sequences_own(process, model, tokens):
    mask = torch.ones(6, 10).bool()
    together = fold(model, process, tokens, mask)
    assert together.backbone.shape == (6, 10, 4, 3)
    assert together.confidence.shape == (6, 10)
    assert ((together.confidence > 0) & (together.confidence < 1)).all()
    again = fold(model, process, tokens, mask)
    assert torch.equal(again.backbone, together.backbone)
    alone = fold(
        model,
        process,
        torch.nn.functional.pad(tokens[4:5], (0, 6), value=3),
        torch.arange(16)[None] < 10,
    )
    assert torch.allclose(alone.backbone[0, :10], together.backbone[4], atol=3e-3)
    assert torch.allclose(alone.confidence[0, :10], together.confidence[4], atol=1e-4)
    other = fold(model, process, (tokens + 1) % 20, mask)
    assert (other.backbone - together.backbone).abs().max() > 0.01


def test_folding_calls_the_network_with_the_sequence_and_with_noise(process, model, tokens):
    tokens, mask = tokens[:3], torch.ones(3, 10).bool()
    seen = []
    model.register_forward_pre_hook(lambda _, given: seen.append(given))
    fold(model, process, tokens, mask)
    known, hidden = seen
    assert torch.equal(known[0], process.sequence.encode(tokens))
    assert torch.equal(hidden[0], process.sequence.prior(torch.full((3, 10, 20), 0.5)))
    for level, (_, structure, _, sequence_level, structure_level, condition, *estimates) in (
        (0.0, known),
        (1.0, hidden),
    ):
        assert (sequence_level == level).all()
        assert (structure_level == 1).all()
        assert not any(given.any() for given in (structure, condition.labels, *estimates))


def test_a_fold_is_fitted_to_inverse_folding_of_its_own_sequence(
    process, model, tokens, monkeypatch
):
    mask = torch.arange(10) < torch.tensor([10, 10, 10, 7, 7, 7])[:, None]
    torch.nn.init.normal_(model.backbone_out.out.weight, std=0.2)

    def log_probability(backbone: torch.Tensor) -> torch.Tensor:
        hidden = process.sequence.prior(torch.full((6, 10, 20), 0.5))
        structure = process.structure.encode(backbone, mask)
        inputs = (hidden, structure, mask, torch.ones(6), torch.zeros(6), model.unconditional(6))
        logits = model(*inputs, *no_estimate(structure)).logits
        residues = logits.log_softmax(-1).gather(-1, tokens[..., None])[..., 0]
        return (residues * mask).sum(1)

    fitted = log_probability(fold(model, process, tokens, mask).backbone)
    monkeypatch.setattr(refinement, "_SEQUENCE_WEIGHT", 0.0)
    unfitted = log_probability(fold(model, process, tokens, mask).backbone)
    assert (fitted > unfitted + 0.1).all()


def test_a_backbone_is_moved_to_where_its_sequence_is_likelier():
    features = PROCESS.encode(helix_hairpins(), MASK)
    ca = helix_hairpins()[..., 1, :]
    logits = 20.0 * torch.nn.functional.one_hot(distance_bins(ca), DISTANCE_BINS)

    def prefers_phi_of_minus_70(backbone: torch.Tensor) -> torch.Tensor:
        phi = internal_coordinates(backbone, MASK)[0][..., 0]
        return -10 * ((phi - math.radians(-70.0)).square() * MASK)[:, 1:9].sum(1)

    plain, moved = (
        prefers_phi_of_minus_70(
            PROCESS.decode(fit_backbone(PROCESS, features, logits, MASK, NO_PAIRS, one))
        )
        for one in (no_preference, prefers_phi_of_minus_70)
    )
    assert (moved > plain + 0.5).all()


def test_a_chain_is_moved_towards_the_expected_distances():
    true = helix_hairpins()
    features = PROCESS.encode(true, MASK)
    wrong = features + 0.25 * torch.randn(
        features.shape, generator=torch.Generator().manual_seed(1)
    )
    ca = true[..., 1, :]
    logits = 20.0 * torch.nn.functional.one_hot(distance_bins(ca), DISTANCE_BINS)
    fitted = PROCESS.decode(fit_backbone(PROCESS, wrong, logits, MASK, NO_PAIRS))[..., 1, :]
    start = PROCESS.decode(wrong)[..., 1, :]
    for before, after, inside in zip(lddt_of(start, ca), lddt_of(fitted, ca), MASK, strict=True):
        assert after[inside].mean() > before[inside].mean() + 0.1


def test_clashes_are_resolved_and_other_chains_left_alone():
    mask = torch.ones(64, 24, dtype=torch.bool)
    mask[:32, 20:] = False
    features = PROCESS.prior(uniforms(64, 24, 12))

    def clashing(features: torch.Tensor) -> torch.Tensor:
        return clash_penalty(PROCESS.decode(features)[..., 1, :], mask, 3.0).sum(1) > 0

    before, resolved = clashing(features), resolve_clashes(PROCESS, features, mask)
    assert before.sum() >= 10
    assert not clashing(resolved).any()
    assert (PROCESS.decode(resolved)[..., 1, :].diff(dim=1).norm(dim=-1) < 3.95).all()
    free = clash_penalty(PROCESS.decode(features)[..., 1, :], mask, 3.2).sum(1) == 0
    assert free.any()
    assert torch.equal(resolved[free], features[free])
    # A chain does not depend on the others of its batch.
    torch.testing.assert_close(resolve_clashes(PROCESS, features[:8], mask[:8]), resolved[:8])


def test_drawn_backbones_are_closed_if_they_have_two_cysteines(process, model, monkeypatch):
    tokens = torch.from_numpy(encode("ACAAAAAACAACAAAAAAAAAACAAACCCC")).long().view(3, 10)
    mask = torch.arange(10) < torch.tensor([[10], [10], [7]])
    torsions = torch.deg2rad(torch.tensor([-120.0, 130.0, 180.0])).expand(3, 10, 3)
    drawn = rebuild(torsions, torch.tensor(ANGLES).expand(3, 10, 3))
    found = refinement.close_disulfides(model, process, tokens, drawn, mask)
    pairs = torch.tensor([[0, 1, 8], [2, 2, 6]])
    before, after = (disulfide_penalty(one, pairs) for one in (drawn, found))
    assert (after < before - 5).all()
    assert torch.equal(found[1], drawn[1])
    # The rest of the fit does not do this.
    monkeypatch.setattr(refinement, "disulfide_pairs", lambda *_: pairs[:0])
    apart = refinement.close_disulfides(model, process, tokens, drawn, mask)
    assert (disulfide_penalty(apart, pairs) > after + 5).all()
