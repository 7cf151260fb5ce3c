"""Finished batches of a running fold: saved at once, merged into few cache files later.

``with Partial(cache) as partial: partial.add(structures)`` saves a batch before the next is folded.
Enough of them become one cache file, and the batches are removed. The batches of a killed run stay;
the next run on the same key takes them over by ``adopt(cache)``. A lock (flock, which a killed
process loses) shows which run is still alive; on a file system without locks nothing is taken over,
and these peptides are predicted again.
"""

import shutil
import sys
import uuid
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import pyarrow as pa

from structdiff.protein.structure import Structure
from structdiff.structures.cache import Cache, publish, read_table, to_bytes, to_table
from structdiff.system.locks import try_lock
from structdiff.system.parquet import DamagedError

__all__ = ["Partial", "adopt"]

FILE_SIZE = 20_000
"""Structures after which batches become a cache file at the latest: about 40 MB."""

_FOLDER = "partial"
_LOCK = "lock"


class Partial:
    """The batches of one run.

    Parameters
    ----------
    cache
        Where the structures go.
    """

    def __init__(self, cache: Cache):
        self.cache = cache
        self._waiting: list[Structure] = []
        self._files: list[Path] = []
        self._folder = cache.folder / _FOLDER / uuid.uuid4().hex

    def __enter__(self) -> "Partial":
        # Locked before it is where others look for folders without an owner.
        hidden = self.cache.folder / f".{self._folder.name}.tmp"
        hidden.mkdir(parents=True)
        self._lock = (hidden / _LOCK).open("xb")
        try_lock(self._lock)
        self._folder.parent.mkdir(exist_ok=True)
        hidden.rename(self._folder)
        return self

    def add(self, structures: Sequence[Structure]) -> None:
        """Save a batch; when this returns it is on the disk.

        Raises
        ------
        UserError
            If the disk is full.
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
        """Make one cache file of what is waiting."""
        if self._waiting:
            self.cache.write(self._waiting)
        for path in self._files:
            path.unlink(missing_ok=True)  # missing where another run has taken it over
        self._waiting, self._files = [], []

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Merge what is left; after an error, leave it for the next run."""
        if kind is None:
            self.flush()
            shutil.rmtree(self._folder, ignore_errors=True)
        self._lock.close()


def adopt(cache: Cache) -> int:
    """Merge the batches that killed runs left behind into the cache; return how many structures."""
    adopted = 0
    folders = sorted((cache.folder / _FOLDER).glob("*/"))
    for folder in folders:
        try:
            lock = (folder / _LOCK).open("r+b")
        except OSError:  # just finished with, or somebody else's to take over
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
    # A run may have been killed between writing a cache file and dropping its batches.
    names = table["sequence"].to_pylist()
    known = cache.holds(names)
    keep = {name: row for row, name in enumerate(names) if name not in known}
    table = table.take(pa.array(keep.values(), pa.int64()))
    if len(table):
        publish(cache.folder, to_bytes(table.combine_chunks()), ".parquet")
    return len(table)
