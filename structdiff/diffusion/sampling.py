"""Drawing peptides from a trained model.

``sample(model, process, mask=…, labels=…, …)`` goes from noise to clean sequence and backbone
together. What is given makes it another task: a backbone inverse folding, ``fixed`` residues
infilling, ``strength`` analogues of a peptide, no backbone wanted the sequence alone. The random
numbers of a peptide are a function of the seed and its own number alone.
``fold(model, process, tokens=…, mask=…)`` predicts the backbones of given sequences.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from structdiff.diffusion.distogram import bend, expected_lddt
from structdiff.diffusion.noise import sampling_noise
from structdiff.diffusion.processes import JointProcess
from structdiff.diffusion.sequence_process import DRAWS
from structdiff.model import ABSENT, PRESENT

__all__ = ["Folded", "Samples", "fold", "sample"]


@dataclass(frozen=True)
class Samples:
    """Some peptides.

    Attributes
    ----------
    tokens
        Residue indices, ``(batch, length)``; on pads they mean nothing.
    backbone
        N, Cα, C, O in Å, ``(batch, length, 4, 3)``; None where only the sequence was asked for.
    """

    tokens: Tensor
    backbone: Tensor | None


@dataclass(frozen=True)
class Folded:
    """Backbones of given sequences.

    Attributes
    ----------
    backbone
        N, Cα, C, O in Å, ``(batch, length, 4, 3)``.
    confidence
        The Cα-lDDT that each residue is expected to have, ``(batch, length)`` in 0–1.
    """

    backbone: Tensor
    confidence: Tensor


@torch.no_grad()
def sample(
    model: nn.Module,
    process: JointProcess,
    *,
    mask: Tensor,
    index: np.ndarray,
    labels: Tensor,
    seed: int,
    num_steps: int = 100,
    guidance_scale: float = 1.0,
    temperature: float = 1.0,
    tokens: Tensor | None = None,
    fixed: Tensor | None = None,
    backbone: Tensor | None = None,
    strength: float | None = None,
    sequence_only: bool = False,
) -> Samples:
    """Draw peptides.

    Parameters
    ----------
    model
        As `structdiff.model.Denoiser`, in evaluation mode.
    process
        The noise processes it was trained with.
    mask
        True at residues, false at the pads behind them, ``(batch, length)``, on the model's device.
    index
        The peptides' own numbers, ``(batch,)``: with the seed, they decide the noise.
    labels
        0 unspecified, 1 absent, 2 present, ``(batch, labels)``, on the model's device.
    seed
        Seed.
    num_steps
        Denoising steps.
    guidance_scale
        Guidance towards the labels, away from their absence (after Ho & Salimans, 2022); 1 is none
        for one label. Several are asked one by one, and n pull n times as strongly each.
    temperature
        Divides the logits of the residues.
    tokens
        Given residues, ``(batch, length)``; those at ``fixed`` are kept.
    fixed
        Which residues are given, ``(batch, length)`` bool.
    backbone
        Given backbone, ``(batch, length, 4, 3)`` in Å.
    strength
        Tokens and backbone (both given) are not kept, but noised to this level in 0–1, from which
        denoising begins: 0 returns them, 1 forgets them. Residues at ``fixed`` are kept all the
        same.
    sequence_only
        Leave the backbone pure noise, as peptides without a structure train.
    """
    device, (count, length) = mask.device, mask.shape
    threading = backbone is not None and strength is None

    def draw(step: int) -> tuple[Tensor, Tensor]:
        draws = sampling_noise(seed, step, index, length).to(device)
        return draws[..., :DRAWS], draws[..., DRAWS : DRAWS + process.structure.width]

    residue_draws, structure_draws = draw(0)
    grid = process.grid(num_steps, 1.0 if strength is None else strength)
    if strength is not None:
        begin = torch.full((count,), grid[0], device=device)
        clean = process.structure.encode(backbone, mask)
        sequence = process.sequence.corrupt(tokens, begin, residue_draws)
        begin = torch.full((count,), _behind(grid[0]), device=device)
        structure = process.structure.corrupt(clean, begin, structure_draws)
    else:
        sequence = process.sequence.prior(residue_draws)
        structure = process.structure.prior(structure_draws)
    if threading:
        structure = process.structure.encode(backbone, mask)
    estimate = (torch.zeros(count, length, 20, device=device), torch.zeros_like(structure))
    free = mask if fixed is None else mask & ~fixed
    backbone_wanted = not threading and not sequence_only
    for step, (level, following) in enumerate(pairwise(grid), start=1):
        if fixed is not None:
            sequence = torch.where(fixed[..., None], process.sequence.encode(tokens), sequence)
        structure_level = 0.0 if threading else 1.0 if sequence_only else _behind(level)
        levels = (
            torch.full((count,), level, device=device),
            torch.full((count,), structure_level, device=device),
        )
        logits, clean = _guided(
            model, (sequence, structure, mask, *levels), labels, estimate, guidance_scale
        )
        estimate = (logits.softmax(-1), clean)
        probabilities = (logits / temperature).softmax(-1)
        draws = draw(step)[0]
        sequence = process.sequence.step(sequence, probabilities, level, following, draws, free)
        if backbone_wanted:
            structure = process.structure.step(structure, clean, _behind(level), _behind(following))
    drawn = process.sequence.decode(sequence)
    if fixed is not None:
        drawn = torch.where(fixed, tokens, drawn)
    if sequence_only:
        return Samples(drawn, None)
    if backbone_wanted:
        backbone = process.structure.decode(process.structure.relieve(structure, mask))
    return Samples(drawn, backbone)


@torch.no_grad()
def fold(model: nn.Module, process: JointProcess, *, tokens: Tensor, mask: Tensor) -> Folded:
    """Return the backbones that a model expects of sequences; nothing is drawn.

    The network sees nothing of a backbone and is asked once. Labels have no part in it.

    Parameters
    ----------
    model
        As `structdiff.model.Denoiser`, in evaluation mode.
    process
        The noise processes it was trained with.
    tokens
        Residues, ``(batch, length)``.
    mask
        True at residues, false at the pads behind them, ``(batch, length)``, on the model's device.
    """
    sequence = process.sequence.encode(tokens)
    clean, noise = (torch.full((len(mask),), level, device=mask.device) for level in (0.0, 1.0))
    unseen = torch.zeros(*mask.shape, process.structure.width, device=mask.device)
    labels = torch.zeros(len(mask), model.spec.num_labels, dtype=torch.int64, device=mask.device)
    unknown = torch.zeros(*mask.shape, 20, device=mask.device)
    found = model(sequence, unseen, mask, clean, noise, labels, unknown, unseen, distances=True)
    features = bend(process.structure, found.structure, found.distances, mask)
    backbone = process.structure.decode(features)
    return Folded(backbone, expected_lddt(found.distances, backbone[..., 1, :], mask))


def _behind(level: float) -> float:
    """Return the structure's noise level when the sequence is at a level.

    The backbone follows the sequence, and appears when half of the residues are drawn: few of the
    peptides that a model learns from have a structure, and a backbone drawn early would choose
    among these.
    """
    return min(1.0, 2 * level)


def _guided(
    model: nn.Module,
    noisy: tuple[Tensor, ...],
    labels: Tensor,
    estimate: tuple[Tensor, Tensor],
    scale: float,
) -> tuple[Tensor, Tensor]:
    """Return logits and clean structure, moved from what peptides without the labels give.

    From *absent* labels, where classifier-free guidance moves away from unspecified ones: many of
    the peptides of no specified label bear those that are asked for. Several labels pull one by
    one and alike: together, the one whose peptides are most unlike the others would decide.
    """
    asked = labels == PRESENT
    if not asked.any() or (scale == 1.0 and asked.sum(1).max() == 1):
        return model(*noisy, labels, *estimate)[:2]
    without = torch.where(asked, ABSENT, labels)
    lacking = model(*noisy, without, *estimate)[:2]
    turns, columns = asked.any(0).nonzero(), torch.arange(labels.shape[1], device=labels.device)
    bearing = [
        model(*noisy, torch.where(columns == turn, labels, without), *estimate)[:2]
        for turn in turns
    ]
    where = (asked.T[turns.flatten(), :, None] & noisy[2])[..., None]
    logits, clean = (
        base + scale * _alike((torch.stack(with_one) - base) * where)
        for base, *with_one in zip(lacking, *bearing, strict=True)
    )
    return logits, clean


def _alike(pulls: Tensor) -> Tensor:
    """Return the sum of a peptide's n pulls, each n times as large as the largest.

    ``pulls`` are ``(pulls, batch, length, width)``; those of size 0 do not count.
    """
    sizes = pulls.flatten(2).norm(dim=-1)
    pulling = sizes > 0
    factors = torch.where(pulling, pulling.sum(0) * sizes.amax(0) / sizes, 0.0)
    return (pulls * factors[..., None, None]).sum(0)
