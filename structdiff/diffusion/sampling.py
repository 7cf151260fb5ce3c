"""Drawing peptides from a trained model.

``sample(model, process, length=…, labels=…, …)`` goes from noise to clean sequence and backbone
together; a given sequence makes it folding, a given backbone inverse folding, ``fixed`` residues
infilling. The random numbers of a peptide are a function of the seed and its own number alone.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from structdiff.diffusion.noise import sampling_noise
from structdiff.diffusion.process import JointProcess
from structdiff.diffusion.sequence import DRAWS

__all__ = ["Samples", "sample"]


@dataclass(frozen=True)
class Samples:
    """Peptides of one length.

    Attributes
    ----------
    tokens
        Residue indices, ``(batch, length)``.
    backbone
        N, Cα, C, O in Å, ``(batch, length, 4, 3)``.
    """

    tokens: Tensor
    backbone: Tensor


@torch.no_grad()
def sample(
    model: nn.Module,
    process: JointProcess,
    *,
    length: int,
    index: np.ndarray,
    labels: Tensor,
    seed: int,
    num_steps: int = 100,
    guidance_scale: float = 1.0,
    temperature: float = 1.0,
    tokens: Tensor | None = None,
    fixed: Tensor | None = None,
    backbone: Tensor | None = None,
) -> Samples:
    """Draw peptides of one length.

    Parameters
    ----------
    model
        As `structdiff.model.Denoiser`, in evaluation mode.
    process
        The noise processes it was trained with.
    length
        Residues of each peptide.
    index
        The peptides' own numbers, ``(batch,)``: with the seed, they decide the noise.
    labels
        0 unspecified, 1 absent, 2 present, ``(batch, labels)``, on the model's device.
    seed
        Seed.
    num_steps
        Denoising steps.
    guidance_scale
        Classifier-free guidance towards the labels (Ho & Salimans, 2022); 1 is none.
    temperature
        Divides the logits of the residues.
    tokens
        Given residues, ``(batch, length)``; those at ``fixed`` (all, if None) are kept.
    fixed
        Which residues are given, ``(batch, length)`` bool.
    backbone
        Given backbone, ``(batch, length, 4, 3)`` in Å.
    """
    device, count = labels.device, len(index)
    mask = torch.ones(count, length, dtype=torch.bool, device=device)
    folding = tokens is not None and fixed is None

    def draw(step: int) -> tuple[Tensor, Tensor]:
        draws = sampling_noise(seed, step, index, length).to(device)
        return draws.split([DRAWS, 32 - DRAWS], dim=-1)

    residue_draws, structure_draws = draw(0)
    sequence = process.sequence.prior(residue_draws)
    structure = process.structure.prior(structure_draws[..., : process.structure.width])
    if folding:
        sequence = process.sequence.encode(tokens)
    if backbone is not None:
        structure = process.structure.encode(backbone, mask)
    estimate = (torch.zeros(count, length, 20, device=device), torch.zeros_like(structure))
    grid = process.grid(num_steps)
    for step, (level, following) in enumerate(pairwise(grid), start=1):
        if fixed is not None:
            sequence = torch.where(fixed[..., None], process.sequence.encode(tokens), sequence)
        levels = (
            torch.full((count,), 0.0 if folding else level, device=device),
            torch.full((count,), 0.0 if backbone is not None else level, device=device),
        )
        logits, clean = _guided(
            model, (sequence, structure, mask, *levels), labels, estimate, guidance_scale
        )
        estimate = (logits.softmax(-1), clean)
        residue_draws, _ = draw(step)
        if not folding:
            probabilities = (logits / temperature).softmax(-1)
            sequence = process.sequence.step(
                sequence, probabilities, level, following, residue_draws
            )
        if backbone is None:
            structure = process.structure.step(structure, clean, level, following)
    drawn = tokens if folding else process.sequence.decode(sequence)
    if fixed is not None:
        drawn = torch.where(fixed, tokens, drawn)
    given = backbone if backbone is not None else process.structure.decode(structure)
    return Samples(drawn, given)


def _guided(
    model: nn.Module,
    noisy: tuple[Tensor, ...],
    labels: Tensor,
    estimate: tuple[Tensor, Tensor],
    scale: float,
) -> tuple[Tensor, Tensor]:
    """Return logits and clean structure, moved away from what no label would give."""
    logits, clean = model(*noisy, labels, *estimate)
    if scale == 1.0 or not (labels > 0).any():
        return logits, clean
    free_logits, free_clean = model(*noisy, torch.zeros_like(labels), *estimate)
    return (
        free_logits + scale * (logits - free_logits),
        free_clean + scale * (clean - free_clean),
    )
