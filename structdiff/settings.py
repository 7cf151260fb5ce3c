"""Settings of the sampler with their defaults.

The configuration (section ``generation``), the command line and Python all use these defaults.
"""

import re
from dataclasses import dataclass
from math import inf
from numbers import Integral, Real

from structdiff.system.errors import UserError

__all__ = ["DEFAULT", "Sampling"]


@dataclass(frozen=True)
class Sampling:
    """Settings of the sampler; a value that cannot be used raises `UserError`.

    Attributes
    ----------
    num_steps
        Largest number of denoising steps, 1 or more. With masked diffusion, a peptide takes no more
        steps than it has residues, rounded up to a multiple of 8.
    guidance_scale
        Strength of the guidance towards labels and properties, 0 to 1,000,000. For a single label,
        1 means no guidance.
    temperature
        Number that divides the logits of the residues, 0.000001 to 1,000,000. Below 1, likely
        residues become likelier, and the designs become less diverse.
    seed
        Seed of all random numbers, 0 to 2³² − 1.
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
        for name, kind, low, high, usable in (
            ("num_steps", Integral, 1, inf, "a whole number from 1"),
            ("guidance_scale", Real, 0, 1e6, "a number from 0 to 1,000,000"),
            ("temperature", Real, 1e-6, 1e6, "a number from 0.000001 to 1,000,000"),
            ("seed", Integral, 0, 2**32 - 1, "a whole number from 0 to 2³² - 1"),
        ):
            value = getattr(self, name)
            is_number = isinstance(value, kind) and not isinstance(value, bool)
            if not (is_number and low <= value <= high):
                raise UserError(f"{name} {value!r}: give {usable}")
        for name, example in (("forbid", "C,M"), ("at_most", "W=1"), ("sampler", "ancestral")):
            if not isinstance(getattr(self, name), str):
                raise UserError(f"{name} {getattr(self, name)!r}: give a text such as '{example}'")
        self.residue_limits()

    def residue_limits(self) -> dict[str, int]:
        """Return the largest number of each residue that `forbid` and `at_most` limit.

        The keys are one-letter codes.

        Raises
        ------
        UserError
            If `at_most` cannot be read, a letter is not a standard residue, a residue has two
            different limits, or all 20 residues have a limit.
        """
        forbid, at_most = self.forbid, self.at_most
        if not (forbid or at_most):
            return {}
        from structdiff.protein.residues import AMINO_ACIDS  # imports numpy

        parts = [(letter, "0") for letter in forbid.replace(",", "").replace(" ", "")]
        for part in filter(None, at_most.replace(" ", "").split(",")):
            found = re.fullmatch(r"(\w)=(\d+)", part)
            if found is None:
                raise UserError(
                    f"at most '{at_most}': '{part}' is not a residue and a number, as W=1"
                )
            parts.append((found[1], found[2]))
        limits: dict[str, int] = {}
        for letter, limit in parts:
            if letter not in AMINO_ACIDS:
                raise UserError(
                    f"'{letter}' is to be forbidden or bounded, but is not one of the 20 standard "
                    f"residues ({AMINO_ACIDS})"
                )
            if limits.setdefault(letter, int(limit)) != int(limit):
                raise UserError(f"{letter} has two bounds (forbid '{forbid}', at most '{at_most}')")
        if len(limits) == len(AMINO_ACIDS):
            raise UserError("all 20 residues are forbidden or bounded; leave one without a bound")
        return limits


DEFAULT = Sampling()
