"""Finished batches of a running fold: saved at once, merged into a few cache files later.

``with Partial(cache) as partial: partial.add(structures)`` saves a batch to its own file. When
there are `FILE_SIZE` structures, and at the end of the block, the batches are merged into one cache
file and their files are removed. If a run is killed, the files of its batches stay; the next run
with the same key recovers them by ``adopt(cache)``. A lock (flock), which a killed process loses,
shows which runs are still active. On a file system without locks nothing is recovered, and the
peptides of a killed run are predicted again.
"""

import shutil
import sys
import uuid
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from structdiff.protein.structure import Structure
from structdiff.structures.cache import Cache, publish, read_table, to_bytes, to_table
from structdiff.system.locks import try_lock
from structdiff.system.parquet import DamagedError

__all__ = ["LOCK", "Partial", "adopt"]

FILE_SIZE = 20_000
"""Number of structures at which the waiting batches are merged into a file, of about 40 MB."""

LOCK = "lock"
"""Name of the lock file in the folder of a run's batches."""

_FOLDER = "partial"


class Partial:
    """Finished batches of one run, which wait to be merged into cache files.

    A context manager. If the block ends without an error, the waiting batches are merged; after an
    error, their files are left for `adopt`.

    Parameters
    ----------
    cache
        The cache that receives the structures.
    """

    def __init__(self, cache: Cache):
        self.cache = cache
        self._waiting: list[Structure] = []
        self._files: list[Path] = []
        self._folder = cache.folder / _FOLDER / uuid.uuid4().hex

    def __enter__(self) -> "Partial":
        # The folder gets its final name only when it is locked, because `adopt` takes every folder
        # whose lock is free.
        hidden = self.cache.folder / f".{self._folder.name}.tmp"
        hidden.mkdir(parents=True)
        self._lock = (hidden / LOCK).open("xb")
        try_lock(self._lock)
        self._folder.parent.mkdir(exist_ok=True)
        hidden.rename(self._folder)
        return self

    def add(self, structures: Sequence[Structure]) -> None:
        """Save a batch of structures, which is on the disk when this method returns.

        Raises
        ------
        UserError
            If the file system is full or cannot be written to.
        """
        if not structures:
            return
        self._waiting += structures
        if len(self._waiting) >= FILE_SIZE:
            self.flush()
        else:
            data = to_bytes(to_table(structures, self.cache.metadata))
            self._files.append(publish(self._folder, data, ".parquet"))

    def flush(self) -> None:
        """Merge the waiting batches into one cache file, and remove the files of the batches.

        Raises
        ------
        UserError
            If the file system is full or cannot be written to.
        """
        if self._waiting:
            self.cache.write(self._waiting)
        for path in self._files:
            path.unlink(missing_ok=True)  # missing if another run has recovered it
        self._waiting, self._files = [], []

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        """Merge the waiting batches; after an error, leave them for the next run."""
        if kind is None:
            self.flush()
            shutil.rmtree(self._folder, ignore_errors=True)
        self._lock.close()


def adopt(cache: Cache) -> int:
    """Merge the batches of killed runs into the cache; return the number of added structures.

    Structures that the cache already has are not added again.

    Raises
    ------
    UserError
        If the file system is full or cannot be written to.
    """
    adopted = 0
    folders = sorted((cache.folder / _FOLDER).glob("*/"))
    for folder in folders:
        try:
            lock = (folder / LOCK).open("r+b")
        except OSError:  # the run of this folder has just finished, or another process recovers it
            continue
        with lock:
            if try_lock(lock):
                adopted += _merge(cache, folder)
                shutil.rmtree(folder, ignore_errors=True)
    return adopted


def _merge(cache: Cache, folder: Path) -> int:
    tables = []
    for path in sorted(folder.glob("*.parquet")):
        try:
            tables.append(read_table(path))
        except DamagedError as error:
            print(
                f"structures: {path}, left by a killed run, is damaged ({error}); its peptides "
                "are predicted again",
                file=sys.stderr,
                flush=True,
            )
    if not tables:
        return 0
    table = pa.concat_tables(tables).replace_schema_metadata(cache.metadata)
    # A run may have been killed between writing a cache file and removing its batches.
    names = table["sequence"].to_pylist()
    known = cache.holds(names)
    keep = {name: row for row, name in enumerate(names) if name not in known}
    table = table.take(pa.array(keep.values(), pa.int64()))
    if len(table):
        publish(cache.folder, to_bytes(table.combine_chunks()), ".parquet")
    return len(table)
