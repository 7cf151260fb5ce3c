"""Find the pairs of similar sequences, without comparing all pairs if there are many.

The similarity is the normalised Levenshtein similarity: 1 - distance / length of the longer one.
If there are many pairs, `structdiff.peptides.word_search` finds those that may be similar, and only
their distances are computed.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from rapidfuzz.distance import Levenshtein
from rapidfuzz.process import cdist, cpdist

from structdiff.peptides.by_length import Sequences
from structdiff.system.cores import granted_cores
from structdiff.system.progress import Progress

__all__ = ["BLOCK_PAIRS", "FEW_PAIRS", "distances", "similar_pairs"]

BLOCK_PAIRS = 2**24
"""Largest number of pairs whose distances are computed together, unless one row has more."""

FEW_PAIRS = 2**26
"""Up to this number of pairs, all are compared: this is faster than compiling the word search."""

Pairs = tuple[np.ndarray, np.ndarray, np.ndarray]


def similar_pairs(
    longer: Sequences,
    shorter: Sequences,
    threshold: float,
    cluster: np.ndarray | None = None,
    description: str = "",
) -> Iterator[Pairs]:
    """Yield every pair of similar sequences; the second is at most as long as the first.

    Parameters
    ----------
    longer, shorter
        Sequences from which the first and the second of each pair are taken. If both are the same
        object, a pair is yielded in one order only, the later row first, and no sequence is paired
        with itself.
    threshold
        Smallest similarity of a pair, 0–1.
    cluster
        Number of each row's cluster, ``(sequences,)`` int32, only if ``longer`` and ``shorter`` are
        the same. Pairs within one cluster may be left out. The caller may change it in place
        between two yields.
    description
        Name of the task in the progress display; empty for no display.

    Yields
    ------
    rows, columns, distance
        Rows of ``longer``, rows of ``shorter`` and Levenshtein distances of a block of pairs,
        ``(pairs,)`` each. A pair may be yielded more than once.
    """
    # Whole numbers of edits, so that rounding cannot exclude a similarity equal to the threshold.
    longest = longer.lengths.max(initial=0)
    edits = np.array([math.floor((1 - threshold) * n + 1e-9) for n in range(longest + 1)])
    comparison = _Comparison(longer, shorter, edits, cluster)
    lengths = np.unique(longer.lengths).tolist()
    if sum(comparison.pairs(length) for length in lengths) <= FEW_PAIRS:
        steps = [(1, comparison.compare_all(length)) for length in lengths]
    else:
        # Imported here because numba's import takes a quarter of a second, compiling more than one.
        from structdiff.peptides.word_search import WordSearch

        search = WordSearch(longer, shorter, edits, cluster)
        steps = [
            (1, comparison.compare_all(length))
            for length in lengths
            if length not in search.lengths
        ]
        steps += [(weight, comparison.compare(candidates)) for weight, candidates in search.steps()]
    total = sum(weight for weight, _ in steps)
    with Progress(description, total, "steps") as progress:
        for weight, pairs in steps:
            yield from pairs
            progress.advance(weight)


@dataclass(frozen=True)
class _Comparison:
    """Comparison of two sets of sequences: computes distances and yields the similar pairs.

    ``edits`` ``(longest + 1,)`` is the largest distance of a similar pair, indexed by the length of
    its longer sequence. The other attributes are as for `similar_pairs`.
    """

    longer: Sequences
    shorter: Sequences
    edits: np.ndarray
    cluster: np.ndarray | None

    def pairs(self, length: int) -> int:
        """Return the number of pairs to compare whose longer sequence has ``length`` residues.

        Pairs whose shorter sequence is too short to be similar are not counted. If ``longer`` and
        ``shorter`` are the same, the number is an upper bound.
        """
        first, last = self.longer.rows(length, length)
        start, stop = self.shorter.rows(length - int(self.edits[length]), length)
        return (last - first) * (stop - start)

    def compare_all(self, length: int) -> Iterator[Pairs]:
        """Yield the similar pairs whose longer sequence has this length, by comparing all pairs."""
        edits = int(self.edits[length])
        first, last = self.longer.rows(length, length)
        start, stop = self.shorter.rows(length - edits, length)
        step = max(1, BLOCK_PAIRS // max(stop - start, 1))
        for begin in range(first, last, step):
            end = min(begin + step, last)
            columns_end = min(stop, end) if self.longer is self.shorter else stop
            texts = self.longer.text[begin:end], self.shorter.text[start:columns_end]
            distance = distances(*texts, edits + 1)
            rows, columns = np.nonzero(distance <= edits)
            yield from self._new(rows + begin, columns + start, distance[rows, columns])

    def _new(self, rows: np.ndarray, columns: np.ndarray, distance: np.ndarray) -> Iterator[Pairs]:
        """Yield the pairs as one block, without pairs in the wrong order or within one cluster.

        Nothing is yielded if no pair is left.
        """
        keep = columns < rows if self.longer is self.shorter else np.ones(len(rows), dtype=bool)
        if self.cluster is not None:
            keep &= self.cluster[rows] != self.cluster[columns]
        if keep.any():
            yield rows[keep], columns[keep], distance[keep]

    def compare(self, candidates: Iterator[tuple[np.ndarray, np.ndarray]]) -> Iterator[Pairs]:
        """Yield the similar pairs among candidate pairs, in blocks of rows, columns and distances.

        ``candidates`` yields rows of ``longer`` and of ``shorter``, ``(pairs,)`` each.
        """
        for rows, columns in candidates:
            if not len(rows):
                continue
            edits = self.edits[self.longer.lengths[rows]]
            distance = cpdist(
                self.longer.text[rows],
                self.shorter.text[columns],
                scorer=Levenshtein.distance,
                score_cutoff=int(edits.max()),
                dtype=np.uint32,
            )
            similar = distance <= edits
            yield from self._new(rows[similar], columns[similar], distance[similar])


def distances(rows: np.ndarray, columns: np.ndarray, largest: int) -> np.ndarray:
    """Return the Levenshtein distances of all pairs, ``(rows, columns)``, capped at ``largest``."""
    return cdist(
        rows,
        columns,
        scorer=Levenshtein.distance,
        score_cutoff=largest - 1,
        dtype=np.uint8 if largest < 2**8 else np.uint32,
        workers=granted_cores(),
    )
