"""The distogram: a predicted distribution of each Cα distance.

``logits`` are ``(batch, length, length, DISTANCE_BINS)``. ``distance_loss(logits, ca, mask)``
is their loss, ``expected_lddt(logits, ca, mask)`` is the confidence in a chain, and
`structdiff.diffusion.refinement` moves torsions towards the distances.
"""

import torch
from torch import Tensor
from torch.nn import functional

from structdiff.model import DISTANCE_BINS
from structdiff.protein.geometry import LDDT_CUTOFF, LDDT_LIMITS, distances, pair_mask

__all__ = [
    "BIN_WIDTH",
    "distance_bins",
    "distance_loss",
    "expected_lddt",
    "expected_lddt_at",
    "lddt_table",
    "near_probability",
    "quantile",
]

BIN_WIDTH = 0.5
"""Width of a bin in Å."""

_NEAR = 24
"""Number of bins below the cutoff of lDDT."""

_FIRST = LDDT_CUTOFF - BIN_WIDTH * (_NEAR - 1)
"""Upper edge of the first bin, Å; the others are `BIN_WIDTH` wide, and the last has no end."""

_GRID_START, _GRID_STEP, _GRID_SIZE = 2.0, 0.5, 65
"""Distances at which `lddt_table` is evaluated, Å."""


def distance_loss(logits: Tensor, ca: Tensor, mask: Tensor) -> Tensor:
    """Return the mean cross-entropy of each residue's distances, ``(batch, length)`` in nats.

    Parameters
    ----------
    logits
        ``(batch, length, length, DISTANCE_BINS)``.
    ca
        True Cα positions, ``(batch, length, 3)`` in Å.
    mask
        True at residues, ``(batch, length)``.
    """
    bins = distance_bins(ca)
    entropy = functional.cross_entropy(logits.flatten(0, 2), bins.flatten(), reduction="none")
    counted = pair_mask(mask, 0)
    return (entropy.view(bins.shape) * counted).sum(-1) / mask.sum(1)[:, None].clamp(min=1)


def distance_bins(ca: Tensor) -> Tensor:
    """Return the bin of each distance of a chain, ``(batch, length, length)``."""
    edges = _FIRST + BIN_WIDTH * torch.arange(DISTANCE_BINS - 1, device=ca.device)
    return torch.bucketize(distances(ca), edges)


def expected_lddt(logits: Tensor, ca: Tensor, mask: Tensor) -> Tensor:
    """Return the expected Cα lDDT of each residue of a chain, ``(batch, length)`` in 0–1.

    The expectation is over the predicted distribution of the true distances. Parameters as in
    `distance_loss`; ``ca`` are the positions of the chain.
    """
    probabilities = logits.softmax(-1)
    others = pair_mask(mask, 1)
    kept = expected_lddt_at(lddt_table(probabilities), distances(ca)) * others
    near = near_probability(probabilities) * others
    return kept.sum(-1) / near.sum(-1).clamp(min=1e-6)


def near_probability(probabilities: Tensor) -> Tensor:
    """Return the probability that each distance is below the cutoff of lDDT, ``(…)``."""
    return probabilities[..., :_NEAR].sum(-1)


def quantile(probabilities: Tensor, share: float) -> Tensor:
    """Return a quantile of each pair's distance, as the middle of its bin, Å."""
    bins = (probabilities.cumsum(-1) < share).sum(-1).clamp(max=DISTANCE_BINS - 1)
    return _FIRST + BIN_WIDTH * (bins - 0.5)


def lddt_table(probabilities: Tensor) -> Tensor:
    """Return the lDDT that a pair of residues is expected to have at each distance of a grid.

    The result is ``(…, 65)`` in 0–1 for ``probabilities`` ``(…, DISTANCE_BINS)``. The true distance
    is uniform within a bin; distances beyond the cutoff are not counted.
    """
    device = probabilities.device
    grid = _GRID_START + _GRID_STEP * torch.arange(_GRID_SIZE, device=device)
    below = (_FIRST + BIN_WIDTH * (torch.arange(_NEAR, device=device) - 1))[:, None]
    kept = [
        (torch.minimum(grid + limit, below + BIN_WIDTH) - torch.maximum(grid - limit, below)).clamp(
            min=0
        )
        for limit in LDDT_LIMITS
    ]
    return probabilities[..., :_NEAR] @ (torch.stack(kept).mean(0) / BIN_WIDTH)


def expected_lddt_at(table: Tensor, distance: Tensor) -> Tensor:
    """Interpolate `lddt_table`, ``(…, 65)``, at distances ``(…)`` from 2 to 34 Å.

    Distances beyond these count as the nearest of them. The result has a gradient with respect to
    the distance.
    """
    position = ((distance - _GRID_START) / _GRID_STEP).clamp(0, _GRID_SIZE - 1.001)
    before = position.detach().floor().long()
    low, high = (table.gather(-1, (before + k)[..., None])[..., 0] for k in (0, 1))
    return low + (position - before) * (high - low)
