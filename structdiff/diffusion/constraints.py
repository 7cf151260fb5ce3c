"""Constraints on the residues of designs: how often each may occur, with every sampler.

``constrained(process, given, noise, constraints)`` returns a process whose sequence steps satisfy
the constraints, and a `Given` whose starting peptides satisfy them. In a step, a residue that has
reached its largest number has probability 0. If a step still draws a residue too often, the step is
repeated, and that residue has probability 0 at the excess positions.
"""

from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass, field, replace
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional

from structdiff.diffusion.given import Given
from structdiff.diffusion.processes import JointProcess
from structdiff.diffusion.random_numbers import SamplingNoise
from structdiff.diffusion.sequence_process import RESIDUES, SequenceProcess

__all__ = ["Constraints", "constrained"]

_TINY = 1e-30
"""Lower bound of the probability of an allowed residue: all likelier ones may be forbidden."""
_ORDER = 2
"""Column of the random numbers (unused by the processes) that chooses which residues stay."""


@dataclass(frozen=True)
class Constraints:
    """Largest numbers of residues in a peptide.

    Attributes
    ----------
    at_most
        Largest number of each residue by its index; 0 forbids it. At least one of the 20 residues
        must be without a bound.
    """

    at_most: Mapping[int, int] = field(default_factory=dict)

    def room(self, tokens: Tensor, kept: Tensor) -> Tensor:
        """Return how many more of each residue may be drawn, ``(batch, 20)``; ∞ without a bound.

        ``tokens`` are residues and ``kept`` which of them count, ``(batch, length)`` both.
        """
        room = torch.full((len(tokens), RESIDUES), torch.inf, device=tokens.device)
        for residue, bound in self.at_most.items():
            room[:, residue] = bound - ((tokens == residue) & kept).sum(1)
        return room

    def excess(self, tokens: Tensor, kept: Tensor, drawn: Tensor, order: Tensor) -> Tensor:
        """Return which residues exceed the bounds, ``(batch, length)`` bool.

        Parameters
        ----------
        tokens
            Residues, ``(batch, length)``.
        kept, drawn
            Which residues must stay, and which others are counted, ``(batch, length)`` bool.
        order
            Numbers ``(batch, length)``: if there are too many, those with the lowest numbers stay.
        """
        excess, room = torch.zeros_like(kept), self.room(tokens, kept)
        for residue in self.at_most:
            candidates = (tokens == residue) & drawn & ~kept
            rank = torch.where(candidates, order, torch.inf).argsort(1).argsort(1)
            excess |= candidates & (rank >= room[:, residue, None])
        return excess


class _Constrained:
    """A sequence process whose steps keep constraints; otherwise like the given process."""

    def __init__(self, process: SequenceProcess, given: Given, constraints: Constraints):
        self._process, self._given, self._constraints = process, given, constraints

    def __getattr__(self, name: str) -> Any:
        return getattr(self._process, name)

    def residues(self, features: Tensor, t: float) -> tuple[Tensor, Tensor]:
        """Return the residues at a level, and which of them are final, including given ones."""
        given, decided = self._given, self._process.decided(features, t)
        tokens = torch.where(given.fixed, given.tokens, self._process.decode(features))
        return tokens, given.mask & (decided | given.fixed)

    def step(
        self,
        noisy: Tensor,
        probabilities: Tensor,
        t: float,
        t_next: float,
        uniforms: Tensor,
        mask: Tensor,
    ) -> Tensor:
        before, kept = self.residues(noisy, t)
        has_room = self._constraints.room(before, kept) > 0
        allowed = has_room[:, None].expand_as(probabilities).float()
        while True:
            possible = probabilities.clamp(min=_TINY) * allowed
            after = self._process.step(
                noisy, possible / possible.sum(-1, keepdim=True), t, t_next, uniforms, mask
            )
            tokens, decided = self.residues(after, t_next)
            excess = self._constraints.excess(tokens, kept, decided, uniforms[..., _ORDER])
            if not excess.any():
                return after
            allowed = allowed * ~(functional.one_hot(tokens, RESIDUES).bool() & excess[..., None])


def constrained(
    process: JointProcess, given: Given, noise: SamplingNoise, constraints: Constraints
) -> tuple[JointProcess, Given]:
    """Return a process and a start that keep constraints.

    Excess residues of the start become noise; residues at ``given.fixed`` stay, and are counted.
    """
    sequence = _Constrained(process.sequence, given, constraints)
    uniforms = noise.sequence(0)
    tokens, decided = sequence.residues(given.start.sequence, given.levels[0].sequence)
    excess = constraints.excess(tokens, given.fixed, decided, uniforms[..., _ORDER])[..., None]
    start = torch.where(excess, process.sequence.prior(uniforms), given.start.sequence)
    process = copy(process)
    process.sequence = cast(SequenceProcess, sequence)
    return process, replace(given, start=given.start._replace(sequence=start))
