"""Constraints are kept exactly, whatever the process, the task and the sampler."""

import numpy as np
import pytest
import torch

from structdiff.diffusion import Constraints, SamplingNoise, denoiser, given, sample
from structdiff.diffusion.constraints import constrained

LENGTH, COUNT = 12, 200
BOUNDS = Constraints({1: 0, 4: 0, 18: 1, 9: 2})


def draw(model, process, constraints, begin=given.codesign, fixed=None, index=None, **start):
    """Draw peptides in 5 steps, so that each step draws several residues."""
    index = np.arange(COUNT) if index is None else index
    mask = torch.arange(LENGTH) < torch.tensor([LENGTH, LENGTH - 3] * COUNT)[index, None]
    noise = SamplingNoise(1, index, LENGTH, torch.device("cpu"))
    known = begin(process, mask, noise, 5, **start)
    if fixed is not None:
        known = known.with_residues(*fixed)
    denoise = denoiser(model, mask, model.unconditional(len(index)))
    drawn = sample(denoise, process, known, noise, constraints=constraints)
    return drawn.tokens, mask


def counts(tokens, mask, residue):
    return ((tokens == residue) & mask).sum(1)


def assert_kept(tokens, mask):
    for residue, bound in BOUNDS.at_most.items():
        assert counts(tokens, mask, residue).max() <= bound
    assert counts(tokens, mask, 9).max() == 2  # as many as there may be


@pytest.fixture
def eager(model):
    """A model that would draw little but the residues that are bounded."""
    model.sequence_out.bias.data[[1, 4, 18, 9]] += 5.0
    return model


@pytest.mark.parametrize("begin", [given.codesign, given.sequence_only])
def test_designs_keep_the_constraints(process, eager, begin):
    free, mask = draw(eager, process, Constraints(), begin)
    assert counts(free, mask, 18).max() > 1
    tokens, mask = draw(eager, process, BOUNDS, begin)
    assert_kept(tokens, mask)
    assert len(torch.unique(tokens, dim=0)) > 0.95 * COUNT
    again, _ = draw(eager, process, BOUNDS, begin, index=np.array([7, 100]))
    assert torch.equal(again, tokens[[7, 100]])


def test_inverse_folding_keeps_the_constraints(process, eager):
    angles = torch.zeros(COUNT, LENGTH, process.structure.width)
    backbone = process.structure.decode(angles)
    assert_kept(*draw(eager, process, BOUNDS, given.inverse_folding, backbone=backbone))


def test_given_residues_count_and_stay(process, eager):
    tokens = torch.full((COUNT, LENGTH), 18)
    fixed = (torch.arange(LENGTH) == 5).expand(COUNT, LENGTH)
    drawn, mask = draw(eager, process, BOUNDS, fixed=(tokens, fixed))
    assert_kept(drawn, mask)
    assert (drawn[:, 5] == 18).all()
    assert (counts(drawn, mask, 18) == 1).all()


@pytest.mark.parametrize("strength", [0.2, 0.7])
def test_variations_of_a_peptide_keep_the_constraints(process, eager, strength):
    tokens = torch.tensor([1, 4, 18, 18, 9, 9, 9, 9, 0, 2, 3, 5]).expand(COUNT, LENGTH)
    backbone = process.structure.decode(torch.zeros(COUNT, LENGTH, process.structure.width))
    start = {"tokens": tokens, "backbone": backbone, "strength": strength}
    assert_kept(*draw(eager, process, BOUNDS, given.partial_diffusion, **start))


def test_a_bound_that_is_not_reached_changes_nothing(process, model):
    bounded, mask = draw(model, process, Constraints({18: LENGTH}))
    free, _ = draw(model, process, Constraints())
    assert torch.equal(bounded * mask, free * mask)


def test_a_bound_leaves_the_first_in_a_random_order(process):
    tokens = torch.full((2, 6), 18)
    kept, drawn = torch.zeros(2, 6).bool(), torch.ones(2, 6).bool()
    order = torch.tensor([[5.0, 1, 4, 0, 3, 2], [0.0, 1, 2, 3, 4, 5]])
    excess = Constraints({18: 2}).excess(tokens, kept, drawn, order)
    assert (~excess).nonzero().tolist() == [[0, 1], [0, 3], [1, 0], [1, 1]]
    kept[0, 0] = True
    excess = Constraints({18: 2}).excess(tokens, kept, drawn, order)
    assert (~excess)[0].nonzero().flatten().tolist() == [0, 3]


def test_the_process_itself_is_not_changed(process):
    mask, noise = torch.ones(1, 4).bool(), SamplingNoise(0, np.arange(1), 4, torch.device("cpu"))
    before = process.sequence
    other, _ = constrained(process, given.codesign(process, mask, noise, 3), noise, BOUNDS)
    assert process.sequence is before
    assert other.sequence is not before
    assert other.sequence.width == before.width
