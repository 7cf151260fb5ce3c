"""The ranking: fewer unmet criteria first, each one named."""

import pytest

from structdiff.evaluation.candidates import rank
from structdiff.evaluation.sequence_features import Features, Reference
from structdiff.peptides.seen import SeenPeptides


@pytest.fixture(scope="module")
def ranked(frame, make_designs, make_sequences):
    training = frame.loc[frame["split"] == "train"]
    sequences = training["sequence"].tolist()
    good = make_sequences(12, 77)
    designs = make_designs({"antiviral": [*good, good[3], sequences[0], "K" * 15, "A" * 15]})
    designs["geometry"], designs["called"] = True, True
    designs.loc[5, "called"] = False
    designs.loc[7, "geometry"] = False
    features = Features.of(designs["sequence"].tolist(), sequences)
    reference = Reference.of(sequences, sequences)
    table = rank(designs, features, reference, training, 0.9)
    return good, sequences, table.set_index("sequence")


def test_each_unmet_criterion_is_named(ranked):
    good, sequences, table = ranked
    assert "not called as asked" in table.loc[good[5], "reasons"]
    assert "clash or broken steps" in table.loc[good[7], "reasons"]
    assert "not novel: 1.00 to a training peptide" in table.loc[sequences[0], "reasons"]
    assert table.loc[sequences[0], "nearest_training"] == "p0"
    for letter in "KA":
        assert "100 % one amino acid" in table.loc[letter * 15, "reasons"]
    assert "charge" in table.loc["K" * 15, "reasons"]


def test_the_better_stand_first_and_repeated_ones_once(ranked):
    good, _, table = ranked
    assert table.index.is_unique
    assert table.loc[good[3], "times"] == 2
    unmet = (table["judged"] - table["met"]).tolist()
    assert unmet == sorted(unmet)
    best = table[table["met"] == table["judged"]]
    assert (best["reasons"] == "meets every criterion").all()
    assert best["distance"].is_monotonic_increasing
    assert table["rank"].tolist() == list(range(1, len(table) + 1))


def test_a_sequence_with_other_ends_is_another_candidate(frame, make_designs, make_sequences):
    training = frame.loc[frame["split"] == "train"]
    one, other = make_sequences(2, 77)
    designs = make_designs({"antiviral": [one, other, one, one]})
    designs = designs.assign(geometry=True, called=True, amidated=[0, 0, 1, 1])
    features = Features.of([one, other], training["sequence"].tolist())
    table = rank(designs, features, None, training, 0.9)
    table = table.set_index("id").loc[["antiviral_0", "antiviral_1", "antiviral_2"]]
    assert table["times"].tolist() == [1, 1, 2]
    assert table["sequence"].tolist() == [one, other, one]


def test_designs_that_were_asked_for_a_descriptor_are_ranked(frame, make_designs, make_sequences):
    training = frame.loc[frame["split"] == "train"]
    designs = make_designs({"antiviral + charge 2..9": make_sequences(3, 77)})
    designs = designs.assign(geometry=True, called=True, asked_charge=4.0, charge=4.0)
    features = Features.of(designs["sequence"].tolist(), training["sequence"].tolist())
    table = rank(designs, features, None, training, 0.9).set_index("sequence")
    charge = features.column("charge", table.index.tolist())
    assert table["charge"].to_numpy() == pytest.approx(charge.round(3))


def test_a_peptide_of_the_starting_model_is_a_copy(frame, make_designs, make_sequences):
    training = frame.loc[frame["split"] == "train"]
    sequences = training["sequence"].tolist()
    designs = make_designs({"antiviral": make_sequences(3, 77)})
    designs["geometry"], designs["called"] = True, True
    old, *others = designs["sequence"]
    features = Features.of([old, *others], sequences, SeenPeptides.of([old]))
    ranked = rank(designs, features, None, training, 0.9).set_index("sequence")
    assert "not novel: a training peptide of the starting model" in ranked.loc[old, "reasons"]
    assert not ranked.loc[others, "reasons"].str.contains("novel").any()
