"""Divide work among processes, with the same results in the same order as in one process.

``in_order(function, items, workers)`` forks the workers, so that they share the memory of this
process (for example, a model) and start at once. The workers end when the generator ends or is
closed, when an error or a signal stops it, and when this process is killed.
"""

import multiprocessing
import os
import pickle
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar, cast

from structdiff.system.errors import UserError

__all__ = ["in_order"]

Item = TypeVar("Item")
Result = TypeVar("Result")

SIGNALS = (signal.SIGINT, signal.SIGTERM)


def in_order(
    function: Callable[[Item], Result], items: Sequence[Item], workers: int
) -> Iterator[Result]:
    """Yield ``function(item)`` for each item, in the order of the items.

    Parameters
    ----------
    function
        Function of one item. It must not use a GPU or threads. Its result must depend on the item
        only, not on earlier calls, and must be picklable.
    items
        Arguments of the function, one for each call.
    workers
        Largest number of worker processes. With one item or one worker, this process computes all
        items. It also does so on systems other than Linux, which cannot fork safely.

    Raises
    ------
    UserError
        If a worker is killed. An error that the function raises is raised here unchanged; an error
        that cannot be sent between processes (pickled) becomes a `RuntimeError` with its traceback.
    """
    workers = min(workers, len(items))
    if workers < 2 or sys.platform != "linux":
        yield from map(function, items)
        return
    pool = _Pool(items)
    try:
        pool.start(function, workers)
        yield from pool.results()
    finally:
        pool.end()


class _Pool:
    """Worker processes; each gets the next item when it has finished one."""

    def __init__(self, items: Sequence[Any]):
        self.items = items
        self.workers: dict[Connection, BaseProcess] = {}

    def start(self, function: Callable[[Any], Any], workers: int) -> None:
        """Fork the given number of workers."""
        context = multiprocessing.get_context("fork")
        # Until a worker has its own signal handlers, a signal runs the parent's handlers in it.
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        try:
            for _ in range(workers):
                mine, theirs = context.Pipe()
                arguments = (function, self.items, theirs, [*self.workers, mine])
                process = context.Process(target=_work, args=arguments, daemon=True)
                with warnings.catch_warnings():
                    # Python warns if a process with several threads forks, because a worker may
                    # need a lock of another thread. Here, no worker needs such a lock.
                    warnings.simplefilter("ignore", DeprecationWarning)
                    process.start()
                theirs.close()
                self.workers[mine] = process
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)

    def results(self) -> Iterator[Any]:
        """Yield the result of each item, in the order of the items."""
        waiting = iter(range(len(self.items)))
        finished: dict[int, Any] = {}
        for connection in self.workers:
            self._send(connection, next(waiting))
        for number in range(len(self.items)):
            while number not in finished:
                ready = cast(list[Connection], wait(list(self.workers)))
                for connection in ready:
                    done, *outcome = self._receive(connection)
                    finished[done] = outcome
                    following = next(waiting, None)
                    if following is not None:
                        self._send(connection, following)
            result, error = finished.pop(number)
            if error is not None:
                raise error
            yield result

    def _send(self, connection: Connection, number: int) -> None:
        try:
            connection.send(number)
        except BrokenPipeError:
            raise self._killed(connection) from None

    def _receive(self, connection: Connection) -> tuple[int, Any, Exception | None]:
        try:
            return connection.recv()
        except (EOFError, ConnectionResetError):
            raise self._killed(connection) from None

    def _killed(self, connection: Connection) -> UserError:
        process = self.workers[connection]
        process.join()
        return UserError(
            f"one of {len(self.workers)} worker processes ended (exit status {process.exitcode}); "
            "the system ends processes when memory is short: grant fewer cores (OMP_NUM_THREADS=1, "
            "or a rule's threads), and start again"
        )

    def end(self) -> None:
        """Kill all workers, even while they compute, and wait until they have ended."""
        for connection, process in self.workers.items():
            process.kill()
            connection.close()
        for process in self.workers.values():
            process.join()


def _work(
    function: Callable[[Any], Any],
    items: Sequence[Any],
    connection: Connection,
    others: Sequence[Connection],
) -> None:
    """Compute the items whose numbers arrive on ``connection``, until the parent ends.

    Each number is sent back with the result and the error. ``others`` are the parent's ends of the
    workers' connections; the fork has copied them, and they are closed here.
    """
    for number in SIGNALS:  # the parent gets them too, and ends its workers
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    for other in others:
        other.close()
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while True:
            number = connection.recv()
            try:
                connection.send((number, function(items[number]), None))
            except Exception as error:
                connection.send((number, None, _sendable(error)))


def _sendable(error: Exception) -> Exception:
    """Return an error with its traceback, which pickling loses, as a note.

    An error that cannot be pickled and read again becomes a `RuntimeError` with the traceback. A
    `UserError` gets no note.
    """
    lines = "".join(traceback.format_exception(error))
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 (our own bytes)
    except Exception:  # pickling runs code of the error's own class
        return RuntimeError(lines)
    if not isinstance(error, UserError):
        error.add_note(lines)
    return error


def _end_with_parent() -> None:
    """Wait until the parent ends, even if it is killed, and end this process."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
