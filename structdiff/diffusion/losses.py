"""What a model is trained on: every task of the joint model, and its losses.

Sequence and backbone of a peptide each draw their own noise level. In corner tasks one of them is
clean or pure noise: folding (clean sequence), inverse folding (clean backbone), sequence only (pure
noise for a backbone, which is also how peptides without a structure train).
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from structdiff.diffusion.distogram import distance_loss
from structdiff.diffusion.noise import Noise
from structdiff.diffusion.processes import JointProcess
from structdiff.diffusion.sequence_process import DRAWS
from structdiff.model import ABSENT, UNSPECIFIED
from structdiff.protein.geometry import LDDT_CUTOFF, LDDT_LIMITS, distances, overlap, pairs

__all__ = ["Losses", "TaskMix", "losses", "smooth_lddt"]

FOLDED_FROM_NOTHING = 0.75
"""Share of folding that begins at pure noise, which is where a prediction begins."""

DISTANCE_WEIGHT = 0.3
"""Weight of the distances' cross-entropy beside the structure's other losses."""

APART = 3.8
"""Å between Cα that are no neighbours, from which on closeness is punished."""

LABEL_HIDING = 0.5
"""Chance of each single label to be left unspecified: any part of them is asked for as often."""


@dataclass(frozen=True)
class TaskMix:
    """Chance of a peptide to practise a task in which one of its halves is clean or unknown.

    Attributes
    ----------
    folding
        Clean sequence; peptides without a structure train as any other instead.
    inverse_folding
        Clean backbone.
    sequence_only
        A backbone of pure noise.
    """

    folding: float
    inverse_folding: float
    sequence_only: float


@dataclass(frozen=True)
class Losses:
    """Losses of a micro-batch, summed over each peptide's residues, float32.

    Attributes
    ----------
    diffusion
        Of the sequence, nats, ``(batch,)``.
    structure
        Of the backbone, ``(batch,)``; 0 where a peptide has no structure.
    """

    diffusion: Tensor
    structure: Tensor


def losses(
    model: nn.Module,
    process: JointProcess,
    batch,
    noise: Noise,
    *,
    self_conditioning: bool,
    label_dropout: float,
    corners: TaskMix,
) -> Losses:
    """Score a model on a micro-batch.

    Parameters
    ----------
    model
        As `structdiff.model.Denoiser`.
    process
        The noise processes.
    batch
        A `structdiff.training.dataset.Batch` on the model's device.
    noise
        Its random numbers, on the same device.
    self_conditioning
        Whether the model is first asked for an estimate that it is then given.
    label_dropout
        Chance of a peptide to train without any label.
    corners
        How often a peptide is given each corner task.
    """
    sequence_level, structure_level = _levels(process, batch, noise, corners)
    labels = _label_states(batch.labels, noise, label_dropout)
    residue_draws, structure_draws = noise.residues.split([DRAWS, 32 - DRAWS], dim=-1)
    width = process.structure.width
    with torch.no_grad():
        clean = process.structure.encode(batch.backbone, batch.mask)
        known = (batch.has_structure[:, None] & batch.mask)[..., None]
        clean = torch.where(known, clean, 0.0)
        noisy_structure = process.structure.corrupt(
            clean, structure_level, structure_draws[..., :width]
        )
        noisy_sequence = process.sequence.corrupt(batch.tokens, sequence_level, residue_draws)
    given = (noisy_sequence, noisy_structure, batch.mask, sequence_level, structure_level, labels)
    estimate = (
        torch.zeros_like(noisy_sequence[..., :20]),
        torch.zeros_like(noisy_structure),
    )
    if self_conditioning:
        with torch.no_grad():
            logits, structure, _ = model(*given, *estimate)
            estimate = (logits.softmax(-1), structure)
    logits, structure, expected = model(*given, *estimate, distances=True)

    per_residue = process.sequence.loss(logits, batch.tokens, noisy_sequence, sequence_level)
    diffusion = (per_residue * batch.mask).sum(1)
    squared = (structure - clean).square().mean(-1)
    rebuilt = process.structure.decode(torch.where(known, structure, 0.0))[..., 1, :]
    true = batch.backbone[..., 1, :]
    residues = (
        squared
        + 1
        - smooth_lddt(rebuilt, true, batch.mask)
        + overlap(rebuilt, batch.mask, APART)
        + DISTANCE_WEIGHT * distance_loss(expected, true, batch.mask)
    )
    structural = (residues * batch.weight).sum(1)
    return Losses(diffusion, torch.where(batch.has_structure, structural, 0.0))


def _levels(process: JointProcess, batch, noise: Noise, corners: TaskMix) -> tuple[Tensor, Tensor]:
    """Draw the noise levels of sequence and structure, each ``(batch,)``."""
    task, independent, tied = noise.peptides[:, 0], noise.peptides[:, 1], noise.peptides[:, 2]
    sequence = noise.stratum
    structure = torch.where(tied < 0.5, sequence, independent)
    sequence, structure = process.level(sequence), process.level(structure)
    until = np.cumsum([corners.folding, corners.inverse_folding, corners.sequence_only])
    folding = batch.has_structure & (task < until[0])
    structure = torch.where(folding & (tied < FOLDED_FROM_NOTHING), 1.0, structure)
    inverse = (task >= until[0]) & (task < until[1])
    alone = (task >= until[1]) & (task < until[2])
    sequence = torch.where(folding, 0.0, sequence)
    structure = torch.where(inverse, 0.0, structure)
    structure = torch.where(alone | ~batch.has_structure, 1.0, structure)
    return sequence, structure


def _label_states(labels: Tensor, noise: Noise, label_dropout: float) -> Tensor:
    """Return 0 unspecified, 1 absent, 2 present for each label, ``(batch, labels)``."""
    hidden = (noise.peptides[:, 3] < label_dropout)[:, None] | (noise.labels < LABEL_HIDING)
    return torch.where(hidden, UNSPECIFIED, ABSENT + labels.long())


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
    near = pairs(mask, 1) & (true_distance < LDDT_CUTOFF)
    return (smooth * near).sum(-1) / near.sum(-1).clamp(min=1)
