"""Noise is a function of (seed, step, place in the global batch), and of nothing else."""

import numpy as np
import pytest
import torch

from structdiff.diffusion.random_numbers import SamplingNoise, noise, step_uniform, to_normal

LENGTHS = np.array([5, 7, 7, 9, 12, 12, 20, 31])


def test_noise_does_not_depend_on_how_the_batch_is_cut():
    whole = noise(1, 2, LENGTHS, 0, 8, 31, 3)
    for start, stop in [(0, 2), (2, 3), (3, 8)]:
        width = int(LENGTHS[start:stop].max())
        part = noise(1, 2, LENGTHS, start, stop, width, 3)
        assert torch.equal(part.residues, whole.residues[start:stop, :width])
        assert torch.equal(part.peptides, whole.peptides[start:stop])
        assert torch.equal(part.condition, whole.condition[start:stop])
        assert torch.equal(part.stratum, whole.stratum[start:stop])


def test_seeds_steps_and_peptides_differ():
    draws = [noise(seed, step, LENGTHS, 0, 8, 31, 3) for seed, step in [(1, 2), (1, 3), (2, 2)]]
    for a, b in [(0, 1), (0, 2), (1, 2)]:
        assert not torch.equal(draws[a].residues, draws[b].residues)
        assert not torch.equal(draws[a].peptides, draws[b].peptides)
    first = draws[0].residues[:, :5].reshape(8, -1)
    assert len(torch.unique(first, dim=0)) == 8


def test_draws_are_uniform_and_strata_spread_evenly():
    lengths = np.full(500, 20)
    drawn = noise(0, 0, lengths, 0, 500, 20, 0)
    assert drawn.residues.mean() == pytest.approx(0.5, abs=0.003)
    assert to_normal(drawn.residues).std() == pytest.approx(1.0, abs=0.005)
    assert (torch.sort(drawn.stratum).values.diff() * 500 - 1).abs().max() < 1e-3
    assert 0 <= step_uniform(0, 5) < 1


def test_a_sampled_peptide_does_not_depend_on_its_neighbours():
    device = torch.device("cpu")
    together = SamplingNoise(4, np.array([0, 7, 3]), 11, device).sequence(1)
    alone = SamplingNoise(4, np.array([7]), 11, device).sequence(1)
    assert torch.equal(alone[0], together[1])
    assert not torch.equal(together[0], together[2])
