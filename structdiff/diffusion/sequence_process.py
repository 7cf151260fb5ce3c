"""Noise processes on the residues: masking, and Gaussian noise on normalised embeddings.

A process turns residues into noisy features ``(batch, length, width)`` at a noise level t in 0–1
(``corrupt``), computes the loss of a network's logits, and takes one step towards less noise, given
the probabilities of the clean residues. A process has no state: the caller passes the random
numbers as ``uniforms`` ``(batch, length, 20)``. A new process is a class with the interface
`SequenceProcess`, registered in `SEQUENCE_PROCESSES`.
"""

import math
from typing import ClassVar, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from structdiff.diffusion.random_numbers import to_normal
from structdiff.diffusion.schedule import alpha_sigma

__all__ = ["SEQUENCE_PROCESSES", "GaussianProcess", "MaskedProcess", "SequenceProcess"]

RESIDUES = 20

CONFIDENCE_POWER = 8
"""A position is chosen for unmasking in proportion to this power of its largest probability; 0
gives a random order."""


class SequenceProcess(Protocol):
    """Interface of a noise process on the sequence."""

    width: ClassVar[int]
    """Number of features of a residue."""

    def encode(self, tokens: Tensor) -> Tensor:
        """Return the noise-free features of residues, ``(batch, length, width)``.

        ``tokens`` ``(batch, length)`` are the indices of the residues, 0–19.
        """

    def prior(self, uniforms: Tensor) -> Tensor:
        """Return the features of pure noise, ``(batch, length, width)``.

        ``uniforms`` are random numbers in (0, 1), ``(batch, length, 20)``.
        """

    def corrupt(self, tokens: Tensor, t: Tensor, uniforms: Tensor) -> Tensor:
        """Add noise to residues: return their noisy features, ``(batch, length, width)``.

        ``tokens`` are as in `encode`, ``uniforms`` as in `prior`; ``t`` ``(batch,)`` is the noise
        level of each peptide.
        """

    def loss(self, logits: Tensor, tokens: Tensor, noisy: Tensor, t: Tensor) -> Tensor:
        """Return the loss of each residue, ``(batch, length)``, in nats.

        ``noisy`` ``(batch, length, width)`` are the features at the noise levels ``t``
        ``(batch,)``. ``logits`` ``(batch, length, 20)`` are the network's output for them, and
        ``tokens`` ``(batch, length)`` are the clean residues.
        """

    def step(
        self,
        noisy: Tensor,
        probabilities: Tensor,
        t: float,
        t_next: float,
        uniforms: Tensor,
        mask: Tensor,
    ) -> Tensor:
        """Take a step from level ``t`` to the lower level ``t_next``; return the new features.

        ``noisy`` are the features at level ``t``; they and the result are
        ``(batch, length, width)``. ``probabilities`` ``(batch, length, 20)`` are the predicted
        probabilities of the clean residues. ``mask`` ``(batch, length)`` is true where a residue is
        drawn, and false at fixed residues and pads.
        """

    def useful_steps(self, asked: int, length: int) -> int:
        """Return how many of ``asked`` sampling steps are useful for ``length`` residues."""

    def decode(self, features: Tensor) -> Tensor:
        """Return the residues of noise-free features, ``(batch, length)``; inverts `encode`."""

    def decided(self, features: Tensor, t: float) -> Tensor:
        """Return which residues are final at level ``t``, ``(batch, length)`` bool.

        No later step changes a final residue.
        """


def _categorical(probabilities: Tensor, uniform: Tensor) -> Tensor:
    """Draw residues from ``(batch, length, 20)`` by inverting the cumulative distribution."""
    cumulative = probabilities.double().cumsum(-1)
    drawn = (cumulative < uniform.double()[..., None] * cumulative[..., -1:]).sum(-1)
    return drawn.clamp(max=RESIDUES - 1)


class MaskedProcess:
    """Absorbing diffusion: at level t each residue is masked with probability t.

    The loss is the masked residues' cross-entropy divided by t, a bound on the negative
    log-likelihood (Sahoo et al., MDLM, 2024; Shi et al., MD4, 2024).
    """

    width: ClassVar[int] = RESIDUES + 1
    _MASK = RESIDUES

    def encode(self, tokens: Tensor) -> Tensor:
        return functional.one_hot(tokens, self.width).float()

    def prior(self, uniforms: Tensor) -> Tensor:
        masked = torch.full(uniforms.shape[:2], self._MASK, device=uniforms.device)
        return self.encode(masked)

    def corrupt(self, tokens: Tensor, t: Tensor, uniforms: Tensor) -> Tensor:
        masked = uniforms[..., 0] < t[:, None]
        return self.encode(torch.where(masked, self._MASK, tokens))

    def loss(self, logits: Tensor, tokens: Tensor, noisy: Tensor, t: Tensor) -> Tensor:
        cross_entropy = functional.cross_entropy(logits.transpose(1, 2), tokens, reduction="none")
        masked = noisy[..., self._MASK]
        return cross_entropy * masked / t[:, None].clamp(min=1e-3)

    def step(
        self,
        noisy: Tensor,
        probabilities: Tensor,
        t: float,
        t_next: float,
        uniforms: Tensor,
        mask: Tensor,
    ) -> Tensor:
        # Residues that are unmasked in the same step are drawn independently of each other. So that
        # no step unmasks too many, the number of masked residues follows the level exactly.
        masked = (noisy[..., self._MASK] > 0) & mask
        left = (t_next * mask.sum(1)).round()
        # Weighted sampling without replacement (Efraimidis & Spirakis, 2006) chooses confident
        # positions more often, independently of the residue that is drawn there.
        waiting_time = -uniforms[..., 0].log() / probabilities.amax(-1) ** CONFIDENCE_POWER
        order = torch.where(masked, waiting_time, torch.inf).argsort(-1).argsort(-1)
        revealed = masked & (order < (masked.sum(1) - left)[:, None])
        residues = self.encode(_categorical(probabilities, uniforms[..., 1]))
        return torch.where(revealed[..., None], residues, noisy)

    def useful_steps(self, asked: int, length: int) -> int:
        # With as many steps as residues, no step unmasks more than one.
        return min(asked, length)

    def decode(self, features: Tensor) -> Tensor:
        return features[..., :RESIDUES].argmax(-1)

    def decided(self, features: Tensor, t: float) -> Tensor:
        return features[..., self._MASK] == 0


class GaussianProcess:
    """Gaussian diffusion of residue embeddings: the vertices of a regular simplex of unit variance.

    The noisy embedding at level t is α x + σ ε, with α and σ from `alpha_sigma`. The loss is the
    cross-entropy of the clean residues (Dieleman et al., CDCD, 2022).
    """

    width: ClassVar[int] = RESIDUES

    def encode(self, tokens: Tensor) -> Tensor:
        return self._embed(functional.one_hot(tokens, RESIDUES).float())

    def _embed(self, probabilities: Tensor) -> Tensor:
        return (RESIDUES * probabilities - 1) / math.sqrt(RESIDUES - 1)

    def prior(self, uniforms: Tensor) -> Tensor:
        return to_normal(uniforms[..., :RESIDUES])

    def corrupt(self, tokens: Tensor, t: Tensor, uniforms: Tensor) -> Tensor:
        alpha, sigma = alpha_sigma(t[:, None, None])
        return alpha * self.encode(tokens) + sigma * self.prior(uniforms)

    def loss(self, logits: Tensor, tokens: Tensor, noisy: Tensor, t: Tensor) -> Tensor:
        cross_entropy = functional.cross_entropy(logits.transpose(1, 2), tokens, reduction="none")
        return cross_entropy * (t > 0)[:, None]

    def step(
        self,
        noisy: Tensor,
        probabilities: Tensor,
        t: float,
        t_next: float,
        uniforms: Tensor,
        mask: Tensor,
    ) -> Tensor:
        (alpha, sigma), (alpha_next, sigma_next) = alpha_sigma(t), alpha_sigma(t_next)
        residues = _categorical(probabilities, uniforms[..., 0])
        clean = self.encode(residues) if t_next == 0 else self._embed(probabilities)
        noise = (noisy - alpha * clean) / sigma
        return alpha_next * clean + sigma_next * noise

    def useful_steps(self, asked: int, length: int) -> int:
        return asked

    def decode(self, features: Tensor) -> Tensor:
        return features.argmax(-1)

    def decided(self, features: Tensor, t: float) -> Tensor:
        return torch.full(features.shape[:2], t == 0, device=features.device)


SEQUENCE_PROCESSES: dict[str, type[SequenceProcess]] = {
    "masked": MaskedProcess,
    "gaussian": GaussianProcess,
}
"""Registry of the sequence processes, by name."""
