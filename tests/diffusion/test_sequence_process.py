"""Sequence processes: clean at level 0, pure noise at level 1, and right on the way back."""

import math
from itertools import pairwise

import pytest
import torch

from structdiff.diffusion.processes import JointProcess
from structdiff.diffusion.sequence_process import (
    SEQUENCE_PROCESSES,
    GaussianProcess,
    MaskedProcess,
)

PROCESSES = [MaskedProcess(), GaussianProcess()]


def tokens(batch: int = 64, length: int = 50) -> torch.Tensor:
    return torch.randint(0, 20, (batch, length), generator=torch.Generator().manual_seed(0))


def uniform(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)).clamp(1e-6, 1 - 1e-6)


@pytest.mark.parametrize("process", PROCESSES)
def test_level_0_is_clean_and_level_1_forgets(process):
    clean, uniforms = tokens(), uniform(64, 50, 20)
    assert torch.equal(process.decode(process.corrupt(clean, torch.zeros(64), uniforms)), clean)
    noisy = process.corrupt(clean, torch.ones(64), uniforms)
    other = process.corrupt((clean + 1) % 20, torch.ones(64), uniforms)
    assert torch.allclose(noisy, other, atol=1e-5)


def test_masked_share_is_the_level():
    noisy = MaskedProcess().corrupt(tokens(), torch.full((64,), 0.3), uniform(64, 50, 20))
    assert noisy[..., 20].mean() == pytest.approx(0.3, abs=0.02)


def test_masked_loss_is_an_estimate_of_the_likelihood_at_every_level():
    # A model that knows only the uniform distribution scores log 20 a residue, whatever the level.
    process, clean = MaskedProcess(), tokens(2000, 50)
    for level in (0.1, 0.5, 1.0):
        levels = torch.full((2000,), level)
        noisy = process.corrupt(clean, levels, uniform(2000, 50, 20))
        loss = process.loss(torch.zeros(2000, 50, 20), clean, noisy, levels).mean()
        assert loss == pytest.approx(math.log(20), rel=0.02)


@pytest.mark.parametrize("process", PROCESSES)
def test_a_perfect_model_is_followed_to_the_clean_sequence(process):
    clean = tokens()
    certain = torch.nn.functional.one_hot(clean, 20).float()
    state, grid = process.prior(uniform(64, 50, 20)), JointProcess("masked", 1000).grid(20)
    for step, (t, t_next) in enumerate(pairwise(grid)):
        uniforms = uniform(64, 50, 20, seed=step + 2)
        state = process.step(state, certain, t, t_next, uniforms, torch.ones(64, 50).bool())
    assert torch.equal(process.decode(state), clean)


def test_masked_step_reveals_as_many_residues_as_the_level_says_and_keeps_them():
    process = MaskedProcess()
    even = torch.full((64, 50, 20), 0.05)
    mask = torch.arange(50) < torch.arange(11, 75).clamp(max=50)[:, None]
    before = process.prior(uniform(64, 50, 20))
    middle = process.step(before, even, 1.0, 0.6, uniform(64, 50, 20, seed=2), mask)
    hidden = (middle[..., 20] > 0) & mask
    assert torch.equal(hidden.sum(1), (0.6 * mask.sum(1)).round().long())
    assert (middle[..., 20][~mask] > 0).all()
    assert hidden[:, :11].float().mean(0) == pytest.approx([0.6] * 11, abs=0.25)  # anywhere
    after = process.step(middle, even, 0.6, 0.0, uniform(64, 50, 20, seed=3), mask)
    assert after[..., 20][mask].sum() == 0
    shown = middle[..., 20] == 0
    assert torch.equal(after[shown], middle[shown])
    drawn = process.decode(after)[mask]
    frequencies = torch.bincount(drawn, minlength=20) / len(drawn)
    assert frequencies == pytest.approx([0.05] * 20, abs=0.02)


def test_masked_peptides_take_no_more_steps_than_draw_a_residue_each():
    process, mask = MaskedProcess(), torch.ones(8, 24).bool()
    steps = process.useful_steps(32, 24)
    assert steps == 24
    assert process.useful_steps(10, 24) == 10
    assert GaussianProcess().useful_steps(32, 24) == 32
    features, hidden = process.prior(uniform(8, 24, 20)), [24]
    for now, after in pairwise(JointProcess("masked", 1000).grid(steps)):
        even = torch.full((8, 24, 20), 0.05)
        features = process.step(features, even, now, after, uniform(8, 24, 20), mask)
        hidden.append(int(features[0, :, 20].sum()))
    assert hidden == list(range(24, -1, -1))


def test_masked_step_reveals_sure_positions_sooner_whatever_is_drawn_there():
    process, mask = MaskedProcess(), torch.ones(256, 50).bool()
    probabilities = torch.full((256, 50, 20), 0.05)
    sure = torch.arange(50) % 2 == 0
    probabilities[:, sure] = torch.tensor([0.5, 0.5] + [0.0] * 18)
    before = process.prior(uniform(256, 50, 20))
    after = process.step(before, probabilities, 1.0, 0.5, uniform(256, 50, 20, seed=2), mask)
    shown = after[..., 20] == 0
    assert shown[:, sure].float().mean() > 0.95
    first, second = (after[:, sure][..., i].mean().item() for i in (0, 1))
    assert first / (first + second) == pytest.approx(0.5, abs=0.02)


def test_a_process_is_one_registered_class(monkeypatch):
    """Here one that masks with the square of the level."""

    class Late(MaskedProcess):
        def corrupt(self, tokens, t, uniforms):
            return super().corrupt(tokens, t**2, uniforms)

    monkeypatch.setitem(SEQUENCE_PROCESSES, "late", Late)
    noisy = JointProcess("late", 1000).sequence.corrupt(
        tokens(), torch.full((64,), 0.5), uniform(64, 50, 20)
    )
    assert noisy[..., 20].mean() == pytest.approx(0.25, abs=0.02)
