"""The helical wheel and the view in space: every residue, at its place, in its colour."""

import json
import math
import re

import numpy as np
import pytest

from structdiff.protein.descriptors import hydrophobic_moment
from structdiff.protein.residues import AMINO_ACIDS
from structdiff.report.viewer import BETWEEN, smooth_trace, viewer
from structdiff.report.wheel import CLASSES, residue_class, wheel


def test_every_residue_has_one_class():
    letters = "".join(letters for letters, _ in CLASSES.values())
    assert sorted(letters) == sorted(AMINO_ACIDS)
    assert residue_class("K") == "positive"


@pytest.mark.parametrize("length", [1, 5, 18, 19, 50])
def test_a_wheel_shows_each_residue_once_and_apart(length):
    sequence = ("GIGKFLHSAKKFGKAFVGEIMNSAWDPQRTY" * 2)[:length]
    svg = wheel(sequence)
    titles = re.findall(r"<title>(\w)(\d+)</title>", svg)
    assert titles == [(letter, str(i)) for i, letter in enumerate(sequence, start=1)]
    discs = re.findall(r'cx="([-.\d]+)" cy="([-.\d]+)" r="11.5"', svg)
    assert len(set(discs)) == length


def test_the_moment_points_to_the_hydrophobic_face():
    # Residues 1, 5, 8 and 12 of an α-helix stand on one side.
    sequence = "".join("L" if i in (0, 3, 4, 7, 11) else "K" for i in range(12))
    x, y = hydrophobic_moment(sequence)
    face = [(math.sin(math.radians(100 * i)), math.cos(math.radians(100 * i))) for i in (0, 4, 7)]
    assert all(x * a + y * b > 0 for a, b in face)
    assert math.hypot(x, y) > 0.5


def test_the_curve_goes_through_every_residue():
    points = np.random.default_rng(0).normal(size=(9, 3))
    curve = smooth_trace(points)
    assert curve.shape == (8 * BETWEEN + 1, 3)
    np.testing.assert_allclose(curve[::BETWEEN], points, atol=1e-12)


def test_the_view_carries_its_data_and_its_script():
    backbone = np.arange(36.0).reshape(3, 4, 3)
    page = viewer(["a_1"], ["GKE"], [backbone])
    data = json.loads(re.search(r'id="backbones">(.*?)</script>', page)[1])
    assert data["a_1"]["text"] == ["G1", "K2", "E3"]
    assert len(data["a_1"]["x"]) == len(data["a_1"]["color"]) == 2 * BETWEEN + 1
    assert data["a_1"]["color"][BETWEEN] == CLASSES["positive"][1]
    assert len(page) < 2.2e6
    assert "src=" not in page
