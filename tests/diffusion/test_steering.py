"""The expected descriptors of steered predictions are those asked for."""

import math

import torch

from structdiff.diffusion import JointProcess, Steered, Target
from structdiff.diffusion.given import Given, State
from structdiff.diffusion.schedule import Levels
from structdiff.model import Prediction
from structdiff.protein.descriptors import HYDROPHOBICITY
from structdiff.protein.residues import AMINO_ACIDS

TURN = math.radians(100)


def start(mask: torch.Tensor, state: State, tokens: torch.Tensor, fixed: int = 0) -> Given:
    """Return the start of sampling; the first residues are fixed."""
    is_fixed = torch.arange(mask.shape[1]).expand(mask.shape) < fixed
    return Given(mask, state, [], tokens, is_fixed, draws_backbone=False)


def steered(
    process, targets: list[Target], drawn: int, fixed: int = 0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the change of the logits by steering, and the probabilities of the residues.

    The first residues of the peptides are drawn or fixed.
    """
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 12, 20, generator=generator)
    mask = torch.arange(12) < torch.tensor([[12], [9], [12]])
    tokens = torch.randint(0, 20, (3, 12), generator=generator)
    noise = torch.full((3, 12, 20), 0.5)
    noise[:, : max(drawn, fixed)] = 1.0
    sequence = process.sequence.corrupt(tokens, torch.full((3,), 0.75), noise)
    state = State(sequence, torch.zeros(3, 12, 9))

    def denoise(state: State, levels: Levels) -> Prediction:
        return Prediction(logits, state.structure, None)

    if fixed:
        sequence[:, :fixed] = process.sequence.encode(tokens[:, :fixed])
    given = start(mask, state, tokens, fixed)
    prediction = Steered(denoise, process, given, targets)(state, Levels(0.75, 0.75))
    chances = prediction.logits.softmax(-1)
    known = fixed or drawn * bool(process.sequence.decided(sequence, 0.75).any())
    chances[:, :known] = torch.nn.functional.one_hot(tokens[:, :known], 20).float()
    return prediction.logits - logits, chances * mask[..., None]


def test_the_expected_sums_are_the_targets():
    generator = torch.Generator().manual_seed(1)
    number, vector = torch.randn(2, 3, 20, generator=generator)
    targets = [
        Target(number, torch.tensor([4.0, -1.0, 0.5])),
        Target(vector, torch.tensor([1.5, 3.0, 2.0]), TURN),
    ]
    _, chances = steered(JointProcess("masked", 1000), targets, drawn=4)
    found = torch.einsum("blr,br->b", chances, number)
    assert torch.allclose(found, targets[0].total, atol=0.1)
    angles = TURN * torch.arange(12)
    parts = torch.einsum("blr,br->bl", chances, vector)
    found = torch.hypot(parts @ angles.sin(), parts @ angles.cos())
    assert torch.allclose(found, targets[1].total, atol=0.1)


def test_one_target_changes_the_logits_by_a_multiple_of_each_residue_s_part(process):
    values = torch.linspace(-1, 1, 20).expand(3, 20)
    change, chances = steered(process, [Target(values, torch.tensor([3.0, 2.0, -4.0]))], drawn=0)
    factors = change[..., -1:]
    assert torch.allclose(change, factors * values[:, None], atol=1e-5)
    assert torch.allclose(factors, factors[:, :1].expand_as(factors), atol=1e-5)
    assert (factors[:2] > 0).all() and (factors[2] < 0).all()
    found = torch.einsum("blr,br->b", chances, values)
    assert torch.allclose(found, torch.tensor([3.0, 2.0, -4.0]), atol=1e-3)


def test_fixed_residues_count_as_they_are(process):
    values, total = torch.linspace(-1, 1, 20).expand(3, 20), torch.tensor([1.0, 0.5, -1.0])
    _, chances = steered(process, [Target(values, total)], drawn=0, fixed=4)
    assert torch.allclose(torch.einsum("blr,br->b", chances, values), total, atol=1e-3)


def test_a_target_out_of_reach_leaves_finite_logits(process):
    values = torch.linspace(-1, 1, 20).expand(3, 20)
    change, _ = steered(process, [Target(values, torch.full((3,), 1e6))], drawn=0)
    assert change.isfinite().all() and change.abs().max() < 20


def test_a_moment_hardly_changes_how_frequent_a_residue_is(process):
    """Exponentials alone would make arginine, whose part is the largest, more frequent."""
    values = torch.tensor([[HYDROPHOBICITY[residue] for residue in AMINO_ACIDS]])
    target = Target(values, torch.tensor([0.35 * 18]), TURN)
    mask = torch.ones(1, 18, dtype=torch.bool)  # five whole turns
    tokens = torch.zeros(1, 18, dtype=torch.int64)
    sequence = process.sequence.corrupt(tokens, torch.ones(1), torch.full((1, 18, 20), 0.5))
    logits = 0.01 * torch.randn(1, 18, 20, generator=torch.Generator().manual_seed(0))

    def denoise(state: State, levels: Levels) -> Prediction:
        return Prediction(logits, state.structure, None)

    state = State(sequence, torch.zeros(1, 18, 9))
    given = start(mask, state, tokens)
    prediction = Steered(denoise, process, given, [target])(state, Levels(1.0, 1.0))
    chances = prediction.logits.softmax(-1)
    angles, parts = TURN * torch.arange(18), torch.einsum("blr,br->bl", chances, values)
    found = torch.hypot(parts @ angles.sin(), parts @ angles.cos())
    assert torch.allclose(found, target.total, atol=0.1)
    assert (chances.mean(1) - 0.05).abs().max() < 0.007
