"""Draw the picture of the README from a finished run.

``python docs/site/picture.py results/demo docs/images/demo.png``
"""

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from structdiff.protein.residues import AMINO_ACIDS
from structdiff.report.wheel import CLASSES, residue_class
from structdiff.system.plotting import COLORS, new_figure, plt

SHOWN = 3
BETWEEN = 6
"""Points drawn from one Cα to the next."""


def main(results: Path, output: Path) -> None:
    """Draw training, designed backbones, and the designs compared with real peptides."""
    figure, [[losses, space, composition]] = new_figure(1, 3, width=4.0, height=3.1)
    _losses(losses, results / "training" / "metrics.jsonl")
    space.remove()
    _backbones(figure.add_subplot(1, 3, 2, projection="3d"), results)
    _composition(composition, results)
    figure.savefig(output, dpi=110, metadata={"Software": None})
    plt.close(figure)


def smooth_trace(points: np.ndarray) -> np.ndarray:
    """Return a Catmull–Rom curve through points ``(length, 3)``, `BETWEEN` points a step."""
    padded = np.vstack([2 * points[0] - points[1], points, 2 * points[-1] - points[-2]])
    before, start, end, after = (padded[i : len(points) - 1 + i, None] for i in range(4))
    t = (np.arange(BETWEEN) / BETWEEN)[:, None]
    curve = 0.5 * (
        2 * start
        + (end - before) * t
        + (2 * before - 5 * start + 4 * end - after) * t**2
        + (3 * start - before - 3 * end + after) * t**3
    )
    return np.vstack([curve.reshape(-1, 3), points[-1]])


def _losses(axes, path: Path) -> None:
    events = [json.loads(line) for line in path.read_text().splitlines()]
    steps = pd.DataFrame([e for e in events if e["event"] == "step"])
    validation = pd.DataFrame([e for e in events if e["event"] == "validation"])
    smooth = steps["total"].rolling(50, min_periods=10).mean()
    axes.plot(steps["step"], smooth, color=COLORS[0], label="training")
    axes.plot(validation["step"], validation["total"], "o-", color=COLORS[1], label="validation")
    best = validation.loc[validation["total"].idxmin()]
    ring = {"ms": 13, "mfc": "none", "color": COLORS[4], "label": "released"}
    axes.plot(best["step"], best["total"], "o", **ring)
    axes.set(title="It trains, and keeps the best", xlabel="step", ylabel="loss per residue")
    axes.legend()


def _backbones(axes, results: Path) -> None:
    candidates = pd.read_csv(results / "evaluation" / "candidates.tsv", sep="\t")
    chosen = candidates[candidates["set"] == "antimicrobial"].head(SHOWN)
    designs = pd.read_parquet(results / "generation" / "samples.parquet").set_index("id")
    for column, row in enumerate(chosen.itertuples()):
        ca = designs.loc[row.id, "backbone"].reshape(-1, 4, 3)[:, 1].astype(float)
        axis = np.linalg.svd(ca - ca.mean(0), full_matrices=False)[2]
        turned = (ca - ca.mean(0)) @ axis[[1, 2, 0]].T + [18 * column, 0, 0]
        curve = smooth_trace(turned)
        axes.plot(*curve.T, color="#9aa5b1", lw=2.5, zorder=1)
        colors = [CLASSES[residue_class(letter)][1] for letter in row.sequence]
        axes.scatter(*turned.T, c=colors, s=26, depthshade=False)
    axes.set(title="It designs sequences with their backbones")
    extent = [np.ptp(limits) for limits in (axes.get_xlim(), axes.get_ylim(), axes.get_zlim())]
    axes.set_box_aspect(extent, zoom=1.3)
    axes.view_init(elev=8, azim=-90)
    axes.set_axis_off()


def _composition(axes, results: Path) -> None:
    peptides = pd.read_parquet(results / "peptides" / "peptides.parquet")
    held_out = peptides[(peptides["split"] != "train") & peptides["antimicrobial"].astype(bool)]
    designs = pd.read_parquet(results / "generation" / "samples.parquet")
    designs = designs[designs["label"] == "antimicrobial"]
    place = np.arange(20)
    axes.bar(place, _shares(designs["sequence"]), color=COLORS[0], alpha=0.55, label="designs")
    real = _shares(held_out["sequence"])
    axes.plot(place, real, "s", color=COLORS[2], ms=5, label="real, never seen")
    axes.set_xticks(place, list(AMINO_ACIDS))
    axes.set(title="It compares them with real peptides", ylabel="share of residues (%)")
    axes.legend()


def _shares(sequences: pd.Series) -> list[float]:
    text = "".join(sequences)
    return [100 * text.count(letter) / len(text) for letter in AMINO_ACIDS]


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
