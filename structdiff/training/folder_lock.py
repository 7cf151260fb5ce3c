"""One trainer a folder: a lock that the kernel frees when its holder ends, however it ends.

``with hold(output_dir):`` around a training; ``holder(output_dir)`` for who only looks, and
``wait(output_dir)`` for who would rather wait than be refused.
"""

import fcntl
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from structdiff.system.errors import UserError

__all__ = ["NAME", "hold", "holder", "wait"]

NAME = ".lock"
_ATTEMPTS = 10


@contextmanager
def hold(output_dir: Path) -> Iterator[None]:
    """Be the only trainer in a folder.

    Raises
    ------
    UserError
        If another one is alive.
    """
    output_dir.mkdir(parents=True, exist_ok=True)
    with (output_dir / NAME).open("a+", encoding="utf-8") as file:
        for attempt in range(_ATTEMPTS):  # `holder` may have it for a moment
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(0.1 * (attempt + 1 < _ATTEMPTS))
        else:
            file.seek(0)
            raise UserError(
                f"{output_dir}: another trainer is at work here ({file.read().strip()}); wait for "
                "it, or stop it (SIGTERM saves its state), or choose another --output-dir"
            )
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        yield


def holder(output_dir: Path) -> str | None:
    """Return who is training in a folder, None if nobody is."""
    try:
        file = (output_dir / NAME).open(encoding="utf-8")
    except FileNotFoundError:
        return None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return file.read().strip()
    return None


def wait(output_dir: Path) -> None:
    """Wait until nobody is training in a folder, and say so."""
    before = None
    while (now := holder(output_dir)) is not None:
        if now != before:
            print(
                f"{output_dir}: another trainer is at work here ({now}); waiting for it to end",
                flush=True,
            )
        before = now
        time.sleep(0.5)
