"""Sequence metrics against values worked out by hand or by another library."""

import math

import numpy as np
import pytest

from structdiff.evaluation.registry import measure
from structdiff.evaluation.sequence_features import Features, describe, is_valid, kmer_frequencies
from structdiff.evaluation.value import Unavailable
from structdiff.peptides.seen import SeenPeptides
from structdiff.protein import descriptors


@pytest.fixture
def values(peptide_set):
    """Return a function that measures sequences, given training peptides."""
    return lambda *args, **changes: measure(peptide_set(*args, **changes))


def test_kmers_do_not_cross_from_one_peptide_to_the_next():
    pairs = kmer_frequencies(["AC", "CA"], 2)
    assert pairs[0 * 20 + 1] == pairs[1 * 20 + 0] == 0.5
    assert pairs.sum() == 1
    assert kmer_frequencies(["A"], 2).sum() == 0


def test_distances_at_their_ends(values):
    training = ["ACDEFGHIKL", "MNPQRSTVWY"]
    same = values(training, training)
    assert same["js1"] == same["js3"] == 0
    apart = values(["AAAAAA", "CCCCCC"], ["DDDDDD", "EEEEEE"])
    assert apart["js1"] == pytest.approx(math.sqrt(math.log(2)))


def test_diversity_and_novelty_by_hand(values):
    training = ["ACDEFGHIKL", "MNPQRSTVWY"]
    designs = ["ACDEFGHIKL", "ACDEFGHIKV", "WWWWWWWWKK", "WWWWWWWWKK"]
    got = values(designs, training)
    assert got["count"] == 4
    assert got["uniqueness"] == 0.75
    assert got["exact_copies"] == 0.25
    assert got["copies"] == 0.5  # 9 of 10 residues: exactly at the threshold
    assert got["near_duplicates"] == 1.0
    assert got["low_complexity"] == 0.5
    assert got["length_mean"] == 10


def test_what_the_starting_model_has_seen_is_a_copy(values):
    training, old = ["ACDEFGHIKL", "MNPQRSTVWY"], "WWWWWWWWKK"
    features = Features.of(["ACDEFGHIKL", old, "GGGGGKKKKK"], training, SeenPeptides.of([old]))
    got = values(["ACDEFGHIKL", old, "GGGGGKKKKK"], training, features=features)
    assert got["copies"] == got["exact_copies"] == pytest.approx(2 / 3)


def test_order_is_one_half_where_it_means_nothing(frame, values):
    training = frame["sequence"].tolist()
    generator = np.random.default_rng(0)
    random = ["".join(generator.permutation(list(text))) for text in training]
    assert values(random, training)["order"] == pytest.approx(0.5, abs=0.06)
    assert values(training, training)["order"] > 0.75


def test_descriptors_are_those_of_modlamp():
    table = describe(["GIGKFLHSAKKFGKAFVGEIMNS"])  # magainin 2
    row = table.iloc[0]
    assert row["charge"] == pytest.approx(3.0, abs=0.5)
    assert row["aromaticity"] == pytest.approx(3 / 23, abs=1e-3)
    assert 10 < row["isoelectric_point"] < 11


def test_hydrophobicity_and_moment_are_those_of_every_table():
    sequences = ["GIGKFLHSAKKFGKAFVGEIMNS", "KLLKLLKK"]
    table, columns = describe(sequences), descriptors.describe(sequences)
    assert table["hydrophobicity"].to_numpy() == pytest.approx(columns["hydrophobicity"], abs=1e-4)
    assert table["moment"].to_numpy() == pytest.approx(columns["hydrophobic_moment"], abs=1e-4)


def test_what_cannot_be_measured_is_missing_with_its_reason(values):
    got = values(["KKLLKK"], [])
    assert got["js1"] == Unavailable("no training peptide has the label")
    assert got["copies"] == Unavailable("there is no training peptide")
    assert got["mean_similarity"] == Unavailable("a single peptide cannot be compared with another")
    empty = values([], ["ACDEFGHIKL"], valid_share=0.0)
    assert empty["count"] == 0
    assert empty["uniqueness"] == Unavailable("no valid peptide")
    assert empty["validity"] == 0


@pytest.mark.parametrize(
    ("text", "valid"),
    [("ACDEF", True), ("ACDE", False), ("ACDEX", False), ("A" * 51, False), ("acdef", False)],
)
def test_validity(text, valid):
    assert is_valid(text, 5, 50) is valid


def test_an_even_number_of_cysteines_is_counted_where_there_are_two(values):
    training = ["ACDEFGHIKL", "MNPQRSTVWY"]
    designs = ["ACCDEFGHIK"] * 15 + ["CACDEFGHCK"] * 10 + ["ACDEFGHIKL"] * 5
    assert values(designs, training)["even_cysteines"] == 0.6
    few = values(designs[:4], training)["even_cysteines"]
    assert few == Unavailable("only 4 have two or more cysteines, 20 wanted")
