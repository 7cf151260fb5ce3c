"""One grammar for labels, their absence and properties."""

import math

import pytest

from structdiff.peptides.query import Query, outside, parse_query
from structdiff.system.errors import UserError


def test_labels_absences_comparisons_and_ranges():
    query = parse_query("antimicrobial + not hemolytic + ecoli_mic<8 + charge 4..7")
    assert query.labels == ["antimicrobial"]
    assert query.unwanted == ["hemolytic"]
    assert query.ranges == {"ecoli_mic": (-math.inf, 8), "charge": (4, 7)}
    assert query.positions == {"antimicrobial": 1, "hemolytic": 17, "ecoli_mic": 33, "charge": 47}


def test_spaces_are_free():
    assert parse_query("a+b").labels == parse_query(" a  +  b ").labels == ["a", "b"]
    for text in ("x<8", "x < 8", "x<=8", "x <=8.0"):
        assert parse_query(text).ranges == {"x": (-math.inf, 8)}
    for text in ("x -2..3", "x  -2 .. 3", "x -2.0..3e0"):
        assert parse_query(text).ranges == {"x": (-2, 3)}
    assert parse_query("x>-1").ranges == {"x": (-1, math.inf)}
    assert parse_query("x 5").ranges == {"x": (5, 5)}


def test_a_bound_is_outside_of_what_was_seen_unless_it_is_none():
    assert outside("mic", (-math.inf, 8), (1, 9)) == outside("mic", (1, math.inf), (1, 9)) == ""
    assert outside("mic", (0.5, 8), (1, 9)).startswith("mic 0.5 is outside of what the model")
    too_large = parse_query("mic>1e999").ranges["mic"]  # a number that became no bound
    assert outside("mic", too_large, (1, 9)).startswith("mic inf is outside")


def test_a_bound_may_be_rounded_as_in_the_message():
    assert outside("moment", (0, 0.3), (2.2e-17, 1.3)) == ""
    assert "1026 to 5029" in outside("weight", (900, 5029), (1026.04, 5028.7))
    assert outside("weight", (1026, 5029), (1026.04, 5028.7)) == ""
    assert outside("weight", (1025, 5029), (1026.04, 5028.7)) != ""


def test_none_asks_for_nothing():
    assert parse_query("none") == Query()


def test_a_known_label_may_look_like_something_else():
    assert parse_query("gram 5", ["gram 5"]).labels == ["gram 5"]
    assert parse_query("not toxic", ["not toxic"]).labels == ["not toxic"]
    assert parse_query("gram neg+抗菌").labels == ["gram neg", "抗菌"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a + ", r"position 5: nothing is asked for here"),
        ("", "position 1: nothing is asked for"),
        ("a + mic<", r"position 5: 'mic<' cannot be read"),
        ("charge 7..4", r"position 1: 7 is more than 4; write 4\.\.7"),
        ("charge 4..x", "cannot be read"),
        ("a + not a", r"position 5: 'a' is asked for twice"),
        ("mic>2 + mic<8", r"'mic' is asked for twice; a range is written mic 4\.\.7"),
        ("charge 4...7", "'charge 4...7' cannot be read"),
    ],
)
def test_mistakes_are_named_with_their_position(text, message):
    with pytest.raises(UserError, match=message):
        parse_query(text)
