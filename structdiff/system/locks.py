"""Locks between processes, which the kernel frees when their holder ends or is killed.

``exclusive(path, tell)`` waits for a lock. ``hold(path, refuse)`` does not wait: if another process
has the lock, it raises an error that names this process. ``holder(path)`` returns the name of the
process that has the lock. All use ``try_lock(file)``.

On a file system without locks (Lustre mounted without ``flock``, NFS with ``nolock``) a lock does
not exclude other processes: the caller continues, with one warning on stderr for each folder. On
such a file system, `hold` and `holder` read the process name in the lock file: if that process is
alive on this machine, it has the lock.
"""

import errno
import fcntl
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from structdiff.system.errors import UserError, warn

__all__ = ["Hold", "exclusive", "hold", "holder", "try_lock"]

SECONDS_BETWEEN_TRIES = 0.5
SECONDS_TO_LOOK = 1.0
"""Seconds for which `hold` tries, because a call of `holder` may have the lock for a moment."""

_NO_LOCKS = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}
_warned: set[str] = set()


def try_lock(file: IO, *, shared: bool = False) -> bool | None:
    """Try to lock an open file without waiting.

    Parameters
    ----------
    file
        The file, open for writing unless the lock is shared (as NFS requires).
    shared
        Whether other processes may have a shared lock at the same time.

    Returns
    -------
    bool or None
        Whether this process has the lock now; None if the file system has no locks.
    """
    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        _warn(file)
        return None
    return True


@contextmanager
def exclusive(path: Path, tell: Callable[[], None]) -> Iterator[None]:
    """Hold a lock within the block; wait while another process has it.

    Parameters
    ----------
    path
        The lock file; it is removed at the end of the block, but stays if the process is killed.
    tell
        Called once, without arguments, if another process has the lock.
    """
    waiting = False
    while True:
        file = path.open("ab")
        locked = try_lock(file)
        if locked is None or (locked and _is_at(path, file)):
            break
        file.close()
        if locked:  # the last holder has removed the file meanwhile
            continue
        if not waiting:
            waiting = True
            tell()
        time.sleep(SECONDS_BETWEEN_TRIES)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        file.close()


class Hold:
    """A lock that this process holds, with a note for the next holder.

    Attributes
    ----------
    note
        The note of the last holder, until `leave` replaces it; empty if there is none.
    """

    def __init__(self, file: IO[str], note: str):
        self._file, self.note = file, note
        self.leave(note)

    def leave(self, note: str) -> None:
        """Write a note for the next holder, in place of the last one."""
        self.note = note
        self._file.seek(0)
        self._file.truncate()
        self._file.write(f"{_this_process()}\n{note}")
        self._file.flush()


@contextmanager
def hold(path: Path, refuse: Callable[[str], str]) -> Iterator[Hold]:
    """Hold a lock within the block and write this process's name to the lock file, without waiting.

    Parameters
    ----------
    path
        The lock file, which stays; its folder is created.
    refuse
        Function that makes the error message from the name of the process that has the lock.

    Raises
    ------
    UserError
        If another process has the lock.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="utf-8") as file:
        end = time.monotonic() + SECONDS_TO_LOOK
        while (locked := try_lock(file)) is False and time.monotonic() < end:
            time.sleep(0.1)
        name, note = _read(file)
        if locked is False or (locked is None and _is_alive(name)):
            raise UserError(refuse(name))
        yield Hold(file, note)


def holder(path: Path) -> str | None:
    """Return the name of the process that has a lock; None if no process has it."""
    try:
        file = path.open(encoding="utf-8")
    except FileNotFoundError:
        return None
    with file:
        locked = try_lock(file, shared=True)
        name, _ = _read(file)
        return name if locked is False or (locked is None and _is_alive(name)) else None


def _this_process() -> str:
    return f"process {os.getpid()} on {socket.gethostname()}"


def _read(file: IO[str]) -> tuple[str, str]:
    """Return the name and the note in a lock file."""
    file.seek(0)
    name, _, note = file.read().partition("\n")
    return name, note


def _is_alive(name: str) -> bool:
    """Return whether a name from a lock file is of another live process of this machine."""
    import psutil

    words = name.split()
    if len(words) != 4 or not words[1].isdecimal() or words[3] != socket.gethostname():
        return False
    return int(words[1]) != os.getpid() and psutil.pid_exists(int(words[1]))


def _warn(file: IO) -> None:
    """Warn on stderr that files in the folder of ``file`` cannot be locked, once for a folder."""
    folder = str(Path(str(file.name)).absolute().parent)
    if folder not in _warned:
        _warned.add(folder)
        warn(
            f"{folder} is on a file system without file locks: see to it that only one run works "
            "there at a time"
        )


def _is_at(path: Path, file: IO) -> bool:
    """Return whether an open file is still the file at a path."""
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False
