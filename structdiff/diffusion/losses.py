"""What a model is trained on: every task of the joint model, and its losses.

Sequence and backbone of a peptide each draw their own noise level. In corner tasks one of them is
clean or pure noise: folding (clean sequence), inverse folding (clean backbone), sequence only (pure
noise for a backbone, which is also how peptides without a structure train).
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from structdiff.diffusion.noise import Noise
from structdiff.diffusion.process import JointProcess
from structdiff.diffusion.sequence import DRAWS

__all__ = ["Losses", "losses", "smooth_lddt"]

LABEL_HIDING = 0.25
"""Chance of each single label to be left unspecified, so that a part of them can be asked for."""


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
    corner_fraction: float,
) -> Losses:
    """Score a model on a micro-batch.

    Parameters
    ----------
    model
        As `structdiff.model.Denoiser`.
    process
        The noise processes.
    batch
        A `structdiff.arrays.Batch` on the model's device.
    noise
        Its random numbers, on the same device.
    self_conditioning
        Whether the model is first asked for an estimate that it is then given.
    label_dropout
        Chance of a peptide to train without any label.
    corner_fraction
        Chance of a peptide to be given each corner task.
    """
    sequence_level, structure_level = _levels(process, batch, noise, corner_fraction)
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
            logits, structure = model(*given, *estimate)
            estimate = (logits.softmax(-1), structure)
    logits, structure = model(*given, *estimate)

    per_residue = process.sequence.loss(logits, batch.tokens, noisy_sequence, sequence_level)
    diffusion = (per_residue * batch.mask).sum(1)
    squared = (structure - clean).square().mean(-1)
    rebuilt = process.structure.decode(torch.where(known, structure, 0.0))
    agreement = smooth_lddt(rebuilt[..., 1, :], batch.backbone[..., 1, :], batch.mask)
    structural = ((squared + 1 - agreement) * batch.weight).sum(1)
    return Losses(diffusion, torch.where(batch.has_structure, structural, 0.0))


def _levels(
    process: JointProcess, batch, noise: Noise, corner_fraction: float
) -> tuple[Tensor, Tensor]:
    """Draw the noise levels of sequence and structure, each ``(batch,)``."""
    task, independent, tied = noise.peptides[:, 0], noise.peptides[:, 1], noise.peptides[:, 2]
    sequence = noise.stratum
    structure = torch.where(tied < 0.5, sequence, independent)
    sequence, structure = process.level(sequence), process.level(structure)
    folding = batch.has_structure & (task < corner_fraction)
    inverse = (task >= corner_fraction) & (task < 2 * corner_fraction)
    alone = (task >= 2 * corner_fraction) & (task < 3 * corner_fraction)
    sequence = torch.where(folding, 0.0, sequence)
    structure = torch.where(inverse, 0.0, structure)
    structure = torch.where(alone | ~batch.has_structure, 1.0, structure)
    return sequence, structure


def _label_states(labels: Tensor, noise: Noise, label_dropout: float) -> Tensor:
    """Return 0 unspecified, 1 absent, 2 present for each label, ``(batch, labels)``."""
    hidden = (noise.peptides[:, 3] < label_dropout)[:, None] | (noise.labels < LABEL_HIDING)
    return torch.where(hidden, 0, 1 + labels.long())


def smooth_lddt(predicted: Tensor, true: Tensor, mask: Tensor, cutoff: float = 15.0) -> Tensor:
    """Return the differentiable lDDT of each residue, ``(batch, length)`` in 0–1.

    The four step functions of lDDT become sigmoids (Abramson et al., AlphaFold 3, 2024,
    supplement, algorithm 27). A residue without a neighbour within the cutoff scores 0.

    Parameters
    ----------
    predicted, true
        Cα positions, ``(batch, length, 3)`` in Å.
    mask
        True at residues, ``(batch, length)``.
    cutoff
        Pairs whose true distance is below this count, Å.
    """
    true_distance = _distances(true)
    difference = (_distances(predicted) - true_distance).abs()
    score = sum(torch.sigmoid(limit - difference) for limit in (0.5, 1.0, 2.0, 4.0)) / 4
    pairs = mask[:, :, None] & mask[:, None, :] & (true_distance < cutoff)
    pairs &= ~torch.eye(mask.shape[1], dtype=torch.bool, device=mask.device)
    return (score * pairs).sum(-1) / pairs.sum(-1).clamp(min=1)


def _distances(x: Tensor) -> Tensor:
    """Return pairwise distances ``(batch, length, length)``, with a finite gradient at zero."""
    return (x[:, :, None] - x[:, None]).square().sum(-1).add(1e-6).sqrt()
