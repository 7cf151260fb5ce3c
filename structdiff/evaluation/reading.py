"""Read peptides of any origin: FASTA, CSV, TSV, Parquet, or a folder that a command wrote.

``read_any(path)`` returns a table with ``id``, ``sequence`` and every other column of the file.
Sequences become upper case; none is rejected here.
"""

from pathlib import Path

import pandas as pd

from structdiff.generation.output import read_samples
from structdiff.system.errors import UserError

__all__ = ["read_any"]

FASTA = (".fasta", ".fa", ".faa", ".fas")
DELIMITERS = {".csv": ",", ".tsv": "\t", ".tab": "\t", ".txt": "\t"}

IN_FOLDERS = (
    "candidates.tsv",
    "evaluation/candidates.tsv",
    "samples.parquet",
    "generation/samples.parquet",
)
"""Files of designs in a folder; the first one that exists is read."""


def read_any(path: Path) -> pd.DataFrame:
    """Return the peptides of a file or a folder.

    Parameters
    ----------
    path
        A FASTA; a CSV, TSV or Parquet file with a column ``sequence`` (and ``id``, else the rows
        are numbered); a folder of `structdiff generate`, `design` or `evaluate`, or of a run.

    Raises
    ------
    UserError
        If the file is missing, empty, of another format, or has no column ``sequence``.
    """
    if path.is_dir():
        inside = [path / name for name in IN_FOLDERS if (path / name).is_file()]
        if not inside:
            raise UserError(f"{path}: has none of the files {', '.join(IN_FOLDERS)}")
        path = inside[0]
    if not path.is_file():
        raise UserError(f"{path}: no such file or folder")
    table = _read(path)
    names = {name.strip().lower(): name for name in map(str, table.columns)}
    if "sequence" not in names:
        raise UserError(f"{path}: has no column 'sequence', but {', '.join(names) or 'nothing'}")
    table = table.rename(columns={names["sequence"]: "sequence"})
    if "id" in names:
        table = table.rename(columns={names["id"]: "id"})
    else:
        table.insert(0, "id", [f"{path.stem}_{number}" for number in range(1, len(table) + 1)])
    table = table.dropna(subset=["sequence"]).reset_index(drop=True)
    if table.empty:
        raise UserError(f"{path}: has no peptide")
    table["id"] = table["id"].astype(str)
    table["sequence"] = table["sequence"].astype(str).str.replace(r"\s", "", regex=True).str.upper()
    return table


def _read(path: Path) -> pd.DataFrame:
    suffix = path.suffix.lower()
    try:
        if suffix in FASTA:
            return _read_fasta(path)
        if suffix in DELIMITERS:
            return pd.read_csv(path, sep=DELIMITERS[suffix])
        if path.name == "samples.parquet":
            return read_samples(path)
        if suffix in (".parquet", ".pq"):
            return pd.read_parquet(path)
    except (ValueError, OSError) as error:  # pandas, pyarrow and UnicodeDecodeError
        raise UserError(f"{path}: cannot be read: {error}") from None
    known = ", ".join((*FASTA, *DELIMITERS, ".parquet"))
    raise UserError(f"{path}: is of an unknown format '{suffix}'; give one of {known}")


def _read_fasta(path: Path) -> pd.DataFrame:
    rows: list[list[str]] = []
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), start=1):
        if line.startswith(">"):
            rows.append([(line[1:].split() or [f"line_{number}"])[0], ""])
        elif line.strip():
            if not rows:
                raise UserError(f"{path}, line {number}: a sequence without a header `>name`")
            rows[-1][1] += line.strip().rstrip("*")
    return pd.DataFrame(rows, columns=["id", "sequence"])
