"""Analogues: never the peptide, never one twice, and resumed exactly."""

import numpy as np
import pytest

from structdiff.generation.tasks import analogues
from structdiff.generation.variants import distinct_analogues, strength_of
from structdiff.settings import Sampling
from structdiff.system.errors import UserError

pytestmark = pytest.mark.xdist_group("design")

STEPS = Sampling(num_steps=6)
PEPTIDE = "AELKMQRAELKM"


def draw(model, count, strength=0.15, **options):
    return list(distinct_analogues(model, PEPTIDE, strength, count, "none", STEPS, **options))


def mutations(design):
    return sum(a != b for a, b in zip(design.sequence, PEPTIDE, strict=True))


def test_no_parent_and_no_repeats_in_the_order_of_the_candidates(trained_model):
    candidates = list(analogues(trained_model, PEPTIDE, 0.15, 60, "none", STEPS))
    assert PEPTIDE in {design.sequence for design in candidates}
    designs = draw(trained_model, 60)
    sequences = [design.sequence for design in designs]
    assert len(set(sequences) - {PEPTIDE}) == 60
    assert [design.number for design in designs] == list(range(60))
    fresh = list(dict.fromkeys(design.sequence for design in candidates))
    fresh.remove(PEPTIDE)
    assert sequences[: len(fresh)] == fresh
    assert [design.sequence for design in draw(trained_model, 10)] == sequences[:10]


def test_mutations_are_counted(trained_model):
    designs = draw(trained_model, 40, mutations=(1, 2))
    assert {mutations(design) for design in designs} == {1, 2}
    keep = np.arange(12) < 6
    designs = draw(trained_model, 20, strength=0.5, mutations=(2, 3), keep=keep)
    assert {mutations(design) for design in designs} == {2, 3}
    assert all(design.sequence.startswith(PEPTIDE[:6]) for design in designs)


@pytest.mark.parametrize("kept", [1, 25, 59])
def test_a_resumed_draw_gives_the_same_to_the_bit(trained_model, kept):
    whole = draw(trained_model, 60)
    assert whole[-1].candidate >= 60  # drawn more than once
    drawn = {design.candidate: design.sequence for design in whole[:kept]}
    rest = draw(trained_model, 60, drawn=drawn)
    assert [(d.number, d.candidate, d.sequence) for d in rest] == [
        (d.number, d.candidate, d.sequence) for d in whole[kept:]
    ]
    for resumed, design in zip(rest, whole[kept:], strict=True):
        assert np.array_equal(resumed.backbone, design.backbone)


def test_too_few_analogues_are_told(trained_model, capsys, monkeypatch):
    monkeypatch.setattr("structdiff.generation.variants.FRUITLESS", 100)
    keep = np.arange(12) != 5
    designs = draw(trained_model, 30, strength=1.0, keep=keep)
    assert len({design.sequence for design in designs}) == len(designs) < 20
    assert f"{len(designs)} of 30 analogues of {PEPTIDE}" in capsys.readouterr().err
    with pytest.raises(UserError, match=r"no analogue of .* with 12 to 12 mutations in"):
        draw(trained_model, 5, mutations=(12, 12))


def test_more_forbidden_residues_than_mutations_are_refused_before_drawing():
    forbidding = Sampling(forbid="K", at_most="E=1")
    designs = distinct_analogues(None, PEPTIDE, 0.2, 5, "none", forbidding, mutations=(1, 2))
    with pytest.raises(UserError, match=r"has 2 K, 1 E more than .* at most 2 residues may change"):
        next(designs)


def test_the_strength_follows_the_mutations():
    keep = np.arange(20) < 10
    assert strength_of(0.3, None, 20) == 0.3
    assert strength_of(None, (1, 4), 20) == 0.2
    assert strength_of(None, (1, 4), 20, keep) == 0.4
    for strength, asked, kept, message in [
        (None, None, None, "need a strength, a range of mutations, or both"),
        (0, None, None, "strength 0 gives only the peptide itself"),
        (None, (1, 11), keep, "1 to 10 residues may change"),
        (0.5, (0, 2), None, "1 to 20 residues may change"),
        (0.5, None, np.ones(20, dtype=bool), "all residues stay"),
    ]:
        with pytest.raises(UserError, match=message):
            strength_of(strength, asked, 20, kept)
