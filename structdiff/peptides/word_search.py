"""Pairs of sequences that may be similar, because they share a word; no similar pair is missed.

Why no pair is missed
    At most k edits lead from the longer sequence S to the shorter T. S has disjoint regions, each
    with an allowance of e edits, where the sum of e + 1 over the regions is k + 1: so some region
    has at most e edits (the pigeonhole principle). Of its n residues at least n - e are then also
    in T, in the same order and within n positions, because at most e others lie between them.
    All such gapped words of T are an index; those of the regions of S are looked up in it.
    Reading S from the left, count the edits minus the allowances (e + 1 for a region). The count
    ends at -1 or below, so take the region after which it stays below 0: before it the edits are
    at least the allowances and at most e more. This bounds the shift of the word and, with the
    edits that are left, the difference of what follows it.

Pairs that share a word are then filtered: by the edits that their lengths and the place of the word
take, and by the residues of S that T lacks, as each needs an edit.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations, product

import numpy as np

from structdiff.peptides.by_length import ROWS, Sequences
from structdiff.peptides.shared_words import (
    MOST_OWNERS,
    MOST_PLACES,
    OWNER_BITS,
    Facts,
    Sought,
    shared_words,
    write_words,
)

__all__ = ["WordSearch"]

BLOCK_WORDS = 2**26
"""Words of an index, about; a word takes 8 bytes."""

BLOCK_WORDS_SOUGHT = 2**22
"""Words that are looked up together; more at once are faster, as the index is large."""

BLOCK_FOUND = 2**18
"""Pairs that are found before they are yielded."""

LARGEST_HIT_RATE = 0.3
"""Chance of two unrelated sequences to share a word, above which the search is of no use."""

MOST_LETTERS = 7  # as many fit into a packed word
EFFECTIVE_LETTERS = 12  # of unequal frequency, the 20 residues are as telling as so many equal ones

Kind = tuple[int, int]


@dataclass(frozen=True)
class _Region:
    """Part of a sequence that allows some edits.

    Attributes
    ----------
    start, length
        First residue, from 0, and number of residues.
    edits
        Edits that the region allows.
    before
        Edits that the regions before it allow, plus one for each of them.
    """

    start: int
    length: int
    edits: int
    before: int

    @property
    def shift(self) -> int:
        """How far a word may be from its position, at most."""
        return self.before + self.edits

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
        right = min(self.shift, edits // 2, edits - self.before)
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
    regions, start, before, rate = [], 0, 0, 0.0
    for part, end in zip(parts, ends, strict=True):
        size = min(end - start, MOST_LETTERS + part)
        if size - part < 2:
            return []
        region = _Region(start, size, part, before)
        words = math.comb(size, part) * math.comb(size - 1, part)
        rate += words * min(2 * region.shift + 1, length) / EFFECTIVE_LETTERS ** (size - part)
        regions.append(region)
        start, before = end, before + part + 1
    return regions if rate <= LARGEST_HIT_RATE else []


class WordSearch:
    """A search for pairs that may be similar, of which the second is not the longer one.

    Parameters
    ----------
    longer, shorter
        Sources of the first and the second sequence. If both are the same object, each pair is
        found in one order only, the later row first, and no sequence with itself.
    edits
        Edits that a sequence of each length may be from a shorter one, ``(longest + 1,)``.
    cluster
        Number of each row's cluster, ``(sequences,)`` int32, where both are the same: pairs of one
        cluster are left out. It may be changed in place between two yields.

    Attributes
    ----------
    lengths
        Lengths of first sequences that it can find; words of others would tell too little.
    """

    def __init__(
        self,
        longer: Sequences,
        shorter: Sequences,
        edits: np.ndarray,
        cluster: np.ndarray | None,
    ):
        self.longer, self.shorter, self.edits = longer, shorter, edits
        self.allowed = edits[longer.lengths].astype(np.int32)
        self.cluster = np.empty(0, dtype=np.int32) if cluster is None else cluster
        self.longer_facts = Facts(longer.lengths.astype(np.int32), longer.counts)
        self.shorter_facts = Facts(shorter.lengths.astype(np.int32), shorter.counts)
        self._kinds: dict[Kind, dict[int, list[_Region]]] = {}
        self.lengths = set()
        for length in np.unique(longer.lengths).tolist():
            for region in _regions(length, int(edits[length])):
                of_kind = self._kinds.setdefault((region.length, region.edits), {})
                of_kind.setdefault(length, []).append(region)
                self.lengths.add(length)
        self._space = np.empty(0, dtype=np.uint64)
        self._found = np.empty(BLOCK_FOUND, dtype=np.int64)

    def steps(self) -> list[tuple[int, Iterator[tuple[np.ndarray, np.ndarray]]]]:
        """Return the steps of the search.

        Returns
        -------
        list
            Work of each, in any unit, and an iterator over its pairs: positions in ``longer`` and
            ``shorter``, ``(pairs,)`` each. A pair may be found more than once.
        """
        # Words that tell more come first: later ones then meet pairs that are joined already.
        kinds = sorted(self._kinds, key=lambda kind: kind[1] - kind[0])
        return [(len(self._kinds[kind]), self._search(kind)) for kind in kinds]

    def _search(self, kind: Kind) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield the pairs that share a word of a kind: length and edits of its region."""
        size, edits = kind
        offsets = np.array(list(combinations(range(1, size), size - edits - 1)))
        regions = self._kinds[kind]
        places = [
            region.places(offset, int(self.edits[length]))
            for length, of_length in regions.items()
            for region in of_length
            for offset in (0, region.edits)
        ]
        anchors = min(first for first, _ in places), max(last for _, last in places)
        shortest = {length: length - int(self.edits[length]) for length in regions}
        start, stop = self.shorter.rows(min(shortest.values()), max(regions))
        while start < stop:
            end, index = self._index(offsets, size, anchors, start, stop)
            first, last = self.shorter.lengths[start], self.shorter.lengths[end - 1]
            near = {n: regions[n] for n in regions if n >= first and shortest[n] <= last}
            for sought in self._sought(offsets, near):
                yield from self._pairs(index, start, sought)
            start = end

    def _index(
        self, offsets: np.ndarray, size: int, anchors: tuple[int, int], start: int, stop: int
    ) -> tuple[int, np.ndarray]:
        """Return the row after the last of an index, and its sorted words, until the next call.

        Parameters
        ----------
        offsets
            Which letters after the first a word has, as `write_words` takes it.
        size
            Residues that a word spans, at most.
        anchors
            First and last position at which the words begin. The position is their place.
        start, stop
            First row, and the row after the last that it may have.
        """
        places = np.minimum(np.arange(anchors[0], anchors[1] + 1), MOST_PLACES - 1)
        places = places.astype(np.uint64)
        pieces, count, row = [], 0, start
        while row < stop and count < BLOCK_WORDS and row - start < MOST_OWNERS:
            length = int(self.shorter.lengths[row])
            end = min(self.shorter.rows(length, length)[1], stop, row + ROWS, start + MOST_OWNERS)
            width = min(length, anchors[1] + size) - anchors[0]
            begins = np.clip(width - offsets[:, -1], 0, len(places))
            count += (end - row) * int(begins.sum())
            pieces.append((row, end))
            row = end
        if len(self._space) < count:
            self._space = np.empty(count, dtype=np.uint64)
        index, filled = self._space[:count], 0
        for row, end in pieces:
            letters = self.shorter.letters(row, end)[anchors[0] : anchors[1] + size]
            filled = write_words(letters, offsets, places, row - start, index, filled)
        index.sort()
        return end, index

    def _sought(self, offsets: np.ndarray, regions: dict[int, list[_Region]]) -> Iterator[Sought]:
        """Yield the words to look up, of the sequences of these lengths and of these regions."""
        parts: list[tuple[int, int, _Region]] = []
        words = places = 0
        for length, of_length in regions.items():
            first, last = self.longer.rows(length, length)
            for begin, region in product(range(first, last, ROWS), of_length):
                end = min(begin + ROWS, last)
                full = words >= BLOCK_WORDS_SOUGHT or places + region.edits >= MOST_PLACES
                if parts and (full or end - parts[0][0] > MOST_OWNERS):
                    yield self._packed(offsets, parts)
                    parts, words, places = [], 0, 0
                parts.append((begin, end, region))
                words += (end - begin) * math.comb(region.length, region.edits)
                places += region.edits + 1
        if parts:
            yield self._packed(offsets, parts)

    def _packed(self, offsets: np.ndarray, parts: list[tuple[int, int, _Region]]) -> Sought:
        """Return the words of some rows' regions; a part is the first row, the end and a region."""
        table = []
        for begin, _, region in parts:
            edits = int(self.allowed[begin])
            for offset in range(region.edits + 1):
                low, high = np.minimum(region.places(offset, edits), MOST_PLACES - 1)
                table.append((low, high + 1, region.start + offset, region.before))
        low, beyond, position, before = np.array(table).T
        order = np.argsort(low, kind="stable")
        place = np.empty(len(order), dtype=np.uint64)
        place[order] = np.arange(len(order))
        first_row = parts[0][0]
        count = sum((end - begin) * math.comb(r.length, r.edits) for begin, end, r in parts)
        words, filled, used = np.empty(count, dtype=np.uint64), 0, 0
        for begin, end, region in parts:
            letters = self.longer.letters(begin, end)[region.start : region.start + region.length]
            places = place[used : used + region.edits + 1]
            filled = write_words(letters, offsets, places, begin - first_row, words, filled)
            used += len(places)
        words.sort()
        return Sought(
            words,
            first_row,
            low[order].astype(np.uint64) << OWNER_BITS,
            beyond[order].astype(np.uint64) << OWNER_BITS,
            position[order],
            before[order],
        )

    def _pairs(
        self, index: np.ndarray, first_column: int, sought: Sought
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield the pairs that share one of the words; ``index`` begins at ``first_column``."""
        state = np.zeros(3, dtype=np.int64)
        while state[0] < len(sought.words):
            count = shared_words(
                index,
                first_column,
                sought,
                self.longer_facts,
                self.shorter_facts,
                self.allowed,
                self.cluster,
                self.longer is self.shorter,
                state,
                self._found,
            )
            yield np.divmod(np.unique(self._found[:count]), len(self.shorter))
