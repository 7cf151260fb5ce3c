"""Labels of the peptides: from 0/1 columns, or from one column that lists their names.

``read_labels(tables, data, kept)`` gives the names and a bit for each peptide and label. Any names
will do, as long as later tables, file names and `generation.labels` can tell them apart.
"""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from structdiff.system.errors import UserError
from structdiff.system.naming import file_name

if TYPE_CHECKING:
    from structdiff.config import Data
    from structdiff.peptides.formats import Table

__all__ = ["FEWEST_EXAMPLES", "RESERVED", "read_labels"]

FEWEST_EXAMPLES = 20
"""Training peptides with, and without, a label, below which no classifier learns it."""

RESERVED = frozenset(
    (
        *("id", "sequence", "length", "label", "labels", "cluster", "split", "structure", "file"),
        *("none", "all", "unconditional"),
    )
)
"""Names that mean something else in the tables of this project or in `generation.labels`."""

MAX_LABELS = 256

_TRUTH = {"0": False, "0.0": False, "false": False, "1": True, "1.0": True, "true": True}


def read_labels(
    tables: "list[Table]", data: "Data", kept: pd.DataFrame
) -> tuple[list[str], np.ndarray]:
    """Return the names of the labels and which of them each kept row has.

    Parameters
    ----------
    tables
        What was read.
    data
        `label_columns` (0/1 in every row, also in the rejected ones) or `label_column`.
    kept
        Columns ``table`` and ``row``: the position of each kept row in ``tables``.

    Returns
    -------
    names
        In the order of `label_columns`, or sorted.
    bits
        ``(kept rows, labels)`` bool.

    Raises
    ------
    UserError
        If a value is neither 0 nor 1, no name is found, or a name cannot be used.
    """
    if data.label_column:
        names, bits = _listed(tables, data, kept)
    else:
        names = list(data.label_columns)
        bits = np.zeros((len(kept), len(names)), dtype=bool)
        for number, table in enumerate(tables):
            here = (kept["table"] == number).to_numpy()
            rows = kept["row"].to_numpy()[here]
            for column, name in enumerate(names):
                bits[here, column] = _truth(table, name)[rows]
    _check_names(names, "data.label_column" if data.label_column else "data.label_columns")
    return names, bits


def _truth(table: "Table", column: str) -> np.ndarray:
    """Return a 0/1 column as bool, ``(rows,)``."""
    codes, values = pd.factorize(np.array(table.fields[column], dtype=object))
    truth = [_TRUTH.get(value.strip().lower()) for value in values]
    if None in truth:
        wrong = np.array([bit is None for bit in truth])
        row = int(np.flatnonzero(wrong[codes])[0])
        raise UserError(
            f"{table.at(row)}: label column '{column}' holds {table.fields[column][row][:60]!r}; "
            "only 0 and 1 (or false and true) may stand there. If it lists names of labels, set "
            "data.label_column instead of data.label_columns"
        )
    return np.array(truth, dtype=bool)[codes]


def _listed(
    tables: "list[Table]", data: "Data", kept: pd.DataFrame
) -> tuple[list[str], np.ndarray]:
    """Return the sorted names that a column lists, and the bits of the kept rows."""
    column = data.label_column
    places = zip(kept["table"].tolist(), kept["row"].tolist(), strict=True)
    values = [tables[number].fields[column][row] for number, row in places]
    codes, distinct = pd.factorize(np.array(values, dtype=object))
    listed = [
        [name for part in value.split(data.label_separator) if (name := part.strip())]
        for value in distinct
    ]
    names = sorted({name for row in listed for name in row})
    where = ", ".join(str(table.path) for table in tables)
    if not names:
        raise UserError(
            f"{where}: no peptide has a label in '{column}'; set data.label_column to the column "
            "that lists them, or to null to train without labels"
        )
    if len(names) > MAX_LABELS:
        raise UserError(
            f"{where}: '{column}' lists {len(names)} different labels (such as {names[0][:60]!r}), "
            f"more than {MAX_LABELS}; check data.label_column, and data.label_separator "
            f"({data.label_separator!r})"
        )
    position = {name: number for number, name in enumerate(names)}
    bits = np.zeros((len(distinct), len(names)), dtype=bool)
    for row, row_names in enumerate(listed):
        bits[row, [position[name] for name in row_names]] = True
    return names, bits[codes]


def _check_names(names: list[str], key: str) -> None:
    """Refuse names that are reserved, cannot name a file, or give the same file name."""
    seen: dict[str, str] = {}
    for name in names:
        if name.lower() in RESERVED:
            raise UserError(
                f"{key}: '{name}' cannot be the name of a label, it is reserved; rename it "
                f"(reserved: {', '.join(sorted(RESERVED))})"
            )
        if not name.isprintable() or name.startswith((".", "-")) or set(name) & set('+/\\:*?"<>|'):
            raise UserError(
                f"{key}: '{name}' cannot be the name of a label, because it also names files: use "
                "letters, digits, spaces, '_' and '-' (is data.label_separator right?)"
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
