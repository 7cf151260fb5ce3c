"""The lock of a training's folder: one trainer at a time works there."""

import time
from contextlib import AbstractContextManager
from pathlib import Path

from structdiff.system import locks

__all__ = ["NAME", "hold", "holder", "wait"]

NAME = ".lock"


def hold(output_dir: Path) -> AbstractContextManager[locks.Hold]:
    """Be the only trainer in a folder; `UserError` if another one is alive."""
    return locks.hold(
        output_dir / NAME,
        lambda name: (
            f"{output_dir}: another trainer is at work here ({name}); wait for it, or stop it "
            "(SIGTERM saves its state), or choose another --output-dir"
        ),
    )


def holder(output_dir: Path) -> str | None:
    """Return the name of the process that is training in a folder, None if there is none."""
    return locks.holder(output_dir / NAME)


def wait(output_dir: Path) -> None:
    """Wait until no process is training in a folder, and say so."""
    before = None
    while (name := holder(output_dir)) is not None:
        if name != before:
            print(
                f"{output_dir}: another trainer is at work here ({name}); waiting for it to end",
                flush=True,
            )
        before = name
        time.sleep(0.5)
