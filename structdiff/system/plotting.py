"""The one look of every figure, and the one way to save it (SVG and PNG side by side).

``fig, axes = new_figure(1, 2)`` then ``save_figure(fig, folder / "losses")``.
"""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

__all__ = ["COLORS", "new_figure", "save_figure"]

COLORS = ("#2a6f97", "#e07a1f", "#3a8f5c", "#8a5aa8", "#c0392b", "#6b7280")
"""Blue, orange, green, violet, red, grey: told apart by colour-blind readers too."""

_STYLE = {
    "axes.grid": True,
    "axes.prop_cycle": matplotlib.cycler(color=COLORS),
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.facecolor": "white",
    "font.size": 10,
    "grid.alpha": 0.3,
    "legend.frameon": False,
    "savefig.bbox": "tight",
    "svg.hashsalt": "structdiff",
}


def new_figure(rows: int = 1, columns: int = 1, width: float = 4.8, height: float = 3.4):
    """Return a figure and its axes, each panel ``width`` × ``height`` inches."""
    with plt.rc_context(_STYLE):
        return plt.subplots(
            rows,
            columns,
            figsize=(width * columns, height * rows),
            squeeze=False,
            layout="constrained",
        )


def save_figure(figure: Figure, stem: Path) -> None:
    """Write ``stem.svg`` and ``stem.png`` and close the figure."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    with plt.rc_context(_STYLE):
        figure.savefig(stem.with_suffix(".svg"), metadata={"Date": None})
        figure.savefig(stem.with_suffix(".png"), dpi=150, metadata={"Software": None})
    plt.close(figure)
