"""Leakage: the similarity of held-out peptides to training peptides, as tables and histogram.

Held-out peptides test a model fairly only if they have no close neighbour among the training
peptides: none with a similarity of at least 0.7. Close neighbours are always found. A held-out
peptide without one must be compared with all training peptides, which takes too long in a table of
hundreds of thousands of peptides. If there are more than `MOST_PAIRS` of these comparisons, only a
sample of such peptides is compared, and the report gives estimates.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from structdiff.peptides.seen import SeenPeptides
from structdiff.peptides.split import CLOSE, nearest_neighbour

__all__ = ["THRESHOLDS", "find_neighbours", "plot_leakage", "report_leakage"]

THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)

MOST_PAIRS = 2**31
"""Approximate limit of compared pairs for peptides without a close neighbour: a few minutes."""

_ROUNDING = 1e-6  # similarities are float32: a neighbour at exactly 0.7 counts as ≥ 0.7


def find_neighbours(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the nearest training peptide of every held-out peptide.

    Parameters
    ----------
    frame
        Peptides: ``id``, ``sequence``, ``split``.

    Returns
    -------
    pd.DataFrame
        ``id``, ``sequence``, ``split``, ``neighbour_id``, ``neighbour_sequence``, ``similarity``
        (normalised Levenshtein, float32), one row for each val or test peptide, in the order of
        ``frame``. The last three columns are missing values if the peptide has no neighbour with a
        similarity of at least 0.7 and is not in the sample.
    """
    train = frame[frame["split"] == "train"]
    held_out = frame[frame["split"] != "train"]
    index, similarity = nearest_neighbour(
        held_out["sequence"].tolist(), train["sequence"].tolist(), MOST_PAIRS
    )
    neighbours = held_out[["id", "sequence", "split"]].reset_index(drop=True)
    for name in ("id", "sequence"):
        nearest = train[name].to_numpy()[index]
        neighbours[f"neighbour_{name}"] = pd.Series(nearest).where(index >= 0, None)
    neighbours["similarity"] = similarity
    return neighbours


def report_leakage(neighbours: pd.DataFrame, seen: SeenPeptides | None = None) -> pd.DataFrame:
    """Return statistics of the similarity to training peptides, one row for each held-out set.

    ``neighbours`` is the table that `find_neighbours` returns.

    Columns: ``set`` (val, test, val+test), ``n`` (number of peptides), the ``median`` and ``max``
    similarity, and, for each T of `THRESHOLDS`, ``share_ge_T``: the share of the set whose nearest
    training neighbour has a similarity of at least T.

    Neighbours with a similarity of at least `CLOSE` (0.7) are always found. In large sets, only a
    sample of the peptides without such a neighbour is compared. The column ``sample`` is then the
    size of this sample. The median and the shares for T < 0.7 are estimates; the other shares, and
    a maximum of at least 0.7, are exact.

    If ``seen`` is given, the column ``seen`` is the number of peptides that the starting model has
    seen. The column ``seen_pieces`` is the share of a peptide's pieces of 8 residues that the
    starting model has seen, averaged over the peptides.
    """
    is_sampled = neighbours["similarity"].isna().any()
    sets = dict(iter(neighbours.groupby("split", sort=False)))
    sets = {name: sets[name] for name in ("val", "test") if name in sets}
    if len(sets) > 1:
        sets["val+test"] = neighbours
    rows = []
    for name, held_out in sets.items():
        known = held_out["similarity"].to_numpy(dtype=np.float64)
        values = _with_estimates(known)
        largest = pd.Series(values).max()  # not of NaN
        row = {"set": name, "n": len(values), "median": np.median(values), "max": largest}
        for threshold in THRESHOLDS:
            is_known = threshold >= CLOSE or not np.isnan(values).any()
            share = (values >= threshold - _ROUNDING).mean() if is_known else np.nan
            row[f"share_ge_{threshold}"] = share
        if is_sampled:
            row["sample"] = int((known < CLOSE - _ROUNDING).sum())
        if seen is not None:
            row["seen"] = int(seen.includes(held_out["sequence"]).sum())
            pieces = pd.Series(seen.shared_pieces(held_out["sequence"]))
            row["seen_pieces"] = pieces.mean()  # NaN where all are shorter than a piece
        rows.append(row)
    return pd.DataFrame(rows)


def _with_estimates(values: np.ndarray) -> np.ndarray:
    """Return the similarities of one set, each NaN replaced by a similarity from the sample.

    The sample is the set's known similarities below 0.7. If it is empty, each NaN stays.
    """
    is_unknown = np.isnan(values)
    sample = np.sort(values[values < CLOSE - _ROUNDING])
    if is_unknown.any() and len(sample):
        values = values.copy()
        place = np.arange(is_unknown.sum()) * len(sample) // is_unknown.sum()
        values[is_unknown] = sample[place]
    return values


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
    from structdiff.system.plotting import COLORS, new_figure, save_figure

    figure, axes = new_figure(width=5.6)
    panel = axes[0, 0]
    edges = np.linspace(0, 1, 21)
    sets = [name for name in ("val", "test") if (neighbours["split"] == name).any()]
    # The rounding error is added to the values, so that 0.7 falls into the bin that begins at 0.7.
    held_out = neighbours.set_index("split")["similarity"]
    values = [
        np.minimum(_with_estimates(held_out.loc[[name]].to_numpy()) + _ROUNDING, 1.0)
        for name in sets
    ]
    labels = [f"{name} ({len(value):,})" for name, value in zip(sets, values, strict=True)]
    drawn = [value[~np.isnan(value)] for value in values]
    panel.hist(drawn, bins=edges, stacked=True, label=labels, color=COLORS[: len(sets)])
    if threshold is not None:
        panel.axvline(
            threshold, color=COLORS[5], linestyle="--", label=f"cluster at ≥ {threshold:g}"
        )
    panel.set_xlim(0, 1)
    panel.set_xlabel("similarity to the nearest training peptide")
    panel.set_ylabel("held-out peptides")
    panel.legend(loc="upper left")
    save_figure(figure, stem)
