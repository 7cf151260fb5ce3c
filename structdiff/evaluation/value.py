"""A value of an evaluation: a number, or the reason why there is none."""

from dataclasses import dataclass

__all__ = ["Unavailable", "Value"]


@dataclass(frozen=True)
class Unavailable:
    """A value that cannot be given, with the reason."""

    reason: str


Value = float | Unavailable
