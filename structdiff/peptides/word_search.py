"""Candidate pairs of similar sequences, found by a shared word; no similar pair is missed.

Why every similar pair shares a word
    A pair is similar if at most k edits turn the longer sequence S into the shorter sequence T. S
    is divided into disjoint regions. A region allows e edits and costs e + 1, and the costs of all
    regions sum to k + 1. So at least one region has at most e edits (the pigeonhole principle). If
    that region has n residues, at least n - e of them are not edited. The first n - e of these are
    also in T, in the same order and within n positions, because at most e other residues lie
    between them. A word is such a choice of n - e letters within n positions. The words of T are
    put into an index, and the words of each region of S are looked up in it.

How far a word is shifted
    Read S from the left, and count the edits minus the costs of the regions that were read. After
    the last region, the count is at most -1. Take the first region after which the count stays
    below 0. It has at most e edits. The edits before it are at least the costs of the regions
    before it, and exceed them by at most e. This bounds the shift of the word between S and T.
    It also bounds the edits after the word, and therefore the difference in length of the rest.

Two filters then remove pairs that share a word and need more than k edits: one uses the lengths and
the shift of the word, the other counts the residues of S that T lacks, as each of them needs an
edit.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations, product

import numpy as np

from structdiff.peptides.by_length import Sequences
from structdiff.peptides.shared_words import (
    MOST_OWNERS,
    MOST_PLACES,
    Filters,
    Queries,
    place_bits,
    shared_words,
    write_words,
)

__all__ = ["WordSearch"]

BLOCK_WORDS = 2**26
"""Approximate number of words of an index; a word takes 8 bytes."""

BLOCK_QUERIES = 2**22
"""Approximate number of words that are looked up together, in sorted order. With more words, their
entries in the index are closer together, and the search for the next entry is shorter."""

BLOCK_CANDIDATES = 2**18
"""Largest number of pairs that are yielded together; must be at least `shared_words.CHUNK`."""

LARGEST_HIT_RATE = 0.3
"""Largest expected number of words that two unrelated sequences share. If more are expected, all
pairs are compared instead."""

MOST_LETTERS = 7
"""Largest number of letters of a word: 7 letters of 5 bits fit into a packed word."""

EFFECTIVE_LETTERS = 12
"""Number of letters in the estimate of how often unrelated words are equal. The 20 residues are not
equally frequent; they distinguish words about as well as 12 equally frequent letters."""

Kind = tuple[int, int]
"""Length and edits of a region."""

Pairs = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class _Region:
    """Part of a sequence that allows some edits.

    Attributes
    ----------
    start, length
        First residue, from 0, and number of residues.
    edits
        Edits that the region allows.
    cost_before
        Sum of edits + 1 over the regions before this region.
    """

    start: int
    length: int
    edits: int
    cost_before: int

    @property
    def shift(self) -> int:
        """Largest difference between the positions of a word in S and in T."""
        return self.cost_before + self.edits

    def places(self, offset: int, edits: int) -> tuple[int, int]:
        """Return the first and the last position at which a word of the region may begin in T.

        T is at most as long as S. ``offset`` is the position in the region, from 0, at which the
        word begins in S, and ``edits`` the largest distance of S and T if they are similar.
        """
        position = self.start + offset
        right = min(self.shift, edits // 2, edits - self.cost_before)
        return max(position - self.shift, 0), position + right


def _regions(length: int, edits: int) -> list[_Region]:
    """Divide a sequence into regions. At least one region has no more edits than it allows.

    ``edits`` is the largest distance of a similar pair of this sequence. The list is empty if the
    words of the regions would be too short to distinguish sequences.
    """
    if length < 2:
        return []
    units = edits + 1
    if units == 1:
        parts = [0]
    elif units % 2 == 0:
        parts = [1] * (units // 2)
    else:
        parts = [2, *[1] * ((units - 3) // 2)]
    weights = np.array([{0: 1.0, 1: 2.0, 2: 2.7}[part] for part in parts])
    ends = np.round(np.cumsum(weights) * length / weights.sum()).astype(int).tolist()
    regions, start, cost, rate = [], 0, 0, 0.0
    for part, end in zip(parts, ends, strict=True):
        size = min(end - start, MOST_LETTERS + part)
        if size - part < 2:
            return []
        region = _Region(start, size, part, cost)
        words = math.comb(size, part) * math.comb(size - 1, part)
        rate += words * min(2 * region.shift + 1, length) / EFFECTIVE_LETTERS ** (size - part)
        regions.append(region)
        start, cost = end, cost + part + 1
    return regions if rate <= LARGEST_HIT_RATE else []


class WordSearch:
    """Search for candidate pairs of similar sequences; the second is at most as long as the first.

    Parameters
    ----------
    longer, shorter
        Sequences from which the first and the second of each pair are taken. If both are the same
        object, a pair is found in one order only, the later row first, and no sequence is paired
        with itself.
    edits
        Largest distance of a similar pair, indexed by the length of its longer sequence,
        ``(longest + 1,)``.
    cluster
        Number of each row's cluster, ``(sequences,)`` int32, if ``longer`` and ``shorter`` are the
        same; else None. Pairs within one cluster are left out. The caller may change it in place
        between two yields.

    Attributes
    ----------
    lengths
        Lengths of the longer sequence that the search covers. At any other length, words would be
        too short to distinguish sequences, and the caller must compare all pairs.
    """

    def __init__(
        self,
        longer: Sequences,
        shorter: Sequences,
        edits: np.ndarray,
        cluster: np.ndarray | None,
    ):
        self.longer, self.shorter, self.edits = longer, shorter, edits
        self._filters = Filters(
            longer.lengths.astype(np.int32),
            shorter.lengths.astype(np.int32),
            longer.counts,
            shorter.counts,
            edits[longer.lengths].astype(np.int32),
            np.empty(0, dtype=np.int32) if cluster is None else cluster,
            longer is shorter,
        )
        self._kinds: dict[Kind, dict[int, list[_Region]]] = {}
        self.lengths = set()
        for length in np.unique(longer.lengths).tolist():
            for region in _regions(length, int(edits[length])):
                of_kind = self._kinds.setdefault((region.length, region.edits), {})
                of_kind.setdefault(length, []).append(region)
                self.lengths.add(length)
        self._words = np.empty(0, dtype=np.uint64)
        self._pairs = np.empty(BLOCK_CANDIDATES, dtype=np.int64)

    def steps(self) -> list[tuple[int, Iterator[Pairs]]]:
        """Return the steps of the search.

        Returns
        -------
        list
            For each step, its relative amount of work and an iterator over blocks of its pairs:
            rows of ``longer`` and of ``shorter``, ``(pairs,)`` each. A pair may be found more than
            once.
        """
        # The most specific words come first. Many pairs that later words find are then within one
        # cluster already, and are left out.
        kinds = sorted(self._kinds, key=lambda kind: kind[1] - kind[0])
        return [(len(self._kinds[kind]), self._search(kind)) for kind in kinds]

    def _search(self, kind: Kind) -> Iterator[Pairs]:
        """Yield blocks of the candidate pairs that share a word from regions of one kind."""
        size, edits = kind
        offsets = np.array(list(combinations(range(1, size), size - edits - 1)))
        regions = self._kinds[kind]
        positions = [
            region.places(offset, int(self.edits[length]))
            for length, of_length in regions.items()
            for region in of_length
            for offset in (0, region.edits)
        ]
        begins = min(first for first, _ in positions), max(last for _, last in positions)
        shortest = {length: length - int(self.edits[length]) for length in regions}
        start, stop = self.shorter.rows(min(shortest.values()), max(regions))
        while start < stop:
            end, index = self._index(offsets, size, begins, start, stop)
            first, last = self.shorter.lengths[start], self.shorter.lengths[end - 1]
            near = {n: regions[n] for n in regions if n >= first and shortest[n] <= last}
            for queries in self._queries(offsets, near):
                yield from self._look_up(index, start, queries)
            start = end

    def _index(
        self, offsets: np.ndarray, size: int, begins: tuple[int, int], start: int, stop: int
    ) -> tuple[int, np.ndarray]:
        """Index the words of as many rows, from ``start`` to ``stop`` - 1, as fit into one index.

        ``offsets`` are the positions of the letters in a word, as in `write_words`. ``size`` is the
        largest number of residues that a word spans, and ``begins`` are the first and the last
        position at which the words begin. Returns the row after the last one that was indexed, and
        the sorted words, ``(words,)`` uint64, which the next call overwrites.
        """
        places = np.minimum(np.arange(begins[0], begins[1] + 1), MOST_PLACES - 1)
        places = places.astype(np.uint64)
        blocks, count = [], 0
        for block in self.shorter.blocks(start, stop):
            if count >= BLOCK_WORDS or block[1] - start > MOST_OWNERS:
                break
            width = min(int(self.shorter.lengths[block[0]]), begins[1] + size) - begins[0]
            words = np.clip(width - offsets[:, -1], 0, len(places))
            count += (block[1] - block[0]) * int(words.sum())
            blocks.append(block)
        if len(self._words) < count:
            self._words = np.empty(0, dtype=np.uint64)  # free the memory before more is taken
            self._words = np.empty(count, dtype=np.uint64)
        index, filled = self._words[:count], 0
        for row, end in blocks:
            letters = self.shorter.letters(row, end)[begins[0] : begins[1] + size]
            filled = write_words(letters, offsets, places, row - start, index, filled)
        index.sort()
        return blocks[-1][1], index

    def _queries(self, offsets: np.ndarray, regions: dict[int, list[_Region]]) -> Iterator[Queries]:
        """Yield the words of ``longer`` to look up, in blocks.

        ``regions`` has the regions of one kind for each length of a sequence.
        """
        parts: list[tuple[int, int, _Region]] = []
        words = places = 0
        for length, of_length in regions.items():
            blocks = self.longer.blocks(*self.longer.rows(length, length))
            for (start, stop), region in product(blocks, of_length):
                full = words >= BLOCK_QUERIES or places + region.edits >= MOST_PLACES
                if parts and (full or stop - parts[0][0] > MOST_OWNERS):
                    yield self._packed(offsets, parts, words)
                    parts, words, places = [], 0, 0
                parts.append((start, stop, region))
                words += (stop - start) * math.comb(region.length, region.edits)
                places += region.edits + 1
        if parts:
            yield self._packed(offsets, parts, words)

    def _packed(
        self, offsets: np.ndarray, parts: list[tuple[int, int, _Region]], count: int
    ) -> Queries:
        """Return the sorted words of all parts, with the table of their places.

        A part has three items: the first row of ``longer``, the row after the last one, and the
        region of these rows whose words are taken. ``count`` is the number of words of all parts.
        """
        table = []
        for start, _, region in parts:
            edits = int(self._filters.edits[start])
            for offset in range(region.edits + 1):
                places = np.minimum(region.places(offset, edits), MOST_PLACES - 1)
                table.append((*places, region.start + offset, region.cost_before))
        order = np.argsort([first for first, *_ in table], kind="stable")
        place = np.empty(len(order), dtype=np.uint64)
        place[order] = np.arange(len(order))
        first, last, position, cost_before = np.array(table)[order].T
        first_row = parts[0][0]
        words, filled, used = np.empty(count, dtype=np.uint64), 0, 0
        for start, stop, region in parts:
            letters = self.longer.letters(start, stop)[region.start : region.start + region.length]
            places = place[used : used + region.edits + 1]
            filled = write_words(letters, offsets, places, start - first_row, words, filled)
            used += len(places)
        words.sort()
        return Queries(
            words,
            first_row,
            place_bits(first, 0),
            place_bits(last, -1),
            position.copy(),
            cost_before.copy(),
        )

    def _look_up(self, index: np.ndarray, first_column: int, queries: Queries) -> Iterator[Pairs]:
        """Yield blocks of the candidate pairs that share one of the words in ``queries``.

        ``first_column`` is the row of ``shorter`` that has the owner 0 in the index.
        """
        state = np.zeros(3, dtype=np.int64)
        while state[0] < len(queries.words):
            count = shared_words(index, first_column, queries, self._filters, state, self._pairs)
            yield np.divmod(np.unique(self._pairs[:count]), len(self.shorter))
