"""Batches: each peptide once, padded by its own length alone."""

import numpy as np

from structdiff.generation import batching
from structdiff.generation.batching import batches, sequence_seed


def test_every_peptide_is_in_one_batch_and_padded_by_its_own_length():
    lengths = np.random.default_rng(0).integers(5, 40, 200)
    seen = []
    for rows, mask in batches(lengths, 100):
        assert mask.size < 100 + mask.shape[1]  # one peptide more where they do not divide evenly
        assert mask.shape[1] % batching.PADDED == 0
        assert (mask.shape[1] - lengths[rows] < batching.PADDED).all()
        assert (mask.sum(1) == lengths[rows]).all()
        seen += rows.tolist()
    assert sorted(seen) == list(range(200))
    widths = [lengths[row] for row in seen]
    assert (np.diff(np.array(widths)) >= -batching.PADDED).all()


def test_a_peptide_that_is_longer_than_a_batch_is_one():
    assert [rows.tolist() for rows, _ in batches(np.array([1100, 9]), 1024)] == [[1], [0]]


def test_a_seed_belongs_to_a_sequence():
    assert sequence_seed("GIGKFL") == sequence_seed("GIGKFL") != sequence_seed("GIGKFV")
    assert 0 <= sequence_seed("A") < 2**62
