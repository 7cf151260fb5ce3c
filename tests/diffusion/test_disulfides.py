"""The bonded cysteines are the most probable set of pairs, and a fit moves them together."""

import pytest
import torch

from structdiff.diffusion.distogram import distance_bins
from structdiff.diffusion.disulfides import disulfide_pairs, disulfide_penalty, has_pair
from structdiff.model import DISTANCE_BINS
from structdiff.protein.geometry import ANGLES, beta_carbons, rebuild
from structdiff.protein.residues import encode


def tokens_of(*sequences: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Return residue indices and mask; the pads are cysteines."""
    width = max(map(len, sequences))
    padded = "".join(sequence.ljust(width, "C") for sequence in sequences)
    tokens = torch.from_numpy(encode(padded)).long().view(len(sequences), width)
    return tokens, torch.arange(width) < torch.tensor([[len(one)] for one in sequences])


def distogram(count: int, length: int, bonded: dict[tuple[int, int, int], float]) -> torch.Tensor:
    """Return logits by which all Cα are far apart, except for some that may have 5.3 Å.

    ``bonded`` has the log-odds of this distance by peptide and two residues.
    """
    near, far = distance_bins(torch.tensor([[0.0, 0, 0], [5.3, 0, 0], [25.0, 0, 0]]))[0, 1:]
    logits = torch.full((count, length, length, DISTANCE_BINS), -30.0)
    logits[..., far] = 0.0
    for (peptide, first, second), odds in bonded.items():
        logits[peptide, first, second, near] = odds
        logits[peptide, second, first, near] = odds
    return logits


def test_the_most_probable_set_of_pairs_is_bonded():
    tokens, mask = tokens_of("CAAACAAACAAAC")
    # Alone, 4–8 is the most probable pair, but 0–12 would be left for the other two.
    odds = {(0, 4, 8): 3.0, (0, 0, 12): -9.0, (0, 0, 4): 2.0, (0, 8, 12): 2.0}
    pairs = disulfide_pairs(tokens, distogram(1, 13, odds), mask)
    assert sorted(pairs.tolist()) == [[0, 0, 4], [0, 8, 12]]


def test_all_cysteines_are_bonded_but_the_least_probable_of_an_odd_number():
    tokens, mask = tokens_of("CAAACAAAC", "AAAAAAAAA", "ACAAAAC")
    odds = {(0, 0, 8): -1.0, (0, 0, 4): -5.0, (0, 4, 8): -4.0}
    pairs = disulfide_pairs(tokens, distogram(3, 9, odds), mask)
    assert pairs.tolist() == [[0, 0, 8], [2, 1, 6]]
    assert pairs.dtype == torch.int64


def test_neighbours_along_the_chain_and_pads_are_not_bonded():
    tokens, mask = tokens_of("ACCAAACCA", "ACACA")
    odds = {(0, 1, 2): 9.0, (0, 6, 7): 9.0, (0, 1, 6): 1.0, (0, 2, 7): 1.0, (1, 1, 7): 9.0}
    assert has_pair(tokens, mask).tolist() == [True, False]
    pairs = disulfide_pairs(tokens, distogram(2, 9, odds), mask)
    assert sorted(pairs.tolist()) == [[0, 1, 6], [0, 2, 7]]
    nothing = disulfide_pairs(tokens[1:], distogram(1, 9, {}), mask[1:])
    assert nothing.shape == (0, 3)
    assert disulfide_penalty(torch.zeros(1, 9, 4, 3), nothing).shape == (0,)


def test_the_penalty_is_lowest_at_the_distances_of_a_disulfide():
    helix = torch.deg2rad(torch.tensor([-60.0, -45.0, 180.0])).expand(1, 12, 3)
    backbone = rebuild(helix, torch.tensor(ANGLES).expand(1, 12, 3))
    pairs = torch.tensor([[0, 1, 9], [0, 2, 6]])
    beta = beta_carbons(backbone)[0]
    (far, near) = disulfide_penalty(backbone, pairs)
    expected = sum(
        ((torch.dist(atoms[2], atoms[6]) - apart).square() + 1).sqrt()
        for atoms, apart in ((backbone[0, :, 1], 5.5), (beta, 3.8))
    )
    assert near.item() == pytest.approx(expected.item(), abs=1e-5)
    assert far > near > 2  # 2 at the best distances
