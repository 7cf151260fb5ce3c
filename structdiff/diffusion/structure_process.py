"""The noise process on the backbone: Gaussian diffusion of its internal coordinates.

A residue's structure is nine numbers: sine and cosine of φ, ψ and ω, and the deviations of its
three bond angles from their means in units of their spread. Torsions cannot tell left from right
by a rotation or a reflection of the frame, so nothing has to be augmented, and every sample is a
chain of L-residues with ideal bond lengths.
"""

import math

import torch
from torch import Tensor

from structdiff.diffusion.noise import to_normal
from structdiff.protein.geometry import ANGLES, internal_coordinates, overlap, rebuild

__all__ = ["TorsionProcess"]

WIDTH = 9

_ANGLE_SPREAD = math.radians(3.0)
_GRADIENT_DAMPING = 0.05

_APART = 3.2
"""Å between Cα, below which `TorsionProcess.relieve` moves them: somewhat more than a clash."""
_RELIEF_STEP, _RELIEF_STEPS = 0.05, 200


class TorsionProcess:
    """Variance-preserving diffusion of the nine features, on the cosine schedule.

    The network is asked for the clean features.
    """

    width = WIDTH

    def encode(self, backbone: Tensor, mask: Tensor) -> Tensor:
        """Return the features ``(batch, length, 9)`` of backbones ``(batch, length, 4, 3)``."""
        torsions, angles = internal_coordinates(backbone, mask)
        mean = torch.tensor(ANGLES, dtype=angles.dtype, device=angles.device)
        return torch.cat([torsions.sin(), torsions.cos(), (angles - mean) / _ANGLE_SPREAD], dim=-1)

    def decode(self, features: Tensor) -> Tensor:
        """Return the backbone ``(batch, length, 4, 3)`` of features, in Å, float32.

        A sine and a cosine need not be of unit length. The gradient towards them is damped where
        they are both near zero, where the angle itself means little.
        """
        features = features.float()
        sine, cosine, deviation = features.split(3, dim=-1)
        s, c = sine.detach(), cosine.detach()
        # The second term is zero: it carries the gradient of atan2, damped.
        turn = (c * sine - s * cosine) / (s * s + c * c + _GRADIENT_DAMPING)
        torsions = torch.atan2(s, c) + turn
        mean = torch.tensor(ANGLES, dtype=features.dtype, device=features.device)
        return rebuild(torsions, mean + _ANGLE_SPREAD * deviation.clamp(-6, 6))

    def relieve(self, features: Tensor, mask: Tensor) -> Tensor:
        """Return features whose backbones do not clash, as near to the given ones as it takes.

        A chain with Cα closer than `_APART` goes down the gradient of
        `structdiff.protein.geometry.overlap` in steps of equal length until it has none, or for
        `_RELIEF_STEPS`; the others stay as they are.

        Parameters
        ----------
        features
            ``(batch, length, 9)``.
        mask
            True at residues, ``(batch, length)``.
        """
        close = self._closeness(features, mask) > 0
        moved, inside = features[close], mask[close]
        for _ in range(_RELIEF_STEPS if len(moved) else 0):
            with torch.enable_grad():
                moving = moved.detach().requires_grad_()
                closeness = self._closeness(moving, inside).sum()
                (slope,) = torch.autograd.grad(closeness, moving)
            if not closeness:
                break
            size = slope.square().sum((1, 2), keepdim=True).sqrt()
            moved = moved - _RELIEF_STEP * slope / size.clamp(min=1e-6)
        return features.masked_scatter(close[:, None, None], moved)

    def _closeness(self, features: Tensor, mask: Tensor) -> Tensor:
        """Return by how much the Cα of each chain come closer than `_APART`, ``(batch,)`` in Å."""
        return overlap(self.decode(features)[..., 1, :], mask, _APART).sum(1)

    def prior(self, draws: Tensor) -> Tensor:
        """Return pure noise from uniform numbers ``(batch, length, 9)``."""
        return to_normal(draws)

    def corrupt(self, clean: Tensor, level: Tensor, draws: Tensor) -> Tensor:
        """Return clean features at noise levels ``(batch,)``."""
        turn = (0.5 * math.pi * level)[:, None, None]
        return turn.cos() * clean + turn.sin() * self.prior(draws)

    def step(self, noisy: Tensor, clean: Tensor, level: float, following: float) -> Tensor:
        """Return the features at the following level (DDIM; Song et al., 2021)."""
        turn, next_turn = 0.5 * math.pi * level, 0.5 * math.pi * following
        noise = (noisy - math.cos(turn) * clean) / math.sin(turn)
        return math.cos(next_turn) * clean + math.sin(next_turn) * noise
