"""Label queries: requests for designs, in one grammar for commands, configuration and Python.

A query such as ``antimicrobial + not hemolytic + ecoli_mic<8 + length 10..20`` has parts joined by
``+``. A part is a label, ``not`` before a label, or a property (or ``length``) with a bound
(``<8``), a value (``8``) or a range (``4..8``). The query ``none`` sets no condition.
``parse_query(text)`` reads a query.
"""

import math
import re
import unicodedata
from collections.abc import Collection
from dataclasses import dataclass, field, replace

from structdiff.protein.ends import FLAGS, Ends
from structdiff.system.errors import UserError

__all__ = ["FAR", "LENGTH", "Query", "outside", "parse_query"]

FAR = 2
"""Longest design, as a multiple of the longest training peptide."""

LENGTH = "length"
"""Word that stands for the number of residues in a query."""

_NUMBER = r"[-+]?(?:\d+(?:\.\d+)?|\.\d+)(?:[eE]-?\d+)?"
_COMPARISON = re.compile(rf"([A-Za-z]\w*)\s*(<=?|>=?)\s*({_NUMBER})")
_RANGE = re.compile(rf"([A-Za-z]\w*)\s+({_NUMBER})(?:\s*\.\.\s*(?!\.)({_NUMBER}))?")


@dataclass(frozen=True)
class Query:
    """A request for labels, properties and a length of designs.

    Attributes
    ----------
    labels
        Labels that the designs should have.
    unwanted
        Labels that the designs should not have.
    ranges
        Smallest and largest value of each property, both included (``<`` is read as ``<=``); ±∞
        where the query sets no bound.
    length
        Smallest and largest number of residues, both included; ±∞ where the query sets no bound;
        None if the query has no length.
    positions
        Position in the text of the query, from 1, at which the part of each label, of each property
        and of ``length`` begins, by name.
    """

    labels: list[str] = field(default_factory=list)
    unwanted: list[str] = field(default_factory=list)
    ranges: dict[str, tuple[float, float]] = field(default_factory=dict)
    length: tuple[float, float] | None = None
    positions: dict[str, int] = field(default_factory=dict)

    @property
    def ends(self) -> Ends:
        """The ends that the labels ``acetylated`` and ``amidated`` ask for."""
        return Ends(*(flag in self.labels for flag in FLAGS))


def parse_query(text: str, labels: Collection[str] = ()) -> Query:
    """Read a label query.

    Parameters
    ----------
    text
        The query.
    labels
        Known labels. A part that is one of these is always read as that label.

    Raises
    ------
    UserError
        If a part is empty or cannot be read, a name is asked for twice, the first number of a range
        is the larger one, or a length is not whole.
    """
    text = unicodedata.normalize("NFC", text)
    query = Query()
    if text.strip() == "none":
        return query
    start = 0
    for part in text.split("+"):
        position = start + 1 + len(part) - len(part.lstrip())
        start += len(part) + 1
        name = _read_part(part.strip(), text, position, query, labels)
        if name in query.positions:
            raise UserError(
                f"'{text}', position {position}: '{name}' is asked for twice"
                + (f"; a range is written {name} 4..7" if name in query.ranges else "")
            )
        query.positions[name] = position
    length = query.ranges.pop(LENGTH, None)
    if not all(value.is_integer() for value in length or () if math.isfinite(value)):
        raise UserError(
            f"'{text}', position {query.positions[LENGTH]}: a length is a whole number, such "
            "as length 18, length 10..20 or length<=20"
        )
    return replace(query, length=length)


def _read_part(part: str, text: str, position: int, query: Query, labels: Collection[str]) -> str:
    """Add ``part`` to ``query``, and return the name of its label or property.

    ``text`` is the whole query, in which the part begins at ``position``; both are for messages.
    """
    where = f"'{text}', position {position}"
    if not part:
        raise UserError(
            f"{where}: nothing is asked for here; join labels and properties by '+', as in "
            "'antimicrobial + charge 4..7', or ask for 'none'"
        )
    if part in labels:
        query.labels.append(part)
        return part
    if part.startswith("not ") and (name := part.removeprefix("not ").strip()):
        query.unwanted.append(name)
        return name
    if found := _COMPARISON.fullmatch(part):
        name, operator, number = found[1], found[2], float(found[3])
        if name == LENGTH and operator in "<>":  # whole numbers: less than 20 is at most 19
            number += 1 if operator == ">" else -1
        query.ranges[name] = (-math.inf, number) if operator[0] == "<" else (number, math.inf)
        return name
    if found := _RANGE.fullmatch(part):
        name, low = found[1], float(found[2])
        high = low if found[3] is None else float(found[3])
        if low > high:
            raise UserError(f"{where}: {low:g} is more than {high:g}; write {high:g}..{low:g}")
        query.ranges[name] = (low, high)
        return name
    if set(part) & set("<>") or ".." in part:
        raise UserError(
            f"{where}: '{part}' cannot be read; write a comparison such as ecoli_mic<8, or a range "
            "such as charge 4..7"
        )
    query.labels.append(part)
    return part


def outside(name: str, bounds: tuple[float, float], seen: tuple[float, float]) -> str:
    """Return an error message if a bound is outside the range of the training peptides, else ''.

    Parameters
    ----------
    name
        The property.
    bounds
        Smallest and largest requested value; ±∞ where there is no bound.
    seen
        Smallest and largest value of the training peptides.
    """
    # A bound may be that of the message, which has four digits, or 0 where 2e-17 was seen.
    low, high = (
        edge + sign * (5e-4 * abs(edge) + 1e-9) for edge, sign in zip(seen, (-1, 1), strict=True)
    )
    beyond = [
        value
        for value, unbounded in zip(bounds, (-math.inf, math.inf), strict=True)
        if value != unbounded and not low <= value <= high
    ]
    if not beyond:
        return ""
    return (
        f"{name} {beyond[0]:g} is outside of what the model has seen: the training peptides have "
        f"{seen[0]:.4g} to {seen[1]:.4g}"
    )
