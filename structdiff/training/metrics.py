"""Metrics of a run, ``metrics.jsonl``: one JSON line for each event.

The ``event`` of a line is ``start``, ``step``, ``validation``, ``save``, ``stop``, ``error`` or
``end``. ``Metrics(path).append({...})`` writes a line; ``read(path)`` reads all lines, also while a
run is writing; ``truncate(path, step, epoch)`` removes the lines after a checkpoint, so that a
resumed run has each step once.

Each line ends with a CRC-32 checksum of the rest of the line (``"crc"``). A damaged line is
reported with its number and left out; the lines after it are read.
"""

import json
import os
import re
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from structdiff.system.errors import UserError, warn

__all__ = ["LOSSES", "Metrics", "epochs_trained", "read", "truncate"]

LOSSES = ("total", "diffusion", "structure")
"""Names of the losses in a line; total = diffusion + ``training.structure_weight`` × structure,
where diffusion is the sequence loss. Structure may be None (total = diffusion)."""

_NUMBERED = ("step", "validation", "save", "stop", "error", "end")
_CHECKSUM = re.compile(rb'(?P<line>.*), "crc": "(?P<crc>[0-9a-f]{8})"\}', re.DOTALL)
_CHECKSUM_TRACE = re.compile(rb'"crc"|"[0-9a-f]{8}"\}$')
"""Pattern that finds a checksum in a line, even if one byte of the line is damaged. Lines of
earlier versions have no checksum and do not match."""

_reported: set[str] = set()


class Metrics:
    """Writer of a metrics file; each line is in the file when `append` returns."""

    def __init__(self, path: Path):
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("a", encoding="utf-8")

    def append(self, line: dict[str, Any]) -> None:
        """Write one line: ``event`` and the values of the event. The checksum is added.

        Raises
        ------
        UserError
            If the disk is full or not writable.
        ValueError
            If a value is NaN or infinite.
        """
        text = json.dumps(line, allow_nan=False)[:-1]
        try:
            self._file.write(f'{text}, "crc": "{zlib.crc32(text.encode()):08x}"}}\n')
            self._file.flush()
        except OSError as error:
            raise UserError(
                f"{self._file.name}: cannot be written ({error.strerror}); make room on the disk "
                "and start again, the training resumes from the last checkpoint"
            ) from error

    def sync(self) -> None:
        """Flush all lines from the system's buffers to the disk."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read(path: Path, report: Callable[[str], None] | None = None) -> list[dict[str, Any]]:
    """Return the undamaged lines of a metrics file; an empty list if there is no such file.

    An unfinished last line, which a running training may be writing, is left out. ``report`` is
    called with a message for each damaged line; by default, the message is printed on stderr, at
    most once in this process.
    """
    lines = []
    for number, raw, line in _lines(path):
        if line is not None:
            lines.append(line)
        elif raw.endswith(b"\n") or _parse(raw[:-1]) is not None:
            (report or _warn_once)(
                f"{path}, line {number}: is damaged and left out; the lines after it are read"
            )
    return lines


def epochs_trained(path: Path) -> int:
    """Return how many whole epochs were trained, from a metrics file."""
    lines = read(path)
    sizes = [line["steps_per_epoch"] for line in lines if line["event"] == "start"]
    steps = max((line["step"] for line in lines if line["event"] == "step"), default=0)
    return steps // sizes[-1] if sizes else 0


def truncate(path: Path, step: int, epoch: int) -> None:
    """Remove from a metrics file the first line later than a checkpoint, and all lines after it.

    ``step`` and ``epoch`` are the numbers of steps and epochs done in the checkpoint. A line is
    later if its own step is larger than ``step``; if it is the validation of an epoch larger than
    ``epoch`` (its step may be equal to ``step``); or if it is an ``end`` line, because the run is
    resumed. An incomplete last line is removed too. Damaged lines that come earlier stay, so that
    `read` reports them.
    """
    keep = 0
    for _, raw, line in _lines(path):
        if line is None:
            keep += len(raw) if raw.endswith(b"\n") else 0
            continue
        if line["event"] in _NUMBERED and line["step"] > step:
            break
        if line["event"] == "end" or (line["event"] == "validation" and line["epoch"] > epoch):
            break
        keep += len(raw)
    if path.is_file() and keep < path.stat().st_size:
        os.truncate(path, keep)


def _lines(path: Path) -> Iterator[tuple[int, bytes, dict[str, Any] | None]]:
    """Yield number (from 1), bytes and content (None if damaged or not finished) of each line."""
    if path.is_file():
        *whole, rest = path.read_bytes().split(b"\n")
        for number, raw in enumerate([*(line + b"\n" for line in whole), rest], start=1):
            if raw:
                yield number, raw, _parse(raw) if raw.endswith(b"\n") else None


def _parse(raw: bytes) -> dict[str, Any] | None:
    """Return the content of a line without its checksum; None if it is damaged or not finished."""
    raw = raw.removesuffix(b"\n")
    if match := _CHECKSUM.fullmatch(raw):
        if f"{zlib.crc32(match['line']):08x}".encode() != match["crc"]:
            return None
        raw = match["line"] + b"}"
    elif _CHECKSUM_TRACE.search(raw):
        return None
    try:
        line = json.loads(raw)
    except ValueError:
        return None
    return line if isinstance(line, dict) and "event" in line else None


def _warn_once(message: str) -> None:
    if message not in _reported:
        _reported.add(message)
        warn(message)
