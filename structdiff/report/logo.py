"""Sequence logo of a set of peptides, aligned at their N-termini, as SVG.

The letters of a position form a stack. Its height is the information content of the position in
bits: log₂ 20 minus the entropy, with the small-sample correction of Schneider et al., J. Mol. Biol.
188, 415 (1986).
"""

import math
from collections import Counter
from collections.abc import Sequence
from functools import cache
from html import escape

from structdiff.protein.residues import AMINO_ACIDS
from structdiff.report.wheel import CLASSES, residue_class

__all__ = ["information", "logo"]

SHARE = 0.1
"""A position is shown if at least this share of the peptides, and at least 2 peptides, are long
enough to have it."""

_WIDTH, _HEIGHT, _LEFT, _BOTTOM = 22, 110, 42, 18


def information(letters: Sequence[str]) -> dict[str, float]:
    """Return the height of each residue in the stack of a position, in bits, smallest first.

    ``letters`` are the residues of all peptides at this position, at least one.
    """
    count = len(letters)
    shares = {letter: n / count for letter, n in Counter(letters).items()}
    entropy = -sum(share * math.log2(share) for share in shares.values())
    correction = (len(AMINO_ACIDS) - 1) / (2 * math.log(2) * count)
    bits = max(0.0, math.log2(len(AMINO_ACIDS)) - entropy - correction)
    return {
        letter: share * bits for letter, share in sorted(shares.items(), key=lambda x: (x[1], x[0]))
    }


def logo(sequences: Sequence[str], name: str) -> str:
    """Return HTML with the sequence logo of a set of peptides; ``name`` is the name of the set.

    The result is empty if no position has information, as in sets of two or three peptides.
    ``sequences`` are at least two sequences of the 20 standard residues.
    """
    longest = max(map(len, sequences))
    columns = [[s[i] for s in sequences if len(s) > i] for i in range(longest)]
    fewest = max(2, math.ceil(SHARE * len(sequences)))
    columns = [column for column in columns if len(column) >= fewest]
    stacks = [information(column) for column in columns]
    highest = max((sum(stack.values()) for stack in stacks), default=0.0)
    if highest == 0:
        return ""
    drawn, used = [], set()
    for index, stack in enumerate(stacks):
        y = float(_HEIGHT)
        for letter, bits in stack.items():
            height = bits / highest * (_HEIGHT - 6)
            if height > 0.4:
                used.add(letter)
                drawn.append(
                    f'<use href="#logo-{letter}" fill="{CLASSES[residue_class(letter)][1]}" '
                    f'transform="translate({_LEFT + index * _WIDTH},{y:.1f}) '
                    f'scale({_WIDTH - 2},{height:.2f})"/>'
                )
            y -= height
        if index == 0 or (index + 1) % 5 == 0:
            x = _LEFT + (index + 0.5) * _WIDTH
            drawn.append(
                f'<text x="{x}" y="{_HEIGHT + 14}" text-anchor="middle">{index + 1}</text>'
            )
    width = _LEFT + _WIDTH * len(stacks) + 4
    glyphs = "".join(f'<path id="logo-{a}" d="{_glyph(a)}"/>' for a in sorted(used))
    return (
        f'<figure class="logo"><div class="panorama"><svg viewBox="0 0 {width} '
        f'{_HEIGHT + _BOTTOM}" width="{width}" role="img" font-size="11" fill="currentColor" '
        f'aria-label="sequence logo of {escape(name)}"><defs>{glyphs}</defs>'
        f'<text x="{_LEFT - 5}" y="14" text-anchor="end">{highest:.1f}</text>'
        f'<text x="{_LEFT - 5}" y="{_HEIGHT}" text-anchor="end">0 bits</text>'
        f'<path d="M{_LEFT - 2},6V{_HEIGHT}H{width}" fill="none" stroke="currentColor" '
        f'opacity=".4"/>{"".join(drawn)}</svg></div><figcaption>Sequence logo of '
        f"{len(sequences):,} peptides, aligned at the N-terminus; positions that fewer than "
        f"{fewest:,} of them reach are left out.</figcaption></figure>"
    )


@cache
def _glyph(letter: str) -> str:
    """Return the outline of a letter as an SVG path, 1 wide and 1 high; its foot is at y = 0."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.path import Path
    from matplotlib.textpath import TextPath

    outline = TextPath(
        (0, 0), letter, size=1, prop=FontProperties(family="DejaVu Sans", weight=700)
    )
    box = outline.get_extents()
    signs = {Path.MOVETO: "M", Path.LINETO: "L", Path.CURVE3: "Q", Path.CURVE4: "C"}
    parts = []
    for points, code in outline.iter_segments(curves=True, simplify=False):
        if code == Path.CLOSEPOLY:
            parts.append("Z")
            continue
        pairs = points.reshape(-1, 2)
        x = (pairs[:, 0] - box.x0) / box.width
        y = -(pairs[:, 1] - box.y0) / box.height
        numbers = " ".join(f"{a:.3f},{b:.3f}" for a, b in zip(x, y, strict=True))
        parts.append(f"{signs[code]}{numbers}")
    return "".join(parts)
