"""Disulfides of a backbone: which cysteines are bonded, and how far apart they are.

``disulfide_pairs(tokens, logits, mask)`` chooses the bonded cysteines by the distogram.
``disulfide_penalty(backbone, pairs)`` is lowest where their distances are those of disulfides.
`structdiff.diffusion.refinement` fits backbones with both.
"""

import torch
from torch import Tensor

from structdiff.diffusion.distogram import probability_between
from structdiff.model import CYSTEINE
from structdiff.protein.geometry import beta_carbons

__all__ = ["disulfide_pairs", "disulfide_penalty", "has_pair"]

_SEPARATION = 3
"""Smallest separation along the chain of two cysteines that can be bonded. Disulfides between
nearer cysteines are rare, and their Cα are close in every chain."""

_CA_RANGE = (5.0, 6.0)
"""Cα distances in Å by which pairs are compared. Disulfides have 4.4 to 6.8 Å, but so have other
residues; with this narrower range, more pairs are those of ESMFold's structures."""

_CA_APART, _CB_APART = 5.5, 3.8
"""Cα and Cβ distances of a disulfide, Å."""


def has_pair(tokens: Tensor, mask: Tensor) -> Tensor:
    """Return which peptides have two cysteines that can be bonded, ``(batch,)`` bool.

    ``tokens`` are residues and ``mask`` is true at residues, both ``(batch, length)``.
    """
    cysteines = (tokens == CYSTEINE) & mask
    number = torch.arange(tokens.shape[1], device=tokens.device)
    last = torch.where(cysteines, number, -1).amax(1)
    first = torch.where(cysteines, number, tokens.shape[1]).amin(1)
    return last - first >= _SEPARATION


def disulfide_pairs(tokens: Tensor, logits: Tensor, mask: Tensor) -> Tensor:
    """Return the pairs of cysteines that are bonded, by the distogram.

    As many cysteines as possible are bonded, because most cysteines of peptides are. Of all sets of
    disjoint pairs, the one with the highest sum of log-odds is returned (maximum weight matching;
    Edmonds, J. Res. Natl. Bur. Stand. B 69, 125, 1965); the odds are those of a Cα distance in
    `_CA_RANGE`. The result is ``(pairs, 3)`` int64: peptide, first and second cysteine.

    Parameters
    ----------
    tokens
        Residues, ``(batch, length)``.
    logits
        The distogram, ``(batch, length, length, DISTANCE_BINS)``.
    mask
        True at residues, ``(batch, length)``.
    """
    # Imported here because the import takes a third of the time of `import torch`.
    from networkx import Graph, max_weight_matching

    pairs = []
    for peptide in has_pair(tokens, mask).nonzero()[:, 0].tolist():
        cysteines = ((tokens[peptide] == CYSTEINE) & mask[peptide]).nonzero()[:, 0]
        between = logits[peptide][cysteines][:, cysteines].float().softmax(-1)
        odds = probability_between(between, *_CA_RANGE).logit(eps=1e-4)
        apart = (cysteines - cysteines[:, None]) >= _SEPARATION
        graph = Graph()
        for first, second in apart.nonzero().tolist():
            graph.add_edge(first, second, weight=odds[first, second].item())
        for pair in max_weight_matching(graph, maxcardinality=True):
            pairs.append([peptide, *cysteines[sorted(pair)].tolist()])
    return torch.tensor(pairs, dtype=torch.int64, device=tokens.device).view(-1, 3)


def disulfide_penalty(backbone: Tensor, pairs: Tensor) -> Tensor:
    """Return a penalty for the Cα and the Cβ distance of each pair, ``(pairs,)`` in Å.

    It is the sum of √(*d*² + 1 Å²) for the deviations *d* of the two distances from those of a
    disulfide; the smallest value is 2 Å. Differentiable.

    Parameters
    ----------
    backbone
        N, Cα, C, O in Å, ``(batch, length, 4, 3)``.
    pairs
        From `disulfide_pairs`, ``(pairs, 3)``.
    """
    peptide, first, second = pairs.unbind(1)

    def deviation(atoms: Tensor, apart: float) -> Tensor:
        distance = torch.linalg.vector_norm(atoms[peptide, first] - atoms[peptide, second], dim=-1)
        return ((distance - apart).square() + 1).sqrt()

    return deviation(backbone[..., 1, :], _CA_APART) + deviation(beta_carbons(backbone), _CB_APART)
