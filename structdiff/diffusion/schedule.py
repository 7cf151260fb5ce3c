"""The cosine schedule of both noise processes, and the noise levels of a sampling step.

Level 0 is clean, level 1 is pure noise (Nichol & Dhariwal, 2021).
"""

import math
from typing import NamedTuple, overload

from torch import Tensor

__all__ = ["Levels", "alpha_sigma", "structure_level"]


class Levels(NamedTuple):
    """Noise levels of the sequence and of the backbone, each in 0–1."""

    sequence: float
    structure: float


@overload
def alpha_sigma(t: Tensor) -> tuple[Tensor, Tensor]: ...
@overload
def alpha_sigma(t: float) -> tuple[float, float]: ...
def alpha_sigma(t):
    """Return the factors α = cos(πt/2) of the clean features and σ = sin(πt/2) of the noise."""
    theta = 0.5 * math.pi * t
    if isinstance(theta, Tensor):
        return theta.cos(), theta.sin()
    return math.cos(theta), math.sin(theta)


def structure_level(t: float) -> float:
    """Return the backbone's noise level when the sequence is at level ``t``.

    The backbone is denoised only after half of the residues are drawn: few training peptides have a
    structure, and a backbone that is drawn earlier would restrict the sequence to such peptides.
    """
    return min(1.0, 2 * t)
