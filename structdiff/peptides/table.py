"""The table of peptides: reject unusable rows, merge duplicates, store the unique peptides.

``sort_rows(tables, data)`` divides the rows that `structdiff.peptides.formats.read_table` read into
usable rows and rejected rows with reasons; `structdiff.peptides.sequences` has the reasons about
lengths and residues. ``clean(tables, rows, data)`` returns the unique peptides of the usable rows,
with their labels and properties. ``write_peptides`` and ``read_peptides`` write and read
``peptides.parquet``: the unique peptides with their split, which every later stage reads.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as pa

from structdiff.peptides.formats import Table
from structdiff.peptides.labels import (
    ABSENT,
    PRESENT,
    UNKNOWN,
    label_column,
    read_labels,
    unlisted_is_unknown,
)
from structdiff.peptides.properties import add_properties
from structdiff.peptides.seen import hashes
from structdiff.peptides.sequences import check_alphabet, standardiser
from structdiff.protein.ends import FLAGS
from structdiff.system.errors import UserError, counted
from structdiff.system.parquet import DamagedError, read_sealed, write_sealed

if TYPE_CHECKING:
    from structdiff.config import Data

__all__ = [
    "Cleaned",
    "Peptides",
    "Rows",
    "clean",
    "read_peptides",
    "reasons",
    "sort_rows",
    "write_peptides",
]

MAX_ID_LENGTH = 200

MOST_REASONS = 5
"""Largest number of kinds of reasons for rejection that have a line of their own."""

_LABELS_KEY = b"structdiff.labels"
_PROPERTIES_KEY = b"structdiff.properties"


@dataclass(frozen=True)
class Peptides:
    """Content of ``peptides.parquet``: the unique peptides with labels and split.

    Attributes
    ----------
    frame
        Columns ``id`` and ``sequence`` (both unique), one bool column per label (NA where it is
        unknown), ``cluster`` and ``split`` ("train", "val" or "test"); ``acetylated`` and
        ``amidated`` if any peptide has a modified end.
    labels
        Names of the label columns, in order.
    properties
        Unit and scale of each property by name; ``frame`` has a float32 column for each property.
    """

    frame: pd.DataFrame
    labels: list[str]
    properties: dict[str, tuple[str, str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Rows:
    """All rows of the input, usable or rejected.

    Attributes
    ----------
    kept
        Usable rows in file order; rows that are merged into an earlier row are included. Columns:
        ``table`` (position of the table in the input), ``row`` (position in that table), ``line``,
        ``id``, ``sequence``, ``file``, ``acetylated``, ``amidated``.
    code
        Number of each row's sequence, ``(rows of kept,)``. The sequences are numbered from 0 in
        order of appearance.
    first
        Position in ``kept`` of the first row of each sequence, ``(peptides,)``.
    merged
        Usable rows whose sequence is also in an earlier row; the peptide of that row receives their
        labels. Columns: ``line``, ``id``, ``merged_into`` (id of the earlier row), ``file``.
    rejected
        Rows that cannot be used. Columns: ``line``, ``id``, ``reason``, ``file``, ``unit`` (of
        ``line``, as in `Table`).
    stops
        Number of usable rows whose sequence ended in a stop sign, which was removed.
    lower
        Number of usable rows whose sequence is in lower case, if other sequences are not; else 0.
    """

    kept: pd.DataFrame
    code: np.ndarray
    first: np.ndarray
    merged: pd.DataFrame
    rejected: pd.DataFrame
    stops: int
    lower: int

    @property
    def count(self) -> int:
        """Number of rows that were read."""
        return len(self.kept) + len(self.rejected)


@dataclass(frozen=True)
class Cleaned:
    """The unique peptides of the input, before the split.

    Attributes
    ----------
    frame
        Table of the peptides in file order: ``id``, ``sequence``, one bool column per label (NA
        where unknown), and the ends and properties as in `Peptides`. A sequence that is listed both
        with and without a modified end counts as modified.
    labels
        Names of the label columns.
    table
        Index of the input table (of `clean`) that each peptide comes from, ``(peptides,)``.
    contradictions
        Table with ``label`` and ``warning``, for labels that a peptide has in one row and lacks in
        another.
    properties
        Unit and scale of each property by name.
    """

    frame: pd.DataFrame
    labels: list[str]
    table: np.ndarray
    contradictions: pd.DataFrame
    properties: dict[str, tuple[str, str]]


def sort_rows(tables: list[Table], data: "Data") -> Rows:
    """Sort the rows into usable, merged and rejected, by the standard form of the sequence.

    Rows with the same sequence become one peptide, named by the first row. This function does not
    fail, so that the numbers of rows can be printed before a later check fails.

    Parameters
    ----------
    tables
        One table, or the tables of a predefined split.
    data
        Settings of lengths and residues (`min_length`, `nonstandard` and others).
    """
    rows = _standard_rows(tables, data)
    refused = rows["reason"] != ""
    rejected, kept = rows[refused], rows[~refused].reset_index(drop=True)
    code, _ = pd.factorize(kept["sequence"])
    repeated = kept["sequence"].duplicated().to_numpy()
    first = np.flatnonzero(~repeated)  # factorize numbers the sequences in order of appearance
    if tables[0].ids is None:
        made = hashes(kept["sequence"].iloc[first], "id")
        kept["id"] = np.array([f"p{value:016x}" for value in made.tolist()], dtype=object)[code]
    merged = kept[repeated].copy()
    merged["merged_into"] = kept["id"].to_numpy()[first[code[repeated]]]
    return Rows(
        kept=kept[["table", "row", "line", "id", "sequence", "file", *FLAGS]],
        code=code,
        first=first,
        merged=merged[["line", "id", "merged_into", "file"]].reset_index(drop=True),
        rejected=rejected[["line", "id", "reason", "file", "unit"]].reset_index(drop=True),
        stops=int(kept["stop"].sum()),
        lower=0 if kept["lower"].all() else int(kept["lower"].sum()),
    )


def clean(tables: list[Table], rows: Rows, data: "Data") -> Cleaned:
    """Return the unique peptides of the usable rows, each with the labels of all its rows.

    A peptide has a label if any of its rows has the label. It lacks the label if one of its rows
    lacks the label and none has it. Otherwise the label is unknown.

    Parameters
    ----------
    tables
        The input tables. The tables of a predefined split must not share a sequence.
    rows
        The rows of ``tables``, from `sort_rows`.
    data
        Settings of the columns of labels and properties.

    Raises
    ------
    UserError
        If there is no usable row, most sequences seem to be DNA, an id has two sequences, or a
        sequence is in two tables; also for the reasons of `structdiff.peptides.labels.read_labels`
        and `structdiff.peptides.properties.add_properties`.
    """
    kept, code, first = rows.kept, rows.code, rows.first
    files = ", ".join(str(table.path) for table in tables)
    if kept.empty:
        lines = "".join(f"\n  {line}" for line in reasons(rows.rejected))
        raise UserError(f"{files}: none of the {len(rows.rejected)} peptides can be used:{lines}")
    check_alphabet(kept["sequence"].iloc[first].tolist(), files)
    labels, states = read_labels(tables, data, kept)
    _check_one_table(tables, kept, first[code])
    _check_ids(tables, kept, code)
    united = np.full((len(first), len(labels)), UNKNOWN, dtype=np.int8)
    np.maximum.at(united, code, states)
    frame = kept.iloc[first][["id", "sequence"]].reset_index(drop=True)
    columns = [label_column(united[:, number]).rename(name) for number, name in enumerate(labels)]
    frame = pd.concat([frame, *columns], axis=1).copy()  # one block of memory for all labels
    for flag in FLAGS:
        if kept[flag].any() and flag not in labels:
            frame[flag] = kept[flag].astype(bool).groupby(code).any().to_numpy()
    properties = add_properties(frame, tables, data, kept, code)
    explicit = [not data.label_column or unlisted_is_unknown(data, name) for name in labels]
    contradictions = _contradictions(tables, rows, labels, np.where(explicit, states, united[code]))
    return Cleaned(frame, labels, kept["table"].to_numpy()[first], contradictions, properties)


def _contradictions(
    tables: list[Table], rows: Rows, labels: list[str], states: np.ndarray
) -> pd.DataFrame:
    """Return warnings about labels that some peptides have in one row and lack in another.

    ``states`` are the states of the labels in each usable row, ``(rows, labels)``. The result is
    `Cleaned.contradictions`.
    """
    warnings = []
    for number, label in enumerate(labels):
        has, lacks = states[:, number] == PRESENT, states[:, number] == ABSENT
        both = np.intersect1d(rows.code[has], rows.code[lacks])
        if len(both):
            here = rows.code == both[0]
            places = [_place(tables, rows.kept, int((here & w).argmax())) for w in (has, lacks)]
            warnings.append(
                (
                    label,
                    f"{len(both):,} peptides have it in one row and lack it in another, such as "
                    f"{places[0]} and {places[1]}; they count as having it: correct the wrong "
                    "rows, or leave the label empty there",
                )
            )
    return pd.DataFrame(warnings, columns=["label", "warning"])


def reasons(rejected: pd.DataFrame) -> list[str]:
    """Return a line for each kind of reason, the most frequent first: its count and an example.

    Reasons that differ only in numbers or in the modified residues are of one kind. If there are
    more than `MOST_REASONS` kinds, a last line counts the rows of the rarer kinds.
    """
    kind = rejected["reason"].str.replace(r"\d+|(?<=modified residues: ).*", "#", regex=True)
    groups = sorted(rejected.groupby(kind), key=lambda item: -len(item[1]))
    lines = [
        f"{len(group)} × such as {one.unit} {one.line}: {one.reason}"
        for _, group in groups[:MOST_REASONS]
        for one in group.iloc[:1].itertuples()
    ]
    if others := groups[MOST_REASONS:]:
        lines.append(f"{sum(len(group) for _, group in others)} × other reasons")
    return lines


def _standard_rows(tables: list[Table], data: "Data") -> pd.DataFrame:
    """Return every row of the tables, usable or not, in file order.

    The table has the columns of `Rows.kept`, ``reason`` (empty if the row is usable), ``stop``
    (whether the sequence ended in a stop sign), ``lower`` (whether it is in lower case) and
    ``unit``.
    """
    standardise = standardiser(data)
    frames = []
    for number, table in enumerate(tables):
        judged = [standardise(raw) for raw in table.sequences]
        judged = [(text, table.refused.get(row, why)) for row, (text, why) in enumerate(judged)]
        ids = [("", "")] * len(judged) if table.ids is None else [_check_id(x) for x in table.ids]
        frame = pd.DataFrame(
            {
                "row": np.arange(len(judged)),
                "line": np.array(table.places, dtype=np.int64),
                "id": [name for name, _ in ids],
                "sequence": [sequence for sequence, _ in judged],
                "reason": [a or b for (_, a), (_, b) in zip(judged, ids, strict=True)],
                "stop": [raw.rstrip().endswith("*") for raw in table.sequences],
                "lower": [raw.islower() for raw in table.sequences],
                **{flag: [getattr(ends, flag) for ends in table.ends] for flag in FLAGS},
            }
        )
        broken = pd.DataFrame(table.broken, columns=["line", "id", "reason"])
        broken = broken.assign(
            row=-1, sequence="", **dict.fromkeys(("stop", "lower", *FLAGS), False)
        )
        frame = pd.concat([frame, broken]) if len(broken) else frame
        source = {"table": number, "file": str(table.path), "unit": table.unit}
        frames.append(frame.sort_values("line").assign(**source))
    return pd.concat(frames, ignore_index=True)


def _check_id(raw: str) -> tuple[str, str]:
    """Return an id without outer white space, and why it cannot be used ('' if it can)."""
    name = raw.strip()
    if not name:
        return "", "the id is empty (data.id_column: null numbers the peptides)"
    if len(name) > MAX_ID_LENGTH:
        fault = f"the id has {len(name)} characters, more than {MAX_ID_LENGTH}"
        return name[:MAX_ID_LENGTH], fault
    if not name.isprintable():
        return " ".join(name.split()), "the id holds a character that cannot be printed"
    return name, ""


def _check_one_table(tables: list[Table], kept: pd.DataFrame, first: np.ndarray) -> None:
    """Raise `UserError` if a sequence is in two tables.

    ``first`` has, for each row of ``kept``, the position of the first row with the same sequence.
    """
    number = kept["table"].to_numpy()
    shared = np.flatnonzero(number != number[first])
    if len(shared):
        raise UserError(
            f"the predefined splits overlap in {counted(len(shared), 'row')}; remove each of "
            "these sequences from one of the two tables:\n" + _pairs(tables, kept, first, shared)
        )


def _check_ids(tables: list[Table], kept: pd.DataFrame, code: np.ndarray) -> None:
    """Raise `UserError` if an id has two sequences.

    ``code`` has the number of the sequence of each row of ``kept``, ``(rows,)``.
    """
    id_code, _ = pd.factorize(kept["id"])
    first = np.flatnonzero(~kept["id"].duplicated().to_numpy())[id_code]
    clashes = np.flatnonzero(code != code[first])
    if len(clashes):
        raise UserError(
            "one id, several sequences (ids name structures and files, so each must be unique; "
            "set data.id_column to null to number the peptides by their sequences):\n"
            + _pairs(tables, kept, first, clashes)
        )


def _pairs(tables: list[Table], kept: pd.DataFrame, first: np.ndarray, rows: np.ndarray) -> str:
    """Return lines for an error message: the places of each row and of the row it conflicts with.

    ``rows`` are rows of ``kept``; ``first[row]`` is the earlier row that conflicts with ``row``.
    There is a line for each of the first five rows; a last line counts the others.
    """
    lines = [
        f"  {_place(tables, kept, first[row])} and {_place(tables, kept, row)}"
        for row in rows[:5].tolist()
    ]
    return "\n".join([*lines, *([f"  and {len(rows) - 5} more"] if len(rows) > 5 else [])])


def _place(tables: list[Table], kept: pd.DataFrame, row: int) -> str:
    """Return the place of a kept row: ``file, line n (id x)``, in a Parquet file ``row n``."""
    one = kept.iloc[row]
    return tables[one["table"]].at(one["row"]) + (f" (id {one['id']})" if one["id"] else "")


def write_peptides(peptides: Peptides, path: Path) -> None:
    """Write peptides as ``peptides.parquet``, with the labels and properties as metadata."""
    properties = {}
    if peptides.properties:
        properties = {_PROPERTIES_KEY: json.dumps(peptides.properties).encode()}
    schema = pa.schema(
        [("id", pa.string()), ("sequence", pa.string())]
        + [(label, pa.bool_()) for label in peptides.labels]
        + [(f, pa.bool_()) for f in FLAGS if f in peptides.frame and f not in peptides.labels]
        + [(name, pa.float32()) for name in peptides.properties]
        + [("cluster", pa.string()), ("split", pa.string())],
        metadata={_LABELS_KEY: json.dumps(peptides.labels).encode()} | properties,
    )
    columns = {name: pa.array(peptides.frame[name]) for name in schema.names}
    table = pa.table([columns[name].cast(schema.field(name).type) for name in schema.names], schema)
    write_sealed(table, path, compression="zstd")


def read_peptides(path: Path) -> Peptides:
    """Read the peptides from ``peptides.parquet``.

    Raises
    ------
    UserError
        If the file is missing, damaged, or was not written by `write_peptides`.
    """
    remedy = "give the peptides.parquet that `structdiff split` wrote"
    try:
        table = read_sealed(path)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; {remedy}") from None
    except (DamagedError, OSError) as error:
        raise UserError(
            f"{path}: cannot be read ({error}); {remedy}. If this is the file, remove it and run "
            "`structdiff split` or the workflow again"
        ) from None
    metadata = table.schema.metadata or {}
    if _LABELS_KEY not in metadata:
        raise UserError(f"{path}: is Parquet, but not a table of split peptides; {remedy}")
    labels = json.loads(metadata[_LABELS_KEY])
    frame = table.to_pandas()
    holes = [label for label in labels if table[label].null_count]
    properties = json.loads(metadata.get(_PROPERTIES_KEY, b"{}"))
    frame = frame.astype(dict.fromkeys(holes, "boolean")).copy()  # one block for all labels
    return Peptides(frame, labels, properties)
