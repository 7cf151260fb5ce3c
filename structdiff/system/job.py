"""Whether this process is a job of the Snakemake that has the run now.

Snakemake ends the jobs that a killed one left, but it cannot see those of another container or
machine. Such a job reads in the lock file that another Snakemake has the run, and stops
writing: ``check_current(path)`` is called before a file takes its place.
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
"""The lock file of a run; its note has the mark of the Snakemake that has it."""

_given = ""
"""The mark that this process has given; a Snakemake itself is not one of its jobs."""


def mark_jobs(mark: str) -> None:
    """Mark all processes that this process, a Snakemake, starts from now on."""
    global _given
    _given = os.environ[MARK] = mark


def check_current(path: Path) -> None:
    """Raise `UserError` if another Snakemake than that of this job has the run of a file."""
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
