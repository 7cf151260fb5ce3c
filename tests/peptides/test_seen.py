"""Hashes of peptides: fixed, and enough to find copies and shared pieces."""

from itertools import pairwise

import numpy as np

from structdiff.peptides.seen import PIECE, SeenPeptides, hashes
from structdiff.protein.residues import AMINO_ACIDS


def test_hashes_are_fixed_for_ever_and_independent_by_purpose():
    assert hashes(["GIGKF", "KWKLF"], "test").tolist() == [
        12410699258254882435,
        13517605548075965174,
    ]
    assert hashes(["GIGKF"], "test") != hashes(["GIGKF"], "other")
    assert hashes(["GIGKF"], "test").dtype == np.uint64


def random_peptides(count: int, seed: int) -> list[str]:
    random = np.random.default_rng(seed)
    lengths = random.integers(5, 40, count)
    return ["".join(random.choice(list(AMINO_ACIDS), length)) for length in lengths]


def test_copies_are_found_and_nothing_else():
    known, others = random_peptides(300, 0), random_peptides(300, 1)
    seen = SeenPeptides.of([*known, known[0]])
    assert len(seen) == len(set(known))
    assert seen.includes(known).all()
    assert not seen.includes([sequence for sequence in others if sequence not in known]).any()
    assert not seen.includes([known[0][:-1]]).any()


def test_shared_pieces_are_counted_as_by_hand():
    known = random_peptides(100, 0)
    asked = [*random_peptides(50, 1), *(a[-9:] + b[:12] for a, b in pairwise(known))]

    def pieces(sequence: str) -> list[str]:
        return [sequence[i : i + PIECE] for i in range(len(sequence) - PIECE + 1)]

    there = {piece for sequence in known for piece in pieces(sequence)}
    expected = [
        np.mean([piece in there for piece in pieces(one)]) if len(one) >= PIECE else np.nan
        for one in asked
    ]
    found = SeenPeptides.of(known).shared_pieces(asked)
    assert np.array_equal(found, expected, equal_nan=True)
    assert 0 < np.nanmean(found) < 1
    assert len(SeenPeptides.of(known).shared_pieces([])) == 0


def test_the_union_has_the_peptides_of_both():
    first, second = random_peptides(50, 0), random_peptides(50, 1)
    both = SeenPeptides.of(first) | SeenPeptides.of(second)
    expected = SeenPeptides.of(first + second)
    assert np.array_equal(both.peptides, expected.peptides)
    assert np.array_equal(both.pieces, expected.pieces)


def test_the_columns_of_a_table():
    seen = SeenPeptides.of(["GIGKFLHSAK"])
    columns = seen.columns(["GIGKFLHSAK", "GIGKFLHSA", "AAGIGKFLHS", "KKKKKKKKKK"])
    assert columns == {"in_training": [1, 0, 0, 0], "training_pieces": [1.0, 1.0, 0.333, 0.0]}
