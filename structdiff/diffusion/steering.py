"""Steering: changes the predicted residues so that descriptors have requested expected values.

The descriptors are sums over the residues, such as the charge. The expected value of such a sum
follows from the residues that are fixed or already drawn and the probabilities of the others.
``Steered(denoise, process, given, targets)`` multiplies each of these probabilities by exp(λ × the
contribution of the amino acid to the sum), with the λ for which the expected sum is the target. Of
all distributions with this expected value, the result is nearest to the distribution that the
network predicts (Csiszár, Annals of Probability 3, 146, 1975).

The hydrophobic moment is a sum of vectors. Exponentials alone would make the amino acid with the
largest contribution, arginine, more frequent: its probability would rise more on one side of the
helix than it falls on the other side. Therefore the exponential of each amino acid is divided by
its mean over all directions. The directions of the residues of an amino acid then have a von Mises
distribution, and the frequency of the amino acid hardly changes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from structdiff.diffusion.given import Given, State
from structdiff.diffusion.guidance import Denoise
from structdiff.diffusion.processes import JointProcess
from structdiff.diffusion.schedule import Levels
from structdiff.model import Prediction

__all__ = ["Steered", "Target"]

SWEEPS = 2
"""Number of passes over the targets. A change for one target also shifts the sums of the others;
the second pass corrects this."""

HALVINGS, STRONGEST = 20, 8.0
"""Steps of the bisection that finds λ, and the largest absolute exponent."""


@dataclass(frozen=True)
class Target:
    """The requested sum over the residues of each peptide of a batch.

    Attributes
    ----------
    values
        Contribution of each of the 20 amino acids to the sum, ``(batch, 20)``.
    total
        The requested sum, ``(batch,)``; if ``turn`` is not 0, the length of the vector sum.
    turn
        0 if the contributions are numbers. Otherwise, they are lengths of vectors in a plane, and
        ``turn`` is the angle in radians between the directions of neighbouring residues.
    """

    values: Tensor
    total: Tensor
    turn: float = 0.0

    def parts(self, probabilities: Tensor) -> Tensor:
        """Return the expected contribution of each residue to the sum, ``(batch, length)``.

        ``probabilities`` ``(batch, length, 20)`` are the probabilities of the amino acids.
        """
        return torch.einsum("blr,br->bl", probabilities, self.values)

    def direction(self, probabilities: Tensor) -> Tensor:
        """Return the weight of each residue's contribution to the sum, ``(batch or 1, length)``.

        The weight is 1 if the contributions are numbers. If they are vectors, it is the cosine of
        the angle between the direction of the residue and the direction of the expected sum.
        ``probabilities`` are as in `parts`.
        """
        length = probabilities.shape[1]
        angles = self.turn * torch.arange(length, device=probabilities.device)
        if self.turn == 0:
            return torch.ones_like(angles)[None]
        axes = torch.stack([angles.sin(), angles.cos()])
        total = self.parts(probabilities) @ axes.T
        return functional.normalize(total, dim=1) @ axes

    def tilt(self, weights: Tensor, strength: Tensor) -> Tensor:
        """Return the change of the logits that shifts the expected sum, ``(batch, length, 20)``.

        It is the logarithm of the factor that multiplies each probability (top of this module).

        Parameters
        ----------
        weights
            Weights of the residues, from `direction`.
        strength
            The factor λ, ``(batch, 1, 1)``.
        """
        exponent = strength * self.values[:, None]
        change = exponent * weights[..., None]
        if self.turn == 0:
            return change
        return change - exponent.abs() - torch.special.i0e(exponent).log()


class Steered:
    """Denoiser that steers: the expected sums of its predictions are the target sums.

    An extreme target may not be reached, because the exponents are limited to ±`STRONGEST`.

    Parameters
    ----------
    denoise
        The denoiser to steer.
    process
        The noise processes; they determine which residues are already drawn.
    given
        The start of sampling, with the mask and the fixed residues.
    targets
        The requested sums.
    """

    def __init__(
        self, denoise: Denoise, process: JointProcess, given: Given, targets: Sequence[Target]
    ):
        self.denoise, self.process, self.given, self.targets = denoise, process, given, targets

    def __call__(self, state: State, levels: Levels) -> Prediction:
        """Return the prediction of ``denoise`` with the logits changed."""
        prediction = self.denoise(state, levels)
        drawn = self.given.fixed | self.process.sequence.decided(state.sequence, levels.sequence)
        residues = self.process.sequence.decode(state.sequence)
        logits = prediction.logits
        known = functional.one_hot(residues, logits.shape[-1]).to(logits)

        def probabilities(logits: Tensor) -> Tensor:
            expected = torch.where(drawn[..., None], known, logits.softmax(-1))
            return expected * self.given.mask[..., None]

        for target in [*self.targets] * SWEEPS:
            weights = target.direction(probabilities(logits))
            high = STRONGEST / target.values.abs().amax(1).clamp(min=1e-6)[:, None, None]
            low = -high
            for _ in range(HALVINGS):
                middle = (low + high) / 2
                parts = target.parts(probabilities(logits + target.tilt(weights, middle)))
                above = ((parts * weights).sum(1) > target.total)[:, None, None]
                low, high = torch.where(above, low, middle), torch.where(above, middle, high)
            logits = logits + target.tilt(weights, (low + high) / 2)
        return prediction._replace(logits=logits)
