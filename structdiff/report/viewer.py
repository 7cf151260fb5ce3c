"""3D view of backbones, side by side, drawn by 3Dmol.js.

``vendor/3Dmol-min.js.gz`` is 3Dmol.js 2.5.5 (BSD-3-Clause; Rego & Koes, Bioinformatics 31, 1322,
2015) from its npm package, compressed. A page embeds this file, and the browser unpacks it after
the text is shown; nothing is loaded from other sites.
"""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from importlib.resources import files

from structdiff.report.page import page
from structdiff.report.wheel import CLASSES

__all__ = ["CONFIDENCE", "Backbone", "View", "viewer"]

CONFIDENCE = {"≥ 90": "#2166d6", "70–90": "#65cbf3", "50–70": "#f0c419", "< 50": "#ff7d45"}
"""Colours of the confidence (pLDDT), close to the colours of the AlphaFold database."""

SEVERAL = 4
"""Largest number of peptides side by side: a browser has few WebGL contexts."""

_SCRIPT = """
const data = JSON.parse(document.getElementById('backbones').textContent);
const view = document.getElementById('view'), dark = matchMedia('(prefers-color-scheme: dark)');
const options = {color: 'residue', sticks: false, several: innerWidth >= 800}, scenes = [];
let library, chosen = Object.keys(data.peptides).slice(0, options.several ? 3 : 1);

async function unpack() {
  const packed = atob(document.getElementById('library').textContent);
  const bytes = Uint8Array.from(packed, letter => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream('gzip'));
  const script = document.createElement('script');
  script.textContent = await new Response(stream).text();
  document.head.append(script);
}

function addScene() {
  const cell = document.createElement('figure');
  cell.innerHTML = '<figcaption></figcaption><div class="scene" tabindex="0" role="application">' +
    '</div>';
  view.append(cell);
  const place = cell.lastChild, viewer = $3Dmol.createViewer(place, {backgroundAlpha: 0});
  const keys = {ArrowLeft: [-15, 'y'], ArrowRight: [15, 'y'], ArrowUp: [-15, 'x'],
    ArrowDown: [15, 'x']};
  place.onkeydown = event => {
    if (keys[event.key]) viewer.rotate(...keys[event.key]);
    else if (event.key === '+' || event.key === '=') viewer.zoom(1.2);
    else if (event.key === '-') viewer.zoom(1 / 1.2);
    else if (event.key === 'Escape') turn(viewer);
    else return;
    event.preventDefault();
    viewer.render();
  };
  scenes.push({cell, place, viewer});
}

function turn(viewer) {  // the whole peptide, level from its N- to its C-terminus
  const ca = viewer.selectedAtoms({atom: 'CA'}), first = ca[0], last = ca.at(-1);
  const [x, y, z] = ['x', 'y', 'z'].map(axis => last[axis] - first[axis]);
  const length = Math.hypot(x, y, z) || 1, turned = [0, z / length, -y / length, 1 + x / length];
  const norm = Math.hypot(...turned), half = [0, 0, 1, 0];  // half a turn, where it points back
  viewer.setView([0, 0, 0, 0, ...(norm > 1e-3 ? turned.map(part => part / norm) : half)]);
  viewer.zoomTo();
  viewer.zoom(1.05);
}

function confidenceColor(value) {
  return data.confidence[value >= 90 ? 0 : value >= 70 ? 1 : value >= 50 ? 2 : 3];
}

function draw({cell, place, viewer}, name) {
  const {sequence, design, fold} = data.peptides[name];
  const confident = options.color === 'confidence';
  viewer.removeAllModels();
  viewer.removeAllLabels();
  viewer.addModel(confident && fold || design, 'pdb');
  const colorfunc = atom => confident ? fold ? confidenceColor(atom.b) : '#9aa5b1'
    : data.residues[sequence[atom.resi - 1]] ?? '#9aa5b1';
  viewer.setStyle({}, options.sticks ? {stick: {colorfunc, radius: .22}}
    : {cartoon: {colorfunc, arrows: true, thickness: .6}});
  const ca = viewer.selectedAtoms({atom: 'CA'});
  for (const [text, atom] of [['N', ca[0]], ['C', ca.at(-1)]])
    viewer.addLabel(text, {position: atom, showBackground: false, fontSize: 16,
      fontColor: dark.matches ? '#e4e9ee' : '#1f2933', inFront: true});
  cell.firstChild.textContent = name;
  place.ariaLabel = `structure of ${name}, ${sequence}: arrow keys turn it, plus and minus zoom, ` +
    'escape shows all of it again';
  viewer.resize();
  turn(viewer);
  viewer.render();
}

async function show() {
  library ??= unpack();
  await library;
  const names = chosen.slice(-(options.several ? SEVERAL : 1));
  try {
    while (scenes.length < names.length) addScene();
  } catch (error) {
    view.textContent = 'The structures cannot be drawn: this browser has no WebGL.';
    return;
  }
  view.style.setProperty('--scenes', names.length);
  scenes.forEach(({cell}, index) => { cell.hidden = index >= names.length; });
  names.forEach((name, index) => draw(scenes[index], name));
  for (const button of document.querySelectorAll('button[data-peptide]'))
    button.ariaPressed = String(names.includes(button.dataset.peptide));
  for (const button of document.querySelectorAll('button[data-option]')) {
    const value = options[button.dataset.option];
    button.ariaPressed = String(value === (button.dataset.value ?? true));
  }
  for (const key of document.querySelectorAll('[data-key]'))
    key.hidden = key.dataset.key !== options.color;
  view.dataset.drawn = names.join(' ');
}

document.addEventListener('click', event => {
  const button = event.target.closest('button[data-peptide], button[data-option]');
  if (!button) return;
  const {peptide, option, value} = button.dataset;
  if (option) options[option] = value ?? !options[option];
  else if (!options.several) chosen = [peptide];
  else if (!chosen.includes(peptide)) chosen = [...chosen, peptide].slice(-SEVERAL);
  else if (chosen.length > 1) chosen = chosen.filter(name => name !== peptide);
  show();
  if (peptide) view.scrollIntoView({block: 'center'});
});
dark.onchange = () => library && show();
setTimeout(show, 300);  // the text first
"""


@dataclass(frozen=True)
class Backbone:
    """Structure of a peptide for the 3D view.

    Attributes
    ----------
    sequence
        One-letter codes.
    design
        The structure to show, in PDB format.
    fold
        The model's fold of the sequence, in PDB format, with its confidence (0–100) as B-factors;
        empty if unknown.
    """

    sequence: str
    design: str
    fold: str = ""


@dataclass(frozen=True)
class View:
    """3D view of peptides in a notebook.

    Attributes
    ----------
    backbones
        The backbones by name.
    """

    backbones: Mapping[str, Backbone]

    def _repr_html_(self) -> str:
        """Return the view in its own frame, so that a notebook can have several views."""
        names = [escape(name) for name in self.backbones]
        buttons = " ".join(f'<button data-peptide="{name}">{name}</button>' for name in names)
        document = page("Backbones", viewer(self.backbones) + buttons * (len(names) > 1))
        style = "width: 100%; height: 38rem; border: 0"
        return f'<iframe title="backbones" style="{style}" srcdoc="{escape(document)}"></iframe>'


def viewer(backbones: Mapping[str, Backbone]) -> str:
    """Return the 3D view of some peptides as HTML; a page can contain only one such view.

    A ``<button data-peptide="id">`` anywhere in the page shows the peptide with this id.

    Parameters
    ----------
    backbones
        Structures by the id of the peptide. The view first shows three structures, or one structure
        on a narrow page.
    """
    drawing = {
        "peptides": {name: vars(backbone) for name, backbone in backbones.items()},
        "residues": {letter: color for letters, color in CLASSES.values() for letter in letters},
        "confidence": list(CONFIDENCE.values()),
    }
    library = (files("structdiff.report") / "vendor" / "3Dmol-min.js.gz").read_bytes()
    return (
        f"{_toolbar(any(backbone.fold for backbone in backbones.values()))}"
        '<div id="view" role="group" aria-label="backbones in 3D"></div>\n'
        '<p class="note">Turn a structure with the mouse, a finger or the arrow keys; zoom with '
        "the wheel or + and −; Escape shows all of it again. Backbones have no side chains.</p>\n"
        f'<script type="application/json" id="backbones">{_embedded(drawing)}</script>\n'
        f'<script type="text/plain" id="library">{base64.b64encode(library).decode()}</script>\n'
        f"<script>{_SCRIPT.replace('SEVERAL', str(SEVERAL))}</script>"
    )


def _toolbar(has_confidence: bool) -> str:
    """Return HTML with the buttons above the structures and the legend of the colours.

    ``has_confidence`` tells whether a structure can be coloured by its confidence.
    """
    colors = {"residue": {name: color for name, (_, color) in CLASSES.items()}}
    buttons = ""
    if has_confidence:
        colors["confidence"] = {f"pLDDT {limits}": c for limits, c in CONFIDENCE.items()}
        buttons = (
            '<span role="group" aria-label="colours">'
            '<button data-option="color" data-value="residue">residues</button> '
            '<button data-option="color" data-value="confidence">confidence of the fold</button>'
            "</span> "
        )
    keys = "".join(
        f'<p class="key" data-key="{mode}"{"" if mode == "residue" else " hidden"}>'
        + "".join(f'<span><i style="background:{c}"></i>{name}</span>' for name, c in key.items())
        + "</p>"
        for mode, key in colors.items()
    )
    return (
        f'<div class="tools">{buttons}<button data-option="sticks">sticks</button> '
        f'<button data-option="several">side by side</button></div>{keys}'
    )


def _embedded(value: object) -> str:
    """Return a value as JSON; ``<`` is escaped, so that it cannot end the script element."""
    return json.dumps(value).replace("<", "\\u003c")
