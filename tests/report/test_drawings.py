"""The helical wheel and the logo: every residue, at its place, in its colour."""

import math
import re

import pytest

from structdiff.protein.descriptors import hydrophobic_moment
from structdiff.protein.residues import AMINO_ACIDS
from structdiff.report.logo import information, logo
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


def test_the_information_of_a_position():
    small_sample = 19 / (2 * math.log(2) * 1000)
    assert information(["K"] * 1000) == {"K": pytest.approx(math.log2(20) - small_sample)}
    half = information(["K", "L"] * 500)
    assert sum(half.values()) == pytest.approx(math.log2(20) - 1 - small_sample)
    assert sum(information(list(AMINO_ACIDS)).values()) == 0  # more would be the sample's size


def test_a_logo_has_the_frequent_letters_at_their_positions():
    svg = logo(["GKLA", "GKLV", "GRLA", "G"] * 10, "set <one>")
    letters = re.findall(r'href="#logo-(\w)" fill="(#\w+)" transform="translate\((\d+)', svg)
    columns = [[a for a, _, x in letters if int(x) == 42 + 22 * i] for i in range(4)]
    assert columns == [["G"], ["R", "K"], ["L"], ["V", "A"]]  # the most frequent is on top
    assert {color for letter, color, _ in letters if letter == "K"} == {CLASSES["positive"][1]}
    assert "set &lt;one&gt;" in svg
    glyphs = re.findall(r'id="logo-(\w)" d="M[-\d., MLQCZ]+Z"', svg)
    assert sorted(glyphs) == ["A", "G", "K", "L", "R", "V"]
