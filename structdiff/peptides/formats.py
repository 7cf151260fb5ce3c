"""Read peptide tables (CSV, TSV, FASTA, Parquet) into columns of text, with line numbers.

``read_table(path, data, key="data.path")`` returns a `Table`, which also lists the rows that cannot
be read or whose ends cannot be represented; `structdiff.peptides.table` makes all other checks. A
file that cannot be used at all (missing, empty, not text, without a needed column) raises
`UserError`; the message names the file and, for a missing file or column, the most similar name.
"""

import codecs
import csv
import difflib
import io
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from structdiff.protein.ends import FLAGS, Ends, end_columns, read_ends, split_ends
from structdiff.protein.residues import AMINO_ACIDS
from structdiff.system.errors import UserError, counted
from structdiff.system.files import another_content

if TYPE_CHECKING:
    import pyarrow as pa

    from structdiff.config import Data

__all__ = ["DELIMITED", "FASTA", "Broken", "Table", "read_columns", "read_fasta", "read_table"]

DELIMITED = {".csv": ",", ".tsv": "\t", ".tab": "\t", ".txt": "\t"}
FASTA = (".fasta", ".fa", ".faa", ".fas", ".fsa", ".pep")
PARQUET = (".parquet", ".pq")
SPREADSHEETS = (".xlsx", ".xls", ".xlsm", ".ods", ".numbers")
COMPRESSED = (".gz", ".bz2", ".xz", ".zst", ".zip")

MAX_CELL_LINES = 200
"""Most lines of a quoted cell of a CSV; a quotation mark before a longer cell is plain text."""

FEW_RECORDS = 20
"""Number of records that are examined to see if the header lacks the first column's name."""

_LINE_END = re.compile(r"\r\n|\r|\n")
_PIR = re.compile(r">(?:P1|F1|D[1LC]|R[1LC]|N[13]|XX);")
_QUOTED = re.compile(r'"(?:[^"]|"")*"')


class Broken(NamedTuple):
    """A row that cannot be read: its line, its id (empty if unknown) and the reason."""

    line: int
    id: str
    reason: str


@dataclass
class Table:
    """The configured columns of one file, as text.

    Attributes
    ----------
    path
        The file.
    unit
        Unit of ``places``: "line" of a text file, "row" of a Parquet file; both from 1.
    places
        Line or row at which each peptide starts (in FASTA, its header).
    ids
        Identifiers; None if ``data.id_column`` is null.
    sequences
        Sequences as in the file, without the marks of their ends, such as ``Ac-``.
    ends
        The ends of each peptide.
    refused
        Why a peptide cannot be represented (another modification of an end, a cycle, D residues),
        by the index of the peptide in ``sequences``.
    fields
        Cells of each label and each property, one for each peptide, by the name of the label or
        property. If `data.label_column` is set, there is one entry for this column, by its name,
        instead of the entries for labels.
    broken
        Rows that could not be read; they are not in the lists above.
    """

    path: Path
    unit: str
    places: list[int] = field(default_factory=list)
    ids: list[str] | None = None
    sequences: list[str] = field(default_factory=list)
    ends: list[Ends] = field(default_factory=list)
    refused: dict[int, str] = field(default_factory=dict)
    fields: dict[str, list[str]] = field(default_factory=dict)
    broken: list[Broken] = field(default_factory=list)

    def at(self, row: int) -> str:
        """Return ``file, line n`` of a row (``row n`` of a Parquet file), for messages."""
        return f"{self.path}, {self.unit} {self.places[row]}"


def read_table(path: Path, data: "Data", key: str) -> Table:
    """Read the configured columns of a table of peptides.

    The suffix determines the format, but a CSV or TSV that starts with ``>`` is read as FASTA.

    Parameters
    ----------
    path
        CSV, TSV, FASTA or Parquet.
    data
        The configured column names.
    key
        Configuration key that the path comes from, or name of the command, for messages.

    Raises
    ------
    UserError
        If the file is missing, empty, of an unknown format or damaged, or lacks a needed column.
    """
    suffix = path.suffix.lower()
    _check_exists(path, key)
    if suffix in DELIMITED or suffix in FASTA:
        text = _read_text(path)
        if suffix in FASTA or text.lstrip().startswith(">"):
            table = _read_fasta(path, text, data)
        else:
            table = _read_delimited(path, text, data, key, DELIMITED[suffix])
    elif suffix in PARQUET:
        table = _read_parquet(path, data, key)
    else:
        known = ", ".join([*DELIMITED, *FASTA, *PARQUET])
        remedy = "; export the sheet as CSV" if suffix in SPREADSHEETS else ""
        remedy = "; decompress the file first" if suffix in COMPRESSED else remedy
        raise UserError(
            f"{path} ({key}): unknown kind of table '{suffix}'; one of {known} is read{remedy}"
        )
    if not table.places and not table.broken:
        raise UserError(f"{path} ({key}): holds no peptide, only a header; add rows to it")
    return table


def _check_exists(path: Path, key: str) -> None:
    """Raise `UserError` if ``path`` is not a file, or is an empty one."""
    try:
        is_there = path.exists()
    except OSError as error:  # such as a name that is too long
        raise UserError(f"{path} ({key}): cannot be read: {error.strerror}") from None
    if path.is_dir():
        raise UserError(f"{path} ({key}): is a folder; name the table in it")
    if not is_there:
        neighbours = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        near = difflib.get_close_matches(path.name, neighbours, n=1)
        hint = f"did you mean {path.parent / near[0]}?" if near else "check the path"
        raise UserError(f"{path} ({key}): no such file; {hint}")
    if path.stat().st_size == 0:
        raise UserError(f"{path} ({key}): the file is empty")


def _read_text(path: Path) -> str:
    """Return the text of a UTF-8 or UTF-16 file, line ends as they are.

    UTF-16, which spreadsheets call "Unicode text", is recognised by its byte-order mark. Byte-order
    marks are dropped, even in the middle of joined files, and the text is normalised (NFC).
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = content.decode("utf-16" if utf16 else "utf-8").replace("\ufeff", "")
        text = unicodedata.normalize("NFC", text)  # one form of é, as in the configuration
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        byte = f"byte 0x{error.object[error.start]:02x} is not UTF-8 text"
        fault = f"UTF-16 text that is damaged or cut off ({error.reason})" if utf16 else byte
        raise UserError(
            f"{path}, line {line}: {fault}; save the table as UTF-8 (a spreadsheet must be "
            "exported as CSV)"
        ) from None
    if "\0" in text:
        line = len(_LINE_END.split(text[: text.index("\0")]))
        raise UserError(
            f"{path}, line {line}: a zero byte, so this is not a text file (or UTF-16 without a "
            "byte-order mark); save the table as UTF-8"
        )
    if not text.strip():
        raise UserError(f"{path}: the file is empty")
    if other := another_content(content):
        raise UserError(f"{path}: {other}")
    return text


def _value_columns(data: "Data", names: list[str] | None = None) -> dict[str, str]:
    """Return the column of each label and property, by the name of the label or property.

    If `label_column` is set, this column is its own key, instead of the labels. ``names`` are the
    columns of the file. If they are given, a label of an end (`_end_labels`) whose column the file
    lacks is left out, because `_fill_ends` derives the label from the ends.
    """
    properties = {name: one.column for name, one in data.property_columns.items()}
    if data.label_column:
        return {data.label_column: data.label_column, **properties}
    sources = {**data.label_sources, **properties}
    if names is None:
        return sources
    derived = _end_labels(data)
    return {k: column for k, column in sources.items() if column in names or k not in derived}


def _end_labels(data: "Data") -> dict[str, str]:
    """Return the labels of ends: the labels whose column has a name in `FLAGS`.

    The keys are the labels, the values are the names in `FLAGS`.
    """
    labels = {} if data.label_column else data.label_sources
    return {name: column for name, column in labels.items() if column in FLAGS}


def _locate(names: list[str], path: Path, data: "Data", source: str) -> list[int]:
    """Return the positions in ``names`` of the configured columns.

    The order of the result is id (unless `id_column` is null), sequence, labels, properties, ends.
    ``source`` is as ``key`` of `read_table`; messages for a command name no configuration key.
    Raises `UserError` if a configured column is missing or is there twice.
    """
    keys = [] if data.id_column is None else [("data.id_column", data.id_column)]
    keys.append(("data.sequence_column", data.sequence_column))
    label_key = "data.label_column" if data.label_column else "data.label_columns"
    keys += [
        ("data.property_columns" if name in data.property_columns else label_key, column)
        for name, column in _value_columns(data, names).items()
    ]
    if not source.startswith("data."):
        keys = [("", name) for _, name in keys]
    count = Counter(names)
    for key, name in keys:
        if count[name] > 1:
            raise UserError(f"{path}: column '{name}'{_of(key)} is there twice; rename one of them")
    missing = [(key, name) for key, name in keys if name not in count]
    if missing:
        lines = [
            f"{path}: no column '{name}'{_of(key)}; {_nearest(name, names, key)}"
            for key, name in missing[:5]
        ]
        if len(missing) > 5:
            lines.append(f"{path}: and {len(missing) - 5} more columns are not there")
        raise UserError("\n".join(lines))
    position = {name: number for number, name in enumerate(names)}
    return [position[name] for name in [name for _, name in keys] + _end_columns(names, data)]


def _of(key: str) -> str:
    return f" ({key})" if key else ""


def _end_columns(names: list[str], data: "Data") -> list[str]:
    """Return the columns that describe ends and have no other meaning in the configuration.

    A column that the configuration calls another label or a number, such as ``act``, is left out.
    """
    sources = _value_columns(data)
    others = {column for name, column in sources.items() if name not in FLAGS}
    certain = {sources[flag] for flag in FLAGS if flag in sources}
    return [name for name in end_columns(names, certain) if name in FLAGS or name not in others]


def _nearest(name: str, names: list[str], key: str) -> str:
    """Return the hint for a missing column: the most similar name, and the columns that exist."""
    lower = {other.lower(): other for other in reversed(names)}
    near = difflib.get_close_matches(name.lower(), list(lower), n=1, cutoff=0.5)
    hint = f"did you mean '{lower[near[0]]}'? " if near else ""
    if alike := [other for other in names if _look(other) == _look(name)]:
        signs = ", ".join(f"U+{ord(sign):04X}" for sign in alike[0] if sign not in name)
        hint = f"'{alike[0]}' looks the same, but has other characters or spaces{signs and ': '}"
        hint += f"{signs}; copy it from the table. "
    shown = ", ".join(f"'{other}'" for other in names[:20])
    more = f" and {len(names) - 20} more" if len(names) > 20 else ""
    last = f"set {key} to one of them" if key else f"rename one of them to '{name}'"
    last += "; null numbers the peptides by their sequences" if key == "data.id_column" else ""
    if any(re.fullmatch(f"[{AMINO_ACIDS}]{{5,}}", other) for other in names):
        return f"the first line has to name the columns, but it is {shown}{more}"
    if len(names) == 1 and re.search(r"[|:^]", names[0]):
        return f"the only column is {shown}: separate columns by commas, semicolons or tabs"
    return f"{hint}The columns are {shown}{more}: {last}"


def _look(name: str) -> str:
    """Return a name in which characters that look the same are equal, such as the two signs µ."""
    return " ".join(unicodedata.normalize("NFKC", name).split())


def read_columns(path: Path, needed: Sequence[str] = ("sequence",)) -> dict[str, list[str]]:
    """Return every column of a CSV or TSV as text, by name.

    The file must have one of the columns ``needed``, in lower or upper case.

    Raises
    ------
    UserError
        If the file cannot be read, has none of the columns ``needed``, has two columns with the
        same name, or has a row that does not fit the header.
    """
    text = _read_text(path)

    def has_needed(names: list[str]) -> bool:
        return any(name.lower() in needed for name in names)

    names, records = _rows(text, DELIMITED[path.suffix.lower()], has_needed)
    if not has_needed(names):
        wanted = " or ".join(f"'{name}'" for name in needed)
        raise UserError(
            f"{path}: has no column {wanted}; the columns are "
            + ", ".join(f"'{name}'" for name in names[:20])
        )
    if repeated := [name for name, count in Counter(names).items() if count > 1]:
        raise UserError(f"{path}: column '{repeated[0]}' is there twice; rename one of them")
    rows = []
    for line, cells in records:
        if (fitted := _fit(cells, len(names))) is None:
            raise UserError(
                f"{path}, line {line}: {counted(len(cells), 'field')} where the header has "
                f"{len(names)}"
            )
        rows.append(fitted)
    columns = zip(*rows, strict=True) if rows else [()] * len(names)
    return {
        name: [cell.strip() for cell in column] for name, column in zip(names, columns, strict=True)
    }


def _rows(
    text: str, delimiter: str, has_sequence: Callable[[list[str]], bool]
) -> tuple[list[str], Iterator[tuple[int, list[str]]]]:
    """Return the names of the columns, and the line number and the cells of each record.

    ``has_sequence`` is a function that returns whether names include a column of sequences. The
    header is divided at ``delimiter``, at commas, at tabs and at semicolons, in this order, until
    its names include such a column. If they never do, ``delimiter`` is used. A first line such as
    ``sep=;``, as Excel writes it, replaces ``delimiter``.
    """
    lines = _LINE_END.split(text)
    start = next(number for number, line in enumerate(lines) if line.strip())
    marked = re.fullmatch(r'"?sep=(.)"?', lines[start].rstrip(" "))
    if marked:
        start += 1
        start += next((n for n, line in enumerate(lines[start:]) if line.strip()), 0)
        delimiter = marked[1]
    header, end = _header(lines, start, {delimiter, ",", ";"} - {"\t"})
    for candidate in (delimiter, ",", "\t", ";"):
        if has_sequence(_names(header, candidate)):
            delimiter = candidate
            break
    names = _names(header, delimiter)
    while names and not names[-1]:  # the header ends in a delimiter
        names.pop()
    records = _records(lines, end, delimiter, len(names))
    first = list(islice(records, FEW_RECORDS))
    if _have_row_names([cells for _, cells in first], names, delimiter, has_sequence):
        names.insert(0, "")
    return names, chain(first, records)


def _header(lines: list[str], start: int, delimiters: set[str]) -> tuple[str, int]:
    """Return the text of the header, and the index in ``lines`` of the line after the header.

    The header begins at ``lines[start]``, and has several lines if a quoted cell has several.
    ``delimiters`` are the characters that may separate the cells. A quotation mark is plain text if
    it is never closed, or if one of the further lines up to the closing mark is a complete row.
    """
    first = "".join(lines[start : start + 1])
    if '"' not in first or not any(_is_open(first, each) for each in delimiters):
        return first, start + 1
    for end in range(start + 2, min(start + MAX_CELL_LINES, len(lines)) + 1):
        header = "\n".join(lines[start:end])
        for each in delimiters:
            width, opened = len(_cells(header, each)), len(_cells(first, each)) - 1
            if opened and len(lines[end - 1].split(each)) == width > 1:
                return first, start + 1  # the line is a row
        if not any(_is_open(header, each) for each in delimiters):
            return header, end
    return first, start + 1


def _names(header: str, delimiter: str) -> list[str]:
    """Return the names of the columns; the lines of a name are joined by a space."""
    return [re.sub(r"\s*\n\s*", " ", name.strip()) for name in _cells(header, delimiter)]


def _have_row_names(
    records: list[list[str]],
    names: list[str],
    delimiter: str,
    has_sequence: Callable[[list[str]], bool],
) -> bool:
    """Return whether each record begins with a row name that has no column in the header.

    R writes such tables. They are recognised if each record has one cell more than the header, all
    first cells differ, and no cell of the column of sequences is a number. If a comma separates the
    cells, the first two cells of a row may be one number with a decimal comma. So if both cells are
    whole numbers in all rows, the first cells must also be consecutive numbers.
    """
    if not records or any(len(c) != len(names) + 1 or not c[-1].strip() for c in records):
        return False
    first = [cells[0].strip() for cells in records]
    if delimiter == "," and all(c[0].isdecimal() and c[1].isdecimal() for c in records):
        numbers = [int(cell) for cell in first]
        if numbers != list(range(numbers[0], numbers[0] + len(records))):
            return False
    place = next((number for number, name in enumerate(names) if has_sequence([name])), 0)
    return len(set(first)) == len(first) and all(
        not re.fullmatch(r"[\d.\s]+", cells[place + 1]) for cells in records
    )


def _fit(cells: list[str], width: int) -> list[str] | None:
    """Return a row with ``width`` cells, or None if the row does not fit.

    Cells beyond ``width`` are removed if all of them are empty.
    """
    if len(cells) > width and not "".join(cells[width:]).strip():
        cells = cells[:width]
    return cells if len(cells) == width else None


def _read_delimited(path: Path, text: str, data: "Data", key: str, delimiter: str) -> Table:
    """Read the configured columns of a CSV or TSV."""
    names, records = _rows(text, delimiter, lambda names: data.sequence_column in names)
    if data.sequence_column not in names:
        needed = {data.sequence_column, data.id_column or data.sequence_column}
        for number, line in enumerate(_LINE_END.split(text)[:FEW_RECORDS], start=1):
            if any(needed <= set(_names(line, each)) for each in ",;\t"):
                raise UserError(
                    f"{path}, line {number}: seems to be the header; remove the lines above it"
                )
    positions = _locate(names, path, data, key)
    take = itemgetter(*positions) if len(positions) > 1 else lambda cells: (cells[positions[0]],)
    table = Table(path, "line")
    width, rows = len(names), []
    for line, cells in records:
        if (fitted := _fit(cells, width)) is not None:
            table.places.append(line)
            rows.append(take(fitted))
        else:
            name = cells[positions[0]] if data.id_column and positions[0] < len(cells) else ""
            reason = f"{counted(len(cells), 'field')} where the header has {width}"
            if delimiter == "," and len(cells) > width:
                reason += "; a cell that holds a comma needs quotation marks"
            table.broken.append(Broken(line, name.strip()[:200], reason))
    columns = [[cell.strip() for cell in column] for column in zip(*rows, strict=True)]
    return _fill(table, data, names, columns or [[] for _ in positions])


def _records(
    lines: list[str], start: int, delimiter: str, width: int
) -> Iterator[tuple[int, list[str]]]:
    """Yield each record that is not blank: the number of its first line, from 1, and its cells.

    ``start`` is an index of ``lines``, from 0; ``width`` is the number of columns.

    A quoted cell of a CSV may contain line ends, so that a stray quotation mark would merge the
    rows after it into one cell. If the cell never ends, or one of the lines that it covers is a
    complete row, the mark is read as an ordinary character.
    """
    number = start
    while number < len(lines):
        line = lines[number]
        if line.strip():
            cells, covered = _cells(line, delimiter), 1
            if delimiter != "\t" and '"' in line and _is_open(line, delimiter):
                cells, covered = _quoted_record(lines, number, delimiter, width)
            if any(cell.strip() for cell in cells):  # a row of empty cells is a blank line
                yield number + 1, cells
            number += covered
        else:
            number += 1


def _quoted_record(
    lines: list[str], number: int, delimiter: str, width: int
) -> tuple[list[str], int]:
    """Return the cells and the number of lines of a record whose first line leaves a cell open.

    The record begins at ``lines[number]``. If its quotation mark is a stray one (see `_records`),
    the record is this line only, and the mark is an ordinary character.
    """
    opened = len(_cells(lines[number], delimiter)) - 1
    for end in range(number + 1, min(number + MAX_CELL_LINES, len(lines))):
        record = "\n".join(lines[number : end + 1])
        is_row = len(lines[end].split(delimiter)) == width > 1
        if _is_open(record, delimiter):
            if is_row:
                break
            continue
        # If the open cell is the first one, the last line has ``width`` cells in any case.
        cells = _cells(record, delimiter)
        if len(cells) == width and (opened == 0 or not is_row):
            return cells, end + 1 - number
        break
    return lines[number].split(delimiter), 1


def _cells(record: str, delimiter: str) -> list[str]:
    """Return the cells of a record; in TSV, quotation marks around a whole cell are removed."""
    if '"' not in record:
        return record.split(delimiter)
    if delimiter == "\t":
        return [
            cell[1:-1].replace('""', '"') if _QUOTED.fullmatch(cell) else cell
            for cell in record.split(delimiter)
        ]
    return next(_csv_reader(record, delimiter, strict=False), [""])


def _is_open(record: str, delimiter: str) -> bool:
    """Return whether a quoted cell of a CSV continues after the record's last line."""
    try:
        for _ in _csv_reader(record, delimiter, strict=True):
            pass
    except csv.Error as error:
        return "unexpected end of data" in str(error)
    return False


def _csv_reader(record: str, delimiter: str, strict: bool) -> Iterator[list[str]]:
    csv.field_size_limit(max(csv.field_size_limit(), len(record) + 1))
    lines = io.StringIO(record, newline="")
    return csv.reader(lines, delimiter=delimiter, skipinitialspace=True, strict=strict)


def _fill(table: Table, data: "Data", names: list[str], columns: list[list[str]]) -> Table:
    """Store the columns, in the order of `_locate`, in the table, and return the table."""
    remaining = iter(columns)
    table.ids = None if data.id_column is None else next(remaining)
    table.sequences = next(remaining)
    table.fields = {name: next(remaining) for name in _value_columns(data, names)}
    _fill_ends(table, data, dict(zip(_end_columns(names, data), remaining, strict=True)))
    return table


def _fill_ends(table: Table, data: "Data", cells: dict[str, list[str]]) -> None:
    """Read the ends from the sequences and from ``cells``, and fill in the labels of ends.

    ``cells`` has the columns of `end_columns`, by name. A label of an end (`_end_labels`) is 1 for
    every peptide that has this end. For other peptides, it is the cell of the label's column, or 0
    if ``table.fields`` does not have that column. Raises `UserError` if it does not, and no peptide
    has the end.
    """
    split = [split_ends(sequence) for sequence in table.sequences]
    table.sequences = [sequence for sequence, _ in split]
    table.ends = [ends for _, ends in split]
    if cells:
        known: dict[tuple[str, ...], tuple[Ends, str]] = {}
        for row, values in enumerate(zip(*cells.values(), strict=True)):
            if values not in known:
                known[values] = read_ends(dict(zip(cells, values, strict=True)))
            ends, reason = known[values]
            table.ends[row] |= ends
            if reason:
                table.refused[row] = reason
    for name, flag in _end_labels(data).items():
        has_end = [getattr(ends, flag) for ends in table.ends]
        if name in table.fields:  # a mark of the sequence counts as well as the cell
            both = zip(has_end, table.fields[name], strict=True)
            table.fields[name] = ["1" if has else cell for has, cell in both]
        else:
            if not any(has_end):
                raise UserError(
                    f"{table.path}: no column '{flag}' (data.label_columns), and no peptide has "
                    "such an end"
                )
            table.fields[name] = [str(int(has)) for has in has_end]


def read_fasta(path: Path) -> list[tuple[int, str, str]]:
    """Return the entries of a FASTA: line number of the header, header without ``>``, sequence.

    Raises
    ------
    UserError
        If the file cannot be read, is a PIR file, or has text before the first header.
    """
    return list(_entries(path, _read_text(path)))


def _entries(path: Path, text: str) -> Iterator[tuple[int, str, str]]:
    """Yield the entries of a FASTA with the content ``text``, as `read_fasta` returns them."""
    place, header = 0, ""
    parts: list[str] = []
    for line, content in enumerate(_LINE_END.split(text), start=1):
        if content.startswith(">"):
            if place:
                yield place, header, "".join(parts)
            if _PIR.match(content):
                raise UserError(
                    f"{path}, line {line}: '{content[:4]}' begins an entry of a PIR file, whose "
                    "next line is a description; convert the file to FASTA"
                )
            place, header, parts = line, content[1:], []
        elif content.startswith(";"):
            continue  # a comment of the oldest FASTA files
        elif place:
            parts.append(content)
        elif content.strip():
            raise UserError(f"{path}, line {line}: text before the first '>' header of a FASTA")
    if place:
        yield place, header, "".join(parts)


def _read_fasta(path: Path, text: str, data: "Data") -> Table:
    """Read FASTA: the first word of a header is the id, ``name=value`` fields are columns.

    The value of a column of one label, or of an end, is one word. A measured number or a list of
    labels may contain spaces; it ends before the next ``name=`` or at the end of the header.
    """
    table = Table(path, "line")
    ids: list[str] = []
    columns = _value_columns(data)
    values: dict[str, list[str]] = {column: [] for column in [*columns.values(), *FLAGS]}
    long = {data.label_column, *(one.column for one in data.property_columns.values())}
    patterns = {
        column: re.compile(
            rf"(?:^|\s){re.escape(column)}="
            + (r"(.*?)\s*(?=\s[^\s=]+=|$)" if column in long else r"(\S*)")
        )
        for column in values
    }
    for line, header, sequence in _entries(path, text):
        table.places.append(line)
        table.sequences.append(sequence)
        ids.append(header.split(maxsplit=1)[0] if header.strip() else "")
        for column, pattern in patterns.items():
            match = pattern.search(header)
            values[column].append(match[1] if match else "")
    for column, cells in values.items():
        if column not in (data.label_column, *FLAGS) and cells and not any(cells):
            raise UserError(
                f"{path}: no header has a field '{column}=' (data.label_columns or "
                f"data.property_columns), such as '>{ids[0]} {column}=1'"
            )
    derived = _end_labels(data)
    table.fields = {k: values[column] for k, column in columns.items() if k not in derived}
    table.ids = None if data.id_column is None else ids
    _fill_ends(table, data, {flag: values[flag] for flag in FLAGS})
    return table


def _read_parquet(path: Path, data: "Data", key: str) -> Table:
    """Read Parquet; numbers, booleans and lists of names become text as in a CSV."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            stored = file.schema_arrow.names
            names = [unicodedata.normalize("NFC", name) for name in stored]
            positions = _locate(names, path, data, key)
            read = file.read(columns=list({stored[position]: None for position in positions}))
        columns = [_as_text(read[stored[p]], data.label_separator).to_pylist() for p in positions]
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{path}: cannot be read as Parquet: {reason}") from None
    return _fill(Table(path, "row", places=list(range(1, len(read) + 1))), data, names, columns)


def _as_text(column: "pa.ChunkedArray", separator: str) -> "pa.ChunkedArray":
    """Return a column as strings in NFC: null becomes '', a list is joined by ``separator``."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if isinstance(column.type, pa.ListType | pa.LargeListType | pa.FixedSizeListType):
        texts = pc.cast(column, pa.list_(pa.string())).to_pylist()
        joined = [
            None if names is None else separator.join(name for name in names if name is not None)
            for names in texts
        ]
        column = pa.chunked_array([pa.array(joined, pa.string())])
    return pc.utf8_normalize(pc.fill_null(pc.cast(column, pa.string()), ""), "NFC")
