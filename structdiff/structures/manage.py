"""Maintenance of the cache: list it, verify it, export structures, find unused files.

The commands ``structdiff structures list``, ``verify``, ``export`` and ``gc`` call `summaries`,
`verify`, `export` and `garbage`.
"""

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq

from structdiff.protein.ends import FREE, Ends
from structdiff.protein.io import format_pdb, write_mmcif
from structdiff.structures.cache import read_table, set_aside
from structdiff.structures.index import read_files, read_structures
from structdiff.structures.partial import LOCK
from structdiff.system.errors import UserError
from structdiff.system.files import visible_files
from structdiff.system.locks import holder
from structdiff.system.naming import file_names
from structdiff.system.parquet import DamagedError

__all__ = ["Summary", "export", "garbage", "summaries", "verify"]


@dataclass(frozen=True)
class Summary:
    """Summary of the cache's content for one key.

    Attributes
    ----------
    folder
        Subfolder of the cache for this key.
    key
        Predictor, weights, settings and versions, as names and values.
    structures, files, bytes
        Number of structures, number of cache files, and size of these files in bytes.
    damaged
        Number of damaged files that were set aside.
    leftover
        Number of batches that are not merged into cache files yet, of active or killed runs.
    """

    folder: Path
    key: dict[str, str | int]
    structures: int
    files: int
    bytes: int
    damaged: int
    leftover: int


def summaries(root: Path) -> list[Summary]:
    """Return a summary for each key of the cache; only the footers of the cache files are read.

    Raises
    ------
    UserError
        If there is no cache in ``root``, or a ``key.json`` of it is damaged.
    """
    return [_summary(folder) for folder in _folders(root)]


def _summary(folder: Path) -> Summary:
    files = sorted(folder.glob("*.parquet"))
    return Summary(
        folder=folder,
        key=_key(folder / "key.json"),
        structures=sum(map(_rows, files)),
        files=len(files),
        bytes=sum(path.stat().st_size for path in files),
        damaged=len(list(folder.glob("*.damaged"))),
        leftover=len(list(folder.glob("partial/*/*.parquet"))),
    )


def _key(path: Path) -> dict[str, str | int]:
    """Return the key in a ``key.json``; raise `UserError` if the file is damaged."""
    try:
        key = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(key, dict):
            raise ValueError("it is not an object of names and values")
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path}: cannot be read ({error}); remove this file, and the next run that uses this "
            "part of the cache writes it again"
        ) from None
    return key


def _rows(path: Path) -> int:
    try:
        return pq.read_metadata(path).num_rows
    except (pa.ArrowException, OSError):  # `verify` says more
        return 0


def _folders(root: Path) -> list[Path]:
    folders = sorted(path.parent for path in Path(root).glob("*/key.json"))
    if not folders:
        raise UserError(
            f"{root}: holds no structure cache; give the folder that structures.cache names"
        )
    return folders


def verify(root: Path) -> tuple[int, int]:
    """Verify all bytes of every structure file of the cache; set damaged files aside.

    Damaged files are reported on stderr and renamed to ``*.damaged``.

    Returns
    -------
    tuple of int
        Number of intact files and number of damaged files.

    Raises
    ------
    UserError
        If there is no cache in ``root``.
    """
    whole = damaged = 0
    for folder in _folders(root):
        for path in sorted(folder.glob("*.parquet")):
            try:
                read_table(path)
                whole += 1
            except FileNotFoundError:
                continue
            except DamagedError as error:
                set_aside(path, str(error))
                damaged += 1
    return whole, damaged


def export(
    index: Path,
    output_dir: Path,
    form: Literal["pdb", "mmcif"] = "pdb",
    ids: Sequence[str] | None = None,
    ends: Mapping[str, Ends] | None = None,
) -> int:
    """Write each structure of an index as a PDB or mmCIF file, with the pLDDT as B-factor.

    Parameters
    ----------
    index
        Path of ``index.parquet``.
    output_dir
        Folder of the files, which are named by the peptides' ids.
    form
        Format of the files: ``pdb``, or ``mmcif`` (files ``*.cif``).
    ids
        Ids of the peptides to write; None for all.
    ends
        Ends by the id of the peptide, which are written to PDB files; by default free.

    Returns
    -------
    int
        Number of files written.

    Raises
    ------
    UserError
        If one of ``ids`` is not in the index or has no structure, if a structure is too large for
        the PDB format, or if the index or a cache file is missing or damaged.
    """
    found = read_structures(index, ids)
    output_dir.mkdir(parents=True, exist_ok=True)
    for name, stem in file_names(found).items():
        structure = found[name]
        if form == "pdb":
            try:
                text = format_pdb(structure, (ends or {}).get(name, FREE))
            except ValueError as error:
                raise UserError(f"{name}: {error} (--format mmcif)") from None
            (output_dir / f"{stem}.pdb").write_text(text, encoding="ascii")
        else:
            write_mmcif(output_dir / f"{stem}.cif", structure, stem)
    return len(found)


def garbage(root: Path, results: Iterable[Path], min_age_days: float) -> list[Path]:
    """Return the files and folders of the cache that no run uses any more.

    These are structure files that no index in ``results`` refers to, files that were set aside as
    damaged, and files and folders that killed processes have left (unfinished files, lock files,
    folders of batches). Files and folders younger than ``min_age_days`` are not returned, because
    they may belong to a running fold, which has not written its index yet. Lock files and folders
    of batches that a running process has locked are not returned either.

    Parameters
    ----------
    root
        Folder of the whole cache.
    results
        Folders of results, of one run, or of `structdiff structures predict`. The structures of
        every ``index.parquet`` in these folders and their subfolders are in use.
    min_age_days
        Smallest age of a returned file or folder, in days since its last change.

    Raises
    ------
    UserError
        If there is no cache in ``root``, no index in one of the ``results``, or an index that
        cannot be read or names a missing file.
    """
    folders = _folders(root)

    def refuse(error: OSError) -> None:
        raise UserError(f"{error.filename}: cannot be read ({error.strerror})")

    indices: list[Path] = []
    for folder in results:
        every = visible_files(folder, refuse) if folder.is_dir() else ()
        found = sorted(path for path in every if path.name == "index.parquet")
        if not found:
            raise UserError(
                f"{folder}: there is no index of structures (index.parquet) in this folder, so "
                "that it cannot be told what it uses; name the folders of results with "
                "--results, those of other users too"
            )
        indices += found
    files = {index: read_files(index) for index in indices}
    for index, paths in files.items():
        lost = [path for path in paths if not path.exists()]
        if lost:
            raise UserError(
                f"{index}: names {lost[0]}, which is not there (was the folder moved?), so that it "
                "cannot be told what is in use; fold that run again, remove this index, or leave "
                "its folder of results out"
            )
    named = {path.resolve() for paths in files.values() for path in paths}
    oldest = time.time() - min_age_days * 86400
    return [
        path
        for folder in folders
        for pattern in ("*.parquet", "*.damaged", ".*.tmp", "*.lock", "partial/*/")
        for path in sorted(folder.glob(pattern))
        if path.resolve() not in named and _is_older(path, oldest) and not _is_locked(path)
    ]


def _is_older(path: Path, moment: float) -> bool:
    """Return whether a path exists and was changed before a moment, in seconds since 1970."""
    try:
        return path.stat().st_mtime < moment
    except FileNotFoundError:  # a running fold has removed it meanwhile
        return False


def _is_locked(path: Path) -> bool:
    """Return whether a running process has locked a lock file, or the lock in a folder."""
    lock = path / LOCK if path.is_dir() else path
    return lock.name.endswith(LOCK) and holder(lock) is not None
