"""Settings of the sampler with their defaults.

The configuration (section ``generation``), the command line and Python all use these defaults.
"""

from dataclasses import dataclass
from math import inf
from numbers import Integral, Real

from structdiff.system.errors import UserError

__all__ = ["DEFAULT", "Sampling"]


@dataclass(frozen=True)
class Sampling:
    """Settings of the sampler; a number of the wrong type or out of range raises `UserError`.

    Attributes
    ----------
    num_steps
        Number of denoising steps, 1 or more.
    guidance_scale
        Strength of the guidance towards labels and properties, 0 or more. For a single label, 1
        means no guidance.
    temperature
        Number above 0 that divides the logits of the residues. Below 1, likely residues become
        likelier, and the designs become less diverse.
    seed
        Seed of all random numbers.
    sampler
        Name of a sampler in `structdiff.diffusion.SAMPLERS`.
    forbid
        Residues that must not occur in a design, such as ``C,M``.
    at_most
        Residues and their largest number in a design, such as ``W=1,K=5``.
    """

    num_steps: int = 32
    guidance_scale: float = 1.5
    temperature: float = 1.0
    seed: int = 0
    sampler: str = "ancestral"
    forbid: str = ""
    at_most: str = ""

    def __post_init__(self) -> None:
        for name, kind, is_usable, usable in (
            ("num_steps", Integral, lambda value: value >= 1, "a whole number from 1"),
            ("guidance_scale", Real, lambda value: 0 <= value < inf, "a finite number from 0"),
            ("temperature", Real, lambda value: 0 < value < inf, "a finite number above 0"),
            ("seed", Integral, lambda value: True, "a whole number"),
        ):
            value = getattr(self, name)
            if not (isinstance(value, kind) and is_usable(value)):
                raise UserError(f"{name} {value!r}: give {usable}")


DEFAULT = Sampling()
