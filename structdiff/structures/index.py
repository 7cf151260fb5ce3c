"""The index of a run: which cache file holds the structure of which peptide.

Folding ends with ``write_index(path, …)``. ``read_backbones(path)`` returns the backbones of all
peptides at once, ``iterate_backbones(path)`` yields the backbones of one cache file at a time to
save memory, and ``read_structures(path)`` returns structures with all heavy atoms.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from structdiff.protein.residues import encode, offsets_of, residues_of
from structdiff.protein.structure import Structure, atom_starts
from structdiff.structures.cache import nowhere, read_table
from structdiff.system.errors import UserError
from structdiff.system.parquet import DamagedError, read_sealed, write_sealed

__all__ = [
    "INDEX_SCHEMA",
    "Backbones",
    "iterate_backbones",
    "read_backbones",
    "read_files",
    "read_structures",
    "write_index",
]

_ROOT = b"structdiff.cache"

REMEDY = (
    "Run `structdiff fold` again (the workflow: with `--forcerun plan_folding`), which writes a "
    "new index"
)

INDEX_SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("sequence", pa.string(), nullable=False),
        pa.field("file", pa.string()),
        pa.field("row", pa.int32()),
        pa.field("mean_plddt", pa.float32()),
        pa.field("predictor", pa.string(), nullable=False),
    ]
)
"""Columns of ``index.parquet``, which has one row for each peptide. ``file`` is a cache file
(relative to the cache's root) and ``row`` the number of a row in it, from 0; both are null if the
peptide has no structure. ``mean_plddt`` is 0–100, null if there is no pLDDT."""


def write_index(
    path: Path,
    ids: Sequence[str],
    sequences: Sequence[str],
    located: pd.DataFrame | None,
    predictor: str,
    root: Path,
) -> pd.DataFrame:
    """Write the index: the cache file and row of each peptide's structure.

    Parameters
    ----------
    path
        The index to write.
    ids, sequences
        Ids and sequences of the peptides.
    located
        Places of the structures, indexed by sequence, as `Cache.scan` returns them; None if no
        peptide has a structure.
    predictor
        Name of the predictor.
    root
        Folder of the whole cache. If this path is relative, the index stores it relative to the
        folder of the index, so that a project can be moved.

    Returns
    -------
    pandas.DataFrame
        The rows that were written, with the columns of `INDEX_SCHEMA`.
    """
    frame = (nowhere() if located is None else located).reindex(list(sequences))
    row = pd.array(frame["row"], dtype="Int32")
    table = pa.Table.from_arrays(
        [
            pa.array(ids, pa.string()),
            pa.array(sequences, pa.string()),
            pa.array(frame["file"].where(frame["file"].notna(), None), pa.string()),
            pa.array(row, pa.int32()),
            pa.array(frame["mean_plddt"], pa.float32(), from_pandas=True),
            pa.array([predictor] * len(ids), pa.string()),
        ],
        schema=INDEX_SCHEMA,
    )
    kept = root if root.is_absolute() else os.path.relpath(root, os.path.realpath(path.parent))
    table = table.replace_schema_metadata({_ROOT: str(kept)})
    write_sealed(table, path)
    return table.to_pandas()


@dataclass(frozen=True)
class Backbones:
    """The backbones of the peptides that have a structure, concatenated.

    Attributes
    ----------
    ids, sequences
        Ids and sequences of the peptides.
    offsets
        Index of the first residue of each peptide, then the total number of residues,
        ``(peptides + 1,)`` int64.
    positions
        N, Cα, C, O in Å, ``(residues, 4, 3)`` float32.
    plddt
        pLDDT, 0–100, NaN where there is none, ``(residues,)`` float32.
    """

    ids: list[str]
    sequences: list[str]
    offsets: np.ndarray
    positions: np.ndarray
    plddt: np.ndarray


def read_backbones(index: Path) -> Backbones:
    """Return the backbones of all peptides with a structure, in the order of the index.

    Every cache file is verified.

    Raises
    ------
    UserError
        If the index or a cache file is missing or damaged.
    """
    table, root = _read_index(index)
    ids, sequences = table["id"].to_pylist(), table["sequence"].to_pylist()
    offsets = offsets_of(sequences)
    positions = np.empty((offsets[-1], 4, 3), dtype=np.float32)
    plddt = np.empty(offsets[-1], dtype=np.float32)
    for here, part in _backbones_by_file(table, root):
        target = residues_of(offsets, here)
        positions[target], plddt[target] = part.positions, part.plddt
    return Backbones(ids, sequences, offsets, positions, plddt)


def iterate_backbones(index: Path) -> Iterator[Backbones]:
    """Yield the backbones of an index, one `Backbones` for each cache file.

    The peptides are grouped by cache file, and not in the order of the index.

    Raises
    ------
    UserError
        If the index or a cache file is missing or damaged.
    """
    for _, part in _backbones_by_file(*_read_index(index)):
        yield part


def _backbones_by_file(table: pa.Table, root: Path) -> Iterator[tuple[np.ndarray, Backbones]]:
    """Yield the row numbers in ``table`` and the backbones of the peptides in each cache file.

    ``table`` has the rows of the index with a structure, ``root`` is the folder of the whole cache.
    The row numbers ``(peptides,)`` count from 0 and are in the order of the backbones.
    """
    for path, here, part in _files(table, root):
        sequences = part["sequence"].to_pylist()
        offsets = offsets_of(sequences)
        starts = atom_starts(encode("".join(sequences)))
        atoms = _flat(part["positions"]).reshape(-1, 3)
        if len(atoms) != starts[-1]:
            raise _unusable(path, "the positions do not fit the sequences")
        positions = atoms[starts[:-1, None] + np.arange(4)]
        plddt = np.full(offsets[-1], np.nan, dtype=np.float32)
        scored = part["plddt"].combine_chunks().is_valid().to_numpy(zero_copy_only=False)
        plddt[np.repeat(scored, np.diff(offsets))] = _flat(part["plddt"])
        ids = table["id"].take(here).to_pylist()
        yield here, Backbones(ids, sequences, offsets, positions, plddt)


def read_structures(index: Path, ids: Sequence[str] | None = None) -> dict[str, Structure]:
    """Read structures with all heavy atoms, and verify every file that is read.

    Parameters
    ----------
    index
        Path of ``index.parquet``.
    ids
        Ids of the peptides to read; None for all that have a structure.

    Returns
    -------
    dict
        Structure by the id of its peptide, in the order of the index.

    Raises
    ------
    UserError
        If one of ``ids`` has no structure in the index, or the index or a cache file is missing or
        damaged.
    """
    table, root = _read_index(index)
    names = table["id"].to_pylist()
    if ids is not None:
        unknown = set(ids).difference(names)
        if unknown:
            raise UserError(f"{index}: has no structure of {min(unknown)}")
        table = table.filter(pa.compute.is_in(table["id"], value_set=pa.array(ids, pa.string())))
        names = table["id"].to_pylist()
    found: dict[str, Structure] = {}
    for _, here, part in _files(table, root):
        for i, row in zip(here.tolist(), part.to_pylist(), strict=True):
            positions = np.array(row["positions"], dtype=np.float32).reshape(-1, 3)
            found[names[i]] = Structure(row["sequence"], positions, row["plddt"], row["ptm"])
    return {name: found[name] for name in names}


def read_files(index: Path) -> list[Path]:
    """Return the paths of the cache files that an index refers to.

    Raises
    ------
    UserError
        If the index is missing or damaged, or the file is not an index.
    """
    table, root = _read_index(index)
    return [root / file for file in table["file"].unique().to_pylist()]


def _read_index(index: Path) -> tuple[pa.Table, Path]:
    """Return the rows of an index whose peptide has a structure, and the cache's root folder.

    Raises
    ------
    UserError
        If the file is missing, damaged or not an index.
    """
    index = Path(index)
    try:
        table = read_sealed(index)
    except (DamagedError, OSError) as error:
        raise UserError(
            f"{index}: is not a whole index of `structdiff fold` ({error}). {REMEDY}"
        ) from None
    metadata = table.schema.metadata or {}
    if _ROOT not in metadata:
        raise UserError(f"{index}: is Parquet, but not an index of `structdiff fold`. {REMEDY}")
    table = table.filter(pa.compute.is_valid(table["file"]))
    return table, index.parent / metadata[_ROOT].decode()


def _files(table: pa.Table, root: Path) -> Iterator[tuple[Path, np.ndarray, pa.Table]]:
    """Yield ``(path, rows, structures)`` for each cache file that ``table`` refers to.

    ``table`` has the rows of the index with a structure, ``root`` is the folder of the whole cache.
    ``rows`` ``(peptides,)`` are the numbers, from 0, of the rows of ``table`` that refer to the
    file. ``structures`` is a table with the columns of a cache file, in the order of ``rows``.
    """
    files = table["file"].combine_chunks().dictionary_encode()
    codes, rows = files.indices.to_numpy(), table["row"].to_numpy()
    for code, file in enumerate(files.dictionary.to_pylist()):
        here = np.flatnonzero(codes == code)
        path = root / file
        try:
            part = read_table(path).take(rows[here])
        except FileNotFoundError:
            raise _unusable(path, "is missing") from None
        except (DamagedError, pa.ArrowIndexError) as error:
            raise _unusable(path, f"is damaged: {error}") from None
        if not part["sequence"].equals(table["sequence"].take(here)):
            raise _unusable(path, "holds other peptides than the index says")
        yield path, here, part


def _unusable(path: Path, reason: str) -> UserError:
    return UserError(
        f"{path}: this structure file {reason}. {REMEDY}; these peptides are predicted again"
    )


def _flat(lists: pa.ChunkedArray) -> np.ndarray:
    """Return the values of all lists of a column, concatenated, ``(values,)``."""
    return lists.combine_chunks().flatten().to_numpy(zero_copy_only=False)
