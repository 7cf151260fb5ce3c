"""Monitor of a training: print the state of its run once, or show it as a live dashboard.

``status(output_dir)`` prints the state, ``watch(output_dir, interval)`` shows it again and again
while the run is running; `structdiff.figures.overview` draws the curves. The monitor only reads
files: it works whether the run is running, finished, stopped or crashed, and does not disturb it.
"""

import time
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table

from structdiff.system import gpus
from structdiff.system.errors import UserError
from structdiff.training import folder_lock
from structdiff.training.metrics import LOSSES, read

__all__ = ["Snapshot", "snapshot", "status", "watch"]

_ENDINGS = {"end": "finished", "stop": "stopped"}
"""State of a run that is not running, by the last event in its metrics; after any other event, the
run has crashed."""

_RECENT = 50
"""Number of steps over which the speed and the losses are averaged."""


@dataclass(frozen=True)
class Snapshot:
    """State of a run at one moment.

    Attributes
    ----------
    state
        ``"running"``, ``"finished"``, ``"stopped"`` (it was asked to stop and saved its state),
        ``"crashed"`` (killed, or ended by an error) or ``"not started"``.
    holder
        Name of the process that is training, None if there is none.
    error
        The error that ended the run, None if there is none.
    unsaved
        Number of steps since the last save, or since the start if nothing was saved; None before
        the first step.
    damage
        A message for each damaged line of ``metrics.jsonl``.
    start, last, validation
        The lines of ``metrics.jsonl`` for the latest start, step and validation; None if there is
        no such line yet.
    best
        The line of the validation with the lowest total loss; None if there is none yet.
    restarts
        Number of times that the run was resumed.
    losses
        Mean training losses of the last `_RECENT` steps, by name; None if unknown.
    residues_per_second
        Mean speed over the last `_RECENT` steps, without steps before the latest start; None if
        unknown.
    seconds_left
        Estimated time to the end; None if unknown, or if no process is training.
    checkpoints
        Name and age in seconds of each checkpoint, the newest first.
    """

    state: str
    holder: str | None
    error: str | None
    unsaved: int | None
    damage: list[str]
    start: dict[str, Any] | None
    last: dict[str, Any] | None
    validation: dict[str, Any] | None
    best: dict[str, Any] | None
    restarts: int
    losses: dict[str, float | None]
    residues_per_second: float | None
    seconds_left: float | None
    checkpoints: list[tuple[str, float]]


def training_folder(output_dir: Path) -> Path:
    """Return the folder that has a run: ``output_dir``, or else its subfolder ``training``.

    Raises
    ------
    UserError
        If neither folder has a run.
    """
    for folder in (output_dir, output_dir / "training"):
        if (folder / "metrics.jsonl").exists() or (folder / folder_lock.NAME).exists():
            return folder
    raise UserError(
        f"{output_dir}: nothing has been trained here; give the --output-dir of `structdiff "
        "train`, for example results/demo/training"
    )


def snapshot(output_dir: Path) -> Snapshot:
    """Return the state of the run in a training folder."""
    # The lock is read before the metrics: if no process holds it, the metrics are final.
    holder = folder_lock.holder(output_dir)
    damage: list[str] = []
    lines = read(output_dir / "metrics.jsonl", damage.append)
    starts = [line for line in lines if line["event"] == "start"]
    steps = [line for line in lines if line["event"] == "step"]
    validations = [line for line in lines if line["event"] == "validation"]
    start: dict[str, Any] = starts[-1] if starts else {}
    last: dict[str, Any] = lines[-1] if lines else {"event": ""}
    state = _ENDINGS.get(last["event"], "crashed") if lines else "not started"
    # A run that resumes starts at the step of a checkpoint.
    saves = [x["step"] for x in lines if x["event"] in ("save", "start") and x["step"] > 0]
    unsaved = steps[-1]["step"] - (saves[-1] if saves else 0) if steps else None
    recent = [line for line in steps[-_RECENT:] if line["step"] > start["step"]] if start else []
    pace = _pace(recent)
    left = start["total_steps"] - steps[-1]["step"] if start and steps and pace else None
    return Snapshot(
        state="running" if holder else state,
        holder=holder,
        error=last["message"] if last["event"] == "error" and not holder else None,
        unsaved=unsaved,
        damage=damage,
        start=start or None,
        last=steps[-1] if steps else None,
        validation=validations[-1] if validations else None,
        best=min(validations, key=lambda line: line["total"], default=None),
        restarts=max(len(starts) - 1, 0),
        losses={name: _mean([line[name] for line in steps[-_RECENT:]]) for name in LOSSES},
        residues_per_second=_mean([line["residues_per_second"] for line in recent]),
        seconds_left=left * pace if left is not None and pace and holder else None,
        checkpoints=_checkpoints(output_dir / "checkpoints"),
    )


def status(output_dir: Path, console: Console | None = None) -> None:
    """Print the state of a run; raise `UserError` if there is none.

    ``output_dir`` is the training folder, or the results folder that has it.
    """
    folder = training_folder(output_dir)
    (console or Console()).print(_picture(folder, snapshot(folder)))


def watch(output_dir: Path, interval: float, console: Console | None = None) -> None:
    """Show the state of a run, updated every ``interval`` seconds, until it ends or Ctrl-C.

    Raises `UserError` if there is no run. ``output_dir`` is as for `status`.
    """
    folder = training_folder(output_dir)
    now = snapshot(folder)
    with Live(_picture(folder, now), console=console, auto_refresh=False) as live:
        try:
            while now.state == "running":
                time.sleep(interval)
                now = snapshot(folder)
                live.update(_picture(folder, now), refresh=True)
        except KeyboardInterrupt:
            return


def _picture(folder: Path, now: Snapshot) -> Panel:
    """Return the dashboard of the run in ``folder``, whose state is ``now``."""
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="bold")
    facts.add_column()
    facts.add_row("state", f"{now.state}{f' ({now.holder})' if now.holder else ''}")
    if now.state == "crashed":
        facts.add_row("", now.error or "killed, or ended without an error that could be recorded")
    if now.unsaved is not None and now.state in ("running", "crashed"):
        facts.add_row("not saved", f"{now.unsaved:,} steps since the last save")
    for message in now.damage:
        facts.add_row("damage", message)
    if now.start:
        _progress_rows(facts, now, now.start)
    for name, age in now.checkpoints[:6]:
        facts.add_row("checkpoint", f"{name}, {_duration(age)} old")
    return Panel(Group(facts, _gpus()), title=str(folder), expand=False)


def _progress_rows(facts: Table, now: Snapshot, start: dict[str, Any]) -> None:
    total, done = start["total_steps"], now.last["step"] if now.last else start["step"]
    epoch = now.last["epoch"] if now.last else 0
    facts.add_row(
        "progress",
        f"epoch {epoch}/{start['num_epochs']}, step {done:,}/{total:,} "
        f"({100 * done / max(total, 1):.0f} %)",
    )
    facts.add_row("", ProgressBar(total=max(total, 1), completed=done, width=40))
    if now.seconds_left is not None:
        facts.add_row("time left", _duration(now.seconds_left))
    if now.restarts:
        facts.add_row("restarts", str(now.restarts))
    facts.add_row("training", f"{_losses(now.losses)} (last {_RECENT} steps)")
    if now.validation and now.best:
        facts.add_row("validation", f"{_losses(now.validation)} (epoch {now.validation['epoch']})")
        facts.add_row("best", f"{_losses(now.best)} (epoch {now.best['epoch']})")
    if now.last:
        facts.add_row("learning rate", f"{now.last['lr']:.2e}")
        memory = now.last["memory_bytes"] / 2**20
        speed = now.residues_per_second
        facts.add_row(
            "speed",
            f"{'unknown' if speed is None else f'{speed:,.0f}'} residues/s, "
            f"{memory:,.0f} MiB, {start['world_size']} process(es) on {start['device']}",
        )
        facts.add_row("last sign", f"{_duration(time.time() - now.last['time'])} ago")


def _gpus() -> Table | str:
    """Return a table of the state of this machine's GPUs, or a text if it has none."""
    found = gpus.readings()
    if not found:
        return "no GPU on this machine"
    table = Table("GPU", "utilisation", "memory", "temperature", box=None)
    for gpu in found:
        table.add_row(
            f"{gpu.index} {gpu.name}",
            "unknown" if gpu.utilization is None else f"{gpu.utilization} %",
            _memory(gpu),
            "unknown" if gpu.temperature is None else f"{gpu.temperature} °C",
        )
    return table


def _memory(gpu: gpus.Reading) -> str:
    if gpu.memory_used is None or gpu.memory_total is None:
        return "unknown"
    return f"{gpu.memory_used / 2**30:.1f} of {gpu.memory_total / 2**30:.1f} GiB"


def _checkpoints(directory: Path) -> list[tuple[str, float]]:
    now = time.time()
    ages = []
    for path in directory.glob("checkpoint_*.pth"):
        try:
            ages.append((path.name, now - path.stat().st_mtime))
        except FileNotFoundError:  # retention removed it meanwhile
            continue
    return sorted(ages, key=lambda item: (item[1], item[0]))


def _pace(steps: list[dict[str, Any]]) -> float | None:
    """Return the mean seconds per step over ``step`` lines; None for fewer than two lines."""
    if len(steps) < 2:
        return None
    return (steps[-1]["time"] - steps[0]["time"]) / (len(steps) - 1)


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _losses(values: dict[str, Any]) -> str:
    return ", ".join(
        f"{name} {'none' if values[name] is None else f'{values[name]:.4f}'}" for name in LOSSES
    )


def _duration(seconds: float) -> str:
    return str(timedelta(seconds=max(round(seconds), 0)))
