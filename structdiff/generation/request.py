"""Parse and check the requests of users: labels, templates, positions, bounds, lengths.

Requests are label queries (``antimicrobial + not hemolytic + charge 4..7``), templates
(``GIGK????FLHS``), positions to keep (``1-4,9``), bounds on residues (``C,M`` and ``W=1``) and
lengths (``18``, ``10-25``, or those of the model's training peptides). Every mistake raises
`UserError` with a message that says what is wrong and how to correct it.
"""

import difflib
import re
import zlib

import numpy as np
import torch

from structdiff.diffusion import Constraints, Target
from structdiff.model import Condition, ConditionSpec
from structdiff.peptides.query import FAR, LENGTH, Query, outside, parse_query
from structdiff.pretrained import TrainedModel
from structdiff.protein.descriptors import length_likelihood, residue_sum
from structdiff.protein.ends import Ends
from structdiff.protein.residues import AMINO_ACIDS
from structdiff.settings import Sampling
from structdiff.system.errors import UserError, counted, warn

__all__ = [
    "OPEN",
    "check_bounds",
    "check_labels_only",
    "check_length",
    "check_lengths",
    "check_sequence",
    "check_template",
    "condition",
    "draw_lengths",
    "draw_targets",
    "length_range",
    "mutation_range",
    "positions",
    "read_query",
    "residue_bounds",
    "steering",
    "training_lengths",
    "warn_unreachable",
]

ROUNDING = 1e-6
"""Tolerance of comparisons of sums over residues."""

OPEN = "?"
"""Letter of a template for a residue that is designed."""


def read_query(entry: str, conditions: ConditionSpec) -> Query:
    """Parse a label query, and check that the model can fulfil it; see `Query` for its parts.

    Raises
    ------
    UserError
        If the query is not text, cannot be read, names a label or a property that the model does
        not know, or asks for a property value outside the range of the training peptides.
    """
    if not isinstance(entry, str):
        raise UserError(f"label {entry!r}: give a text, such as 'antimicrobial + charge 4..7'")
    labels, properties = conditions.labels, {one.name: one for one in conditions.properties}
    query = parse_query(entry, labels)
    known = f"its labels: {', '.join(labels) or 'none'}"
    if properties:
        known += f"; its properties: {', '.join(properties)}"
    for name in query.labels + query.unwanted:
        if name not in labels:
            raise UserError(
                f"'{entry}', position {query.positions[name]}: asks for the label '{name}', which "
                f"this model was not trained with; {_hint(name, labels, [*properties, LENGTH])}"
                f"{known} (join several by '+', or use 'none')"
            )
    for name, bounds in query.ranges.items():
        where = f"'{entry}', position {query.positions[name]}"
        if name not in properties:
            raise UserError(
                f"{where}: asks for the property '{name}', which this model was not trained with; "
                f"{_near(name, [*properties, LENGTH])}{known}"
            )
        if reason := outside(name, bounds, properties[name].seen):
            raise UserError(f"{where}: {reason}")
    return query


def _hint(part: str, labels: list[str], numbers: list[str]) -> str:
    """Return advice on a part of a query that is not a known label, such as ``charge 4-7``.

    ``numbers`` are the names of the properties and of the length. The result is empty if there is
    no advice.
    """
    lower = {name.lower(): name for name in [*labels, *numbers]}
    first = re.split(r"\W", part.lower(), maxsplit=1)[0]
    if lower.get(first) in numbers:
        return f"write '{lower[first]} 8', '{lower[first]} 4..8' or '{lower[first]}<8'; "
    unwanted = "not " * part.lower().startswith("not ")  # such as NOT, which is not read
    return _near(part.lower().removeprefix(unwanted), [*labels, *numbers], unwanted)


def _near(name: str, known: list[str], prefix: str = "") -> str:
    """Return the question whether the most similar name of ``known`` is meant; '' if none is."""
    lower = {each.lower(): each for each in known}
    near = difflib.get_close_matches(name.lower(), lower, n=1)
    return f"did you mean '{prefix}{lower[near[0]]}'? " if near else ""


def check_labels_only(entry: str, conditions: ConditionSpec) -> None:
    """Raise `UserError` if a query asks for a property or a length, or `read_query` rejects it."""
    query = read_query(entry, conditions)
    if others := [*query.ranges, *([] if query.length is None else [LENGTH])]:
        raise UserError(
            f"'{entry}': a scan can be asked for labels only, not for {', '.join(others)}"
        )


def condition(entry: str, conditions: ConditionSpec) -> Condition:
    """Return the condition of one peptide with the wanted and unwanted labels of a query.

    The condition leaves out the properties and the length in the query. `UserError` is raised if
    `read_query` rejects the query.
    """
    query = read_query(entry, conditions)
    return Condition.request(query.labels, conditions, query.unwanted)


def draw_targets(
    entry: str, conditions: ConditionSpec, count: int, seed: int
) -> dict[str, np.ndarray]:
    """Draw the value of each property that a query asks for, for ``count`` designs.

    Within a range, the values have the distribution of the training peptides. The value of a design
    depends on the range, the seed, the property and the number of the design, not on ``count``.

    Returns
    -------
    dict[str, np.ndarray]
        Values by the name of the property, in its unit, ``(designs,)``.
    """
    query, targets = read_query(entry, conditions), {}
    for one in conditions.properties:
        if one.name in query.ranges:
            low, high = np.clip(query.ranges[one.name], *one.seen).tolist()
            key = np.array([seed & 0xFFFFFFFF, zlib.crc32(one.name.encode())], dtype=np.uint64)
            uniforms = np.random.Generator(np.random.Philox(key=key)).random(count)
            targets[one.name] = one.draw(low, high, uniforms)
    return targets


def steering(
    ends: Ends, asked: dict[str, np.ndarray], lengths: np.ndarray, device: torch.device
) -> list[Target]:
    """Return the steering targets: one for each requested property that is a sum over residues.

    ``ends`` are the ends that the label query asks for. ``asked`` has the requested values by the
    name of the property, in its unit, and ``lengths`` the residues of each peptide, both
    ``(batch,)``. ``device`` is the device of the model.
    """
    targets = []
    for name, values in asked.items():
        if (found := residue_sum(name, values, lengths, ends)) is not None:
            parts, total = (torch.from_numpy(each).float().to(device) for each in found[:2])
            targets.append(Target(parts, total, found[2]))
    return targets


def warn_unreachable(
    entry: str,
    ends: Ends,
    asked: dict[str, np.ndarray],
    lengths: np.ndarray,
    constraints: Constraints,
    fixed: str = "",
) -> None:
    """Print a warning for each requested property that no sequence of some designs can have.

    ``entry`` is the label query; ``ends``, ``asked`` and ``lengths`` are as in `steering`, for all
    designs. ``constraints`` are the bounds on the residues. ``fixed`` has the residues that every
    design has, as one-letter codes.
    """
    counts = np.array([fixed.count(letter) for letter in AMINO_ACIDS])
    free = lengths - len(fixed)
    limits = np.tile(free, (len(AMINO_ACIDS), 1)).T
    for residue, bound in constraints.at_most.items():
        limits[:, residue] = np.clip(bound - counts[residue], 0, free)
    for name, values in asked.items():
        found = residue_sum(name, values, lengths, ends)
        if found is None or found[2]:  # the largest sum of vectors depends on their order
            continue
        parts, total = found[0], found[1] - found[0] @ counts
        high, low = _largest_sum(parts, free, limits), -_largest_sum(-parts, free, limits)
        number = int(((total > high + ROUNDING) | (total < low - ROUNDING)).sum())
        if number:
            warn(
                f"'{entry}': {number:,} of {len(lengths):,} designs cannot "
                f"have the {name} that is asked for, with their length, fixed residues and bounds "
                "on residues; ask for another, or lift a bound"
            )


def _largest_sum(parts: np.ndarray, free: np.ndarray, limits: np.ndarray) -> np.ndarray:
    """Return the largest sum that each design's free residues can have, ``(designs,)``.

    ``free`` is the number of free residues of each design, ``(designs,)``. For each design and
    amino acid, ``parts`` has the term of one residue in the sum, and ``limits`` the largest number
    of free residues, both ``(designs, 20)``.
    """
    order = np.argsort(-parts, axis=1)
    parts = np.take_along_axis(parts, order, axis=1)
    limits = np.take_along_axis(limits, order, axis=1)
    before = limits.cumsum(1) - limits
    return (parts * np.clip(free[:, None] - before, 0, limits)).sum(1)


def check_sequence(sequence: str, extra: str = "") -> None:
    """Raise `UserError` if a sequence is not text, is empty, or has a letter that is not allowed.

    Allowed are the 20 standard residues and the letter ``extra``, if it is given.
    """
    if not isinstance(sequence, str):
        raise UserError(f"sequence {sequence!r}: give a text of one-letter codes")
    if not sequence:
        raise UserError("the sequence is empty")
    for position, letter in enumerate(sequence, start=1):
        if letter not in AMINO_ACIDS + extra:
            also = f", and '{extra}' for a residue to be designed" if extra else ""
            case = "; lower case means a D or modified residue" if letter.islower() else ""
            raise UserError(
                f"{sequence}: '{letter}' at position {position} is not one of the 20 standard "
                f"residues ({AMINO_ACIDS}{also}){case}"
            )


def check_template(template: str) -> None:
    """Raise `UserError` if a template has no ``?``, or letters other than residues and ``?``."""
    check_sequence(template, extra=OPEN)
    if OPEN not in template:
        raise UserError(f"the template {template} has no '{OPEN}' to fill")


def positions(text: str, length: int) -> np.ndarray:
    """Return which residues a text such as ``1-4,9`` selects, ``(length,)`` bool.

    The first residue has the number 1.

    Raises
    ------
    UserError
        If the text is not of that form, or a position is outside of the peptide.
    """
    chosen = np.zeros(length, dtype=bool)
    for part in text.split(","):
        found = re.fullmatch(r"\s*(\d+)\s*(?:-\s*(\d+)\s*)?", part)
        if found is None:
            raise UserError(f"positions '{text}': '{part}' is not a number or a range such as 1-4")
        first, last = int(found[1]), int(found[2] or found[1])
        if not 1 <= first <= last <= length:
            raise UserError(f"positions '{text}': {part.strip()} is not within 1-{length}")
        chosen[first - 1 : last] = True
    return chosen


def residue_bounds(sampling: Sampling) -> Constraints:
    """Return the constraints of the settings ``forbid`` and ``at_most``."""
    limits = sampling.residue_limits()
    return Constraints({AMINO_ACIDS.index(letter): limit for letter, limit in limits.items()})


def check_bounds(residues: str, constraints: Constraints) -> None:
    """Raise `UserError` if the fixed residues of a design (one-letter codes) exceed its bounds."""
    for residue, bound in constraints.at_most.items():
        letter = AMINO_ACIDS[residue]
        if (count := residues.count(letter)) > bound:
            raise UserError(
                f"the residues that stay have {count} {letter}, but a design may have "
                f"{bound or 'none'}: let them change, or take the bound away"
            )


def length_range(text: str) -> tuple[int, int]:
    """Read a length or a range of lengths, ``18`` or ``10-25``: return the shortest and longest.

    `UserError` is raised for any other text.
    """
    return _whole_range("length", text, "-", "18 or a range such as 10-25")


def mutation_range(text: str) -> tuple[int, int]:
    """Read a number of mutations or a range, ``2`` or ``1..4``: return the smallest and largest.

    `UserError` is raised for any other text.
    """
    return _whole_range("mutations", text, r"\.\.|-", "2 or a range such as 1..4")


def _whole_range(what: str, text: str, separator: str, examples: str) -> tuple[int, int]:
    """Read a range of whole numbers from 1: return its smallest and its largest number.

    A text with a single number gives this number twice. ``separator`` is a regular expression for
    the text between two numbers. `UserError` is raised for any other text; its message has the
    name ``what`` of the quantity, and ``examples`` of valid texts.
    """
    found = re.fullmatch(rf"\s*(\d+)\s*(?:(?:{separator})\s*(\d+)\s*)?", text)
    low, high = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
    if not 1 <= low <= high:
        raise UserError(f"{what} '{text}': give a number such as {examples}")
    return low, high


def training_lengths(model: TrainedModel, entry: str) -> np.ndarray:
    """Count the training peptides of each length that are known to fit the labels of a query.

    They must have every wanted label, and be known to lack every unwanted one.

    Returns
    -------
    np.ndarray
        Counts, indexed by length; empty if the model file records no such peptide.

    Raises
    ------
    UserError
        If `read_query` rejects the query.
    """
    query = read_query(entry, model.conditions)
    has = set(query.labels)
    may_have = {mark + name for name in query.unwanted for mark in ("", "?")}
    by_labels = [(set(names.split("+")), counts) for names, counts in model.lengths.items()]
    sets = [c for names, c in by_labels if has <= names and not may_have & names]
    total = np.zeros(max((len(counts) for counts in sets), default=0), dtype=np.int64)
    for counts in sets:
        total[: len(counts)] += counts
    return total


def draw_lengths(
    model: TrainedModel, entry: str, count: int, seed: int, bounds: tuple[int, int] | None
) -> np.ndarray:
    """Draw the lengths of ``count`` designs, ``(count,)``.

    The lengths have the distribution of the training peptides with the labels of the query, within
    ``bounds`` or the length range in the query. If no such peptide has a length in this range, the
    lengths are uniform in it, and a molecular weight in the query is ignored. Otherwise a molecular
    weight favours the lengths at which peptides usually have this weight.

    Parameters
    ----------
    model
        The trained model.
    entry
        The label query.
    count
        Number of designs.
    seed
        Seed of the random numbers, which also depend on the query.
    bounds
        Shortest and longest length; None for no bounds other than those in the query.

    Raises
    ------
    UserError
        If the query cannot be read or fulfilled (see `read_query`), or asks for lengths outside
        those of the training peptides; if ``bounds`` is not a range of lengths, or one of its ends
        is more than `FAR` times the length of the longest training peptide; if the query and
        ``bounds`` both restrict the lengths; or if neither does, and the model has no lengths of
        training peptides with the labels.
    """
    asked = _asked_lengths(model, entry)
    if asked is not None and bounds is not None:
        raise UserError(
            f"'{entry}' asks for lengths, and so does --length (generation.min_length and "
            "max_length): leave one of them out"
        )
    bounds = bounds or asked
    seen = training_lengths(model, entry)
    generator = np.random.default_rng([seed & 0xFFFFFFFF, zlib.crc32(entry.encode())])
    if bounds is not None:
        if not 1 <= bounds[0] <= bounds[1]:
            raise UserError(f"lengths {bounds[0]} to {bounds[1]}: give 1 or more, smallest first")
        for length in sorted(set(bounds)):
            check_length(model, length)
        allowed = np.zeros(max(len(seen), bounds[1] + 1), dtype=np.int64)
        allowed[: len(seen)] = seen
        allowed[: bounds[0]] = allowed[bounds[1] + 1 :] = 0
        seen = allowed
        if not seen.any():
            return generator.integers(*bounds, count, endpoint=True)
    if not seen.any():
        raise UserError(
            f"this model does not know the lengths of training peptides that have '{entry}'; say "
            "which to design, such as --length 10-25"
        )
    weights = draw_targets(entry, model.conditions, count, seed).get("molecular_weight")
    if weights is None:
        return generator.choice(len(seen), count, p=seen / seen.sum())
    shares = seen * (length_likelihood(weights, len(seen)) + 1e-12)
    cumulative = shares.cumsum(1)
    return (cumulative <= generator.random((count, 1)) * cumulative[:, -1:]).sum(1)


def _asked_lengths(model: TrainedModel, entry: str) -> tuple[int, int] | None:
    """Return the shortest and the longest length that a query asks for; None if it asks for none.

    Where the query has no bound, the length of the shortest or longest training peptide is used.

    Raises
    ------
    UserError
        If the query asks for lengths outside those of the training peptides, or the model does not
        know the lengths of its training peptides.
    """
    query = read_query(entry, model.conditions)
    if query.length is None:
        return None
    where = f"'{entry}', position {query.positions[LENGTH]}"
    seen = np.flatnonzero(training_lengths(model, "none"))
    if not len(seen):
        raise UserError(f"{where}: this model does not know the lengths of its training peptides")
    shortest, longest = int(seen[0]), int(seen[-1])
    if reason := outside(LENGTH, query.length, (shortest, longest)):
        raise UserError(f"{where}: {reason}")
    low, high = query.length
    return int(max(low, shortest)), int(min(high, longest))


def check_lengths(entry: str, query: Query, lengths: np.ndarray) -> None:
    """Raise `UserError` if a design's length is outside the length range of the query."""
    if query.length is None or not len(lengths):
        return
    low, high = query.length
    for length in (lengths.min(), lengths.max()):
        if not low <= length <= high:
            raise UserError(
                f"'{entry}', position {query.positions[LENGTH]}: asks for another length than the "
                f"{length} residues of the design; leave the length out, since it is given"
            )


def check_length(model: TrainedModel, length: int) -> None:
    """Print a warning if all training peptides are longer, or all are shorter, than a length.

    Raises
    ------
    UserError
        If the length is more than `FAR` times that of the longest training peptide.
    """
    seen = np.flatnonzero(training_lengths(model, "none"))
    if not len(seen) or seen[0] <= length <= seen[-1]:
        return
    message = f"the model was trained on {seen[0]} to {seen[-1]} residues"
    if length > FAR * seen[-1]:
        raise UserError(
            f"{length} residues are far beyond what the model has seen ({message}); design shorter "
            "ones, or train on longer ones"
        )
    warn(f"{counted(length, 'residue')}: {message}, and knows little of others")
