"""Log of a run: text (log file and console), ``metrics.jsonl`` and TensorBoard events.

``RunLogger(output_dir, step, epoch)`` opens all of them in the main process; the other processes
have a `NullLogger`. The training loop calls methods such as `step`, `validation` and `info`. When a
run is resumed, lines of ``metrics.jsonl`` and TensorBoard points after the checkpoint are removed.
"""

import logging
import resource
import sys
import time
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import torch

from structdiff.system.errors import UserError
from structdiff.training.metrics import LOSSES, Metrics, truncate

__all__ = ["NullLogger", "RunLogger", "describe", "memory_in_use"]

SECONDS_BETWEEN_LINES = 60.0


def memory_in_use(device: torch.device) -> int:
    """Return the peak memory use of this process, in bytes.

    This is the GPU memory that torch allocated if ``device`` is a GPU, else the resident memory.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def describe(losses: dict[str, Any]) -> str:
    """Return losses as text, 'total: …, diffusion: …, structure: …'.

    ``losses`` has a number for each of `metrics.LOSSES`; None is written as 'none'.
    """
    parts = (f"{name}: {_number(losses[name])}" for name in LOSSES)
    return ", ".join(parts)


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.4f}"


class RunLogger:
    """Writer of a run's log, ``metrics.jsonl`` and TensorBoard events.

    Parameters
    ----------
    output_dir
        The training folder.
    step, epoch
        Number of steps and epochs done in the checkpoint that is resumed. Later lines of the
        metrics, and TensorBoard points of later steps, are removed. ``epoch`` is -1 if no epoch is
        done, not even epoch 0, the validation of the starting weights.
    """

    def __init__(self, output_dir: Path, step: int, epoch: int):
        from torch.utils.tensorboard import SummaryWriter

        self._log = self._open_log(output_dir / "logs")
        truncate(output_dir / "metrics.jsonl", step, epoch)
        self.metrics = Metrics(output_dir / "metrics.jsonl")
        # TensorBoard removes the points of steps that are now computed again.
        self._board = SummaryWriter(output_dir / "tensorboard", purge_step=step + 1, flush_secs=10)
        self._shown = time.monotonic()

    def _open_log(self, directory: Path) -> logging.Logger:
        directory.mkdir(parents=True, exist_ok=True)
        name = f"training_{time.strftime('%Y%m%d_%H%M%S')}"
        log = logging.Logger(f"structdiff.{name}", level=logging.INFO)
        layout = logging.Formatter("%(asctime)s - %(levelname)s - %(message)s", "%Y-%m-%d %H:%M:%S")
        file = logging.FileHandler(directory / f"{name}.log", encoding="utf-8")
        for handler in (file, logging.StreamHandler(sys.stdout)):
            handler.setFormatter(layout)
            log.addHandler(handler)
        return log

    def info(self, message: str) -> None:
        """Write a line to the log file and the console."""
        self._log.info(message)

    def warn(self, message: str) -> None:
        """Write a warning to the log file and the console."""
        self._log.warning(message)

    def event(self, name: str, **values: Any) -> None:
        """Add a line to the metrics: the name of the event, the time, and values of the event."""
        self.metrics.append({"event": name, "time": round(time.time(), 3), **values})

    def step(self, values: dict[str, Any], progress: str) -> None:
        """Record an optimizer step in the metrics and TensorBoard.

        ``values`` is the result of `Trainer.finish` with ``residues_per_second`` and
        ``memory_bytes``. If no step was logged as text in the last minute, the text ``progress``
        and the losses are logged too.
        """
        self.event("step", **values)
        for name in LOSSES:
            self._point(f"train/{name}", values[name], values["step"])
        for name in ("lr", "grad_norm", "residues_per_second", "memory_bytes"):
            self._point(name, values[name], values["step"])
        if time.monotonic() - self._shown > SECONDS_BETWEEN_LINES:
            self._shown = time.monotonic()
            self.info(f"{progress}: {describe(values)}, lr: {values['lr']:.2e}")

    def epoch(self, epoch: int, step: int, losses: dict[str, Any], memory: int) -> None:
        """Write an epoch's mean training losses to the log and TensorBoard.

        ``step`` is the last step of the epoch. ``memory`` is the peak memory in bytes.
        """
        self.info(f"Training loss - {describe(losses)}; memory: {memory / 2**20:,.0f} MiB")
        for name in LOSSES:
            self._point(f"epoch/{name}", losses[name], step)
        self._shown = time.monotonic()

    def validation(self, values: dict[str, Any]) -> None:
        """Write an epoch's validation losses to the log, ``metrics.jsonl`` and TensorBoard.

        ``values`` has ``epoch``, ``step`` and the losses by name.
        """
        self.event("validation", **values)
        self.info(f"Validation loss - {describe(values)}")
        for name in LOSSES:
            self._point(f"validation/{name}", values[name], values["step"])

    def samples(self, sequences: list[str], step: int) -> None:
        """Write sequences that were drawn from the model after ``step`` to TensorBoard."""
        self._board.add_text("samples", "  \n".join(f"`{s}`" for s in sequences), step)

    def failed(self, step: int, error: Exception) -> None:
        """Add an ``error`` line with the error that ends the run to the metrics, if possible."""
        message = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
        with suppress(UserError):  # a full disk may be the error
            self.event("error", step=step, message=message)

    def sync(self) -> None:
        """Flush the metrics to the disk, and the TensorBoard events to their file."""
        self.metrics.sync()
        self._board.flush()

    def close(self) -> None:
        """Close all files.

        If an error ends the run, an error while closing does not replace the first error.
        """
        ended_by_error = sys.exc_info()[0] is not None
        handlers = (handler.close for handler in self._log.handlers)
        for close in (self.metrics.close, self._board.close, *handlers):
            with suppress(OSError) if ended_by_error else nullcontext():
                close()

    def _point(self, name: str, value: float | None, step: int) -> None:
        if value is not None:
            self._board.add_scalar(name, value, step)


class NullLogger(RunLogger):
    """Logger that writes nothing, for the processes that are not the main process."""

    def __init__(self) -> None:
        self._shown = time.monotonic()

    def _ignore(self, *arguments: Any, **options: Any) -> None:
        pass

    info = warn = event = samples = sync = close = _point = _ignore
