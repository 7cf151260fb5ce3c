"""What a metric is: its place in the tables, and a value or the reason why there is none."""

from dataclasses import dataclass

__all__ = ["Metric", "Unavailable", "Value"]


@dataclass(frozen=True)
class Metric:
    """One row of the evaluation's tables.

    Attributes
    ----------
    key
        Its name in ``metrics.json``.
    group
        The heading that it stands under.
    title
        What a person reads, with the unit.
    good
        What good designs score.
    """

    key: str
    group: str
    title: str
    good: str


@dataclass(frozen=True)
class Unavailable:
    """The place of a value that cannot be given, with the reason."""

    reason: str


Value = float | Unavailable
