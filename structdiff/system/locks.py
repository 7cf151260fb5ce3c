"""Locks between processes that the kernel frees when their holder ends, however it ends.

``with exclusive(path, tell):`` waits for its turn. On a file system without locks nobody waits:
two runs may then do the same work twice, which costs time and nothing else.
"""

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

__all__ = ["exclusive", "try_lock"]

SECONDS_BETWEEN_TRIES = 0.5


def try_lock(file: IO) -> bool:
    """Take the lock of an open file; False where another process may hold it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # held, or this file system has no locks
        return False
    return True


@contextmanager
def exclusive(path: Path, tell: Callable[[], None]) -> Iterator[None]:
    """Be the only process within the block.

    Parameters
    ----------
    path
        The lock file; it is there only as long as somebody holds or wants it.
    tell
        Called once if another process holds it.
    """
    told = False
    while True:
        file = path.open("ab")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            if not told:
                told = True
                tell()
            time.sleep(SECONDS_BETWEEN_TRIES)
            continue
        except OSError:  # this file system has no locks
            break
        if _is_at(path, file):
            break
        file.close()  # its last holder has removed it meanwhile
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        file.close()


def _is_at(path: Path, file: IO) -> bool:
    """Whether an open file is still the one that bears the name."""
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False
