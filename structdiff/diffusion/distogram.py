"""The distogram: a predicted distribution of the Cα distance of every pair of residues.

The network predicts it as ``logits``, ``(batch, length, length, DISTANCE_BINS)``.
``distance_loss(logits, ca, mask)`` trains them, and ``expected_lddt(logits, ca, mask)`` scores a
chain by them. `structdiff.diffusion.refinement` fits the torsions of a chain to the distances
and to the sequence.
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
    "probability_between",
    "quantile",
]

BIN_WIDTH = 0.5
"""Width of a bin in Å."""

_NEAR = 24
"""Number of bins below the cutoff of lDDT."""

_FIRST = LDDT_CUTOFF - BIN_WIDTH * (_NEAR - 1)
"""Upper edge of the first bin, Å. The other bins are `BIN_WIDTH` wide, except for the last, which
has no upper edge."""

_GRID_START, _GRID_STEP, _GRID_SIZE = 2.0, 0.5, 65
"""Grid of distances of `lddt_table`: first distance and step in Å, and number of distances."""


def distance_loss(logits: Tensor, ca: Tensor, mask: Tensor) -> Tensor:
    """Return the cross-entropy of each residue's Cα distances, ``(batch, length)`` in nats.

    It is the mean over the distances to all residues of the peptide, the residue itself included.

    Parameters
    ----------
    logits
        The distogram, ``(batch, length, length, DISTANCE_BINS)``.
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
    """Return the bin of each Cα distance, ``(batch, length, length)`` int64.

    ``ca`` are the Cα positions, ``(batch, length, 3)`` in Å.
    """
    edges = _FIRST + BIN_WIDTH * torch.arange(DISTANCE_BINS - 1, device=ca.device)
    return torch.bucketize(distances(ca), edges)


def expected_lddt(logits: Tensor, ca: Tensor, mask: Tensor) -> Tensor:
    """Return the expected Cα lDDT of each residue of a chain, ``(batch, length)`` in 0–1.

    The expectation is over the predicted distribution of the true distances.

    Parameters
    ----------
    logits
        The distogram, ``(batch, length, length, DISTANCE_BINS)``.
    ca
        Cα positions of the chain, ``(batch, length, 3)`` in Å.
    mask
        True at residues, ``(batch, length)``.
    """
    probabilities = logits.softmax(-1)
    others = pair_mask(mask, 1)
    kept = expected_lddt_at(lddt_table(probabilities), distances(ca)) * others
    near = near_probability(probabilities) * others
    return kept.sum(-1) / near.sum(-1).clamp(min=1e-6)


def near_probability(probabilities: Tensor) -> Tensor:
    """Return the probability that each distance is below the lDDT cutoff of 15 Å, ``(…)``.

    ``probabilities`` are the probabilities of the distance bins, ``(…, DISTANCE_BINS)``.
    """
    return probabilities[..., :_NEAR].sum(-1)


def probability_between(probabilities: Tensor, low: float, high: float) -> Tensor:
    """Return the probability that each distance is between two edges of bins, ``(…)``.

    ``probabilities`` are the probabilities of the distance bins, ``(…, DISTANCE_BINS)``. ``low``
    and ``high`` are the edges in Å.
    """
    start, stop = (round((edge - _FIRST) / BIN_WIDTH) + 1 for edge in (low, high))
    return probabilities[..., start:stop].sum(-1)


def quantile(probabilities: Tensor, share: float) -> Tensor:
    """Return a quantile of the predicted distribution of each distance, ``(…)`` in Å.

    ``share`` (0–1) is the level of the quantile, such as 0.5 for the median. ``probabilities`` are
    the probabilities of the bins, ``(…, DISTANCE_BINS)``. The result is the middle of the bin that
    has the quantile; the first and the last bin count as `BIN_WIDTH` wide.
    """
    bins = (probabilities.cumsum(-1) < share).sum(-1).clamp(max=DISTANCE_BINS - 1)
    return _FIRST + BIN_WIDTH * (bins - 0.5)


def lddt_table(probabilities: Tensor) -> Tensor:
    """Return the expected lDDT of each residue pair at 65 distances, ``(…, 65)`` in 0–1.

    The distances are the pair's possible distances in the chain that is scored: 2, 2.5, … 34 Å.
    ``probabilities`` ``(…, DISTANCE_BINS)`` are the predicted distribution of the pair's true
    distance, which is taken as uniform within a bin. True distances beyond the lDDT cutoff (15 Å)
    contribute 0.
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
    """Return the expected lDDT of each residue pair at its distance in a chain, ``(…)``.

    The values of ``table`` ``(…, 65)``, from `lddt_table`, are interpolated linearly at
    ``distance`` ``(…)`` in Å, which is clamped to 2–34 Å. Differentiable with respect to
    ``distance``.
    """
    position = ((distance - _GRID_START) / _GRID_STEP).clamp(0, _GRID_SIZE - 1.001)
    before = position.detach().floor().long()
    low, high = (table.gather(-1, (before + k)[..., None])[..., 0] for k in (0, 1))
    return low + (position - before) * (high - low)
