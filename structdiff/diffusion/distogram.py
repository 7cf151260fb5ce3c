"""How far apart a model expects residues to be, and chains that are bent to keep these distances.

Torsions decide a chain residue by residue, so that small errors move its far end: what the network
expects of each pair's Cα distance, ``logits`` ``(batch, length, length, DISTANCE_BINS)``, holds
such a chain together. ``distance_loss(logits, ca, mask)`` trains it, ``bend(process, features,
logits, mask)`` moves torsions towards it, ``expected_lddt(logits, ca, mask)`` says how well a chain
keeps it, which is how far the chain can be trusted.
"""

import torch
from torch import Tensor
from torch.nn import functional

from structdiff.diffusion.structure_process import TorsionProcess
from structdiff.model import DISTANCE_BINS
from structdiff.protein.geometry import LDDT_CUTOFF, LDDT_LIMITS, distances, overlap, pairs

__all__ = ["bend", "distance_bins", "distance_loss", "expected_lddt"]

_WIDTH = 0.5
_NEAR = 24
"""Bins below the cutoff."""

_FIRST = LDDT_CUTOFF - _WIDTH * (_NEAR - 1)
"""Upper edge of the first bin, Å; each bin after it is `_WIDTH` wide, and the last has no end."""

_GRID_START, _GRID_STEP, _GRID_SIZE = 2.0, 0.5, 65
"""Distances at which `_lddt_table` is evaluated, Å."""

_STEPS, _COARSE_STEPS, _STEP, _EPSILON = 60, 30, 0.02, 1e-2
_COARSE, _FINE = 0.3, 3.0
_APART = 3.8
"""How `bend` descends: steps, those on the medians alone, Adam's step and ε; what the medians and
the lDDT weigh thereafter; Å between Cα that are no neighbours. Found with held-out peptides."""


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
    counted = pairs(mask, 0)
    return (entropy.view(bins.shape) * counted).sum(-1) / mask.sum(1)[:, None].clamp(min=1)


def distance_bins(ca: Tensor) -> Tensor:
    """Return the bins ``(batch, length, length)`` that a chain's distances are in."""
    edges = _FIRST + _WIDTH * torch.arange(DISTANCE_BINS - 1, device=ca.device)
    return torch.bucketize(distances(ca), edges)


def expected_lddt(logits: Tensor, ca: Tensor, mask: Tensor) -> Tensor:
    """Return the Cα-lDDT that each residue of a chain is expected to have, ``(batch, length)``.

    The expectation is over the distances that the logits hold possible; parameters as in
    `distance_loss`, with the chain's own positions.
    """
    probabilities = logits.softmax(-1)
    others = pairs(mask, 1)
    kept = _look_up(_lddt_table(probabilities), distances(ca)) * others
    near = probabilities[..., :_NEAR].sum(-1) * others
    return kept.sum(-1) / near.sum(-1).clamp(min=1e-6)


def bend(process: TorsionProcess, features: Tensor, logits: Tensor, mask: Tensor) -> Tensor:
    """Return structure features whose chains keep the expected distances, and do not clash.

    From the given features, descend (Adam) on the distances' deviations from their medians, then on
    the expected lDDT as well, with the given features and `structdiff.protein.geometry.overlap` as
    restraints. As in trRosetta (Yang et al., PNAS 117, 1496, 2020), but from a predicted chain,
    so that its handedness stays. Each chain goes its own way; but a long one of which the model is
    not sure has many, and which it takes can depend on rounding.

    Parameters
    ----------
    process
        What the features are made of.
    features
        ``(batch, length, 9)``.
    logits
        ``(batch, length, length, DISTANCE_BINS)``.
    mask
        True at residues, ``(batch, length)``.
    """
    probabilities = logits.softmax(-1)
    # Residues nearer along the chain have their distance from the torsions between them.
    far = pairs(mask, 3)
    near = probabilities[..., :_NEAR].sum(-1) * far
    table = _lddt_table(probabilities) / near.sum(-1).clamp(min=1)[..., None, None]
    first, median, third = (_quantile(probabilities, share) for share in (0.25, 0.5, 0.75))
    weight = near / ((third - first) / 2 + _WIDTH).sqrt() / mask.sum(1)[:, None, None]
    origin = torch.where(mask[..., None], features, 0.0)
    with torch.enable_grad():
        moved = origin.clone().requires_grad_()
        descent = torch.optim.Adam([moved], lr=_STEP, eps=_EPSILON)
        for step in range(_STEPS):
            descent.param_groups[0]["lr"] = _STEP * (1 - step / _STEPS)
            ca = process.decode(moved)[..., 1, :]
            distance = distances(ca)
            coarse = (weight * ((distance - median).square() + 1).sqrt()).sum()
            if step >= _COARSE_STEPS:
                kept = (_look_up(table, distance) * far).sum()
                coarse = _COARSE * coarse - _FINE * kept
            restraint = (moved - origin).square().sum() + overlap(ca, mask, _APART).sum()
            (moved.grad,) = torch.autograd.grad(coarse + restraint, moved)
            descent.step()
    return process.relieve(moved.detach(), mask)


def _quantile(probabilities: Tensor, share: float) -> Tensor:
    """Return the middle of the bin that a quantile of each pair's distance is in, Å."""
    bins = (probabilities.cumsum(-1) < share).sum(-1).clamp(max=DISTANCE_BINS - 1)
    return _FIRST + _WIDTH * (bins - 0.5)


def _lddt_table(probabilities: Tensor) -> Tensor:
    """Return each pair's expected part of an lDDT at some distances, ``(…, _GRID_SIZE)``.

    The true distance is uniform within a bin, and does not count beyond the cutoff.
    """
    device = probabilities.device
    grid = _GRID_START + _GRID_STEP * torch.arange(_GRID_SIZE, device=device)
    below = (_FIRST + _WIDTH * (torch.arange(_NEAR, device=device) - 1))[:, None]
    kept = [
        (torch.minimum(grid + limit, below + _WIDTH) - torch.maximum(grid - limit, below)).clamp(
            min=0
        )
        for limit in LDDT_LIMITS
    ]
    return probabilities[..., :_NEAR] @ (torch.stack(kept).mean(0) / _WIDTH)


def _look_up(table: Tensor, distance: Tensor) -> Tensor:
    """Interpolate between the entries of `_lddt_table`; differentiable in the distance."""
    place = ((distance - _GRID_START) / _GRID_STEP).clamp(0, _GRID_SIZE - 1.001)
    before = place.detach().floor().long()
    low, high = (table.gather(-1, (before + k)[..., None])[..., 0] for k in (0, 1))
    return low + (place - before) * (high - low)
