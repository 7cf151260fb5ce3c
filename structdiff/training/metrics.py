"""Metrics of a run, ``metrics.jsonl``: one JSON line for each step and validation.

``Metrics(path).append({...})`` writes; ``read(path)`` reads, also while a run is writing;
``truncate(path, step, epoch)`` drops what came after a checkpoint, so that a resumed run neither
doubles nor misses a step.
"""

import json
import os
from pathlib import Path
from typing import Any

__all__ = ["Metrics", "epochs_validated", "read", "truncate"]

_NUMBERED = ("step", "validation", "end")


class Metrics:
    """Append lines to a metrics file; each is there as soon as `append` returns."""

    def __init__(self, path: Path):
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("a", encoding="utf-8")

    def append(self, line: dict[str, Any]) -> None:
        """Write one line.

        Raises
        ------
        ValueError
            If a value is NaN or infinite.
        """
        self._file.write(json.dumps(line, allow_nan=False) + "\n")
        self._file.flush()

    def sync(self) -> None:
        """Make sure that all lines are on the disk."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a metrics file; an unfinished last line is left out.

    Returns an empty list if there is no such file.
    """
    if not path.is_file():
        return []
    lines = path.read_bytes().split(b"\n")[:-1]
    return [line for line in map(_parse, lines) if line is not None]


def epochs_validated(path: Path) -> int:
    """Return the last epoch that was validated, 0 if none was; the last of a run always is."""
    return max((x["epoch"] for x in read(path) if x["event"] == "validation"), default=0)


def truncate(path: Path, step: int, epoch: int) -> None:
    """Drop everything from the first line that a checkpoint knows nothing of.

    That is a later step than ``step``; the validation of a later epoch than ``epoch`` (it comes
    after the epoch's last step, of which there may be a checkpoint); the ``end``, for the run goes
    on; a line that was not finished.
    """
    if not path.is_file():
        return
    content, end = path.read_bytes(), 0
    for raw in content.splitlines(keepends=True):
        line = _parse(raw)
        if not raw.endswith(b"\n") or line is None:
            break
        if line["event"] in _NUMBERED and line["step"] > step:
            break
        if line["event"] == "end" or (line["event"] == "validation" and line["epoch"] > epoch):
            break
        end += len(raw)
    if end < len(content):
        os.truncate(path, end)


def _parse(raw: bytes) -> dict[str, Any] | None:
    try:
        line = json.loads(raw)
    except ValueError:
        return None
    return line if isinstance(line, dict) and "event" in line else None
