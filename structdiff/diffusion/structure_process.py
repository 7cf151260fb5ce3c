"""Noise processes on the backbone: Gaussian diffusion of its internal coordinates.

A residue's structure is nine numbers: sine and cosine of φ, ψ and ω, and the deviations of its
three bond angles from their means, in units of 3°. Torsions do not depend on the position and
orientation of a peptide, so that no augmentation is needed. Every sample is a chain of L-residues
with ideal bond lengths.

The network reads only the torsions, and predicts all nine numbers. In structures that a network
predicted, the bond angles depend on the amino acid rather than on the fold. A model that reads them
learns to infer the residues from the angles, and fails on backbones of any other origin.

A new process is a class with the interface `StructureProcess`, registered in
`STRUCTURE_PROCESSES`.
"""

import math
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from structdiff.diffusion.random_numbers import to_normal
from structdiff.diffusion.schedule import alpha_sigma
from structdiff.protein.geometry import ANGLES, internal_coordinates, rebuild

__all__ = ["STRUCTURE_PROCESSES", "StructureProcess", "TorsionProcess"]

_ANGLE_SPREAD = math.radians(3.0)
_GRADIENT_DAMPING = 0.05


class StructureProcess(Protocol):
    """Interface of a noise process on the backbone."""

    width: ClassVar[int]
    """Number of features of a residue."""
    inputs: ClassVar[int]
    """Number of features that the network reads: the first ones. The network predicts all."""

    def encode(self, backbone: Tensor, mask: Tensor) -> Tensor:
        """Return the features ``(batch, length, width)`` of backbones.

        ``backbone`` has N, Cα, C, O in Å, ``(batch, length, 4, 3)``; ``mask`` ``(batch, length)``
        is true at residues. Differentiable.
        """

    def decode(self, features: Tensor) -> Tensor:
        """Return the backbones that features describe, ``(batch, length, 4, 3)`` in Å.

        Differentiable.
        """

    def prior(self, uniforms: Tensor) -> Tensor:
        """Return the features of pure noise, ``(batch, length, width)``.

        ``uniforms`` are random numbers in (0, 1), ``(batch, length, 12)``.
        """

    def corrupt(self, clean: Tensor, t: Tensor, uniforms: Tensor) -> Tensor:
        """Add noise to clean features: return the noisy features, ``(batch, length, width)``.

        ``clean`` has the same shape. ``t`` ``(batch,)`` is the noise level of each peptide, and
        ``uniforms`` are as in `prior`.
        """

    def step(self, noisy: Tensor, clean: Tensor, t: float, t_next: float) -> Tensor:
        """Take a step from level ``t`` to the lower level ``t_next``; return the new features.

        ``noisy`` are the features at level ``t``, and ``clean`` the predicted clean features. Both
        and the result are ``(batch, length, width)``.
        """


class TorsionProcess:
    """Gaussian diffusion of the nine internal coordinates of each residue.

    The features are the sines of φ, ψ and ω, their cosines, and the deviations of the three bond
    angles. The network predicts the clean features.
    """

    width: ClassVar[int] = 9
    inputs: ClassVar[int] = 6

    def encode(self, backbone: Tensor, mask: Tensor) -> Tensor:
        torsions, angles = internal_coordinates(backbone, mask)
        deviation = (angles - _mean_angles(angles)) / _ANGLE_SPREAD
        return torch.cat([torsions.sin(), torsions.cos(), deviation], dim=-1)

    def decode(self, features: Tensor) -> Tensor:
        """Return the backbones that features describe, ``(batch, length, 4, 3)`` in Å, float32.

        The sine and cosine of a torsion need not have unit length. Near (0, 0) the torsion is
        undefined, so its gradient with respect to the sine and cosine is damped.
        """
        features = features.float()
        sine, cosine, deviation = features.split(3, dim=-1)
        s, c = sine.detach(), cosine.detach()
        # `gradient` is zero. Only its derivative is used: the derivative of atan2, damped.
        gradient = (c * sine - s * cosine) / (s * s + c * c + _GRADIENT_DAMPING)
        torsions = torch.atan2(s, c) + gradient
        angles = _mean_angles(features) + _ANGLE_SPREAD * deviation.clamp(-6, 6)
        return rebuild(torsions, angles)

    def prior(self, uniforms: Tensor) -> Tensor:
        return to_normal(uniforms[..., : self.width])

    def corrupt(self, clean: Tensor, t: Tensor, uniforms: Tensor) -> Tensor:
        alpha, sigma = alpha_sigma(t[:, None, None])
        return alpha * clean + sigma * self.prior(uniforms)

    def step(self, noisy: Tensor, clean: Tensor, t: float, t_next: float) -> Tensor:
        """Take a deterministic step to the level ``t_next`` (DDIM; Song et al., 2021)."""
        (alpha, sigma), (alpha_next, sigma_next) = alpha_sigma(t), alpha_sigma(t_next)
        noise = (noisy - alpha * clean) / sigma
        return alpha_next * clean + sigma_next * noise


def _mean_angles(like: Tensor) -> Tensor:
    """Return the mean bond angles in radians, ``(3,)``, with the type and device of ``like``.

    The tensor is created on the device, because a copy from the CPU would wait for the device.
    """
    return torch.stack([like.new_full((), angle) for angle in ANGLES])


STRUCTURE_PROCESSES: dict[str, type[StructureProcess]] = {"torsion": TorsionProcess}
"""Registry of the structure processes, by name."""
