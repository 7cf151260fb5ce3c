"""Read peptides of any origin: FASTA, CSV, TSV, Parquet, or a folder that a command wrote.

``read_any(path)`` returns a table with ``id``, ``sequence`` and every other column of the file, and
``acetylated`` and ``amidated`` (0 or 1) if any peptide has a modified end. Only rows without a
sequence are dropped. A peptide that cannot be represented, such as a cyclic one, stays in the table
with a sequence that is not valid. A ``*`` at the end of a sequence is dropped. A sequence in lower
case becomes upper case; lower-case letters in other sequences mean D residues.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from structdiff.evaluation.sequence_features import is_valid
from structdiff.generation.output import read_samples
from structdiff.peptides.formats import DELIMITED, FASTA, read_columns, read_fasta
from structdiff.peptides.labels import EMPTY, is_blank
from structdiff.peptides.sequences import bare_sequence, check_alphabet, not_letters
from structdiff.protein.ends import FLAGS, FREE, end_columns, read_ends, split_ends
from structdiff.protein.residues import AMINO_ACIDS
from structdiff.system.errors import UserError, counted

__all__ = [
    "few_of",
    "left_out",
    "read_any",
    "read_rows_by_id",
    "with_reasons",
    "with_usual_names",
]

NAMED = 5
"""Largest number of peptides that a message names."""

IN_FOLDERS = (
    "candidates.tsv",
    "evaluation/candidates.tsv",
    "samples.parquet",
    "generation/samples.parquet",
)
"""Files of designs in a folder; the first one that exists is read."""


def read_any(path: Path) -> pd.DataFrame:
    """Return the table of the peptides of a file or a folder.

    Parameters
    ----------
    path
        A FASTA file; a CSV, TSV or Parquet file with a column ``sequence``; or a folder that
        `structdiff generate`, `design`, `evaluate` or a run wrote. In a folder, the first existing
        file of `IN_FOLDERS` is read.

    Returns
    -------
    pd.DataFrame
        ``id`` (``<stem of the file>_<number>`` where the file has none), ``sequence``,
        ``acetylated`` and ``amidated`` (0 or 1) if any peptide has a modified end, and all other
        columns of the file.

    Raises
    ------
    UserError
        If the file is missing, empty, of another format, or has no column ``sequence``; if most
        sequences seem to be DNA; if the candidates in a folder are not among its designs, because
        new designs were drawn later.
    """
    drawn: list[Path] = []
    if path.is_dir():
        inside = [path / name for name in IN_FOLDERS if (path / name).is_file()]
        if not inside:
            raise UserError(f"{path}: has none of the files {', '.join(IN_FOLDERS)}")
        path = inside[0]
        drawn = [other for other in inside[1:] if other.name == "samples.parquet"]
    if not path.is_file():
        raise UserError(f"{path}: no such file or folder")
    table = with_usual_names(_read(path), path)
    if "sequence" not in table:
        have = ", ".join(map(str, table.columns)) or "nothing"
        raise UserError(f"{path}: has no column 'sequence', but {have}")
    table = _with_standard_rows(table, path)
    check_alphabet(table["sequence"].tolist(), str(path))
    for samples in drawn:
        if not table["sequence"].isin(read_samples(samples)["sequence"]).all():
            raise UserError(
                f"{path}: is out of date, {samples} has other designs; evaluate these "
                "(`structdiff run` or `structdiff evaluate`), or give one of the two files"
            )
    return table


def _with_standard_rows(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Return the table with an id, a sequence in standard form, and the ends in each row.

    Rows without a sequence are left out. `UserError` is raised if no row is left; its message
    names ``path``, the file of the table.
    """
    made = [f"{path.stem}_{number}" for number in range(1, len(table) + 1)]
    if "id" not in table:
        table.insert(0, "id", made)
    ids = _ids(table)
    table["id"] = ids.where(ids != "", made)
    table = table.dropna(subset=["sequence"]).reset_index(drop=True)
    if table.empty:
        raise UserError(f"{path}: has no peptide")
    return _with_ends(table)


def _ids(table: pd.DataFrame) -> pd.Series:
    """Return the column ``id`` as text in one line; '' where it is blank."""
    ids = table["id"].convert_dtypes()  # whole numbers with gaps are floats
    ids = ids.astype("string").fillna("").str.strip()
    return ids.str.replace(r"\s*[\r\n]\s*", " ", regex=True).astype(str)


def read_rows_by_id(path: Path) -> pd.DataFrame:
    """Return the table of a file that `read_any` can read, or of a CSV or TSV without sequences.

    A file without the column ``sequence`` must have the column ``id``, which is read as text. The
    sequences of a CSV or TSV may be DNA, as in a table to join by ``id``.

    Raises
    ------
    UserError
        If the file cannot be read, or has neither column.
    """
    if path.suffix.lower() not in DELIMITED or not path.is_file():
        return read_any(path)
    table = with_usual_names(_read(path, ("sequence", "id")), path)
    if "sequence" not in table:
        return table.assign(id=_ids(table))
    return _with_standard_rows(table, path)


def with_usual_names(
    table: pd.DataFrame, path: Path, usual: Sequence[str] = ("id", "sequence")
) -> pd.DataFrame:
    """Return the table with the ``usual`` names of its columns in lower case.

    Spaces around these names are removed. `UserError` is raised if two columns would have the same
    name; its message names ``path``, the file of the table.
    """
    for wanted in usual:
        same = [name for name in table if str(name).strip().lower() == wanted]
        if len(same) > 1:
            raise UserError(
                f"{path}: the columns '{same[0]}' and '{same[1]}' are both the {wanted}; remove one"
            )
        table = table.rename(columns=dict.fromkeys(same, wanted))
    return table


def left_out(table: pd.DataFrame, shortest: int, longest: int) -> pd.Series:
    """Return the reason for each peptide that cannot be used, indexed by its row in ``table``.

    ``table`` is a table from `read_any`; ``shortest`` and ``longest`` are the smallest and the
    largest allowed number of residues.
    """
    reasons = table["sequence"].map(lambda sequence: _why_not(sequence, shortest, longest))
    return reasons[reasons != ""]


def _why_not(sequence: str, shortest: int, longest: int) -> str:
    if is_valid(sequence, shortest, longest):
        return ""
    core, _, reason = sequence.partition(" (")  # as `_with_ends` writes it
    if reason:
        return reason.removesuffix(")")
    for position, letter in enumerate(core, start=1):
        if letter not in AMINO_ACIDS:
            is_mirrored = letter.upper() in AMINO_ACIDS
            what = "a D residue" if is_mirrored else "not one of the 20 standard residues"
            return f"position {position}: '{letter}' is {what}"
    return f"{counted(len(core), 'residue')}, where {shortest:,} to {longest:,} are allowed"


def few_of(names: Iterable[str]) -> str:
    """Return the first five names and the number of all further names, as one text."""
    names = list(names)
    more = f" and {len(names) - NAMED:,} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def with_reasons(table: pd.DataFrame, reasons: pd.Series) -> str:
    """Return a text with the ids of the first peptides that cannot be used, and the reasons.

    ``reasons`` is the result of `left_out` for ``table``.
    """
    ids = table.loc[reasons.index, "id"]
    return few_of(f"{name} ({reason})" for name, reason in zip(ids, reasons, strict=True))


def _with_ends(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table with sequences in standard form, without the marks of ends (``Ac-``).

    If any peptide has a modified end, by a mark or by a column, the table gets the columns
    ``acetylated`` and ``amidated`` (0 or 1). If a peptide cannot be represented, such as a cyclic
    one, the reason is appended to its sequence, so that the sequence is not valid.
    """
    columns = end_columns(table.columns)
    cells = table[columns].astype(object).where(table[columns].notna(), "").astype(str)
    sequences, ends = [], []
    texts = table["sequence"].astype(str)
    for text, values in zip(texts, cells.to_numpy().tolist(), strict=True):
        core, marked = split_ends(text.rstrip().rstrip("*"))
        listed, reason = read_ends(dict(zip(columns, values, strict=True)))
        reason = reason or not_letters(core)
        sequences.append(bare_sequence(core) + (f" ({reason})" if reason else ""))
        ends.append(marked | listed)
    table["sequence"] = sequences
    if any(end != FREE for end in ends):
        for flag in FLAGS:
            table[flag] = [int(getattr(end, flag)) for end in ends]
    return table


def _read(path: Path, needed: Sequence[str] = ("sequence",)) -> pd.DataFrame:
    """Return the table of a file; a CSV or TSV file must have one of the columns ``needed``."""
    suffix = path.suffix.lower()
    try:
        if suffix in FASTA:
            return _read_fasta(path)
        if suffix in DELIMITED:
            columns = read_columns(path, needed)
            return pd.DataFrame({name: _typed(name, cells) for name, cells in columns.items()})
        if path.name == "samples.parquet":
            return read_samples(path)
        if suffix in (".parquet", ".pq"):
            table = pd.read_parquet(path)  # truth values with gaps are of type object
            return table.convert_dtypes(
                convert_string=False, convert_integer=False, convert_floating=False
            )
    except (ValueError, OSError) as error:  # pandas, pyarrow and UnicodeDecodeError
        raise UserError(f"{path}: cannot be read: {error}") from None
    known = ", ".join((*FASTA, *DELIMITED, ".parquet"))
    raise UserError(f"{path}: is of an unknown format '{suffix}'; give one of {known}")


def _typed(name: str, cells: list[str]) -> pd.Series:
    """Return a column of text as numbers or booleans, if all of its non-blank cells can be read so.

    Empty cells and ``NA`` become NaN. Words such as ``none`` and ``unknown`` become NaN only in a
    column of numbers or booleans: ``none`` is a label query. The columns ``id`` and ``sequence``
    stay as they are.
    """
    column = pd.Series(cells, dtype=object)
    if name.strip().lower() in ("id", "sequence"):
        return column
    words = column.str.strip().str.lower()
    texts = column.where(~words.isin(EMPTY))
    values = column.where(~column.map(is_blank) & (words != "none"))
    if values.isna().all() and texts.notna().any():
        return texts
    numbers = pd.to_numeric(values, errors="coerce")
    if numbers.notna().equals(values.notna()):
        return numbers
    truth = words.where(values.notna()).map({"true": True, "false": False})
    return truth.astype("boolean") if truth.notna().equals(values.notna()) else texts


def _read_fasta(path: Path) -> pd.DataFrame:
    rows: list[list[str]] = []
    for line, header, sequence in read_fasta(path):
        name, *fields = header.split() or [f"line_{line}"]
        flags = [str(int(f"{flag}=1" in fields)) for flag in FLAGS]
        rows.append([name, sequence, *flags])
    table = pd.DataFrame(rows, columns=["id", "sequence", *FLAGS])
    return table.drop(columns=[flag for flag in FLAGS if (table[flag] == "0").all()])
