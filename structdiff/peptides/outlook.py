"""Warnings after the split: labels and lengths that cannot be learned or designed.

``label_warnings(frame, labels)`` checks each label by its training peptides;
``design_warnings(frame, labels, settings, properties)`` checks each set of designs that the section
``generation`` of the configuration asks for. The stage that splits the peptides prints the warnings
of both functions, before hours of training.
"""

import difflib
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from structdiff.peptides.labels import FEWEST_EXAMPLES, has_label, lacks_label
from structdiff.peptides.query import FAR, LENGTH, Query, outside, parse_query
from structdiff.system.errors import UserError

if TYPE_CHECKING:
    from structdiff.config import Generation

__all__ = ["design_warnings", "label_warnings"]


def label_warnings(frame: pd.DataFrame, labels: list[str]) -> pd.DataFrame:
    """Return the warnings about labels: columns ``label`` and ``warning``.

    Parameters
    ----------
    frame
        The split peptides: ``split`` and one bool column per label, NA where unknown.
    labels
        Names of the label columns.
    """
    training = frame[frame["split"] == "train"]
    rows = []
    for label in labels:
        present, absent = (int(f(training, label).sum()) for f in (has_label, lacks_label))
        if not has_label(frame, label).any():
            warning = "no peptide has it, so nothing can be learnt of it"
        elif not present:
            warning = (
                "no training peptide has it (all that do are held out), so nothing can be "
                "learnt of it; add peptides, or set another split.seed"
            )
        elif present < FEWEST_EXAMPLES:
            warning = (
                f"only {present} training peptides have it: too few for a classifier of the "
                f"label (it needs {FEWEST_EXAMPLES}), and the designs will hardly follow it"
            )
        elif absent < FEWEST_EXAMPLES:
            warning = (
                f"{absent or 'no'} training peptides are known not to have it: too few for a "
                f"classifier of the label (it needs {FEWEST_EXAMPLES}) and for guidance away "
                "from its absence"
                + ("" if absent else "; guidance leads away from peptides of unknown label")
            )
        else:
            continue
        rows.append((label, warning))
    return pd.DataFrame(rows, columns=["label", "warning"])


def design_warnings(
    frame: pd.DataFrame, labels: list[str], settings: "Generation", properties: Iterable[str]
) -> list[str]:
    """Return warnings about the sets of designs that the configuration asks for.

    Parameters
    ----------
    frame
        The split peptides.
    labels, properties
        Names of their labels and properties.
    settings
        The configuration's section ``generation``.

    Raises
    ------
    UserError
        If none of the sets can be designed, or a query cannot be read.
    """
    training = frame[frame["split"] == "train"]
    lengths = training["sequence"].str.len().to_numpy()
    bits = {label: has_label(training, label) for label in labels}
    bits |= {f"not {label}": lacks_label(training, label) for label in labels}
    known = {name: training[name].dropna() for name in properties}
    seen = {name: (float(values.min()), float(values.max())) for name, values in known.items()}
    entries = settings.labels or labels or ["none"]
    impossible, warnings = {}, []
    for entry in entries:
        try:
            query = parse_query(entry, labels)
        except UserError as error:
            raise UserError(f"generation.labels: {error}") from None
        reason = _impossible(query, bits, seen, lengths, settings)
        if reason:
            impossible[entry] = reason
        elif not _having(query, bits, lengths).any():
            warnings.append(f"'{entry}': no training peptide has all of these labels together")
    lines = [f"'{entry}' cannot be designed: {reason}" for entry, reason in impossible.items()]
    if len(lines) == len(entries):
        raise UserError("generation: nothing could be designed\n" + "\n".join(lines))
    longest, shortest = int(lengths.max()), int(lengths.min())
    low, high = settings.min_length or shortest, settings.max_length or longest
    if low < shortest or high > longest:
        warnings.append(
            f"generation asks for {low} to {high} residues, but the training peptides have "
            f"{shortest} to {longest}: the model will know little of others"
        )
    return lines + warnings


def _asked(query: Query) -> list[str]:
    """Return a query's conditions on labels: ``<label>`` if wanted, ``not <label>`` if unwanted."""
    return query.labels + [f"not {label}" for label in query.unwanted]


def _having(query: Query, bits: dict[str, np.ndarray], lengths: np.ndarray) -> np.ndarray:
    """Return which training peptides are known to fit a query's labels, ``(peptides,)`` bool.

    ``bits`` and ``lengths`` are described in `_impossible`.
    """
    having = np.ones(len(lengths), dtype=bool)
    for name in _asked(query):
        having &= bits[name]
    return having


def _impossible(
    query: Query,
    bits: dict[str, np.ndarray],
    seen: dict[str, tuple[float, float]],
    lengths: np.ndarray,
    settings: "Generation",
) -> str:
    """Return why no peptides can be designed for a query; '' if they can.

    ``bits`` says which training peptides have each label (key ``<label>``) and which lack it (key
    ``not <label>``), ``(peptides,)`` bool. ``seen`` has the smallest and the largest training value
    of each property, and ``lengths`` the lengths of the training peptides, ``(peptides,)``.
    """
    for name in query.labels + query.unwanted:
        if name not in bits:
            labels = [label for label in bits if not label.startswith("not ")]
            near = difflib.get_close_matches(name, labels, n=1, cutoff=0.5)
            hint = f"did you mean '{near[0]}'?" if near else f"labels: {', '.join(labels[:20])}"
            return f"the table has no label '{name}' (generation.labels); {hint}"
    for name in _asked(query):
        if not bits[name].any():
            label = name.removeprefix("not ")
            is_known = "has the label" if name == label else "is known not to have the label"
            return f"no training peptide {is_known} '{label}'"
    for name, bounds in query.ranges.items():
        if name not in seen:
            known = ", ".join(seen) or "none"
            return f"the table has no property '{name}' (generation.labels); properties: {known}"
        if reason := outside(name, bounds, seen[name]):
            return reason
    asked = query.length
    if asked and (reason := outside(LENGTH, asked, (lengths.min(), lengths.max()))):
        return reason
    if asked and (settings.min_length or settings.max_length):
        return "it asks for lengths, and so do generation.min_length and max_length: leave one out"
    low, high = settings.min_length or 0, settings.max_length or 0
    if max(low, high) > FAR * lengths.max():
        return (
            f"generation.min_length or max_length is more than {FAR} × the longest training "
            f"peptide ({lengths.max()} residues)"
        )
    within = lengths[_having(query, bits, lengths)]
    within = within[(within >= low) & (within <= (high or np.inf))]
    if not (settings.min_length and settings.max_length) and not len(within):
        return (
            "no training peptide has these labels with a length within generation.min_length and "
            "max_length; set both to design lengths that no training peptide has"
        )
    return ""
