"""Noise processes on the backbone: Gaussian diffusion of its internal coordinates.

A residue's structure is nine numbers: sine and cosine of φ, ψ and ω, and the deviations of its
three bond angles from their means, in units of 3°. Torsions do not depend on the position and
orientation of a peptide, so that no augmentation is needed. Every sample is a chain of L-residues
with ideal bond lengths.

The network reads the torsions only and predicts all nine. In structures that a network predicted,
the bond angles depend on the residue rather than on the fold: a model that reads them recovers
residues from the angles, and fails on backbones of any other origin.

A new process is a class of the kind `StructureProcess`, registered in `STRUCTURE_PROCESSES`.
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
    """Number of features, from the first one on, that the network reads; it predicts all."""

    def encode(self, backbone: Tensor, mask: Tensor) -> Tensor:
        """Return the features ``(batch, length, width)`` of backbones ``(batch, length, 4, 3)``."""

    def decode(self, features: Tensor) -> Tensor:
        """Return the backbone ``(batch, length, 4, 3)`` of features in Å; differentiable."""

    def prior(self, uniforms: Tensor) -> Tensor:
        """Return pure noise from uniform numbers ``(batch, length, 12)``."""

    def corrupt(self, clean: Tensor, t: Tensor, uniforms: Tensor) -> Tensor:
        """Add noise: return the features at noise levels ``t`` ``(batch,)`` from clean ones."""

    def step(self, noisy: Tensor, clean: Tensor, t: float, t_next: float) -> Tensor:
        """Return the features at the lower level ``t_next``, from the estimated clean ones."""


class TorsionProcess:
    """Gaussian diffusion of a residue's nine features; the network predicts the clean ones."""

    width: ClassVar[int] = 9
    inputs: ClassVar[int] = 6

    def encode(self, backbone: Tensor, mask: Tensor) -> Tensor:
        torsions, angles = internal_coordinates(backbone, mask)
        deviation = (angles - _mean_angles(angles)) / _ANGLE_SPREAD
        return torch.cat([torsions.sin(), torsions.cos(), deviation], dim=-1)

    def decode(self, features: Tensor) -> Tensor:
        """Return the backbones that features describe, ``(batch, length, 4, 3)`` in Å, float32.

        The sine and cosine of a torsion need not have unit length. Near (0, 0) the torsion is
        undefined, so its gradient with respect to them is damped.
        """
        features = features.float()
        sine, cosine, deviation = features.split(3, dim=-1)
        s, c = sine.detach(), cosine.detach()
        # The second term is zero: it carries the gradient of atan2, damped.
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
        """Return the features at the level ``t_next`` (DDIM; Song et al., 2021)."""
        (alpha, sigma), (alpha_next, sigma_next) = alpha_sigma(t), alpha_sigma(t_next)
        noise = (noisy - alpha * clean) / sigma
        return alpha_next * clean + sigma_next * noise


def _mean_angles(like: Tensor) -> Tensor:
    """Return the mean bond angles, ``(3,)``, with the type and on the device of ``like``.

    They are made on the device, because a copy from the CPU would wait for the device.
    """
    return torch.stack([like.new_full((), angle) for angle in ANGLES])


STRUCTURE_PROCESSES: dict[str, type[StructureProcess]] = {"torsion": TorsionProcess}
"""Registry of the structure processes, by name."""
