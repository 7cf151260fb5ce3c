"""Progress of a task: a bar on a terminal, plain lines in a log.

``with Progress("folding", total=n, unit="peptides") as progress: progress.advance(k, note="…")``
"""

import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import rich.progress

__all__ = ["Progress"]

SECONDS_BETWEEN_LINES = 10.0


class Progress:
    """Progress display of a task on stderr; in a log, a line at most every 10 seconds.

    Parameters
    ----------
    description
        Name of the task; nothing is shown if it is empty.
    total
        Total number of units of work.
    unit
        Plural name of a unit of work.
    """

    def __init__(self, description: str, total: int, unit: str):
        self.description, self.total, self.unit = description, total, unit
        self.done = 0
        self._bar: rich.progress.Progress | None = None

    def __enter__(self) -> "Progress":
        self._start = self._shown = time.monotonic()
        if self.description and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TimeRemainingColumn
            from rich.progress import Progress as Bar

            self._bar = Bar(
                "[progress.description]{task.description}",
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                "{task.fields[note]}",
                console=Console(stderr=True),
            )
            self._bar.start()
            self._task = self._bar.add_task(self.description, total=self.total, note="")
        return self

    def advance(self, count: int = 1, note: str = "") -> None:
        """Add ``count`` to the units that are done, and update the display, with ``note`` last."""
        self.done += count
        if self._bar is not None:
            rate = self.done / max(time.monotonic() - self._start, 1e-9)
            self._bar.update(self._task, advance=count, note=f"{rate:,.1f}/s  {note}")
            return
        now = time.monotonic()
        is_due = now - self._shown >= SECONDS_BETWEEN_LINES or self.done == self.total
        if self.description and is_due:
            self._shown = now
            self._print_line(now, note)

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def _print_line(self, now: float, note: str) -> None:
        seconds = max(now - self._start, 1e-9)
        rate = self.done / seconds
        left = (self.total - self.done) / rate if rate else float("inf")
        line = f"{self.description}: {self.done}/{self.total} {self.unit}, {rate:.1f}/s"
        if self.done < self.total:
            line += f", {left:.0f} s left"
        print(line + (f", {note}" if note else ""), file=sys.stderr, flush=True)
