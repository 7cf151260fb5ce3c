"""Leakage: the similarity of held-out peptides to training peptides, as tables and histogram.

Held-out peptides test a model fairly only if they have no close neighbour among the training
peptides.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from structdiff.peptides.seen import SeenPeptides
from structdiff.peptides.split import nearest_neighbour
from structdiff.system.plotting import COLORS, new_figure, save_figure

__all__ = ["THRESHOLDS", "find_neighbours", "plot_leakage", "report_leakage"]

THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)

_ROUNDING = 1e-6  # similarities are float32: a neighbour at exactly 0.7 counts as ≥ 0.7


def find_neighbours(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the nearest training peptide of every held-out one.

    Parameters
    ----------
    frame
        Peptides: ``id``, ``sequence``, ``split``.

    Returns
    -------
    pd.DataFrame
        ``id``, ``sequence``, ``split``, ``neighbour_id``, ``neighbour_sequence``, ``similarity``
        (normalised Levenshtein, float32), one row for each val or test peptide, in their order.
    """
    train = frame[frame["split"] == "train"]
    held_out = frame[frame["split"] != "train"]
    index, similarity = nearest_neighbour(held_out["sequence"].tolist(), train["sequence"].tolist())
    neighbours = held_out[["id", "sequence", "split"]].reset_index(drop=True)
    neighbours["neighbour_id"] = train["id"].to_numpy()[index]
    neighbours["neighbour_sequence"] = train["sequence"].to_numpy()[index]
    neighbours["similarity"] = similarity
    return neighbours


def report_leakage(neighbours: pd.DataFrame, seen: SeenPeptides | None = None) -> pd.DataFrame:
    """Return one row for each held-out set: statistics of the similarity to training peptides.

    Columns: ``set`` (val, test, val+test), ``n``, the ``median`` and ``max`` similarity, and
    ``share_ge_T``, the share of the set whose nearest training neighbour has similarity ≥ T. With
    ``seen``, what the starting model has seen: the number of identical peptides (``seen``), and
    the mean share of a peptide's pieces of 8 residues (``seen_pieces``).
    """
    sets = dict(iter(neighbours.groupby("split", sort=False)))
    sets = {name: sets[name] for name in ("val", "test") if name in sets}
    if len(sets) > 1:
        sets["val+test"] = neighbours
    rows = []
    for name, held_out in sets.items():
        values = held_out["similarity"].to_numpy(dtype=np.float64)
        row = {"set": name, "n": len(values), "median": np.median(values), "max": values.max()}
        for threshold in THRESHOLDS:
            row[f"share_ge_{threshold}"] = (values >= threshold - _ROUNDING).mean()
        if seen is not None:
            row["seen"] = int(seen.includes(held_out["sequence"]).sum())
            pieces = pd.Series(seen.shared_pieces(held_out["sequence"]))
            row["seen_pieces"] = pieces.mean()  # NaN where all are shorter than a piece
        rows.append(row)
    return pd.DataFrame(rows)


def plot_leakage(neighbours: pd.DataFrame, threshold: float | None, stem: Path) -> None:
    """Draw the similarity of held-out peptides to their nearest training neighbour.

    Parameters
    ----------
    neighbours
        As `find_neighbours` returns it.
    threshold
        Similarity at which the split joins peptides, drawn as a line; None for no line.
    stem
        Path of the SVG and PNG files, without suffix.
    """
    figure, axes = new_figure(width=5.6)
    panel = axes[0, 0]
    edges = np.linspace(0, 1, 21)
    sets = [name for name in ("val", "test") if (neighbours["split"] == name).any()]
    # Half a bin's rounding to the right, so that exactly 0.7 falls into the bin that begins there.
    values = [
        np.minimum(neighbours["similarity"][neighbours["split"] == name] + _ROUNDING, 1.0)
        for name in sets
    ]
    labels = [f"{name} ({len(value):,})" for name, value in zip(sets, values, strict=True)]
    panel.hist(values, bins=edges, stacked=True, label=labels, color=COLORS[: len(sets)])
    if threshold is not None:
        panel.axvline(
            threshold, color=COLORS[5], linestyle="--", label=f"cluster at ≥ {threshold:g}"
        )
    panel.set_xlim(0, 1)
    panel.set_xlabel("similarity to the nearest training peptide")
    panel.set_ylabel("held-out peptides")
    panel.legend(loc="upper left")
    save_figure(figure, stem)
