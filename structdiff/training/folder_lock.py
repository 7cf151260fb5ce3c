"""Lock of a training folder: only one training runs in it at a time."""

import time
from contextlib import AbstractContextManager
from pathlib import Path

from structdiff.system import locks

__all__ = ["NAME", "hold", "holder", "wait"]

NAME = ".lock"


def hold(output_dir: Path) -> AbstractContextManager[locks.Hold]:
    """Return a context manager that locks a training folder for this process.

    Entering it raises `UserError` if another process is training in the folder.
    """
    return locks.hold(
        output_dir / NAME,
        lambda name: (
            f"{output_dir}: another trainer is at work here ({name}); wait for it, or stop it "
            "(SIGTERM saves its state), or choose another --output-dir"
        ),
    )


def holder(output_dir: Path) -> str | None:
    """Return the process that is training in a folder, ``process 123 on hostname``, or None."""
    return locks.holder(output_dir / NAME)


def wait(output_dir: Path) -> None:
    """Wait until no process is training in a folder; print the name of each awaited process."""
    before = None
    while (name := holder(output_dir)) is not None:
        if name != before:
            print(
                f"{output_dir}: another trainer is at work here ({name}); waiting for it to end",
                flush=True,
            )
        before = name
        time.sleep(0.5)
