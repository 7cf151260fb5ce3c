"""Signals at which a training run saves its state and stops, such as SIGTERM and SIGINT.

Within ``with Interrupt() as interrupt:``, ``interrupt.requested`` is true after such a signal. The
training loop reads it in each step, and raises `Stopped`. A process that torchrun started also
stops if torchrun is killed, so that it never trains as an orphan.
"""

import os
import signal
from types import FrameType

__all__ = ["EXIT_STATUS", "SIGNALS", "Interrupt", "Stopped", "hangup_is_ignored"]

EXIT_STATUS = 75
"""Exit status of a training that was asked to stop and saved its state (EX_TEMPFAIL of sysexits.h).
It is not zero, so that Snakemake starts the training again, which then resumes."""

SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)


def hangup_is_ignored(number: signal.Signals) -> bool:
    """Return whether a signal is SIGHUP and must stay ignored, as under ``nohup``."""
    return number is signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN


class Stopped(Exception):
    """Exception that all processes of a training raise after a signal has stopped it."""


class Interrupt:
    """Context manager that handles the signals at which a run saves its state and stops.

    Parameters
    ----------
    watch_parent
        Whether the end of the parent process also stops the training.

    Attributes
    ----------
    name
        What asked for the stop: the name of a signal, such as "SIGTERM", or "the end of torchrun";
        None if nothing did.
    """

    def __init__(self, watch_parent: bool = False):
        self.name: str | None = None
        self._parent = os.getppid() if watch_parent else None

    @property
    def requested(self) -> bool:
        """Whether this process was asked to stop."""
        if self._parent is not None and os.getppid() != self._parent:
            self.name = self.name or "the end of torchrun"
        return self.name is not None

    def __enter__(self) -> "Interrupt":
        handled = [number for number in SIGNALS if not hangup_is_ignored(number)]
        self._before = {number: signal.signal(number, self._note) for number in handled}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.name = signal.Signals(number).name
