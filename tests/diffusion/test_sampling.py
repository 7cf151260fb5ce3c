"""Samples obey what is given, and depend on the seed and their own number alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from structdiff.diffusion import SAMPLERS, SamplingNoise, denoiser, fold, given, sample
from structdiff.diffusion.given import State
from structdiff.model import Condition, ConditionSpec

LENGTH = 10
ALL = Condition.request("abc", ConditionSpec(["a", "b", "c"]))


def draw(model, process, index, begin=given.codesign, fixed=None, sampler="ancestral", **start):
    """Draw peptides of 10 residues in 8 steps; ``fixed`` are tokens and which of them are given."""
    mask = torch.ones(len(index), LENGTH, dtype=torch.bool)
    noise = SamplingNoise(1, np.asarray(index), LENGTH, torch.device("cpu"))
    known = begin(process, mask, noise, 8, **start)
    if fixed is not None:
        known = known.with_residues(*fixed)
    denoise = denoiser(model, mask, ALL.expand(len(index)), guidance_scale=1.5)
    return sample(denoise, process, known, noise, sampler)


def test_a_design_does_not_depend_on_the_batch(process, model):
    together, alone = draw(model, process, range(6)), draw(model, process, [4])
    assert torch.equal(together.tokens[4], alone.tokens[0])
    assert torch.allclose(together.backbone[4], alone.backbone[0], atol=1e-3)


def test_given_residues_are_kept(process, model, tokens):
    tokens, fixed = tokens[:3], torch.zeros(3, LENGTH, dtype=torch.bool)
    fixed[:, ::3] = True
    infilled = draw(model, process, range(3), fixed=(tokens, fixed))
    assert torch.equal(infilled.tokens[fixed], tokens[fixed])
    assert not torch.equal(infilled.tokens, tokens)


def test_a_given_backbone_is_clean_in_every_step(process, model):
    backbone = draw(model, process, range(3)).backbone
    seen = []
    model.register_forward_pre_hook(lambda _, inputs: seen.append(inputs))
    designed = draw(model, process, range(3), given.inverse_folding, backbone=backbone)
    assert designed.backbone is None
    clean = process.structure.encode(backbone, torch.ones(3, LENGTH, dtype=torch.bool))
    assert len(seen) >= 8
    for _, structure, _, _, structure_level, *_ in seen:
        assert torch.equal(structure, clean)
        assert (structure_level == 0).all()


def test_strength_0_returns_the_peptide_and_1_forgets_it(process, model, tokens):
    tokens, mask = tokens[:3], torch.ones(3, LENGTH, dtype=torch.bool)
    peptide = {"tokens": tokens, "backbone": fold(model, process, tokens, mask).backbone}

    def vary(strength, fixed=None):
        begin = given.partial_diffusion
        return draw(model, process, range(3), begin, fixed, strength=strength, **peptide)

    same = vary(0.0)
    assert torch.equal(same.tokens, tokens)
    assert torch.allclose(same.backbone, peptide["backbone"], atol=0.01)
    assert torch.equal(vary(1.0).tokens, draw(model, process, range(3)).tokens)
    kept = vary(0.7, (tokens, torch.arange(LENGTH).expand(3, LENGTH) < 4))
    assert torch.equal(kept.tokens[:, :4], tokens[:, :4])
    assert not torch.equal(kept.tokens, tokens)


def test_a_sequence_can_be_drawn_alone(process, model):
    alone = draw(model, process, range(3), given.sequence_only)
    assert alone.backbone is None
    assert alone.tokens.shape == (3, LENGTH)


def test_a_sampler_is_one_registered_function(process, model, monkeypatch):
    """Here one that takes the residues that the network expects at the first level."""

    def greedy(denoise, process, given, noise):
        prediction = denoise(given.start, given.levels[0])
        residues = process.sequence.encode(prediction.logits.argmax(-1))
        return State(residues, prediction.structure)

    monkeypatch.setitem(SAMPLERS, "greedy", greedy)
    drawn = draw(model, process, range(3), sampler="greedy")
    assert drawn.tokens.shape == (3, LENGTH)
    assert drawn.backbone.shape == (3, LENGTH, 4, 3)
    with pytest.raises(KeyError, match="no such"):
        draw(model, process, range(3), sampler="no such")


def test_given_residues_are_not_drawn(process):
    mask = torch.arange(LENGTH) < torch.tensor([[10], [6]])
    noise = SamplingNoise(0, np.arange(2), LENGTH, torch.device("cpu"))
    known = given.codesign(process, mask, noise, 4)
    assert torch.equal(known.free, mask)
    fixed = torch.arange(LENGTH).expand(2, LENGTH) < 3
    assert torch.equal(known.with_residues(known.tokens, fixed).free, mask & ~fixed)
    assert replace(known, fixed=mask).free.sum() == 0
