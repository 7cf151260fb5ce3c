"""The 3D view: what it embeds, and what a browser draws of it."""

import gzip
import hashlib
import json
import re
from importlib.resources import files

import numpy as np
import pytest
import torch

from structdiff.protein.geometry import ANGLES, rebuild
from structdiff.protein.io import format_pdb
from structdiff.protein.structure import from_backbone
from structdiff.report.page import page
from structdiff.report.viewer import CONFIDENCE, Backbone, viewer
from structdiff.report.wheel import CLASSES

SEQUENCE = "GIGKFLHSAKKFGKAF"
NPM = "f7cc78921ae72e7623e89cdd111434f58c2efddd2ffda1cd212644b406fb8016"
"""SHA-256 of build/3Dmol-min.js of the npm package 3dmol, version 2.5.5."""

COLORED = """(hex => {
  const [r, g, b] = [1, 3, 5].map(i => parseInt(hex.slice(i, i + 2), 16));
  const canvas = document.querySelector('#view canvas'), copy = document.createElement('canvas');
  [copy.width, copy.height] = [canvas.width, canvas.height];
  const context = copy.getContext('2d');
  context.drawImage(canvas, 0, 0);
  const data = context.getImageData(0, 0, copy.width, copy.height).data, hue = (r, g, b) =>
    Math.atan2(Math.sqrt(3) * (g - b), 2 * r - g - b);
  let count = 0;
  for (let i = 0; i < data.length; i += 4)
    count += data[i + 3] > 200 && Math.max(data[i], data[i + 1], data[i + 2]) > 60 &&
      Math.abs(hue(data[i], data[i + 1], data[i + 2]) - hue(r, g, b)) < .15;
  return count;
})('COLOR')"""
"""Counts the pixels of the first structure that have the hue of a colour."""


@pytest.fixture(scope="module")
def backbones():
    """Two helices, one of them with a fold of known confidence."""
    torsions = torch.deg2rad(torch.tensor([-63.0, -42.0, 180.0])).expand(1, len(SEQUENCE), 3)
    bends = torch.tensor(ANGLES).expand(1, len(SEQUENCE), 3)
    helix = rebuild(torsions, bends)[0].numpy()
    design = format_pdb(from_backbone(SEQUENCE, helix))
    fold = format_pdb(from_backbone(SEQUENCE, helix, np.full(len(SEQUENCE), 80.0)))
    return {"a_1": Backbone(SEQUENCE, design, fold), "a_2": Backbone(SEQUENCE, design)}


def test_the_library_is_the_published_one():
    packed = (files("structdiff.report") / "vendor" / "3Dmol-min.js.gz").read_bytes()
    assert hashlib.sha256(gzip.decompress(packed)).hexdigest() == NPM
    licence = (files("structdiff.report") / "vendor" / "3Dmol-LICENSE.txt").read_text()
    assert "University of Pittsburgh" in licence


def test_the_view_has_its_data_and_its_script(backbones):
    html = viewer({"</script>": backbones["a_1"]})
    data = json.loads(re.search(r'id="backbones">(.*?)</script>', html)[1])
    assert data["peptides"]["</script>"]["design"].count("ATOM") == 4 * len(SEQUENCE)
    assert data["residues"]["K"] == CLASSES["positive"][1]
    assert len(html) < 3e5
    assert "src=" not in html


@pytest.mark.browser
@pytest.mark.parametrize("dark", [False, True])
def test_a_browser_draws_the_cartoon_the_sticks_and_the_confidence(
    backbones, browser, tmp_path, dark
):
    buttons = "".join(f'<button data-peptide="{name}">{name}</button>' for name in backbones)
    path = tmp_path / "page.html"
    path.write_text(page("Backbones", viewer(backbones) + buttons), encoding="utf-8")
    drawn = "document.getElementById('view').dataset.drawn"
    opened = browser.open(path.as_uri(), width=390, until=drawn, dark=dark)
    colors = [CLASSES["positive"][1], CLASSES["hydrophobic"][1]]
    cartoon = [opened.ask(COLORED.replace("COLOR", color)) for color in colors]
    assert min(cartoon) > 300
    opened.ask("document.querySelector('[data-option=sticks]').click()")
    assert opened.ask("document.querySelector('[data-option=sticks]').ariaPressed") == "true"
    confident = CONFIDENCE["70–90"]
    opened.ask("document.querySelector('[data-value=confidence]').click()")
    opened.ask("document.querySelector('[data-option=sticks]').click()")
    opened.wait(COLORED.replace("COLOR", confident) + " > 300")
    assert opened.ask(COLORED.replace("COLOR", colors[1])) < 50
    opened.ask("document.querySelector('[data-peptide=a_2]').click()")
    opened.wait(f"{drawn} === 'a_2'")
    opened.ask("document.querySelector('[data-option=several]').click()")
    opened.ask("document.querySelector('[data-peptide=a_1]').click()")
    opened.wait(f"{drawn} === 'a_2 a_1'")
    assert opened.ask("document.querySelectorAll('#view canvas').length") == 2
    assert opened.errors == []
    assert opened.requests == [path.as_uri()]
    assert opened.ask("document.documentElement.scrollWidth") == 390


@pytest.mark.browser
def test_the_keyboard_turns_a_structure_and_takes_it_back(backbones, browser, tmp_path):
    path = tmp_path / "page.html"
    path.write_text(page("Backbones", viewer(backbones)), encoding="utf-8")
    opened = browser.open(
        path.as_uri(), until="document.getElementById('view').dataset.drawn", width=390
    )
    opened.ask("document.querySelector('.scene').focus()")
    assert "arrow keys" in opened.ask("document.activeElement.ariaLabel")
    image = "document.querySelector('#view canvas').toDataURL()"
    before = opened.ask(image)
    for key, changed in (("ArrowUp", True), ("Escape", False)):
        for kind in ("keyDown", "keyUp"):
            browser.call("Input.dispatchKeyEvent", session=opened.session, type=kind, key=key)
        assert (opened.ask(image) != before) == changed, key
