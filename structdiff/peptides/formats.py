"""Read a peptide table of any format into columns of text, each row with its place in the file.

``read_table(path, data, key="data.path")`` takes CSV, TSV, FASTA and Parquet; nothing is cleaned
or judged here beyond what makes a row unreadable. Faults of the file as a whole (missing, empty,
not text, a column that is not there) raise `UserError` with the file and the nearest valid name.
"""

import csv
import difflib
import io
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from structdiff.system.errors import UserError

if TYPE_CHECKING:
    import pyarrow as pa

    from structdiff.config import Data

__all__ = ["Broken", "Table", "read_table"]

DELIMITED = {".csv": ",", ".tsv": "\t", ".tab": "\t", ".txt": "\t"}
FASTA = (".fasta", ".fa", ".faa", ".fas")
PARQUET = (".parquet", ".pq")

_LINE_END = re.compile(r"\r\n|\r|\n")


class Broken(NamedTuple):
    """A row that cannot be read, and why."""

    line: int
    id: str
    reason: str


@dataclass
class Table:
    """The needed columns of one file, as text.

    Attributes
    ----------
    path
        The file.
    unit
        What ``places`` counts: "line" of a text file, "row" of a Parquet file; both from 1.
    places
        Where each row starts (for FASTA, its header).
    ids
        Identifiers, or None where the configuration numbers the peptides itself.
    sequences
        As they stand in the file.
    fields
        The label column(s): name → values.
    broken
        Rows that could not be read; they are in none of the lists above.
    """

    path: Path
    unit: str
    places: list[int] = field(default_factory=list)
    ids: list[str] | None = None
    sequences: list[str] = field(default_factory=list)
    fields: dict[str, list[str]] = field(default_factory=dict)
    broken: list[Broken] = field(default_factory=list)

    def at(self, row: int) -> str:
        """Return ``file, line n`` of a row, for messages."""
        return f"{self.path}, {self.unit} {self.places[row]}"


def read_table(path: Path, data: "Data", key: str) -> Table:
    """Read the configured columns of a file; the suffix says which format it has.

    Parameters
    ----------
    path
        CSV, TSV, FASTA or Parquet.
    data
        The configured column names.
    key
        The configuration key that named the file, for messages.

    Raises
    ------
    UserError
        If the file is missing, empty, of an unknown format, damaged, or lacks a column.
    """
    suffix = path.suffix.lower()
    _check_exists(path, key)
    if suffix in DELIMITED:
        table = _read_delimited(path, data, DELIMITED[suffix])
    elif suffix in FASTA:
        table = _read_fasta(path, data)
    elif suffix in PARQUET:
        table = _read_parquet(path, data)
    else:
        known = ", ".join([*DELIMITED, *FASTA, *PARQUET])
        raise UserError(f"{path} ({key}): unknown kind of table '{suffix}'; one of {known} is read")
    if not table.places and not table.broken:
        raise UserError(f"{path} ({key}): holds no peptide, only a header; add rows to it")
    return table


def _check_exists(path: Path, key: str) -> None:
    """Raise `UserError` unless ``path`` is a file that holds something."""
    if path.is_dir():
        raise UserError(f"{path} ({key}): is a folder; name the table in it")
    if not path.exists():
        beside = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        near = difflib.get_close_matches(path.name, beside, n=1)
        hint = f"did you mean {path.parent / near[0]}?" if near else "check the path"
        raise UserError(f"{path} ({key}): no such file; {hint}")
    if path.stat().st_size == 0:
        raise UserError(f"{path} ({key}): the file is empty")


def _read_text(path: Path) -> str:
    """Return the text of a UTF-8 file, without a byte-order mark, line ends as they are."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"{path}, line {line}: byte 0x{error.object[error.start]:02x} is not UTF-8 text; "
            "save the table as UTF-8 (a spreadsheet must be exported as CSV)"
        ) from None
    if not text.strip():
        raise UserError(f"{path}: the file is empty")
    return text


def _label_columns(data: "Data") -> list[str]:
    """Return the names of the columns that labels are read from."""
    return [data.label_column] if data.label_column else list(data.label_columns)


def _locate(names: list[str], path: Path, data: "Data") -> list[int]:
    """Return the position of each needed column: id (if any), sequence, labels."""
    keys = [] if data.id_column is None else [("data.id_column", data.id_column)]
    keys.append(("data.sequence_column", data.sequence_column))
    if data.label_column:
        keys.append(("data.label_column", data.label_column))
    keys += [("data.label_columns", name) for name in data.label_columns]
    positions = []
    for key, name in keys:
        if names.count(name) > 1:
            raise UserError(f"{path}: column '{name}' ({key}) stands twice; rename one of them")
        if name not in names:
            raise UserError(f"{path}: no column '{name}' ({key}); {_nearest(name, names, key)}")
        positions.append(names.index(name))
    return positions


def _nearest(name: str, names: list[str], key: str) -> str:
    """Say which columns there are and which of them may be meant."""
    lower = {other.lower(): other for other in reversed(names)}
    near = difflib.get_close_matches(name.lower(), list(lower), n=1, cutoff=0.5)
    hint = f"did you mean '{lower[near[0]]}'? " if near else ""
    shown = ", ".join(f"'{other}'" for other in names[:20])
    more = f" and {len(names) - 20} more" if len(names) > 20 else ""
    last = "; null numbers the peptides by their sequences" if key == "data.id_column" else ""
    return f"{hint}The columns are {shown}{more}: set {key} to one of them{last}"


def _read_delimited(path: Path, data: "Data", delimiter: str) -> Table:
    """Read CSV or TSV; the delimiter is the one that shows the sequence column in the header."""
    text = _read_text(path)
    header = next(line for line in _LINE_END.split(text) if line.strip())
    for candidate in (delimiter, ",", "\t", ";"):
        names = [name.strip() for name in next(csv.reader([header], delimiter=candidate))]
        if data.sequence_column in names:
            delimiter = candidate
            break
    limit = csv.field_size_limit(sys.maxsize)
    try:
        return _read_records(path, data, _records(text, delimiter, path))
    finally:
        csv.field_size_limit(limit)


def _records(text: str, delimiter: str, path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield the line on which a record starts, and its fields; blank lines are passed over."""
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True
    )
    start = 1
    try:
        for record in reader:
            if record:
                yield start, record
            start = reader.line_num + 1
    except csv.Error as error:
        raise UserError(
            f"{path}, line {start}: {error}; check the quotation marks from there on"
        ) from None


def _read_records(path: Path, data: "Data", records: Iterator[tuple[int, list[str]]]) -> Table:
    """Take the needed columns of the records; one with too few or many fields is set aside."""
    _, header = next(records)
    names = [name.strip() for name in header]
    positions = _locate(names, path, data)
    table = Table(path, "line")
    width, rows = len(names), []
    for line, record in records:
        if len(record) == width:
            table.places.append(line)
            rows.append([record[position] for position in positions])
        elif len(record) > 1 or record[0].strip():
            name = record[positions[0]] if data.id_column and positions[0] < len(record) else ""
            reason = f"{len(record)} fields where the header has {width}"
            table.broken.append(Broken(line, name.strip()[:200], reason))
    columns = [list(column) for column in zip(*rows, strict=True)] or [[] for _ in positions]
    return _fill(table, data, columns)


def _fill(table: Table, data: "Data", columns: list[list[str]]) -> Table:
    """Put the columns, in the order id (if any), sequence, labels, into the table."""
    remaining = iter(columns)
    table.ids = None if data.id_column is None else next(remaining)
    table.sequences = next(remaining)
    table.fields = dict(zip(_label_columns(data), remaining, strict=True))
    return table


def _read_fasta(path: Path, data: "Data") -> Table:
    """Read FASTA: the first word of a header is the id, ``name=value`` words are columns."""
    text = _read_text(path)
    table = Table(path, "line", ids=[])
    table.fields = {name: [] for name in _label_columns(data)}
    patterns = {name: re.compile(rf"(?:^|\s){re.escape(name)}=(\S*)") for name in table.fields}
    parts: list[str] = []
    for line, content in enumerate(_LINE_END.split(text), start=1):
        if content.startswith(">"):
            if table.places:
                table.sequences.append("".join(parts))
            parts = []
            table.places.append(line)
            table.ids.append(content[1:].split(maxsplit=1)[0] if content[1:].strip() else "")
            for name, pattern in patterns.items():
                found = pattern.search(content[1:])
                table.fields[name].append(found[1] if found else "")
        elif table.places:
            parts.append(content)
        elif content.strip():
            raise UserError(f"{path}, line {line}: text before the first '>' header of a FASTA")
    if table.places:
        table.sequences.append("".join(parts))
    if data.id_column is None:
        table.ids = None
    return table


def _read_parquet(path: Path, data: "Data") -> Table:
    """Read Parquet; numbers, booleans and lists of names become text as in a CSV."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            names = file.schema_arrow.names
            positions = _locate(names, path, data)
            read = file.read(columns=list({names[position]: None for position in positions}))
        columns = [_as_text(read[names[p]], data.label_separator).to_pylist() for p in positions]
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{path}: cannot be read as Parquet: {reason}") from None
    return _fill(Table(path, "row", places=list(range(1, len(read) + 1))), data, columns)


def _as_text(column: "pa.ChunkedArray", separator: str) -> "pa.ChunkedArray":
    """Return a column as strings; null becomes ''."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
        column = pc.binary_join(pc.cast(column, pa.list_(pa.string())), separator)
    return pc.fill_null(pc.cast(column, pa.string()), "")
