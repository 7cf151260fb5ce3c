"""The structure cache: immutable, checksummed Parquet files that all runs share.

``Cache(root, predictor.key)`` is the folder ``<root>/<predictor>-<hash of the key>``. Its method
`scan` finds the structures of sequences, `write` adds a file of structures.

Each file holds many structures and is named by the hash of its bytes. It is written under a
temporary name, flushed to the disk and renamed, so that no process sees an incomplete file and two
writers do not conflict. A file whose bytes do not match its name is damaged: it is reported on
stderr and renamed to ``*.damaged``, and its peptides are predicted again. The Parquet pages have
checksums as well, so that a reader can verify the columns that it reads, without reading the whole
file (``page_checksum_verification=True``).
"""

import hashlib
import json
import os
import sys
import uuid
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from structdiff.protein.structure import Structure
from structdiff.structures.predictors import Failure
from structdiff.system.cores import granted_cores
from structdiff.system.errors import UserError
from structdiff.system.files import write_bytes, write_json
from structdiff.system.parquet import DamagedError

__all__ = [
    "SCHEMA",
    "SCHEMA_VERSION",
    "Cache",
    "nowhere",
    "publish",
    "read_table",
    "set_aside",
    "to_bytes",
    "to_table",
]

SCHEMA_VERSION = 1

SCHEMA = pa.schema(
    [
        pa.field("sequence", pa.string(), nullable=False),
        pa.field("length", pa.int32(), nullable=False),
        pa.field("positions", pa.list_(pa.float32()), nullable=False),
        pa.field("plddt", pa.list_(pa.float32())),
        pa.field("ptm", pa.float32()),
    ]
)
"""Columns of a cache file. ``positions`` has x, y, z in Å of each heavy atom, in the order of
`structdiff.protein.structure.HEAVY_ATOMS`, NaN where an atom is absent. ``plddt`` has a value of
0–100 for each residue, ``ptm`` is 0–1; both are null where the predictor returns none."""

ROW_GROUP = 8192

_FLOATS = ("positions.list.element", "plddt.list.element")
_THREADS = 8


def to_table(structures: Sequence[Structure], metadata: Mapping[str, str]) -> pa.Table:
    """Return structures as a table with the columns of `SCHEMA`, one row for each structure.

    ``metadata`` becomes the metadata of the table's schema.
    """
    columns = {
        "sequence": [structure.sequence for structure in structures],
        "length": [len(structure.sequence) for structure in structures],
        "positions": [structure.positions.reshape(-1) for structure in structures],
        "plddt": [structure.plddt for structure in structures],
        "ptm": [structure.ptm for structure in structures],
    }
    return pa.Table.from_pydict(columns, schema=SCHEMA.with_metadata(dict(metadata)))


def publish(folder: Path, data: bytes, suffix: str) -> Path:
    """Write bytes to a file in ``folder`` that is named by their hash, and return its path.

    ``suffix`` is appended to the hash. The write is atomic, and the bytes are flushed to the disk.

    Raises
    ------
    UserError
        If the file system is full or cannot be written to; existing files are unchanged.
    """
    path = folder / f"{_name(data)}{suffix}"
    try:
        write_bytes(path, data, durable=True)
    except UserError as error:
        raise UserError(f"structures.cache: {error}; what was saved before is intact") from None
    return path


def _name(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:32]


def to_bytes(table: pa.Table) -> bytes:
    """Return the bytes of a cache file (compressed Parquet with page checksums) with a table."""
    sink = pa.BufferOutputStream()
    pq.write_table(
        table,
        sink,
        row_group_size=ROW_GROUP,
        compression="zstd",
        use_dictionary=False,
        column_encoding=dict.fromkeys(_FLOATS, "BYTE_STREAM_SPLIT"),
        write_page_checksum=True,
    )
    return sink.getvalue().to_pybytes()


def read_table(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Verify the bytes of a cache file, then read all of its columns or only ``columns``.

    Raises
    ------
    DamagedError
        If the file cannot be read, its bytes do not match its name, or it has other columns than
        `SCHEMA`.
    FileNotFoundError
        If there is no such file.
    """
    data = _read_verified(path)
    try:
        file = pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True)
        if not file.schema_arrow.equals(SCHEMA):
            raise DamagedError(f"is not of this version's schema ({SCHEMA_VERSION})")
        return file.read(columns=None if columns is None else list(columns))
    except (pa.ArrowException, OSError) as error:
        raise DamagedError(f"is not a whole Parquet file: {error}") from None


def _read_verified(path: Path) -> bytes:
    """Return the bytes of a file that `publish` wrote; `read_table` explains the errors."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise DamagedError(f"cannot be read: {error}") from None
    if _name(data) != path.name.partition(".")[0]:
        raise DamagedError("its bytes are not those that were written")
    return data


class Cache:
    """Cache folder of one key, that is, of one predictor with its weights, settings and code.

    Parameters
    ----------
    root
        Folder of the whole cache, with a subfolder for each key.
    key
        The predictor's key, `structdiff.structures.predictors.Predictor.key`.

    Attributes
    ----------
    folder
        The subfolder of this key; `prepare` creates it.
    metadata
        Metadata of the cache files: the key as JSON.
    """

    def __init__(self, root: str | os.PathLike, key: Mapping[str, str | int]):
        self.root = Path(root)
        self.key = {**key, "schema_version": SCHEMA_VERSION}
        canonical = json.dumps(self.key, sort_keys=True)
        digest = hashlib.sha256(canonical.encode()).hexdigest()[:12]
        self.folder = self.root / f"{key['predictor']}-{digest}"
        self.metadata = {"structdiff.fold_key": canonical}

    def prepare(self) -> None:
        """Create the folder, and write the key to ``key.json`` in it.

        Raises
        ------
        UserError
            If the folder cannot be written to.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if not (self.folder / "key.json").exists():
                write_json(self.folder / "key.json", self.key)
        except OSError as error:
            raise self._refused(error.strerror or str(error)) from None

    def check_writable(self) -> None:
        """Raise `UserError` if this user may not write to the cache."""
        if not os.access(self.folder, os.W_OK):
            raise self._refused("it can only be read")

    def _refused(self, reason: str) -> UserError:
        return UserError(
            f"structures.cache: {self.folder} cannot be written to ({reason}); "
            "set it to a folder of yours, or ask for access"
        )

    def write(self, structures: Sequence[Structure]) -> Path:
        """Add a file with these structures and return its path.

        Raises
        ------
        UserError
            If the file system is full or cannot be written to; existing files are unchanged.
        """
        return publish(self.folder, to_bytes(to_table(structures, self.metadata)), ".parquet")

    def scan(self, wanted: Iterable[str]) -> pd.DataFrame:
        """Find the structures of the given sequences; verify every file, set damaged files aside.

        Returns
        -------
        pandas.DataFrame
            One row for each sequence that was found, indexed by sequence. Columns: ``file`` (path
            relative to the root), ``row`` (number of the row in the file, from 0) and
            ``mean_plddt`` (0–100, NaN if there is no pLDDT).
        """
        wanted = pa.array(sorted(set(wanted)), pa.string())
        with ThreadPoolExecutor(min(_THREADS, granted_cores())) as pool:
            found = list(pool.map(self._scan_file, sorted(self.folder.glob("*.parquet"))))
        located = pa.concat_tables([_LOCATED.empty_table(), *found])
        keep = pa.compute.is_in(located["sequence"], value_set=wanted)
        frame = located.filter(keep).to_pandas().set_index("sequence")
        return frame[~frame.index.duplicated()]

    def holds(self, wanted: Sequence[str]) -> set[str]:
        """Return the given sequences that are in the cache.

        This is faster than `scan`, because only the column of sequences is read and verified. A
        file with damage in this column is set aside.
        """
        held: set[str] = set()
        for path in sorted(self.folder.glob("*.parquet")):
            try:
                with pq.ParquetFile(path, page_checksum_verification=True) as file:
                    held.update(file.read(columns=["sequence"])["sequence"].to_pylist())
            except FileNotFoundError:
                continue
            # A damaged name of a column is a KeyError.
            except (pa.ArrowException, OSError, KeyError) as error:
                set_aside(path, f"cannot be read: {error}")
        return held.intersection(wanted)

    def _scan_file(self, path: Path) -> pa.Table:
        try:
            table = read_table(path, ["sequence", "plddt"])
            return _locate(table, path.relative_to(self.root).as_posix())
        except FileNotFoundError:  # set aside by another run meanwhile
            pass
        except DamagedError as error:
            set_aside(path, str(error))
        return _LOCATED.empty_table()

    def remember(self, failures: Sequence[Failure]) -> None:
        """Save failures to a file in the folder, so that later runs do not try these peptides."""
        lines = sorted({json.dumps(asdict(failure), sort_keys=True) for failure in failures})
        if lines:
            publish(self.folder, ("\n".join(lines) + "\n").encode(), ".failures.jsonl")

    def remembered(self) -> list[Failure]:
        """Return the failures that `remember` saved, without duplicates.

        Damaged files of failures are set aside.
        """
        found: dict[Failure, None] = {}
        for path in sorted(self.folder.glob("*.failures.jsonl")):
            try:
                lines = _read_verified(path).splitlines()
            except FileNotFoundError:  # set aside by another run meanwhile
                continue
            except DamagedError as error:
                set_aside(path, str(error))
                continue
            found.update((Failure(**json.loads(line)), None) for line in lines)
        return list(found)


def set_aside(path: Path, reason: str) -> None:
    """Report a damaged file on stderr and rename it to ``*.damaged``."""
    aside = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}.damaged")
    print(
        f"structures: {path} is damaged ({reason}); set aside as {aside.name}, its peptides "
        "are predicted again",
        file=sys.stderr,
        flush=True,
    )
    try:
        path.rename(aside)
    except FileNotFoundError:
        return  # another run was faster
    except OSError as error:
        print(f"structures: {path} cannot be renamed: {error}", file=sys.stderr, flush=True)


_LOCATED = pa.schema(
    [
        pa.field("sequence", pa.string()),
        pa.field("file", pa.string()),
        pa.field("row", pa.int32()),
        pa.field("mean_plddt", pa.float32()),
    ]
)


def _locate(table: pa.Table, file: str) -> pa.Table:
    """Return where each structure of a cache file is: a table with the columns of `_LOCATED`.

    ``table`` has the columns ``sequence`` and ``plddt`` of the file; ``file`` is the file's path,
    relative to the root.
    """
    return pa.Table.from_arrays(
        [
            table["sequence"],
            pa.repeat(pa.scalar(file, pa.string()), len(table)),
            pa.array(np.arange(len(table), dtype=np.int32)),
            pa.array(_mean(table["plddt"].combine_chunks()), pa.float32()),
        ],
        schema=_LOCATED,
    )


def nowhere() -> pd.DataFrame:
    """Return the empty table that `Cache.scan` returns if nothing is found."""
    return _LOCATED.empty_table().to_pandas().set_index("sequence")


def _mean(lists: pa.ListArray) -> np.ndarray:
    """Return the mean of each list, ``(lists,)`` float64; NaN for a list that is null or empty."""
    counts = pa.compute.list_value_length(lists).fill_null(0).to_numpy(zero_copy_only=False)
    values = lists.flatten().to_numpy(zero_copy_only=False)
    sums = np.zeros(len(counts))
    filled = counts > 0
    starts = (np.cumsum(counts) - counts)[filled]
    if len(starts):
        sums[filled] = np.add.reduceat(values.astype(np.float64), starts)
    with np.errstate(invalid="ignore"):
        return np.where(filled, sums / counts, np.nan)
