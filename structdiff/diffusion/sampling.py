"""Samplers: functions that turn noise into clean sequences and backbones, step by step.

``sample(denoise, process, given, noise)`` draws peptides with one of `SAMPLERS`.
`structdiff.diffusion.given` makes ``given``, the start of sampling and the fixed residues;
`structdiff.diffusion.guidance` makes the denoiser. A new sampler is a function of type `Sampler`:

>>> from structdiff.diffusion.sampling import SAMPLERS
>>> SAMPLERS["mine"] = my_sampler                                             # doctest: +SKIP
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from structdiff.diffusion.constraints import Constraints, constrained
from structdiff.diffusion.given import Given, State
from structdiff.diffusion.guidance import Denoise
from structdiff.diffusion.processes import JointProcess
from structdiff.diffusion.random_numbers import SamplingNoise
from structdiff.diffusion.refinement import resolve_clashes

__all__ = ["DEFAULT_SAMPLER", "SAMPLERS", "Sampler", "Samples", "ancestral", "sample"]

Sampler = Callable[[Denoise, JointProcess, Given, SamplingNoise], State]
"""Type of a sampler: a function that denoises peptides from ``given.start`` through all of
``given.levels`` and returns them."""


@dataclass(frozen=True)
class Samples:
    """Drawn peptides.

    Attributes
    ----------
    tokens
        Residue indices, ``(batch, length)`` int64; undefined on pads.
    backbone
        N, Cα, C, O in Å, ``(batch, length, 4, 3)``; None if it was not drawn.
    """

    tokens: Tensor
    backbone: Tensor | None


def ancestral(denoise: Denoise, process: JointProcess, given: Given, noise: SamplingNoise) -> State:
    """Denoise by ancestral sampling: one reverse step of each process between successive levels.

    Returns the peptides at the last level. Fixed residues are set to ``given.tokens`` before each
    call of the denoiser. The backbone changes only in steps in which its noise level falls.
    """
    sequence, structure = given.start
    kept = process.sequence.encode(given.tokens)
    for step, (now, after) in enumerate(pairwise(given.levels), start=1):
        sequence = torch.where(given.fixed[..., None], kept, sequence)
        prediction = denoise(State(sequence, structure), now)
        probabilities = prediction.logits.softmax(-1)
        sequence = process.sequence.step(
            sequence, probabilities, now.sequence, after.sequence, noise.sequence(step), given.free
        )
        if after.structure < now.structure:
            structure = process.structure.step(
                structure, prediction.structure, now.structure, after.structure
            )
    return State(sequence, structure)


UNCONSTRAINED = Constraints()
DEFAULT_SAMPLER = "ancestral"
SAMPLERS: dict[str, Sampler] = {DEFAULT_SAMPLER: ancestral}
"""Registry of the samplers, by name."""


@torch.no_grad()
def sample(
    denoise: Denoise,
    process: JointProcess,
    given: Given,
    noise: SamplingNoise,
    sampler: str = DEFAULT_SAMPLER,
    constraints: Constraints = UNCONSTRAINED,
) -> Samples:
    """Draw a batch of peptides with a sampler.

    Parameters
    ----------
    denoise
        Denoiser of the batch, from `structdiff.diffusion.guidance.denoiser`.
    process
        The noise processes that the model was trained with.
    given
        Start of sampling and the fixed residues.
    noise
        Random numbers of sampling. The numbers of a peptide depend only on the seed, the step and
        the number of the peptide, ``noise.index``.
    sampler
        Name of one of `SAMPLERS`.
    constraints
        Upper bounds on the number of each amino acid. The fixed residues must satisfy them.
    """
    if constraints.at_most:
        process, given = constrained(process, given, noise, constraints)
    state = SAMPLERS[sampler](denoise, process, given, noise)
    tokens = torch.where(given.fixed, given.tokens, process.sequence.decode(state.sequence))
    if not given.draws_backbone:
        return Samples(tokens, None)
    features = resolve_clashes(process.structure, state.structure, given.mask)
    return Samples(tokens, process.structure.decode(features))
