"""Training losses of a micro-batch: add noise, call the model, compare its prediction.

`losses` draws a noise level for the sequence and one for the backbone of each peptide, adds noise
with ``corrupt`` of the noise processes, and calls the model. In some tasks, the sequence or the
backbone is clean or pure noise: folding (clean sequence), inverse folding (clean backbone),
sequence only (a backbone of pure noise, as for all peptides without a structure).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from structdiff.diffusion.distogram import distance_loss
from structdiff.diffusion.processes import JointProcess
from structdiff.diffusion.random_numbers import Noise, split_uniforms, to_normal
from structdiff.model import Prediction, no_estimate
from structdiff.protein.geometry import (
    LDDT_CUTOFF,
    LDDT_LIMITS,
    clash_penalty,
    distances,
    pair_mask,
)

__all__ = ["Losses", "TaskMix", "losses", "smooth_lddt"]

FOLDED_FROM_NOISE = 0.75
"""Share of the folding examples whose backbone is pure noise, as when a model folds."""

DESIGNED_FROM_NOISE = 0.5
"""Share of the inverse-folding examples whose sequence is pure noise, as at the start of a
design."""

DISTANCE_WEIGHT = 0.3
"""Weight of the distogram's cross-entropy in the structure loss."""

MOST_JITTER = 0.2
"""Largest standard deviation of the noise on the atoms of a given backbone, Å.

The deviation is drawn uniformly from 0 to this value, so that the model reads a fold rather than
the coordinates of one predictor (Dauparas et al., ProteinMPNN, Science 378, 49, 2022)."""

APART = 3.8
"""Distance below which two Cα that are not neighbours are penalised, Å."""


@dataclass(frozen=True)
class TaskMix:
    """Shares of the training examples for folding, inverse folding and the sequence alone, 0–1.

    The other examples have noise on sequence and backbone. A peptide without a structure always
    trains the sequence alone.

    Attributes
    ----------
    folding
        Share of the examples with a clean sequence.
    inverse_folding
        Share of the examples with a clean backbone.
    sequence_only
        Share of the examples whose backbone is pure noise.
    """

    folding: float
    inverse_folding: float
    sequence_only: float


@dataclass(frozen=True)
class Losses:
    """Losses of each peptide of a micro-batch, summed over its residues, float32.

    Attributes
    ----------
    sequence
        Sequence loss in nats, ``(batch,)``; named *diffusion* in the log.
    structure
        Structure loss, ``(batch,)``. The weight of a residue is its pLDDT / 100, or 1 if the
        predictor gives no pLDDT. The loss of a peptide without a structure is 0.
    """

    sequence: Tensor
    structure: Tensor


def losses(
    model: Callable[..., Prediction],
    process: JointProcess,
    batch,
    noise: Noise,
    *,
    self_conditioning: bool,
    label_dropout: float,
    task_mix: TaskMix,
) -> Losses:
    """Return the losses of a model on a micro-batch.

    Parameters
    ----------
    model
        The network, a `structdiff.model.Denoiser`, or a function that is called like one.
    process
        The noise processes.
    batch
        A `structdiff.training.dataset.Batch` on the model's device.
    noise
        Random numbers of the batch, on the same device.
    self_conditioning
        Whether the model is called twice, the second time with its own estimate as input.
    label_dropout
        Probability that all labels and properties of a peptide are hidden, 0–1.
    task_mix
        Share of the peptides that train each task.
    """
    sequence_level, structure_level = _levels(process, batch, noise, task_mix)
    condition = batch.condition.hide(noise.peptides[:, 3], noise.condition, label_dropout)
    sequence_uniforms, structure_uniforms = split_uniforms(noise.residues)
    with torch.no_grad():
        clean = process.structure.encode(batch.backbone, batch.mask)
        known = (batch.has_structure[:, None] & batch.mask)[..., None]
        clean = torch.where(known, clean, 0.0)
        jittered = _jitter(
            batch.backbone, structure_level, noise.peptides[:, 2], structure_uniforms
        )
        read = torch.where(known, process.structure.encode(jittered, batch.mask), 0.0)
        noisy_structure = process.structure.corrupt(read, structure_level, structure_uniforms)
        noisy_sequence = process.sequence.corrupt(batch.tokens, sequence_level, sequence_uniforms)
    levels = (sequence_level, structure_level)
    noisy = (noisy_sequence, noisy_structure, batch.mask, *levels, condition)
    estimate = no_estimate(noisy_structure)
    if self_conditioning:
        with torch.no_grad():
            logits, structure, _ = model(*noisy, *estimate, padded=batch.padded)
            estimate = (logits.softmax(-1), structure)
    logits, structure, distogram = model(*noisy, *estimate, distances=True, padded=batch.padded)
    assert distogram is not None, "asked for"

    per_residue = process.sequence.loss(logits, batch.tokens, noisy_sequence, sequence_level)
    sequence = (per_residue * batch.mask).sum(1)
    squared = (structure - clean).square().mean(-1)
    rebuilt = process.structure.decode(torch.where(known, structure, 0.0))[..., 1, :]
    true = batch.backbone[..., 1, :]
    residues = (
        squared
        + 1
        - smooth_lddt(rebuilt, true, batch.mask)
        + clash_penalty(rebuilt, batch.mask, APART)
        + DISTANCE_WEIGHT * distance_loss(distogram, true, batch.mask)
    )
    structural = (residues * batch.weight).sum(1)
    return Losses(sequence, torch.where(batch.has_structure, structural, 0.0))


def _jitter(backbone: Tensor, level: Tensor, strength: Tensor, uniforms: Tensor) -> Tensor:
    """Move the atoms of given backbones at random, and return all backbones in Å.

    A backbone ``(batch, length, 4, 3)`` is given if its noise ``level`` ``(batch,)`` is 0 (inverse
    folding); others do not change. The standard deviation of the noise is the share ``strength``
    ``(batch,)`` of `MOST_JITTER`. ``uniforms`` ``(batch, length, 12)`` are the random numbers of
    the structure process, which does not need them at level 0.
    """
    spread = torch.where(level == 0, MOST_JITTER * strength, 0.0)[:, None, None, None]
    return backbone + spread * to_normal(uniforms).unflatten(-1, (4, 3))


def _levels(process: JointProcess, batch, noise: Noise, task_mix: TaskMix) -> tuple[Tensor, Tensor]:
    """Return the noise levels of sequence and backbone, ``(batch,)``, by the peptide's task."""
    task, independent, tied = noise.peptides[:, 0], noise.peptides[:, 1], noise.peptides[:, 2]
    sequence = noise.stratum
    structure = torch.where(tied < 0.5, sequence, independent)
    sequence, structure = process.level(sequence), process.level(structure)
    until = np.cumsum([task_mix.folding, task_mix.inverse_folding, task_mix.sequence_only])
    folding = batch.has_structure & (task < until[0])
    structure = torch.where(folding & (tied < FOLDED_FROM_NOISE), 1.0, structure)
    inverse = batch.has_structure & (task >= until[0]) & (task < until[1])
    alone = (task >= until[1]) & (task < until[2])
    sequence = torch.where(folding, 0.0, sequence)
    sequence = torch.where(inverse & (tied < DESIGNED_FROM_NOISE), 1.0, sequence)
    structure = torch.where(inverse, 0.0, structure)
    structure = torch.where(alone | ~batch.has_structure, 1.0, structure)
    return sequence, structure


def smooth_lddt(predicted: Tensor, true: Tensor, mask: Tensor) -> Tensor:
    """Return a differentiable lDDT of each residue, ``(batch, length)`` in 0–1.

    The four step functions of lDDT are sigmoids (Abramson et al., AlphaFold 3, 2024, supplement,
    algorithm 27). A residue without a neighbour within the cutoff scores 0.

    Parameters
    ----------
    predicted, true
        Cα positions, ``(batch, length, 3)`` in Å.
    mask
        True at residues, ``(batch, length)``.
    """
    true_distance = distances(true)
    difference = (distances(predicted) - true_distance).abs()
    smooth = sum(torch.sigmoid(limit - difference) for limit in LDDT_LIMITS) / len(LDDT_LIMITS)
    near = pair_mask(mask, 1) & (true_distance < LDDT_CUTOFF)
    return (smooth * near).sum(-1) / near.sum(-1).clamp(min=1)
