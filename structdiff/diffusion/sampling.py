"""Samplers: functions that go from noise to clean sequence and backbone.

``sample(denoise, process, given, noise)`` draws peptides with one of `SAMPLERS`. `structdiff.
diffusion.given` says where sampling begins and what it keeps, `structdiff.diffusion.guidance` makes
the denoiser. A new sampler is one function of the kind `Sampler`:

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
"""Returns peptides at the last of the given noise levels."""


@dataclass(frozen=True)
class Samples:
    """Some peptides.

    Attributes
    ----------
    tokens
        Residue indices, ``(batch, length)``; on pads they mean nothing.
    backbone
        N, Cα, C, O in Å, ``(batch, length, 4, 3)``; None where it is not drawn.
    """

    tokens: Tensor
    backbone: Tensor | None


def ancestral(denoise: Denoise, process: JointProcess, given: Given, noise: SamplingNoise) -> State:
    """Take one reverse step of both processes for each two neighbouring levels."""
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
"""All samplers by name."""


@torch.no_grad()
def sample(
    denoise: Denoise,
    process: JointProcess,
    given: Given,
    noise: SamplingNoise,
    sampler: str = DEFAULT_SAMPLER,
    constraints: Constraints = UNCONSTRAINED,
) -> Samples:
    """Draw peptides.

    Parameters
    ----------
    denoise
        As `structdiff.diffusion.guidance.denoiser` makes it.
    process
        The noise processes that the model was trained with.
    given
        Where sampling begins and what it keeps.
    noise
        The random numbers: those of a peptide depend on the seed and its own number alone.
    sampler
        Name of one of `SAMPLERS`.
    constraints
        How often residues may occur. Residues that are given at ``given.fixed`` must keep them.
    """
    if constraints.at_most:
        process, given = constrained(process, given, noise, constraints)
    state = SAMPLERS[sampler](denoise, process, given, noise)
    tokens = torch.where(given.fixed, given.tokens, process.sequence.decode(state.sequence))
    if not given.draws_backbone:
        return Samples(tokens, None)
    features = resolve_clashes(process.structure, state.structure, given.mask)
    return Samples(tokens, process.structure.decode(features))
