"""Pairs of sequences that may be similar, because they share a word; no similar pair is missed.

Why no pair is missed
    At most k edits lead from the longer sequence S to the shorter T. S has disjoint regions. Each
    allows e edits and costs e + 1, and the costs sum to k + 1: so some region has at most e edits
    (the pigeonhole principle). At least n - e of its n residues are not edited. Their first n - e
    are also in T, in the same order and within n positions, as at most e others lie between them.
    All such gapped words of T are an index; those of the regions of S are looked up in it.
    Reading S from the left, count the edits minus the costs of the regions that were read. The
    count ends at -1 or below. Take the region after which it stays below 0: before it, the edits
    are at least the costs of the regions so far, and at most e more. This bounds the shift of the
    word and, with the edits that remain, the difference in length of what follows it.

Pairs that share a word are then filtered: by the edits that their lengths and the shift of the word
take, and by the residues of S that T lacks, as each needs an edit.
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
"""Approximate number of words that are looked up together: the more, the closer in the index."""

BLOCK_CANDIDATES = 2**18
"""Pairs that are found before they are yielded; at least `shared_words.CHUNK`."""

LARGEST_HIT_RATE = 0.3
"""Expected number of words that unrelated sequences share, above which all pairs are compared."""

MOST_LETTERS = 7
"""Largest number of letters of a word: 7 letters of 5 bits fit into a packed word."""

EFFECTIVE_LETTERS = 12
"""Number of equally frequent residues that would tell words apart as well as the 20 do, about."""

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
        Sum of edits + 1 over the regions before it.
    """

    start: int
    length: int
    edits: int
    cost_before: int

    @property
    def shift(self) -> int:
        """How far a word may be from its position, at most."""
        return self.cost_before + self.edits

    def places(self, offset: int, edits: int) -> tuple[int, int]:
        """Return the first and the last position in T of a word; T is not the longer one.

        Parameters
        ----------
        offset
            Letter of the region at which the word begins in S, from 0.
        edits
            Edits that the whole pair may have.
        """
        position = self.start + offset
        right = min(self.shift, edits // 2, edits - self.cost_before)
        return max(position - self.shift, 0), position + right


def _regions(length: int, edits: int) -> list[_Region]:
    """Divide a sequence into regions so that one of them has no more edits than it allows.

    Returns
    -------
    list
        The regions; empty where their words would be too short to tell sequences apart.
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
    """A search for pairs that may be similar; the second is at most as long as the first.

    Parameters
    ----------
    longer, shorter
        Sources of the first and the second sequence. If both are the same object, each pair is
        found in one order only, the later row first, and no sequence with itself.
    edits
        Largest distance of a similar pair whose longer sequence has each length,
        ``(longest + 1,)``.
    cluster
        Number of each row's cluster, ``(sequences,)`` int32, where both are the same: pairs of one
        cluster are left out. It may be changed in place between two yields.

    Attributes
    ----------
    lengths
        Lengths of the longer sequence that the search covers. Words of others are too short to
        tell sequences apart: all their pairs must be compared.
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
            Work of each, in any unit, and an iterator over its pairs: positions in ``longer`` and
            ``shorter``, ``(pairs,)`` each. A pair may be found more than once.
        """
        # The most specific words come first: later ones then find pairs of one cluster.
        kinds = sorted(self._kinds, key=lambda kind: kind[1] - kind[0])
        return [(len(self._kinds[kind]), self._search(kind)) for kind in kinds]

    def _search(self, kind: Kind) -> Iterator[Pairs]:
        """Yield the pairs that share a word of a kind of region."""
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
        """Index the words of as many rows as memory allows.

        Parameters
        ----------
        offsets
            Which letters after the first a word has, as `write_words` takes them.
        size
            Residues that a word spans, at most.
        begins
            First and last position at which the words begin.
        start, stop
            First row, and the row after the last that may be indexed.

        Returns
        -------
        end
            Row after the last that is indexed.
        index
            Sorted words, ``(words,)`` uint64. The next call overwrites them.
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
        """Yield the words to look up, of the sequences of these lengths and of these regions."""
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
        """Return the ``count`` words of some regions.

        A part is the first row, the row after the last, and the region.
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
        """Yield the pairs that share one of the words; ``first_column`` owns owner 0's words."""
        state = np.zeros(3, dtype=np.int64)
        while state[0] < len(queries.words):
            count = shared_words(index, first_column, queries, self._filters, state, self._pairs)
            yield np.divmod(np.unique(self._pairs[:count]), len(self.shorter))
