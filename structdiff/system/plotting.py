"""Style of all figures, and their files (SVG and PNG).

``fig, axes = new_figure(1, 2)`` then ``save_figure(fig, folder / "losses")``. Labels may be in any
script: letters that no font of the machine has are replaced by Latin ones.
"""

from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from cycler import cycler
from matplotlib import font_manager
from matplotlib.figure import Figure
from matplotlib.text import Text

__all__ = ["COLORS", "new_figure", "readable", "save_figure"]

COLORS = ("#2a6f97", "#e07a1f", "#3a8f5c", "#8a5aa8", "#c0392b", "#6b7280")
"""Blue, orange, green, violet, red, grey: also distinct for colour-blind readers."""

_WIDE_FONTS = (
    *("Noto Sans CJK SC", "Noto Sans CJK JP", "Source Han Sans SC", "PingFang SC", "Hiragino Sans"),
    *("Microsoft YaHei", "Malgun Gothic", "WenQuanYi Micro Hei", "Arial Unicode MS"),
    *("Noto Sans Devanagari", "Noto Sans Thai"),
)
"""Common fonts for scripts that matplotlib's DejaVu Sans does not have."""

FONTS = ["DejaVu Sans", *(name for name in _WIDE_FONTS if name in font_manager.get_font_names())]
"""Fonts that are searched for a letter, in this order."""

_STYLE: Any = {
    "axes.grid": True,
    "axes.prop_cycle": cycler(color=COLORS),
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.facecolor": "white",
    "font.size": 10,
    "grid.alpha": 0.3,
    "legend.frameon": False,
    "savefig.bbox": "tight",
    "svg.hashsalt": "structdiff",
}

matplotlib.rcParams["font.family"] = FONTS


def new_figure(rows: int = 1, columns: int = 1, width: float = 4.8, height: float = 3.4):
    """Return a figure and its axes ``(rows, columns)``, each ``width`` × ``height`` inches."""
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
    _make_readable(figure)
    stem.parent.mkdir(parents=True, exist_ok=True)
    with plt.rc_context(_STYLE):
        figure.savefig(stem.with_name(f"{stem.name}.svg"), metadata={"Date": None})
        figure.savefig(stem.with_name(f"{stem.name}.png"), dpi=150, metadata={"Software": None})
    plt.close(figure)


def readable(text: str) -> str:
    """Replace the letters of a text that no font of `FONTS` has by Latin ones, or by ``?``."""
    if text.isascii():
        return text
    from anyascii import anyascii

    parts = groupby(text, key=lambda letter: letter.isspace() or _has_glyph(letter))
    return "".join(
        "".join(letters) if drawn else anyascii("".join(letters)) or "?" for drawn, letters in parts
    )


@cache
def _has_glyph(letter: str) -> bool:
    faces = (font_manager.get_font(font_manager.findfont(name)) for name in FONTS)
    return any(face.get_char_index(ord(letter)) for face in faces)


def _make_readable(figure: Figure) -> None:
    """Apply `readable` to all texts of a figure, and switch off formulas between ``$`` signs."""
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            names = [text.get_text() for text in axis.get_majorticklabels()]
            if any(name != readable(name) for name in names):
                axis.set_ticks(axis.get_majorticklocs(), [readable(name) for name in names])
    for text in figure.findobj(Text):
        if not text.get_text().startswith("$\\mathdefault"):  # what matplotlib writes on log axes
            text.set_text(readable(text.get_text()))
            text.set_parse_math(False)
