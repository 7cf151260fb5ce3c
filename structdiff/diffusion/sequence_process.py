"""Noise processes on the residues: masking, and Gaussian noise on normalised embeddings.

Both turn residues into features ``(batch, length, width)`` at a noise level in 0–1, score a
network's logits, and take one step towards less noise given the probabilities of the clean
residues. ``draws`` are uniform numbers ``(batch, length, 20)``, so that a process has no state.
"""

import math
from typing import ClassVar, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from structdiff.diffusion.noise import to_normal

__all__ = ["SEQUENCE_PROCESSES", "GaussianProcess", "MaskedProcess", "SequenceProcess"]

RESIDUES = 20
DRAWS = 20
"""Uniform numbers that a process may use for each residue."""

CONFIDENCE_POWER = 8
"""Power of a position's likeliest probability that its turn goes by; 0 is an order by chance."""


class SequenceProcess(Protocol):
    """What the losses and the sampler ask of a sequence process."""

    width: ClassVar[int]

    def encode(self, tokens: Tensor) -> Tensor:
        """Return the features of clean residues ``(batch, length)``."""

    def prior(self, draws: Tensor) -> Tensor:
        """Return the features of pure noise."""

    def corrupt(self, tokens: Tensor, level: Tensor, draws: Tensor) -> Tensor:
        """Return the features of residues at noise levels ``(batch,)``."""

    def loss(self, logits: Tensor, tokens: Tensor, noisy: Tensor, level: Tensor) -> Tensor:
        """Return the loss of each residue, ``(batch, length)``, in nats."""

    def step(
        self,
        noisy: Tensor,
        probabilities: Tensor,
        level: float,
        following: float,
        draws: Tensor,
        mask: Tensor,
    ) -> Tensor:
        """Return the features at the following, lower level; ``mask`` is true at residues."""

    def decode(self, features: Tensor) -> Tensor:
        """Return the residues ``(batch, length)`` of features at level 0."""


def _categorical(probabilities: Tensor, uniform: Tensor) -> Tensor:
    """Draw residues ``(batch, length)`` by inverting the cumulative distribution."""
    cumulative = probabilities.double().cumsum(-1)
    drawn = (cumulative < uniform.double()[..., None] * cumulative[..., -1:]).sum(-1)
    return drawn.clamp(max=RESIDUES - 1)


class MaskedProcess:
    """Absorbing diffusion: at level t each residue is masked with probability t.

    The loss is the masked residues' cross-entropy over t, a bound on the negative
    log-likelihood (Sahoo et al., MDLM, 2024; Shi et al., MD4, 2024).
    """

    width: ClassVar[int] = RESIDUES + 1
    _MASK = RESIDUES

    def encode(self, tokens: Tensor) -> Tensor:
        return functional.one_hot(tokens, self.width).float()

    def prior(self, draws: Tensor) -> Tensor:
        masked = torch.full(draws.shape[:2], self._MASK, device=draws.device)
        return self.encode(masked)

    def corrupt(self, tokens: Tensor, level: Tensor, draws: Tensor) -> Tensor:
        masked = draws[..., 0] < level[:, None]
        return self.encode(torch.where(masked, self._MASK, tokens))

    def loss(self, logits: Tensor, tokens: Tensor, noisy: Tensor, level: Tensor) -> Tensor:
        cross_entropy = functional.cross_entropy(logits.transpose(1, 2), tokens, reduction="none")
        masked = noisy[..., self._MASK]
        return cross_entropy * masked / level[:, None].clamp(min=1e-3)

    def step(
        self,
        noisy: Tensor,
        probabilities: Tensor,
        level: float,
        following: float,
        draws: Tensor,
        mask: Tensor,
    ) -> Tensor:
        # As many residues are masked as the level says, not so many on average: residues that are
        # revealed together know nothing of each other.
        masked = (noisy[..., self._MASK] > 0) & mask
        left = (following * mask.sum(1)).round()
        # Which ones: a race (Efraimidis & Spirakis, 2006) that sure positions win more often. What
        # is drawn there has no part in it.
        waiting = -draws[..., 0].log() / probabilities.amax(-1) ** CONFIDENCE_POWER
        order = torch.where(masked, waiting, torch.inf).argsort(-1).argsort(-1)
        revealed = masked & (order < (masked.sum(1) - left)[:, None])
        residues = self.encode(_categorical(probabilities, draws[..., 1]))
        return torch.where(revealed[..., None], residues, noisy)

    def decode(self, features: Tensor) -> Tensor:
        return features[..., :RESIDUES].argmax(-1)


class GaussianProcess:
    """Gaussian diffusion on residue embeddings, a regular simplex of unit variance.

    The noisy embedding at level t is α x + σ ε with α = cos(πt/2), σ = sin(πt/2) (the cosine
    schedule of Nichol & Dhariwal, 2021); the network is trained on the clean residues'
    cross-entropy (Dieleman et al., CDCD, 2022).
    """

    width: ClassVar[int] = RESIDUES

    def encode(self, tokens: Tensor) -> Tensor:
        return self._embed(functional.one_hot(tokens, RESIDUES).float())

    def _embed(self, probabilities: Tensor) -> Tensor:
        return (RESIDUES * probabilities - 1) / math.sqrt(RESIDUES - 1)

    def prior(self, draws: Tensor) -> Tensor:
        return to_normal(draws[..., :RESIDUES])

    def corrupt(self, tokens: Tensor, level: Tensor, draws: Tensor) -> Tensor:
        turn = (0.5 * math.pi * level)[:, None, None]
        return turn.cos() * self.encode(tokens) + turn.sin() * self.prior(draws)

    def loss(self, logits: Tensor, tokens: Tensor, noisy: Tensor, level: Tensor) -> Tensor:
        cross_entropy = functional.cross_entropy(logits.transpose(1, 2), tokens, reduction="none")
        return cross_entropy * (level > 0)[:, None]

    def step(
        self,
        noisy: Tensor,
        probabilities: Tensor,
        level: float,
        following: float,
        draws: Tensor,
        mask: Tensor,
    ) -> Tensor:
        turn, next_turn = 0.5 * math.pi * level, 0.5 * math.pi * following
        residues = _categorical(probabilities, draws[..., 0])
        clean = self.encode(residues) if following == 0 else self._embed(probabilities)
        estimate = (noisy - math.cos(turn) * clean) / math.sin(turn)
        return math.cos(next_turn) * clean + math.sin(next_turn) * estimate

    def decode(self, features: Tensor) -> Tensor:
        return features.argmax(-1)


SEQUENCE_PROCESSES: dict[str, type[SequenceProcess]] = {
    "masked": MaskedProcess,
    "gaussian": GaussianProcess,
}
