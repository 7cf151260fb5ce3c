"""3D view of backbones in the story: its data and its script.

It is drawn by the ``plotly.min.js`` of the installed plotly, which is embedded compressed and
unpacked by the browser after the text is shown; nothing is loaded from other sites.
"""

import base64
import gzip
import json
from collections.abc import Sequence
from importlib.resources import files

import numpy as np

from structdiff.report.wheel import CLASSES, residue_class

__all__ = ["smooth_trace", "viewer"]

BETWEEN = 6
"""Number of points that are drawn from one Cα to the next."""

_SCRIPT = """
const view = document.getElementById('view'), peptides = JSON.parse(
  document.getElementById('backbones').textContent);
const dark = matchMedia('(prefers-color-scheme: dark)');
let chosen = Object.keys(peptides)[0], plotly;

async function unpack() {
  const packed = atob(document.getElementById('plotly').textContent);
  const bytes = Uint8Array.from(packed, letter => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream('gzip'));
  const script = document.createElement('script');
  script.textContent = await new Response(stream).text();
  document.head.append(script);
}

function draw() {
  const {x, y, z, color, ca, text} = peptides[chosen];
  const column = index => ca.map(point => point[index]);
  const far = Math.max(1, 620 / view.clientWidth);  // so that it fits on a telephone
  const hidden = {visible: false}, ink = dark.matches ? '#e4e9ee' : '#1f2933';
  const tube = {type: 'scatter3d', mode: 'lines', x, y, z, hoverinfo: 'skip',
    line: {width: 22, color}};
  const residues = {type: 'scatter3d', mode: 'markers', x: column(0), y: column(1), z: column(2),
    text, hovertemplate: '%{text}<extra></extra>', marker: {size: 6, color: color.filter(
      (_, index) => index % BETWEEN === 0)}};
  const ends = {type: 'scatter3d', mode: 'text', x: [ca[0][0], ca.at(-1)[0]],
    y: [ca[0][1], ca.at(-1)[1]], z: [ca[0][2], ca.at(-1)[2]], text: ['N', 'C'], hoverinfo: 'skip',
    textfont: {size: 18, color: ink}};
  Plotly.react(view, [tube, residues, ends], {showlegend: false, paper_bgcolor: 'rgba(0,0,0,0)',
    margin: {l: 0, r: 0, t: 0, b: 0}, modebar: {bgcolor: 'rgba(0,0,0,0)', color: ink},
    uirevision: chosen, scene: {aspectmode: 'data',
      xaxis: hidden, yaxis: hidden, zaxis: hidden,
      camera: {eye: {x: 1.25 * far, y: 1.25 * far, z: .4 * far}}}},
    {responsive: true, displaylogo: false, modeBarButtonsToRemove: ['tableRotation']});
  document.getElementById('shown').textContent = chosen;
  for (const button of document.querySelectorAll('button[data-peptide]'))
    button.ariaPressed = String(button.dataset.peptide === chosen);
}

function show() {
  plotly ??= unpack();
  return plotly.then(draw);
}

document.onclick = event => {
  const button = event.target.closest('button[data-peptide]');
  if (!button) return;
  chosen = button.dataset.peptide;
  show();
  view.scrollIntoView({behavior: 'smooth', block: 'center'});
};
dark.onchange = () => plotly && show();
setTimeout(show, 300);  // the text first
"""


def smooth_trace(points: np.ndarray) -> np.ndarray:
    """Return a Catmull–Rom curve through points.

    Parameters
    ----------
    points
        Å, ``(length, 3)``.

    Returns
    -------
    np.ndarray
        ``((length - 1) * BETWEEN + 1, 3)``; every ``BETWEEN``-th is one of the points.
    """
    if len(points) < 2:
        return points
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


def viewer(identifiers: Sequence[str], sequences: Sequence[str], backbones: Sequence) -> str:
    """Return the view of some peptides, as HTML that stands once in a page.

    A ``<button data-peptide="id">`` anywhere in the page shows that peptide.

    Parameters
    ----------
    identifiers
        The first is shown at once.
    sequences
        One-letter codes.
    backbones
        N, Cα, C, O in Å, each ``(length, 4, 3)``.
    """
    drawn = {
        name: _drawing(sequence, np.asarray(backbone, dtype=np.float64))
        for name, sequence, backbone in zip(identifiers, sequences, backbones, strict=True)
    }
    script = (files("plotly") / "package_data" / "plotly.min.js").read_bytes()
    packed = base64.b64encode(gzip.compress(script, 9, mtime=0)).decode()
    return (
        '<div id="view" role="img" aria-label="backbone in space"></div>\n'
        f'<script type="application/json" id="backbones">{json.dumps(drawn)}</script>\n'
        f'<script type="text/plain" id="plotly">{packed}</script>\n'
        f"<script>{_SCRIPT.replace('BETWEEN', str(BETWEEN))}</script>"
    )


def _drawing(sequence: str, backbone: np.ndarray) -> dict:
    """Return what the script draws of a peptide: the curve, its colours, and the residues."""
    ca = backbone[:, 1] - backbone[:, 1].mean(axis=0)
    curve = smooth_trace(ca)
    nearest = np.minimum((np.arange(len(curve)) + BETWEEN // 2) // BETWEEN, len(sequence) - 1)
    colors = [CLASSES[residue_class(sequence[row])][1] for row in nearest]
    x, y, z = curve.round(2).T.tolist()
    text = [f"{letter}{number}" for number, letter in enumerate(sequence, start=1)]
    return {"x": x, "y": y, "z": z, "color": colors, "ca": ca.round(2).tolist(), "text": text}
