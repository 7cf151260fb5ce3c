"""Save Snakemake's records of a run with its results, and restore them.

Snakemake records in ``.snakemake/metadata`` the settings, code and inputs of each file. Results
that are copied without that folder would count as up to date with any settings, and results that
are copied over older ones with the settings of the older ones. Therefore `save` copies the records
of a run to its folder, and `restore` copies them back. `forget` removes the copy before the first
job, and `save` makes a new one after the last job: in between, the results change and an old copy
would not match them. A record that is not whole, because Snakemake was killed while it wrote it,
counts as missing, as it does for Snakemake.
"""

import json
import os
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from structdiff.system.files import write_text

__all__ = ["forget", "restore", "save", "unknown"]

NAME = ".records.json"
_METADATA = Path(".snakemake") / "metadata"
_INCOMPLETE = Path(".snakemake") / "incomplete"


def restore(results: Path) -> None:
    """Copy the saved records of a run back to Snakemake's folder, where they are missing or differ.

    Records of files that do not exist are left out.
    """
    try:
        records = json.loads((results / NAME).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return
    for file, record in records.items():
        path = _record(_METADATA, file)
        if _content(path) != record and Path(file).exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(record), encoding="utf-8")


def unknown(files: Iterable[str]) -> list[str]:
    """Return the files that exist, but that Snakemake neither recorded nor marked as incomplete."""
    return [
        file
        for file in files
        if Path(file).exists()
        and _content(_record(_METADATA, file)) is None
        and not _record(_INCOMPLETE, file).exists()
    ]


def forget(results: Path) -> None:
    """Remove the copy of Snakemake's records from the folder of a run, if it has one."""
    (results / NAME).unlink(missing_ok=True)


def save(results: Path) -> None:
    """Copy Snakemake's records of a run's files to the folder of the run."""
    records = {
        file: record
        for file, path in _records()
        if Path(file).is_relative_to(results) and (record := _content(path)) is not None
    }
    write_text(results / NAME, json.dumps(records))


def _records() -> Iterator[tuple[str, Path]]:
    """Yield the name of each file that Snakemake recorded, and the path of its record."""
    for folder, _, names in os.walk(_METADATA):
        for name in names:
            path = Path(folder, name)
            parts = path.relative_to(_METADATA).parts
            try:
                file = urlsafe_b64decode("".join(parts).replace("@", "")).decode()
            except ValueError:  # no record: such as .nfs…, which NFS keeps for an open file
                continue
            yield file, path


def _content(record: Path) -> Any:
    """Return the content of a record; None if the record is missing or is not whole."""
    try:
        return json.loads(record.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None


def _record(folder: Path, file: str) -> Path:
    """Return the path of Snakemake's record of a file; a long name is divided into folders."""
    name, most = urlsafe_b64encode(file.encode()).decode(), os.pathconf(".", "PC_NAME_MAX") - 1
    *parents, last = [name[start : start + most] for start in range(0, len(name), most)]
    return folder.joinpath(*(f"@{part}" for part in parents), last)
