"""No similar pair is missed, whether words are looked up or all pairs are compared."""

import math
from fractions import Fraction

import numpy as np
import pytest
from rapidfuzz.distance import Levenshtein
from rapidfuzz.process import cdist
from scipy.sparse.csgraph import connected_components

from peptides.conftest import peptides
from structdiff.peptides import by_length, shared_words, similarity, split, word_search
from structdiff.peptides.by_length import Sequences
from structdiff.peptides.similarity import similar_pairs
from structdiff.peptides.split import find_clusters, nearest_neighbour


@pytest.fixture(params=["all pairs", "words"])
def search(request, monkeypatch):
    """Compare all pairs, or look words up wherever possible; both in many small pieces."""
    monkeypatch.setattr(similarity, "BLOCK_PAIRS", 500)
    monkeypatch.setattr(split, "BLOCK_PAIRS", 300)
    monkeypatch.setattr(split, "EDGES_HELD", 10)
    if request.param == "all pairs":
        return
    monkeypatch.setattr(similarity, "FEW_PAIRS", 0)
    monkeypatch.setattr(split, "FEW_PAIRS", 0)
    monkeypatch.setattr(word_search, "LARGEST_HIT_RATE", np.inf)
    monkeypatch.setattr(by_length, "LETTERS", 500)
    monkeypatch.setattr(word_search, "MOST_OWNERS", 60)
    monkeypatch.setattr(word_search, "BLOCK_WORDS", 5000)
    monkeypatch.setattr(word_search, "BLOCK_QUERIES", 1000)
    monkeypatch.setattr(word_search, "BLOCK_CANDIDATES", shared_words.CHUNK)


def relatives(seed: int, letters: str, shortest: int, longest: int) -> list[str]:
    """Return sequences and their descendants of up to 60 % edits of all kinds, in any order."""
    generator = np.random.default_rng(seed)

    def draw(count: int) -> str:
        return "".join(generator.choice(list(letters), count))

    found = [draw(generator.integers(shortest, longest + 1)) for _ in range(40)]
    for parent in found[:30]:
        for _ in range(4):
            child = list(parent)
            for _ in range(generator.integers(0, max(2, int(0.6 * len(parent))))):
                start = generator.integers(len(child) + 1)
                removed = generator.integers(0, 3)
                child[start : start + removed] = draw(generator.integers(0, 3))
            found.append("".join(child))
    return [found[row] for row in generator.permutation(len(found))]


FAMILIES = {
    "peptides": ("ACDEFGHIKLMNPQRSTVWY", 5, 50),
    "short": ("ACDKL", 1, 9),
    "low complexity": ("KL", 6, 30),
    "long": ("ACDEFGHIKLMNPQRSTVWY", 60, 120),
}


@pytest.mark.usefixtures("search")
@pytest.mark.parametrize("threshold", [0, 0.5, 0.7, 0.75, 0.9, 0.999, 1])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_similar_pair_is_found(family, threshold):
    sequences = relatives(int(10 * threshold), *FAMILIES[family])
    ordered = Sequences(sequences)
    found = {
        (row, column): distance
        for block in similar_pairs(ordered, ordered, threshold)
        for row, column, distance in zip(*(x.tolist() for x in block), strict=True)
    }
    distance = cdist(ordered.text, ordered.text, scorer=Levenshtein.distance)
    needed = Fraction(str(threshold))
    allowed = np.array([math.floor((1 - needed) * n) for n in ordered.lengths.tolist()])
    rows, columns = np.nonzero(np.tril(distance <= allowed[:, None], -1))
    pairs = zip(rows.tolist(), columns.tolist(), strict=True)
    assert found == {pair: distance[pair] for pair in pairs}


@pytest.mark.usefixtures("search")
@pytest.mark.parametrize("family", FAMILIES)
def test_clusters_are_those_of_all_pairs(family):
    sequences = sorted(set(relatives(5, *FAMILIES[family])))
    lengths = np.array([len(sequence) for sequence in sequences])
    distance = cdist(sequences, sequences, scorer=Levenshtein.distance)
    similar = distance <= np.floor(0.3 * np.maximum(lengths, lengths[:, None]) + 1e-9)
    expected = connected_components(similar, directed=False)[1]
    found = find_clusters(sequences, 0.7)
    assert (found[:, None] == found).tolist() == (expected[:, None] == expected).tolist()


@pytest.mark.usefixtures("search")
@pytest.mark.parametrize("family", FAMILIES)
def test_the_nearest_neighbour_is_the_first_of_the_nearest(monkeypatch, family):
    monkeypatch.setattr(split, "CLOSE", 0.5)
    sequences = relatives(3, *FAMILIES[family])
    queries, references = ["", *sequences[:60]], [*sequences[50:], ""]
    index, similarity = nearest_neighbour(queries, references)
    lengths = np.array([len(sequence) for sequence in references])
    distance = cdist(queries, references, scorer=Levenshtein.distance)
    longer = np.maximum(np.array([len(sequence) for sequence in queries])[:, None], lengths)
    share = distance / np.maximum(longer, 1)
    for row in range(len(queries)):
        order = np.lexsort((np.arange(len(references)), lengths, share[row]))
        assert index[row] == order[0]
        assert similarity[row] == np.float32(1 - share[row, order[0]])


@pytest.mark.usefixtures("search")
def test_sequences_with_more_positions_than_the_index_holds():
    long = peptides(6, low=1500, high=1500)
    close = [text[:1200] + "A" * 30 + text[1230:] for text in long[:3]]
    shifted = "".join(peptides(1, seed=5, low=90, high=90)) + long[0][:-90]
    cluster = find_clusters([*long, *close, shifted], 0.8)
    assert cluster.tolist() == [0, 1, 2, 3, 4, 5, 0, 1, 2, 0]


def test_unrelated_sequences_are_hardly_ever_compared(monkeypatch):
    monkeypatch.setattr(similarity, "FEW_PAIRS", 0)
    compared = []
    exact = similarity.cpdist

    def counted(rows, columns, **options):
        compared.append(len(rows))
        return exact(rows, columns, **options)

    monkeypatch.setattr(similarity, "cpdist", counted)
    monkeypatch.setattr(similarity, "cdist", lambda *_, **__: pytest.fail("compares all pairs"))
    sequences = peptides(3000, low=14, high=30)
    assert find_clusters(sequences, 0.7).max() == len(sequences) - 1
    assert sum(compared) < len(sequences)
