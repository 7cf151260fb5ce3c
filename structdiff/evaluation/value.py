"""A value of an evaluation: a number, or the reason why there is none."""

from dataclasses import dataclass

__all__ = ["Unavailable", "Value"]


@dataclass(frozen=True)
class Unavailable:
    """A value that could not be computed, with the reason as text."""

    reason: str


Value = float | Unavailable
