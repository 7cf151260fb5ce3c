"""Helical wheel of a peptide (view along the axis of an α-helix) as SVG.

Residue ``i`` is at (``i`` − 1) × 100°, clockwise from the top. An amphipathic helix has its
hydrophobic residues on one side. The line from the centre points to that side: it is the mean
hydrophobic moment (Eisenberg et al., Nature 299, 1982).
"""

import math

from structdiff.protein.descriptors import TURN, hydrophobic_moment

__all__ = ["CLASSES", "residue_class", "wheel"]

CLASSES = {
    "hydrophobic": ("AILMFVWCY", "#d9a21b"),
    "positive": ("KRH", "#3b7dd8"),
    "negative": ("DE", "#d9534f"),
    "polar": ("STNQ", "#4fa27a"),
    "glycine, proline": ("GP", "#9aa5b1"),
}
"""Classes of residues: letters and color by name."""

_RADIUS, _STEP, _DISC = 62.0, 24.0, 11.5
_PERTURN = 18
"""Number of residues after which the angles repeat; later residues are drawn further out."""


def residue_class(letter: str) -> str:
    """Return the class of a standard residue."""
    return next(name for name, (letters, _) in CLASSES.items() if letter in letters)


def wheel(sequence: str) -> str:
    """Return the helical wheel of a peptide of standard residues as SVG, residue 1 at the top."""
    rings = -(-len(sequence) // _PERTURN)
    half = _RADIUS + (rings - 1) * _STEP + _DISC + 2
    places = [_place(index) for index in range(len(sequence))]
    first = [f"{x:.1f},{y:.1f}" for x, y in places[:_PERTURN]]
    discs = [
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{_DISC}" fill="{CLASSES[residue_class(a)][1]}">'
        f"<title>{a}{index}</title></circle>"
        f'<text x="{x:.1f}" y="{y + 4:.1f}" text-anchor="middle" font-size="11" '
        f'font-weight="600" fill="#10161d">{a}</text>'
        for index, (a, (x, y)) in enumerate(zip(sequence, places, strict=True), start=1)
    ]
    x, y = hydrophobic_moment(sequence)
    y = -y  # down is positive in SVG
    size = math.hypot(x, y)
    scale = min(size, 1.0) * (_RADIUS - _DISC - 6) / max(size, 1e-9)
    return (
        f'<svg viewBox="{-half:.0f} {-half:.0f} {2 * half:.0f} {2 * half:.0f}" role="img" '
        f'aria-label="helical wheel of {sequence}">'
        f'<polyline points="{" ".join(first)}" fill="none" stroke="currentColor" opacity=".25"/>'
        f'<line x2="{x * scale:.1f}" y2="{y * scale:.1f}" stroke="currentColor" stroke-width="2"/>'
        f'<circle cx="{x * scale:.1f}" cy="{y * scale:.1f}" r="3" fill="currentColor"/>'
        f"{''.join(discs)}</svg>"
    )


def _place(index: int) -> tuple[float, float]:
    radius = _RADIUS + index // _PERTURN * _STEP
    return radius * math.sin(index * TURN), -radius * math.cos(index * TURN)
