"""Upper bounds on the number of each amino acid in a design, for every sampler.

``constrained(process, given, noise, constraints)`` returns a process whose sequence steps satisfy
the bounds, and a `Given` whose starting peptides satisfy them. In a step, an amino acid that has
reached its bound has probability 0. If a step still draws an amino acid too often, the step is
repeated, and that amino acid has probability 0 at the excess positions.
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
"""Smallest probability of an allowed amino acid. With it, the sum of the probabilities is not 0
even if all likely amino acids are forbidden."""
_ORDER = 2
"""Column of the random numbers ``(batch, length, 20)`` that decides at which positions an amino
acid stays if it occurs too often. No sequence process uses this column in its steps."""


@dataclass(frozen=True)
class Constraints:
    """Largest number of each amino acid in a peptide.

    Attributes
    ----------
    at_most
        Largest number of an amino acid, by its index 0–19; 0 forbids it. At least one of the 20
        amino acids must have no bound.
    """

    at_most: Mapping[int, int] = field(default_factory=dict)

    def room(self, tokens: Tensor, kept: Tensor) -> Tensor:
        """Return how many more of each amino acid may be drawn, ``(batch, 20)``; ∞ if unbounded.

        ``tokens`` ``(batch, length)`` are the residues; a residue is counted where ``kept``,
        ``(batch, length)``, is true.
        """
        room = torch.full((len(tokens), RESIDUES), torch.inf, device=tokens.device)
        for residue, bound in self.at_most.items():
            room[:, residue] = bound - ((tokens == residue) & kept).sum(1)
        return room

    def excess(self, tokens: Tensor, kept: Tensor, drawn: Tensor, order: Tensor) -> Tensor:
        """Return which residues to remove to satisfy the bounds, ``(batch, length)`` bool.

        Parameters
        ----------
        tokens
            Residues, ``(batch, length)``.
        kept
            Residues that are counted and must stay, ``(batch, length)`` bool.
        drawn
            Residues that are counted and may be removed, ``(batch, length)`` bool.
        order
            Numbers ``(batch, length)``: if an amino acid occurs too often, its residues with the
            lowest numbers stay.
        """
        excess, room = torch.zeros_like(kept), self.room(tokens, kept)
        for residue in self.at_most:
            candidates = (tokens == residue) & drawn & ~kept
            rank = torch.where(candidates, order, torch.inf).argsort(1).argsort(1)
            excess |= candidates & (rank >= room[:, residue, None])
        return excess


class _Constrained:
    """Sequence process whose steps satisfy constraints.

    All other attributes and methods are taken from ``process``.
    """

    def __init__(self, process: SequenceProcess, given: Given, constraints: Constraints):
        self._process, self._given, self._constraints = process, given, constraints

    def __getattr__(self, name: str) -> Any:
        return getattr(self._process, name)

    def residues(self, features: Tensor, t: float) -> tuple[Tensor, Tensor]:
        """Return the residues at level ``t``, and whether each residue is final.

        A residue is final if no later step changes it, or if ``given`` fixes it. ``features`` are
        ``(batch, length, width)``. The results are ``(batch, length)`` int64, and
        ``(batch, length)`` bool, false at pads.
        """
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
    """Return a process whose sequence steps satisfy constraints, and a start that satisfies them.

    Where an amino acid occurs too often in ``given.start``, excess residues become noise. Residues
    at ``given.fixed`` are counted and always stay. ``process`` and ``given`` do not change;
    ``noise`` are the random numbers of sampling.
    """
    sequence = _Constrained(process.sequence, given, constraints)
    uniforms = noise.sequence(0)
    tokens, decided = sequence.residues(given.start.sequence, given.levels[0].sequence)
    excess = constraints.excess(tokens, given.fixed, decided, uniforms[..., _ORDER])[..., None]
    start = torch.where(excess, process.sequence.prior(uniforms), given.start.sequence)
    process = copy(process)
    process.sequence = cast(SequenceProcess, sequence)
    return process, replace(given, start=given.start._replace(sequence=start))
