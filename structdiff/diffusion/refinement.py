"""Folding, and the refinement of predicted chains.

``fold(model, process, tokens, mask)`` predicts the backbones of sequences. Because small errors of
torsions move the far end of a chain, ``fit_backbone`` optimises the torsions so that distances
agree with the network's distogram and with disulfides, and the backbone suits the sequence.
``close_disulfides`` fits backbones that were drawn. ``resolve_clashes`` separates Cα that are too
close.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.optim.adam import adam

from structdiff.diffusion.distogram import (
    BIN_WIDTH,
    expected_lddt,
    expected_lddt_at,
    lddt_table,
    near_probability,
    quantile,
)
from structdiff.diffusion.disulfides import disulfide_pairs, disulfide_penalty, has_pair
from structdiff.diffusion.processes import JointProcess
from structdiff.diffusion.sequence_process import RESIDUES
from structdiff.diffusion.structure_process import StructureProcess
from structdiff.model import Denoiser, no_estimate
from structdiff.protein.geometry import clash_penalty, distances, pair_mask

__all__ = ["Folded", "close_disulfides", "fit_backbone", "fold", "resolve_clashes"]

_STEPS, _COARSE_STEPS, _LEARNING_RATE, _EPSILON = 60, 30, 0.06, 1e-2
"""Settings of `fit_backbone`: number of steps, number of first steps that use the medians only,
Adam's initial learning rate and ε. These settings and the weights below were chosen with held-out
peptides."""
_MEDIAN_WEIGHT, _LDDT_WEIGHT, _SEQUENCE_WEIGHT = 0.3, 3.0, 0.5
"""Weights of the medians, of the expected lDDT and of the log-probability of the sequence in the
later steps."""
_RENEWAL = 4
"""Number of steps for which a gradient of the log-probability is used. It changes slowly, and takes
far longer to compute than the others."""
_FIT_APART = 3.8
"""Distance in Å below which `fit_backbone` penalises two Cα that are not neighbours."""

_CLASH_APART = 3.2
"""Distance in Å below which `resolve_clashes` separates two Cα. It is a little larger than 3.0 Å,
below which the metric *clashes* counts a clash."""
_CLASH_STEP, _CLASH_STEPS = 0.05, 200


@dataclass(frozen=True)
class Folded:
    """Predicted backbones of sequences, with their confidence.

    Attributes
    ----------
    backbone
        N, Cα, C, O in Å, ``(batch, length, 4, 3)``.
    confidence
        Expected Cα lDDT of each residue, ``(batch, length)`` in 0–1.
    """

    backbone: Tensor
    confidence: Tensor


@torch.no_grad()
def fold(model: Denoiser, process: JointProcess, tokens: Tensor, mask: Tensor) -> Folded:
    """Predict the backbones of sequences, without random numbers.

    The network is called twice without labels, properties and a backbone: with the sequences, for
    the torsions and the distogram, and with pure noise instead, for the probabilities of the
    residues. From these, the backbone head computes the probabilities of the residues given a
    backbone, as in inverse folding. The backbone is fitted to them: a sequence is likely on its
    fold even if the fold is wrong. It is also fitted to disulfides between the cysteines.

    Parameters
    ----------
    model
        The network, in evaluation mode.
    process
        The noise processes that the model was trained with.
    tokens
        Residues, ``(batch, length)``.
    mask
        True at residues, false at the pads after them, ``(batch, length)``, on the model's device.
    """
    predicted, distogram = _predict(model, process, tokens, mask)
    noise = torch.ones(len(mask), device=mask.device)
    unseen = torch.zeros_like(predicted)
    # The median of the noise: all residues masked, or zeros with Gaussian diffusion.
    hidden = process.sequence.prior(torch.full((*mask.shape, RESIDUES), 0.5, device=mask.device))
    others = (model.unconditional(len(mask)), *no_estimate(unseen))
    alone = model(hidden, unseen, mask, noise, noise, *others).logits

    def log_probability(backbone: Tensor) -> Tensor:
        features = process.structure.encode(backbone, mask)
        logits = model.given_backbone(alone, features, mask, noise)
        residues = logits.log_softmax(-1).gather(-1, tokens[..., None])[..., 0]
        return (residues * mask).sum(1)

    pairs = disulfide_pairs(tokens, distogram, mask)
    features = fit_backbone(process.structure, predicted, distogram, mask, pairs, log_probability)
    backbone = process.structure.decode(features)
    return Folded(backbone, expected_lddt(distogram, backbone[..., 1, :], mask))


@torch.no_grad()
def close_disulfides(
    model: Denoiser, process: JointProcess, tokens: Tensor, backbone: Tensor, mask: Tensor
) -> Tensor:
    """Fit drawn backbones to disulfides; return the new backbones, ``(batch, length, 4, 3)`` in Å.

    The cysteines of drawn backbones are seldom near each other. Backbones with two cysteines that
    can be bonded are fitted to the distogram and to disulfides, from the drawn torsions. They are
    not fitted to the probability of the sequence. The other backbones do not change.

    Parameters
    ----------
    model, process, tokens, mask
        As in `fold`.
    backbone
        N, Cα, C, O in Å, ``(batch, length, 4, 3)``.
    """
    bonded = has_pair(tokens, mask)
    if not bonded.any():
        return backbone
    tokens, mask = tokens[bonded], mask[bonded]
    drawn = process.structure.encode(backbone[bonded], mask)
    _, distogram = _predict(model, process, tokens, mask)
    pairs = disulfide_pairs(tokens, distogram, mask)
    features = fit_backbone(process.structure, drawn, distogram, mask, pairs)
    return backbone.index_put((bonded,), process.structure.decode(features))


def _predict(
    model: Denoiser, process: JointProcess, tokens: Tensor, mask: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the predicted structure features and the distogram of sequences without a backbone.

    The arguments are as in `fold`.
    """
    sequence = process.sequence.encode(tokens)
    clean, noise = (torch.full((len(mask),), t, device=mask.device) for t in (0.0, 1.0))
    unseen = torch.zeros(*mask.shape, process.structure.width, device=mask.device)
    others = (model.unconditional(len(mask)), *no_estimate(unseen))
    prediction = model(sequence, unseen, mask, clean, noise, *others, distances=True)
    return prediction.structure, prediction.distances


def fit_backbone(
    process: StructureProcess,
    features: Tensor,
    logits: Tensor,
    mask: Tensor,
    pairs: Tensor,
    log_probability: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """Fit structure features to a distogram, disulfides and the sequence, and resolve clashes.

    Adam starts from ``features`` and minimises the deviations of the Cα distances from the medians
    of the distogram. In the second half of its steps, it also maximises the expected lDDT and the
    probability of the sequence given the backbone: predicted torsions are means, which depend less
    on the residues than real torsions do. Three restraints keep the new features near ``features``,
    the Cα apart (`clash_penalty`) and bonded cysteines together (`disulfide_penalty`). As in
    trRosetta (Yang et al., PNAS 117, 1496, 2020), a chain is fitted to predicted distances, but the
    start is a predicted chain, whose handedness is kept. The result for a chain does not depend on
    the other chains of the batch. A long chain with an uncertain distogram has many solutions, and
    rounding can determine which of them is found. Returns the new features,
    ``(batch, length, process.width)``.

    Parameters
    ----------
    process
        The structure process of the features.
    features
        Structure features, ``(batch, length, process.width)``.
    logits
        The distogram, ``(batch, length, length, DISTANCE_BINS)``.
    mask
        True at residues, ``(batch, length)``.
    pairs
        Bonded cysteines, from `disulfide_pairs`, ``(pairs, 3)``.
    log_probability
        Function that returns the log-probability of each sequence, ``(batch,)``, given the
        backbones, ``(batch, length, 4, 3)`` in Å. Differentiable. None leaves it out of the fit.
    """
    probabilities = logits.softmax(-1)
    # Distances of residues nearer along the chain follow from the torsions between them.
    far = pair_mask(mask, 3)
    near = near_probability(probabilities) * far
    table = lddt_table(probabilities) / near.sum(-1).clamp(min=1)[..., None, None]
    first, median, third = (quantile(probabilities, share) for share in (0.25, 0.5, 0.75))
    weight = near / ((third - first) / 2 + BIN_WIDTH).sqrt() / mask.sum(1)[:, None, None]
    origin = torch.where(mask[..., None], features, 0.0)
    moved, average, squares = origin.clone(), torch.zeros_like(origin), torch.zeros_like(origin)
    count, pull = torch.tensor(0.0), torch.zeros_like(origin)
    for step in range(_STEPS):
        with torch.enable_grad():
            moving = moved.detach().requires_grad_()
            backbone = process.decode(moving)
            ca = backbone[..., 1, :]
            distance = distances(ca)
            loss = (weight * ((distance - median).square() + 1).sqrt()).sum()
            if step >= _COARSE_STEPS:
                kept = (expected_lddt_at(table, distance) * far).sum()
                loss = _MEDIAN_WEIGHT * loss - _LDDT_WEIGHT * kept
            loss = loss + (moving - origin).square().sum()
            loss = loss + clash_penalty(ca, mask, _FIT_APART).sum()
            loss = loss + disulfide_penalty(backbone, pairs).sum()
            (gradient,) = torch.autograd.grad(loss, moving)
            after = step - _COARSE_STEPS
            if log_probability is not None and after >= 0 and after % _RENEWAL == 0:
                likelihood = log_probability(process.decode(moving)).sum()
                (pull,) = torch.autograd.grad(_SEQUENCE_WEIGHT * likelihood, moving)
        # This function is used instead of `torch.optim.Adam`, because that class imports the
        # compiler, which takes seconds in every worker.
        adam(
            [moved], [gradient - pull], [average], [squares], [], [count],
            lr=_LEARNING_RATE * (1 - step / _STEPS), eps=_EPSILON, beta1=0.9, beta2=0.999,
            weight_decay=0.0, amsgrad=False, maximize=False,
        )  # fmt: skip
    return resolve_clashes(process, moved, mask)


def resolve_clashes(process: StructureProcess, features: Tensor, mask: Tensor) -> Tensor:
    """Move apart Cα that are too close; return the new features, of the same shape.

    Only chains with non-neighbouring Cα closer than 3.2 Å change. Their features move along the
    gradient that lowers `clash_penalty`, in steps of equal length, until the penalty is 0 or
    `_CLASH_STEPS` steps are done.

    Parameters
    ----------
    process
        The structure process of the features.
    features
        Structure features, ``(batch, length, process.width)``.
    mask
        True at residues, ``(batch, length)``.
    """

    def penalty(features: Tensor, mask: Tensor) -> Tensor:
        return clash_penalty(process.decode(features)[..., 1, :], mask, _CLASH_APART).sum(1)

    clashing = penalty(features, mask) > 0
    moved, inside = features[clashing], mask[clashing]
    for _ in range(_CLASH_STEPS if len(moved) else 0):
        with torch.enable_grad():
            moving = moved.detach().requires_grad_()
            total = penalty(moving, inside).sum()
            (gradient,) = torch.autograd.grad(total, moving)
        if not total:
            break
        norm = gradient.square().sum((1, 2), keepdim=True).sqrt()
        moved = moved - _CLASH_STEP * gradient / norm.clamp(min=1e-6)
    return features.masked_scatter(clashing[:, None, None], moved)
