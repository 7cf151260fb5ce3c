"""Figures of the evaluation: designs compared with held-out real peptides and controls.

`FIGURES` has a function for each figure, by the name of the figure's file. Each function takes the
results of all sets and returns a figure with a row of panels for each set. `plot_tasks` draws how
well the model folds and designs for a backbone.
"""

import textwrap
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from structdiff.evaluation import judge_metrics
from structdiff.evaluation.assess import Result
from structdiff.evaluation.controls import COLUMNS
from structdiff.evaluation.sequence_features import composition
from structdiff.evaluation.value import Unavailable
from structdiff.protein.residues import AMINO_ACIDS
from structdiff.system.plotting import COLORS, new_figure

__all__ = ["FIGURES", "plot_tasks"]

COLOR = dict(zip(COLUMNS, (COLORS[0], COLORS[2], COLORS[1], COLORS[3], COLORS[5]), strict=True))
MARKER = dict(zip(COLUMNS, "osv^D", strict=True))

_PANELS = {
    "charge": "net charge at pH 7.0",
    "hydrophobicity": "hydrophobicity (Eisenberg)",
    "moment": "hydrophobic moment (Eisenberg)",
    "aliphatic_index": "aliphatic index",
}


def _missing(axes: Axes, reason: str) -> None:
    """Write the reason why a panel is empty into the panel, and remove its ticks."""
    text = _wrapped(reason)
    axes.text(0.5, 0.5, text, ha="center", va="center", transform=axes.transAxes, wrap=True)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(False)


def _legend(figure: Figure) -> None:
    """Put one legend above all panels of a figure; it has each name of any panel once."""
    entries: dict[str, Artist] = {}
    for axes in figure.axes:
        for handle, name in zip(*axes.get_legend_handles_labels(), strict=True):
            entries.setdefault(name, handle)
    if entries:
        columns = min(len(entries), 6)
        figure.legend(entries.values(), entries, loc="outside upper center", ncols=columns)


def _steps(axes: Axes, values: np.ndarray, bins: np.ndarray, column: str, name: str) -> None:
    """Draw a histogram in % of the set: filled bars for designs, an outline for other sets.

    ``values`` are ``(peptides,)``, ``bins`` the edges of the bins, ``column`` the key of the set
    and ``name`` its name in the legend.
    """
    style: dict[str, Any] = {"alpha": 0.35}
    if column != "generated":
        is_real = column == "held_out"
        style = {"histtype": "step", "lw": 1.8 if is_real else 1.1, "ls": "-" if is_real else "--"}
    weights = np.full(len(values), 100 / max(len(values), 1))
    axes.hist(values, bins.tolist(), weights=weights, color=COLOR[column], label=name, **style)


def plot_composition(results: list[Result]) -> Figure:
    """Draw the share of each amino acid: designs as bars, real peptides as marks."""
    figure, grid = new_figure(len(results), 1, width=7.6, height=2.9)
    letters = np.arange(20)
    for axes, result in zip(grid[:, 0], results, strict=True):
        held_out = result.sets["held_out"]
        share = 100 * composition(result.valid)
        axes.bar(letters, share, color=COLOR["generated"], alpha=0.55, label="designs")
        if result.reference is not None:
            training = 100 * composition(result.reference.sequences)
            axes.plot(letters, training, "_", color="#111827", ms=13, mew=2, label="training")
        if isinstance(held_out, list):
            share = 100 * composition(held_out)
            axes.plot(letters, share, "s", color=COLOR["held_out"], ms=5, label="held-out real")
        axes.set(title=result.entry, ylabel="share of residues (%)", xlim=(-0.7, 19.7))
        axes.set_xticks(letters, list(AMINO_ACIDS))
        axes.grid(axis="x", visible=False)
    _legend(figure)
    return figure


def plot_kmers(results: list[Result]) -> Figure:
    """Draw the k-mer distances to the training peptides and the metric ``order``.

    Each panel has a mark for the designs and for each control.
    """
    figure, grid = new_figure(len(results), 2, width=4.4, height=3.0)
    shift = np.linspace(-0.24, 0.24, len(COLUMNS))
    for (left, right), result in zip(grid, results, strict=True):
        for column, offset in zip(COLUMNS, shift, strict=True):
            style = {"color": COLOR[column], "marker": MARKER[column], "ls": "", "ms": 7}
            values = [result.values[key][column] for key in ("js1", "js2", "js3")]
            points = [(k, v) for k, v in enumerate(values, 1) if not isinstance(v, Unavailable)]
            x, y = [k + offset for k, _ in points], [v for _, v in points]
            left.plot(x, y, **style, label=COLUMNS[column])
            order = result.values["order"][column]
            if not isinstance(order, Unavailable):
                right.plot([100 * order], [-list(COLUMNS).index(column)], **style)
        left.set(title=result.entry, ylabel="Jensen–Shannon distance", xlim=(0.5, 3.5))
        left.set_xticks([1, 2, 3], ["1-mers", "2-mers", "3-mers"])
        left.set_ylim(bottom=0)
        left.grid(axis="x", visible=False)
        right.axvline(50, color="#111827", lw=1, ls=":")
        right.set(title=f"{result.entry}: order of residues", xlim=(35, 102), ylim=(-4.6, 0.6))
        right.set_xlabel("likelier than own shuffles (%); 50 = no order")
        right.set_yticks(-np.arange(len(COLUMNS)), list(COLUMNS.values()))
    _legend(figure)
    return figure


def plot_neighbours(results: list[Result], threshold: float) -> Figure:
    """Draw histograms of the similarity to the nearest training peptide.

    A line marks ``threshold``, the similarity (0–1) at or above which a peptide is a copy.
    """
    figure, grid = new_figure(len(results), 1, width=6.4, height=2.9)
    bins = np.linspace(0, 1, 41)
    for axes, result in zip(grid[:, 0], results, strict=True):
        for column, name in COLUMNS.items():
            sequences = result.sets[column]
            if isinstance(sequences, list) and sequences:
                similarity = result.features[column].column("similarity", sequences)
                _steps(axes, similarity, bins, column, name)
        axes.axvline(threshold, color=COLORS[4], lw=1.2)
        axes.annotate(
            "copies →",
            (threshold, 0.98),
            xycoords=("data", "axes fraction"),
            xytext=(4, 0),
            textcoords="offset points",
            va="top",
            color=COLORS[4],
        )
        axes.set(title=result.entry, xlim=(0, 1.08), ylabel="share of peptides (%)")
    grid[-1, 0].set_xlabel("similarity to the nearest training peptide (1 = identical)")
    _legend(figure)
    return figure


def plot_lengths(results: list[Result]) -> Figure:
    """Draw histograms of the lengths of the designs, held-out peptides and training peptides."""
    figure, grid = new_figure(len(results), 1, width=6.4, height=2.7)
    for axes, result in zip(grid[:, 0], results, strict=True):
        sets = {
            column: np.array([len(sequence) for sequence in sequences])
            for column in ("generated", "held_out")
            if isinstance(sequences := result.sets[column], list)
        }
        every = list(sets.values())
        if result.reference is not None:
            training = result.reference.properties["length"].to_numpy()
            every.append(training)
        longest = max((int(values.max()) for values in every if len(values)), default=1)
        step = max(1, longest // 50)
        bins = np.arange(0.5, longest + 0.5 + step, step)
        for column, values in sets.items():
            _steps(axes, values, bins, column, COLUMNS[column])
        if result.reference is not None:
            weights = np.full(len(training), 100 / len(training))
            style = {"histtype": "step", "color": "#111827", "lw": 1.1, "ls": ":"}
            axes.hist(training, bins, weights=weights, label="training", **style)
        axes.set(title=result.entry, ylabel="share of peptides (%)")
    grid[-1, 0].set_xlabel("length (residues)")
    _legend(figure)
    return figure


def plot_properties(results: list[Result]) -> Figure:
    """Draw histograms of charge, hydrophobicity, hydrophobic moment and aliphatic index.

    The figure shows the designs and all controls except the order-2 Markov peptides.
    """
    figure, grid = new_figure(len(results), len(_PANELS), width=3.3, height=2.6)
    for row, result in zip(grid, results, strict=True):
        for axes, (key, name) in zip(row, _PANELS.items(), strict=True):
            drawn = {
                column: result.features[column].column(key, sequences)
                for column, sequences in result.sets.items()
                if isinstance(sequences, list) and sequences and column != "markov"
            }
            if not drawn:
                _missing(axes, "no valid design")
                continue
            low, high = np.quantile(np.concatenate(list(drawn.values())), (0.002, 0.998))
            bins = np.linspace(low, max(high, low + 1e-6), 31)
            for column, values in drawn.items():
                _steps(axes, values.clip(low, high), bins, column, COLUMNS[column])
            axes.set(xlabel=name)
        row[0].set_ylabel(f"{result.entry}\nshare of peptides (%)")
    _legend(figure)
    return figure


def plot_ramachandran(results: list[Result]) -> Figure:
    """Draw Ramachandran plots of the designs, held-out structures and training structures."""
    titles = {"generated": "designs", "held_out": "held-out real", "reference": "training"}
    figure, grid = new_figure(len(results), 3, width=3.1, height=3.1)
    for row, result in zip(grid, results, strict=True):
        for axes, (key, name) in zip(row, titles.items(), strict=True):
            axes.set_title(name)
            geometry = result.geometry[key]
            if isinstance(geometry, Unavailable):
                _missing(axes, geometry.reason)
                continue
            both = ~np.isnan(geometry.phi + geometry.psi)
            edges = np.linspace(-180, 180, 49)
            counts = np.histogram2d(geometry.phi[both], geometry.psi[both], (edges, edges))[0]
            share = 100 * counts / max(counts.sum(), 1)
            shade = np.log10(np.where(share > 0, share, np.nan))
            style: dict[str, Any] = {
                "origin": "lower",
                "extent": (-180, 180, -180, 180),
                "cmap": "viridis_r",
            }
            axes.imshow(shade.T, **style, vmin=-2.5, vmax=1.2)
            axes.set(xlabel="φ (°)", xticks=range(-180, 181, 90), yticks=range(-180, 181, 90))
            axes.axvline(0, color="#9ca3af", lw=0.8)
        row[0].set_ylabel(f"{result.entry}\nψ (°)")
    return figure


def plot_judges(results: list[Result]) -> Figure:
    """Draw bars of the judges' metrics for the designs and each control.

    Metrics without a value for any set of designs are left out; if none has a value, all are shown.
    """
    installed = [
        metric
        for metric in judge_metrics.METRICS
        if any(not isinstance(r.values[metric.key]["generated"], Unavailable) for r in results)
    ]
    metrics = installed or judge_metrics.METRICS
    figure, grid = new_figure(len(results), len(metrics), width=3.4, height=3.0)
    for row, result in zip(grid, results, strict=True):
        for axes, metric in zip(row, metrics, strict=True):
            axes.set_title(_wrapped(metric.title), fontsize=8)
            bars = {
                column: value
                for column, value in result.values[metric.key].items()
                if not isinstance(value, Unavailable)
            }
            if not bars:
                missing = result.values[metric.key]["generated"]
                assert isinstance(missing, Unavailable), "no column has a value"
                _missing(axes, missing.reason)
                continue
            for column, value in bars.items():
                axes.bar(COLUMNS[column], value, color=COLOR[column])
            axes.tick_params(axis="x", rotation=60)
            axes.grid(axis="x", visible=False)
        row[0].set_ylabel(result.entry)
    return figure


def plot_tasks(table: pd.DataFrame) -> Figure:
    """Draw the RMSD and lDDT of the model's folds and the recovery of inverse folding.

    The baseline is drawn next to each value.

    Parameters
    ----------
    table
        Table of `structdiff.evaluation.model_tasks.assess_tasks`.
    """
    figure, ((left, middle, right),) = new_figure(1, 3, width=3.6, height=3.0)
    measured = table[table["missing"] == ""]
    panels = (
        (left, "folding", "Cα RMSD, median (Å)", "one straight helix"),
        (middle, "folding", "Cα lDDT, median", "one straight helix"),
        (right, "inverse folding", "recovery", "without the backbone"),
    )
    for axes, task, measure, baseline in panels:
        rows = measured[(measured["task"] == task) & (measured["measure"] == measure)]
        axes.set_title(f"{task}: {measure}", fontsize=9)
        if rows.empty:
            reasons = table.loc[table["missing"] != "", "missing"]
            _missing(axes, reasons.iloc[0])
            continue
        position = np.arange(len(rows))
        axes.bar(position - 0.2, rows["value"], 0.4, color=COLORS[0], label="model")
        axes.bar(position + 0.2, rows["baseline"], 0.4, color=COLORS[1], label=baseline)
        names = [
            f"{subset if group == 'held-out' else f'{group}, {subset}'}\n{count:.0f}"
            for subset, group, count in zip(
                rows["subset"], rows["set"], rows["peptides"], strict=True
            )
        ]
        axes.set_xticks(position, names, fontsize=7, rotation=60 if len(rows) > 1 else 0)
        axes.set(xlim=(-0.8, len(rows) - 0.2), ylim=(0, axes.get_ylim()[1] * 1.3))
        axes.grid(axis="x", visible=False)
        axes.legend(fontsize=7, ncols=2, loc="upper center")
    return figure


def _wrapped(text: str) -> str:
    """Return a text in lines of at most 26 characters."""
    return "\n".join(textwrap.wrap(text, 26))


FIGURES: dict[str, Callable[..., Figure]] = {
    "composition": plot_composition,
    "kmers": plot_kmers,
    "neighbours": plot_neighbours,
    "lengths": plot_lengths,
    "properties": plot_properties,
    "ramachandran": plot_ramachandran,
    "judges": plot_judges,
}
