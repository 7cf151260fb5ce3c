"""Check that this process is a job of the Snakemake that works on the run now.

StructDiff ends the jobs of a killed Snakemake, except those in another container or on another
machine. Such a job reads in the lock file that another Snakemake works on the run, and stops
writing: ``check_current(path)`` is called before a temporary file replaces the file at ``path``.
"""

import json
import os
from contextlib import suppress
from pathlib import Path

from structdiff.system.errors import UserError

__all__ = ["LOCK", "MARK", "check_current", "mark_jobs"]

MARK = "STRUCTDIFF_SNAKEMAKE"
"""Environment variable that marks all jobs of one Snakemake."""

LOCK = ".snakemake.lock"
"""The lock file of a run; its note has the mark of the Snakemake that holds the lock."""

_given = ""
"""The mark that this process gave to its jobs; a Snakemake is not one of its own jobs."""


def mark_jobs(mark: str) -> None:
    """Mark all processes that this process, a Snakemake, starts from now on."""
    global _given
    _given = os.environ[MARK] = mark


def check_current(path: Path) -> None:
    """Raise `UserError` if the file is of a run that another Snakemake than this job's holds."""
    mark = os.environ.get(MARK)
    if mark in (None, _given):
        return
    lock = next((f / LOCK for f in path.absolute().parents if (f / LOCK).is_file()), None)
    if lock is None:
        return
    holder = None
    with suppress(OSError, ValueError):  # the holder is writing it
        holder = json.loads(lock.read_text(encoding="utf-8").partition("\n")[2]).get("mark")
    if holder not in (None, mark):
        raise UserError(
            f"{path}: not written, because another Snakemake has taken over the run; this job is "
            "left from one that was killed"
        )
