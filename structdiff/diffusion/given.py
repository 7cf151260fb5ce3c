"""Start of sampling for each task: the noisy peptides, the noise levels and the fixed residues.

``codesign`` and ``sequence_only`` start from pure noise, ``inverse_folding`` from a given backbone,
``partial_diffusion`` from a given peptide with noise. Each of these functions returns a `Given`;
``Given.with_residues`` then fixes residues (infilling).
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from structdiff.diffusion.processes import JointProcess
from structdiff.diffusion.random_numbers import SamplingNoise
from structdiff.diffusion.schedule import Levels, structure_level

__all__ = [
    "Given",
    "State",
    "codesign",
    "inverse_folding",
    "partial_diffusion",
    "sequence_only",
]


class State(NamedTuple):
    """Noisy peptides during sampling.

    Attributes
    ----------
    sequence
        Features of the residues, ``(batch, length, sequence width)``.
    structure
        Features of the backbone, ``(batch, length, structure width)``.
    """

    sequence: Tensor
    structure: Tensor


@dataclass(frozen=True)
class Given:
    """Start of sampling a batch: noisy peptides, noise levels, and residues that stay fixed.

    Attributes
    ----------
    mask
        True at residues, false at the pads after them, ``(batch, length)``.
    start
        Noisy peptides, at the noise levels ``levels[0]``.
    levels
        Noise levels of sequence and backbone that sampling passes through, in decreasing order.
    tokens
        Fixed residues, ``(batch, length)`` int64; used where ``fixed`` is true.
    fixed
        Which residues stay fixed, ``(batch, length)`` bool.
    draws_backbone
        Whether the result has a backbone.
    """

    mask: Tensor
    start: State
    levels: list[Levels]
    tokens: Tensor
    fixed: Tensor
    draws_backbone: bool

    def with_residues(self, tokens: Tensor, fixed: Tensor) -> "Given":
        """Return a copy in which the residues ``tokens`` stay fixed where ``fixed`` is true.

        Both are ``(batch, length)``.
        """
        return replace(self, tokens=tokens, fixed=fixed)

    @property
    def free(self) -> Tensor:
        """Which residues are drawn, ``(batch, length)`` bool."""
        return self.mask & ~self.fixed


def _given(mask: Tensor, start: State, levels: list[Levels], *, draws_backbone: bool) -> Given:
    """Return a `Given` without fixed residues."""
    tokens = torch.zeros_like(mask, dtype=torch.int64)
    return Given(mask, start, levels, tokens, torch.zeros_like(mask), draws_backbone)


def _prior(process: JointProcess, noise: SamplingNoise) -> State:
    """Return a batch of pure noise: sequence and backbone features from the numbers of step 0."""
    return State(
        process.sequence.prior(noise.sequence(0)), process.structure.prior(noise.structure(0))
    )


def codesign(process: JointProcess, mask: Tensor, noise: SamplingNoise, num_steps: int) -> Given:
    """Return the start for drawing sequence and backbone together, from pure noise.

    ``mask`` ``(batch, length)`` is true at residues; sampling takes ``num_steps`` denoising steps.
    """
    levels = [Levels(t, structure_level(t)) for t in process.grid(num_steps)]
    return _given(mask, _prior(process, noise), levels, draws_backbone=True)


def sequence_only(
    process: JointProcess, mask: Tensor, noise: SamplingNoise, num_steps: int
) -> Given:
    """Return the start for drawing the sequence alone; the backbone stays pure noise.

    ``mask`` ``(batch, length)`` is true at residues; sampling takes ``num_steps`` denoising steps.
    """
    levels = [Levels(t, 1.0) for t in process.grid(num_steps)]
    return _given(mask, _prior(process, noise), levels, draws_backbone=False)


def inverse_folding(
    process: JointProcess, mask: Tensor, noise: SamplingNoise, num_steps: int, backbone: Tensor
) -> Given:
    """Return the start for drawing a sequence for a given backbone.

    ``mask`` ``(batch, length)`` is true at residues; sampling takes ``num_steps`` denoising steps.
    ``backbone`` has the N, Cα, C and O positions, ``(batch, length, 4, 3)`` in Å.
    """
    levels = [Levels(t, 0.0) for t in process.grid(num_steps)]
    start = _prior(process, noise)._replace(structure=process.structure.encode(backbone, mask))
    return _given(mask, start, levels, draws_backbone=False)


def partial_diffusion(
    process: JointProcess,
    mask: Tensor,
    noise: SamplingNoise,
    num_steps: int,
    tokens: Tensor,
    backbone: Tensor,
    strength: float,
) -> Given:
    """Return the start for drawing analogues of peptides, noised to the level ``strength``.

    Parameters
    ----------
    process
        The noise processes.
    mask
        True at residues, ``(batch, length)``.
    noise
        The random numbers of sampling.
    num_steps
        Number of denoising steps.
    tokens, backbone
        The peptides: residues ``(batch, length)``, and N, Cα, C, O in Å ``(batch, length, 4, 3)``.
    strength
        Noise level of the sequence at the start, 0–1. `structure_level` gives the noise level of
        the backbone. With 0, the peptides do not change; with 1, only their lengths are kept.
    """
    levels = [Levels(t, structure_level(t)) for t in process.grid(num_steps, strength)]
    sequence_t, structure_t = (torch.full((len(mask),), t, device=mask.device) for t in levels[0])
    clean = process.structure.encode(backbone, mask)
    start = State(
        process.sequence.corrupt(tokens, sequence_t, noise.sequence(0)),
        process.structure.corrupt(clean, structure_t, noise.structure(0)),
    )
    return _given(mask, start, levels, draws_backbone=True)
