"""Labels of the peptides: from columns of 1, 0 or blank, or from one column that lists names.

``read_labels(tables, data, kept)`` returns the names of the labels, and the state of each label in
each kept row: 1 present, 0 absent, -1 unknown. A name is rejected if it is reserved, cannot be part
of a file name, or would name the same file as another label.

In a table of peptides, a label is a column of booleans, with `pandas.NA` where it is unknown.
``has_label`` and ``lacks_label`` read the column; both are false where the label is unknown.
"""

import re
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from structdiff.peptides import SPLITS
from structdiff.system.errors import UserError
from structdiff.system.naming import file_name

if TYPE_CHECKING:
    from structdiff.config import Data
    from structdiff.peptides.formats import Table

__all__ = [
    "FEWEST_EXAMPLES",
    "RESERVED",
    "all_wrong",
    "count_labels",
    "has_label",
    "is_blank",
    "label_column",
    "label_states",
    "lacks_label",
    "read_labels",
    "unlisted_is_unknown",
]

FEWEST_EXAMPLES = 20
"""A classifier of a label needs this many training peptides with it, and as many without it."""

RESERVED = frozenset(
    (
        *("id", "sequence", "length", "label", "labels", "cluster", "split", "structure", "file"),
        *("none", "all", "unconditional"),
    )
)
"""Names that have another meaning in the tables of this project or in `generation.labels`."""

MAX_LABELS = 256

MOST_TEXTS = 10
"""Largest number of distinct wrong cells that an error message shows."""

UNKNOWN, ABSENT, PRESENT = -1, 0, 1
"""States of a label."""

_STATES = {"0": ABSENT, "0.0": ABSENT, "false": ABSENT, "1": PRESENT, "1.0": PRESENT}
_STATES |= {"true": PRESENT}
EMPTY = frozenset(("", "na", "n/a", "nan", "null"))
"""Cells in lower case that hold nothing in a column of any kind."""
_BLANK = EMPTY | {"?", "unknown"}
_BLANK |= {f"not {word}" for word in ("available", "determined", "known", "tested")}
_SEPARATORS = ",;|#"
_NOT = re.compile(r"^not\s+", re.IGNORECASE)
"""Prefix of a name in a list of labels: the peptide lacks the label (see `_listed`)."""


def is_blank(cell: str) -> bool:
    """Return whether a cell of a table means that a value is unknown."""
    return cell.strip().lower() in _BLANK


def all_wrong(table: "Table", column: str, rows: np.ndarray) -> str:
    """Return a line for an error message about wrong cells: their number, and distinct texts.

    ``rows`` are the rows of the table whose cells of ``column`` are wrong. The line is empty if
    there is only one such row.
    """
    texts = dict.fromkeys(repr(table.fields[column][row][:20]) for row in rows)
    more = " and others" if len(texts) > MOST_TEXTS else ""
    shown = ", ".join(islice(texts, MOST_TEXTS)) + more
    return f"\n{len(rows):,} rows have such cells: {shown}" if len(rows) > 1 else ""


def label_column(states: np.ndarray) -> pd.Series:
    """Return states ``(peptides,)`` as a column of a table: booleans, NA where unknown."""
    present = pd.Series(states == PRESENT)
    unknown = states == UNKNOWN
    return present.astype("boolean").mask(unknown) if unknown.any() else present


def has_label(frame: pd.DataFrame, label: str) -> np.ndarray:
    """Return which peptides of a table are known to have a label, ``(peptides,)`` bool."""
    return frame[label].eq(True).fillna(False).to_numpy(dtype=bool)


def lacks_label(frame: pd.DataFrame, label: str) -> np.ndarray:
    """Return which peptides of a table are known not to have a label, ``(peptides,)`` bool."""
    return frame[label].eq(False).fillna(False).to_numpy(dtype=bool)


def label_states(frame: pd.DataFrame, labels: list[str]) -> np.ndarray:
    """Return the states of labels, ``(peptides, labels)``.

    The array is bool if all states are known; otherwise int8: 1 present, 0 absent, -1 unknown.
    """
    if not frame[labels].isna().any(axis=None):
        return frame[labels].to_numpy(dtype=bool)
    states = np.full((len(frame), len(labels)), UNKNOWN, dtype=np.int8)
    for column, label in enumerate(labels):
        states[has_label(frame, label), column] = PRESENT
        states[lacks_label(frame, label), column] = ABSENT
    return states


def count_labels(frame: pd.DataFrame, labels: list[str]) -> pd.DataFrame:
    """Count, for each label and split, the peptides that have, lack or may have the label.

    The columns are ``label``, ``split`` ("all", "train", "val" or "test"), and the counts
    ``present``, ``absent`` and ``unknown``.
    """
    rows = []
    splits = {"all": np.ones(len(frame), dtype=bool)}
    splits |= {name: (frame["split"] == name).to_numpy() for name in SPLITS}
    for label in labels:
        has, lacks = has_label(frame, label), lacks_label(frame, label)
        for name, inside in splits.items():
            counts = [int((inside & which).sum()) for which in (has, lacks, ~(has | lacks))]
            rows.append([label, name, *counts])
    return pd.DataFrame(rows, columns=["label", "split", "present", "absent", "unknown"])


def read_labels(
    tables: "list[Table]", data: "Data", kept: pd.DataFrame
) -> tuple[list[str], np.ndarray]:
    """Return the names of the labels and their state in each kept row.

    Parameters
    ----------
    tables
        The tables that were read.
    data
        The configuration: `label_columns` (columns of 1, 0 or blank) or `label_column` (a column
        that lists names of labels); and `unlisted_is`, which says whether a 0, or a label that is
        not listed, means absent or unknown. In `label_columns`, the cells of rejected rows are
        checked too.
    kept
        For each kept row, ``table``, its table's position in ``tables``, and ``row``, its position
        in that table.

    Returns
    -------
    names
        Names of the labels, in the order of `label_columns`, or sorted if `label_column` is set.
    states
        ``(kept rows, labels)`` int8: 1 present, 0 absent, -1 unknown.

    Raises
    ------
    UserError
        If a value is not 0, 1, false, true or blank, if there are no names or too many, if a name
        cannot be used, or if `unlisted_is` has a name that is not a label.
    """
    if data.label_column:
        names, states = _listed(tables, data, kept)
    else:
        names = list(data.label_columns)
        states = np.full((len(kept), len(names)), UNKNOWN, dtype=np.int8)
        for number, table in enumerate(tables):
            here = (kept["table"] == number).to_numpy()
            rows = kept["row"].to_numpy()[here]
            for column, name in enumerate(names):
                states[here, column] = _read_states(table, name, data)[rows]
    _check_names(names, data)
    if isinstance(data.unlisted_is, dict):
        for name in data.unlisted_is:
            if name not in names:
                raise UserError(
                    f"data.unlisted_is: there is no label '{name}'; labels: {', '.join(names[:20])}"
                )
    return names, states


def unlisted_is_unknown(data: "Data", label: str) -> bool:
    """Return whether a 0, or not being listed, means that a label is unknown instead of absent."""
    meaning = data.unlisted_is
    return (meaning if isinstance(meaning, str) else meaning.get(label, "absent")) == "unknown"


def _read_states(table: "Table", label: str, data: "Data") -> np.ndarray:
    """Return the state of a label of `label_columns` in all rows, ``(rows,)`` int8."""
    codes, values = pd.factorize(np.array(table.fields[label], dtype=object))
    states = [
        UNKNOWN if is_blank(value) else _STATES.get(value.strip().lower()) for value in values
    ]
    if None in states:
        wrong = np.array([state is None for state in states])
        rows = np.flatnonzero(wrong[codes])
        raise UserError(
            f"{table.at(rows[0])}: label column '{data.label_sources[label]}' holds "
            f"{table.fields[label][rows[0]][:60]!r}; only 0 and 1 (or false and true) may stand "
            "there, or nothing where it is not known. If it lists names of labels, set "
            f"data.label_column instead of data.label_columns{all_wrong(table, label, rows)}"
        )
    read = np.array(states, dtype=np.int8)
    zero = UNKNOWN if unlisted_is_unknown(data, label) else ABSENT
    return np.where(read == ABSENT, zero, read)[codes].astype(np.int8)


def _listed(
    tables: "list[Table]", data: "Data", kept: pd.DataFrame
) -> tuple[list[str], np.ndarray]:
    """Return the labels that `label_column` lists, sorted, and their state in each kept row.

    The states are ``(kept rows, labels)`` int8, as `read_labels` returns them.

    The prefix ``not ``, in lower or upper case, marks an absent label. If `unlisted_is` is
    "absent", the prefix has no meaning and is part of the name.
    """
    column = data.label_column
    places = list(zip(kept["table"].tolist(), kept["row"].tolist(), strict=True))
    values = [tables[number].fields[column][row] for number, row in places]
    codes, distinct = pd.factorize(np.array(values, dtype=object))
    listed = [
        [name for part in value.split(data.label_separator) if (name := part.strip())]
        for value in distinct
    ]
    every = {name for row in listed for name in row}
    if data.unlisted_is != "absent":  # only then do absent and unlisted labels differ
        names = sorted({_NOT.sub("", name) for name in every})
    else:
        names = sorted(every)
    where = ", ".join(str(table.path) for table in tables)
    lower = {name.lower(): name for name in every}
    if twice := [n for n in names if _NOT.match(n) and _NOT.sub("", n).lower() in lower]:
        wanted = lower[_NOT.sub("", twice[0]).lower()]
        raise UserError(
            f"{where}: '{column}' lists both '{wanted}' and '{twice[0]}'; set "
            "data.unlisted_is to unknown, so that 'not' means that the label is absent, or rename "
            "one of them"
        )

    def place(value: int) -> str:
        """Return ``file, line n`` of the first cell that has the text ``distinct[value]``."""
        number, row = places[int(np.flatnonzero(codes == value)[0])]
        return tables[number].at(row)

    if not names:
        raise UserError(
            f"{where}: no peptide has a label in '{column}'; set data.label_column to the column "
            "that lists them, or to null to train without labels"
        )
    if all(name.lower() in _STATES for name in names):
        raise UserError(
            f"{where}: '{column}' lists no names of labels, but {' and '.join(names)}; set "
            "data.label_columns to this column instead of data.label_column"
        )
    if len(names) > MAX_LABELS:
        raise UserError(
            f"{where}: '{column}' lists {len(names)} different labels (such as {names[0][:60]!r}), "
            f"more than {MAX_LABELS}; check data.label_column, and data.label_separator "
            f"({data.label_separator!r})"
        )
    for name in sorted(every):
        if reason := _no_name(name, data.label_separator):
            value = next(number for number, parts in enumerate(listed) if name in parts)
            raise UserError(f"{place(value)}: '{column}' holds {name[:60]!r}; {reason}")
    position = {name: number for number, name in enumerate(names)}
    unlisted = [UNKNOWN if unlisted_is_unknown(data, name) else ABSENT for name in names]
    states = np.tile(np.array(unlisted, dtype=np.int8), (len(distinct), 1))
    for value, row_names in enumerate(listed):
        absent = {_NOT.sub("", n) for n in row_names if n not in position}
        if both := sorted(absent & set(row_names)):
            raise UserError(
                f"{place(value)}: '{column}' lists both '{both[0]}' and 'not {both[0]}'; "
                "remove one of them"
            )
        states[value, [position[name] for name in row_names if name in position]] = PRESENT
        states[value, [position[name] for name in absent]] = ABSENT
    return names, states[codes]


def _no_name(text: str, separator: str) -> str:
    """Return why a name in a list of labels cannot be a label; '' if it can."""
    if is_blank(text) or is_blank(_NOT.sub("", text)):
        return "where a peptide has no label, leave the cell empty"
    others = [sign for sign in _SEPARATORS if sign in text]
    if others:
        return (
            f"if '{others[0]}' stands between labels, set data.label_separator to '{others[0]}' "
            f"(it is {separator!r}); if not, write the name without it"
        )
    return ""


def _check_names(names: list[str], data: "Data") -> None:
    """Raise `UserError` for names that are reserved, invalid or would name the same files."""
    key = "data.label_column" if data.label_column else "data.label_columns"
    seen: dict[str, str] = {}
    for name in names:
        if name.lower() in RESERVED:
            raise UserError(
                f"{key}: '{name}' cannot be the name of a label, it is reserved; rename it "
                f"(reserved: {', '.join(sorted(RESERVED))})"
            )
        if not name.isprintable() or name.startswith((".", "-")) or set(name) & set('+/\\:*?"<>|'):
            remedy = f', as in {{new_name: "{data.label_sources.get(name)}"}}'
            if data.label_column:
                remedy = ", in the table too (is data.label_separator right?)"
            raise UserError(
                f"{key}: '{name}' cannot be the name of a label, because it also names files: use "
                f"letters, digits, spaces, '_' and '-'{remedy}"
            )
        same_file = file_name(name).lower()
        if same_file in seen:
            other = seen[same_file]
            if other.lower() == name.lower():
                why = "differ in nothing but case; write them the same way, and list a column once"
            else:
                why = "would name the same files; rename one"
            raise UserError(f"{key}: labels '{other}' and '{name}' {why}")
        seen[same_file] = name
