"""Metrics of a distribution against values worked out by hand, and on sets known to differ."""

import numpy as np
import pytest

from structdiff.evaluation.distribution_metrics import FEWEST, frechet_distance
from structdiff.evaluation.registry import measure
from structdiff.evaluation.sequence_features import deviation
from structdiff.evaluation.value import Unavailable
from structdiff.protein.residues import AMINO_ACIDS

KEYS = ("auroc", "frechet", "precision", "recall", "coverage")


def test_the_frechet_distance_of_two_normal_distributions():
    """For independent components it is Σ (difference of means)² + (difference of deviations)²."""
    one = np.random.default_rng(0).standard_normal((500, 3))
    one = np.linalg.qr(one - one.mean(0))[0] * np.sqrt(499)  # exactly mean 0, covariance 1
    other = one * [1.0, 2.0, 3.0] + [4.0, 0.0, 0.0]
    assert frechet_distance(one, one) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(one, other) == pytest.approx(16 + 1 + 4)


def test_sets_of_one_distribution_are_not_told_apart(frame, peptide_set):
    sequences = frame["sequence"].tolist()
    got = measure(peptide_set(sequences[::2], sequences[1::2]))
    assert got["auroc"] == pytest.approx(0.5, abs=0.1)
    assert min(got["precision"], got["recall"], got["coverage"]) > 0.8


def test_random_residues_are_told_apart(frame, peptide_set):
    training = frame["sequence"].tolist()
    generator = np.random.default_rng(0)
    random = ["".join(generator.choice(list(AMINO_ACIDS), len(text))) for text in training]
    got, real = measure(peptide_set(random, training)), measure(peptide_set(training, training))
    assert got["auroc"] > 0.95
    assert got["frechet"] > 20 * real["frechet"] + 1
    assert max(got["precision"], got["coverage"]) < 0.5


def test_one_peptide_many_times_is_precise_and_covers_little(frame, peptide_set):
    training = frame["sequence"].tolist()
    got = measure(peptide_set([training[0]] * len(training), training))
    assert got["precision"] == 1
    assert got["recall"] < 0.05
    assert got["coverage"] < 0.2


def test_a_value_that_all_training_peptides_have_is_no_unit():
    """The deviation of equal numbers is a rounding error, by which nothing may be divided."""
    equal, others = np.array([0.1] * 3), np.arange(3.0)
    assert equal.std() > 0
    assert deviation(np.stack([equal, others], axis=1)).tolist() == [0, others.std()]
    assert deviation(equal) == 0


def test_peptides_of_one_composition_are_not_infinitely_far(make_sequences, peptide_set):
    generator = np.random.default_rng(0)
    training = ["".join(generator.permutation(list("KKLLAGWIVKLA"))) for _ in range(60)]
    got = measure(peptide_set(make_sequences(60, 3), training))
    reason = Unavailable("the training peptides do not differ in it")
    assert got["charge_distance"] == got["hydrophobicity_distance"] == reason
    assert got["frechet"] < 1e6


def test_too_few_peptides_give_the_reason(frame, peptide_set):
    training = frame["sequence"].tolist()
    got = measure(peptide_set(training[: FEWEST - 1], training))
    assert {got[key] for key in KEYS} == {
        Unavailable(f"only {FEWEST - 1} peptides can be compared, {FEWEST} wanted")
    }
    assert all(isinstance(got[key], float) for key in ("js1", "order"))
