"""Stop a job of a killed Snakemake from writing results after another Snakemake has taken over.

`structdiff.system.workflow` ends the jobs that a killed Snakemake has left, but it cannot reach a
job in another container, or on another machine without SLURM. Such a job must stop by itself:
``check_current(path)`` is called before a temporary file replaces ``path``. It reads the lock file
of the run, and raises an error if a Snakemake that did not start this job has the lock.
"""

import json
import os
import uuid
from contextlib import suppress
from pathlib import Path

from structdiff.system.errors import UserError

__all__ = ["LOCK", "MARK", "check_current", "mark_jobs"]

MARK = "STRUCTDIFF_SNAKEMAKE"
"""Environment variable with a mark that all jobs of one Snakemake share."""

LOCK = ".snakemake.lock"
"""The lock file of a run; its note has the mark of the Snakemake that holds the lock."""

_given = ""
"""The mark that this process gave to its jobs, empty if none. A process with its own mark is a
Snakemake and not a job, and is not checked."""


def mark_jobs() -> None:
    """Mark the jobs that this process, a Snakemake, will start, so that they can be found later."""
    global _given
    _given = os.environ[MARK] = uuid.uuid4().hex


def check_current(path: Path) -> None:
    """Check that the Snakemake that started this job still has the lock of the run.

    ``path`` is a file or folder in the folder of the run. Nothing is checked if this process is not
    a job, or if ``path`` is not in the folder of a run.

    Raises
    ------
    UserError
        If another Snakemake has the lock.
    """
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
