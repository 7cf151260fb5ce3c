"""Training curves, each drawn on given axes.

``curves = Curves.read(folder / "metrics.jsonl")`` reads the metrics of a training. Methods such as
``curves.losses(axes, "total")`` draw one curve each. A run that was restarted has one curve, with a
dotted line where it was resumed.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from structdiff.system.errors import UserError, warn
from structdiff.training.metrics import read

__all__ = ["Curves"]

_SMOOTHED = 200
"""Approximate number of points of the smoothed line."""

_SHOWN = 0.98
"""Share of the training losses that the axis must show. The first losses are so high that the later
losses would look flat."""


@dataclass(frozen=True)
class Curves:
    """Metrics of a training, with a method for each curve.

    Attributes
    ----------
    steps, validations
        Lines of ``metrics.jsonl`` with the event ``step`` and with the event ``validation``.
    restarts
        Steps at which the run was resumed.
    """

    steps: list[dict[str, Any]]
    validations: list[dict[str, Any]]
    restarts: list[int]

    @classmethod
    def read(cls, path: Path) -> "Curves":
        """Read the curves of a training from its ``metrics.jsonl``.

        Raises
        ------
        UserError
            If no step has been trained yet.
        """
        lines = read(path)
        steps = [line for line in lines if line["event"] == "step"]
        _compare_with_summary(path.with_name("summary.json"), lines)
        if not steps:
            raise UserError(
                f"{path.parent}: no step has been trained yet, there is nothing to plot"
            )
        return cls(
            steps,
            [line for line in lines if line["event"] == "validation"],
            [line["step"] for line in lines if line["event"] == "start" and line["step"]],
        )

    def losses(self, axes: Axes, name: str) -> None:
        """Draw the training loss as points and their means, and the validation loss as a line.

        ``name`` is one of `structdiff.training.metrics.LOSSES`.
        """
        self._noisy(axes, name, "training")
        validated = [(x["step"], x[name]) for x in self.validations if x[name] is not None]
        if validated:
            axes.plot(*zip(*validated, strict=True), marker="o", ms=4, label="validation")
        if axes.lines:
            axes.legend()
        else:
            text = "no peptide has a structure"
            axes.text(0.5, 0.5, text, ha="center", va="center", transform=axes.transAxes)
        hidden = self._limit(axes, self._points(name)[1], [value for _, value in validated])
        note = f" ({hidden:,} of {len(self.steps):,} steps are above)" if hidden else ""
        self._frame(axes, f"{name} loss", f"per residue{note}")

    @staticmethod
    def _limit(axes: Axes, values: np.ndarray, always: list[float]) -> int:
        """Scale the y axis to show all of ``always``, but only the share `_SHOWN` of ``values``.

        Returns the number of ``values`` that are above the axis.
        """
        if not len(values):
            return 0
        high = max([np.quantile(values, _SHOWN, method="lower"), *always])
        low = min([values.min(), *always])
        margin = 0.05 * (high - low)
        hidden = int((values > high + margin).sum())
        if hidden and margin > 0:
            axes.set_ylim(low - margin, high + margin)
            return hidden
        return 0

    def learning_rate(self, axes: Axes) -> None:
        """Draw the learning rate of each step."""
        axes.plot(*self._points("lr"))
        self._frame(axes, "learning rate", "")

    def gradient_norm(self, axes: Axes) -> None:
        """Draw the norm of the gradient before clipping."""
        self._noisy(axes, "grad_norm", "each step")
        axes.set_yscale("log")
        self._frame(axes, "gradient norm", "before clipping")

    def throughput(self, axes: Axes) -> None:
        """Draw the residues trained per second."""
        self._noisy(axes, "residues_per_second", "each step")
        axes.set_ylim(bottom=0)
        self._frame(axes, "throughput", "residues per second")

    def _points(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        given = [(line["step"], line[name]) for line in self.steps if line[name] is not None]
        step, value = np.array(given, dtype=np.float64).reshape(-1, 2).T
        return step, value

    def _noisy(self, axes: Axes, name: str, label: str) -> None:
        """Draw a metric of the steps as faint points, and means of consecutive steps as a line."""
        step, value = self._points(name)
        if not len(step):
            return
        (points,) = axes.plot(step, value, ".", ms=2, alpha=0.25)
        stretch = max(1, len(step) // _SMOOTHED)
        starts = np.arange(0, len(step), stretch)
        count = np.diff([*starts, len(step)])
        mean = [np.add.reduceat(x, starts) / count for x in (step, value)]
        axes.plot(*mean, color=points.get_color(), label=label)

    def _frame(self, axes: Axes, title: str, ylabel: str) -> None:
        for step in self.restarts:
            axes.axvline(step, color="0.6", linestyle=":", zorder=0)
        axes.set(title=title, xlabel="step", ylabel=ylabel)


def _compare_with_summary(path: Path, lines: list[dict[str, Any]]) -> None:
    """Warn if ``metrics.jsonl`` has fewer steps than ``summary.json`` reports, or lacks its end.

    ``path`` is ``summary.json``, which only a finished training has; ``lines`` are the metrics.
    """
    try:
        trained = json.loads(path.read_bytes())["steps"]
    except (OSError, ValueError, KeyError, TypeError):  # not finished, or not readable
        return
    last = max((line["step"] for line in lines if line["event"] == "step"), default=0)
    if last != trained:
        missing = f"ends at step {last:,} of {trained:,}: the curves lack the steps after it"
    elif lines[-1]["event"] != "end":
        missing = "lacks its last lines: the curves may lack the last validation"
    else:
        return
    warn(f"{path.with_name('metrics.jsonl')} {missing}")
