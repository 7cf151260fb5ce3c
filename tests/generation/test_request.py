"""What a person may ask for, and what the answer is to what makes no sense."""

from dataclasses import replace

import numpy as np
import pytest

from structdiff.diffusion import Constraints
from structdiff.generation.request import (
    check_bounds,
    check_length,
    check_lengths,
    check_template,
    condition,
    draw_lengths,
    draw_targets,
    length_range,
    mutation_range,
    positions,
    read_query,
    residue_bounds,
    training_lengths,
    warn_unreachable,
)
from structdiff.model import ConditionSpec, Property
from structdiff.peptides.query import Query
from structdiff.pretrained import TrainedModel
from structdiff.protein.ends import FREE
from structdiff.protein.residues import AMINO_ACIDS
from structdiff.settings import Sampling
from structdiff.system.errors import UserError

RELEASE = TrainedModel(
    None,
    None,
    ConditionSpec(["amp", "afp"]),
    {"amp": [0, 0, 0, 0, 0, 3, 1], "amp+afp": [0] * 9 + [4], "": [0] * 12 + [2]},
    {},
)


def test_an_entry_asks_for_labels():
    assert read_query("none", RELEASE.conditions) == Query()
    assert read_query("afp + amp", RELEASE.conditions).labels == ["afp", "amp"]
    assert condition("afp", RELEASE.conditions).labels.tolist() == [[0, 2]]
    with pytest.raises(UserError, match=r"the label 'avp'.*its labels: amp, afp"):
        condition("amp+avp", RELEASE.conditions)
    with pytest.raises(UserError, match=r"the property 'Length'.*did you mean 'length'"):
        read_query("Length 10..20", RELEASE.conditions)
    with pytest.raises(UserError, match="did you mean 'not afp'"):
        condition("amp + NOT afp", RELEASE.conditions)
    unwanted = condition("amp + not afp", RELEASE.conditions)
    assert unwanted.labels.tolist() == [[2, 1]]


VALUES = np.array([1.0, 2, 4, 8, 16, 32, 64, 128, 256])
NUMBERS = ConditionSpec(
    ["amp"],
    properties=[
        Property.fit("mic", "uM", "log10", VALUES),
        Property.fit("charge", "e", "linear", np.arange(-2.0, 9.0)),
    ],
)


def test_targets_have_the_training_distribution_within_the_range():
    drawn = draw_targets("amp + mic<16 + charge 4..7", NUMBERS, 4000, seed=3)
    assert list(drawn) == ["mic", "charge"]
    assert drawn["mic"].min() >= 1 and drawn["mic"].max() <= 16
    assert np.median(drawn["mic"]) == pytest.approx(4, rel=0.1)
    assert drawn["charge"].min() >= 4 and drawn["charge"].max() <= 7
    assert drawn["charge"].mean() == pytest.approx(5.5, abs=0.05)
    few = draw_targets("mic<16", NUMBERS, 10, seed=3)
    assert (few["mic"] == drawn["mic"][:10]).all()
    assert (draw_targets("mic<16", NUMBERS, 10, seed=4)["mic"] != few["mic"]).any()
    assert draw_targets("charge 5", NUMBERS, 2, seed=0)["charge"].tolist() == [5, 5]
    assert draw_targets("amp", NUMBERS, 2, seed=0) == {}


def test_lengths_follow_the_molecular_weight_that_is_asked_for():
    weight = Property.fit("molecular_weight", "Da", "linear", np.linspace(600, 5600, 101))
    model = replace(
        RELEASE,
        conditions=ConditionSpec(["amp"], properties=[weight]),
        lengths={"amp": [0, *[5] * 50]},
    )
    free = draw_lengths(model, "amp", 500, 0, None)
    assert free.min() < 5 and free.max() > 45
    asked = draw_targets("amp + molecular_weight 1000..4000", model.conditions, 500, 0)
    lengths = draw_lengths(model, "amp + molecular_weight 1000..4000", 500, 0, None)
    assert np.abs(lengths - asked["molecular_weight"] / 119).max() < 8
    assert draw_lengths(model, "amp + molecular_weight 4000", 50, 0, (10, 12)).max() <= 12


def test_what_the_model_has_not_seen_is_refused_with_what_it_has():
    for text, message in [
        ("mic<0.5", r"position 1: mic 0\.5 is outside .* have 1 to 256"),
        ("amp + charge 4..12", r"position 7: charge 12 is outside .* have -2 to 8"),
        ("logp>1", r"position 1: asks for the property 'logp'.*its properties: mic, charge"),
    ]:
        with pytest.raises(UserError, match=message):
            read_query(text, NUMBERS)


def test_a_query_asks_for_lengths_that_were_seen():
    assert set(draw_lengths(RELEASE, "amp + length 6..9", 100, 0, None)) == {6, 9}
    assert set(draw_lengths(RELEASE, "length<7", 100, 0, None)) == {5, 6}
    assert set(draw_lengths(RELEASE, "length>=10", 100, 0, None)) == {12}
    for text, bounds, message in [
        ("amp + length 6..40", None, "position 7: length 40 is outside .* have 5 to 12"),
        ("length 4", None, "length 4 is outside"),
        ("length 6.5", None, "a length is a whole number"),
        ("length 6", (6, 6), "leave one of them out"),
        ("length 6 + length<9", None, "'length' is asked for twice"),
    ]:
        with pytest.raises(UserError, match=message):
            draw_lengths(RELEASE, text, 1, 0, bounds)
    with pytest.raises(UserError, match="another length than the 7 residues"):
        check_lengths("length<7", read_query("length<7", RELEASE.conditions), np.array([5, 7]))


def test_lengths_without_a_label_are_of_peptides_known_to_lack_it():
    holes = replace(RELEASE, lengths={"amp": [0, 3], "amp+?afp": [0, 0, 2], "afp": [0, 0, 0, 1]})
    assert training_lengths(holes, "amp").tolist() == [0, 3, 2]
    assert training_lengths(holes, "amp + not afp").tolist() == [0, 3]
    assert training_lengths(holes, "not amp").tolist() == [0, 0, 0, 1]


def bounds_of(forbid, at_most):
    return residue_bounds(Sampling(forbid=forbid, at_most=at_most))


def test_bounds_on_residues_are_read():
    assert residue_bounds(Sampling()) == Constraints({})
    bounds = {
        AMINO_ACIDS.index(letter): bound
        for letter, bound in {"C": 0, "M": 0, "W": 1, "K": 5}.items()
    }
    assert bounds_of("C,M", "W=1, K=5") == bounds_of("CM", "W=1,K=5")
    assert bounds_of("C, M", "W=1,K=5").at_most == bounds
    for forbid, at_most, told in [
        ("B", "", "'B' is to be forbidden"),
        ("c", "", "'c' is to be forbidden"),
        ("", "W", "'W' is not a residue and a number, as W=1"),
        ("", "W=-1", "'W=-1' is not"),
        ("W", "W=1", "W has two bounds"),
        (AMINO_ACIDS, "", "leave one"),
    ]:
        with pytest.raises(UserError, match=told):
            bounds_of(forbid, at_most)


def test_residues_that_stay_keep_the_bounds():
    check_bounds("GWK", bounds_of("C", "W=1"))
    with pytest.raises(UserError, match="have 2 W, but a design may have 1: let them change"):
        check_bounds("GWWK", bounds_of("C", "W=1"))
    with pytest.raises(UserError, match="have 1 C, but a design may have none"):
        check_bounds("GCK", bounds_of("C", "W=1"))


@pytest.mark.parametrize(
    ("name", "asked", "forbid", "fixed", "number"),
    [
        ("charge", [2.0, 5.0, 11.0], "", "", 1),  # at most about one charge a residue
        ("charge", [2.0, 5.0, -3.0], "K,R,H", "", 2),
        ("charge", [2.0, 5.0, -4.5], "", "DDDDDDD", 2),
        ("hydrophobicity", [1.3, 0.5, -2.0], "I,F,V", "", 1),
        ("hydrophobic_moment", [9.0, 9.0, 9.0], "", "", 0),  # depends on the order
    ],
)
def test_targets_that_no_sequence_has_are_told(capsys, name, asked, forbid, fixed, number):
    lengths = np.array([10, 10, 10])
    warn_unreachable("x", FREE, {name: np.array(asked)}, lengths, bounds_of(forbid, ""), fixed)
    message = capsys.readouterr().err
    assert (f"{number} of 3 designs cannot have the {name}" in message) == (number > 0)
    assert bool(message) == (number > 0)


def test_positions_count_from_one():
    assert np.flatnonzero(positions("1-3, 9", 9)).tolist() == [0, 1, 2, 8]
    for text, told in [("0", "within 1-9"), ("4-2", "within"), ("8-10", "within"), ("a", "number")]:
        with pytest.raises(UserError, match=told):
            positions(text, 9)


def test_a_template_is_residues_and_question_marks():
    check_template("GIGK????FLHS")
    with pytest.raises(UserError, match=r"'X' at position 3.*'\?' for a residue to be designed"):
        check_template("GIXK??")
    with pytest.raises(UserError, match="is empty"):
        check_template("")


def test_lengths_are_those_of_the_peptides_that_bear_all_labels():
    assert training_lengths(RELEASE, "amp").nonzero()[0].tolist() == [5, 6, 9]
    assert training_lengths(RELEASE, "amp+afp").nonzero()[0].tolist() == [9]
    assert training_lengths(RELEASE, "none").sum() == 10
    drawn = draw_lengths(RELEASE, "amp", 4000, 0, None)
    assert np.bincount(drawn)[[5, 6, 9]] / 4000 == pytest.approx([3 / 8, 1 / 8, 1 / 2], abs=0.03)
    assert set(draw_lengths(RELEASE, "amp", 100, 0, (6, 9))) == {6, 9}
    assert (
        draw_lengths(RELEASE, "amp", 9, 1, None) == draw_lengths(RELEASE, "amp", 9, 1, None)
    ).all()


def test_lengths_without_an_example_are_drawn_alike(capsys):
    assert set(draw_lengths(RELEASE, "afp", 100, 0, (10, 12))) == {10, 11, 12}
    unknown = replace(RELEASE, lengths={})
    assert set(draw_lengths(unknown, "amp", 100, 0, (30, 31))) == {30, 31}
    with pytest.raises(UserError, match="say which to design, such as --length 10-25"):
        draw_lengths(unknown, "amp", 1, 0, None)


@pytest.mark.parametrize(
    ("read", "ranges", "mistakes"),
    [
        (
            length_range,
            {"18": (18, 18), "10-25": (10, 25), " 7 - 9 ": (7, 9)},
            ["", "0", "9-7", "ten", "5-", "-5"],
        ),
        (
            mutation_range,
            {"2": (2, 2), " 1..4 ": (1, 4), "1-4": (1, 4)},
            ["", "0", "0..2", "4..1", "1...4", "few"],
        ),
    ],
)
def test_ranges_of_lengths_and_mutations(read, ranges, mistakes):
    assert {text: read(text) for text in ranges} == ranges
    for text in mistakes:
        with pytest.raises(UserError, match=r"give a number such as .* or a range such as 1"):
            read(text)


def test_a_length_beyond_the_training_peptides_is_told_or_refused(capsys):
    check_length(RELEASE, 9)
    assert capsys.readouterr().err == ""
    check_length(RELEASE, 20)
    assert "20 residues: the model was trained on 5 to 12 residues" in capsys.readouterr().err
    draw_lengths(RELEASE, "amp", 1, 0, (20, 20))
    assert capsys.readouterr().err.count("20 residues: ") == 1
    with pytest.raises(UserError, match="25 residues are far beyond"):
        check_length(RELEASE, 25)
