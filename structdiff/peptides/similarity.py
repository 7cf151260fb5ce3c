"""Pairs of similar sequences, found without comparing every pair, and missing none.

``similar_pairs(longer, shorter, threshold)`` yields every pair whose normalised Levenshtein
similarity, 1 - distance / length of the longer one, is at least the threshold.

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

Pairs that share a word are then filtered by the residues that one has and the other lacks (each
needs an edit), and the distance of the rest is computed.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np
from rapidfuzz.distance import Levenshtein
from rapidfuzz.process import cdist, cpdist

from structdiff.system.cores import granted_cores
from structdiff.system.progress import Progress

__all__ = ["BLOCK_PAIRS", "FEW_PAIRS", "Sequences", "distances", "similar_pairs"]

BLOCK_PAIRS = 2**24
"""Pairs of a block whose distances are all computed."""

FEW_PAIRS = 2**20
"""So few pairs of one length are all compared: that is faster than an index."""

BLOCK_WORDS = 2**26
"""Words of an index, about; a word takes 8 bytes."""

BLOCK_WORDS_SOUGHT = 2**20
"""Words that are looked up together; more at once are faster, as the index is large."""

BLOCK_HITS = 2**18
"""Pairs that share a word, in one piece of work."""

LARGEST_HIT_RATE = 0.3
"""Chance of two unrelated sequences to share a word, above which all pairs are compared."""

LETTER_BITS, ANCHOR_BITS, OWNER_BITS = 5, 10, 19
MOST_LETTERS = 7  # the bits of a word, its position and its owner fit into 64
EFFECTIVE_LETTERS = 12  # of unequal frequency, the 20 residues are as telling as so many equal ones
ROWS = 2**13

Pairs = tuple[np.ndarray, np.ndarray, np.ndarray]


class Sequences:
    """Sequences in the order of their length.

    Attributes
    ----------
    order
        Position of each in the list that was given, ``(sequences,)``.
    text
        The sequences, ``(sequences,)`` object.
    lengths
        Lengths in residues, ``(sequences,)`` int64, ascending.
    """

    def __init__(self, sequences: list[str]):
        lengths = np.array([len(sequence) for sequence in sequences], dtype=np.int64)
        self.order = np.argsort(lengths, kind="stable")
        self.lengths = lengths[self.order]
        self.text = np.empty(len(sequences), dtype=object)
        self.text[:] = sequences
        self.text = self.text[self.order]

    def __len__(self) -> int:
        return len(self.lengths)

    def rows(self, shortest: int, longest: int) -> tuple[int, int]:
        """Return the first row of these lengths and the row after the last."""
        start, stop = np.searchsorted(self.lengths, [shortest, longest + 1])
        return int(start), int(stop)

    def letters(self, start: int, stop: int) -> np.ndarray:
        """Return the letters of rows of one length as numbers below 32, ``(rows, length)``."""
        joined = "".join(self.text[start:stop]).encode("utf-32-le")
        codes = np.frombuffer(joined, dtype=np.uint32).reshape(stop - start, self.lengths[start])
        return (codes & (2**LETTER_BITS - 1)).astype(np.uint64)

    @cached_property
    def residues(self) -> np.ndarray:
        """Bits that say which residues each has, and how many up to 6, ``(2, sequences)`` uint64.

        A bit that one sequence has and another lacks is at least one residue.
        """
        bits = np.zeros((2, len(self)), dtype=np.uint64)
        for length in np.unique(self.lengths[self.lengths > 0]).tolist():
            first, last = self.rows(length, length)
            for start in range(first, last, ROWS):
                stop = min(start + ROWS, last)
                letters = (self.letters(start, stop) % 21).astype(np.int64)
                letters += 21 * np.arange(stop - start)[:, None]
                counts = np.bincount(letters.ravel(), minlength=21 * (stop - start))
                counts = counts.reshape(-1, 21)
                for level in range(6):
                    places = np.uint64(1) << np.arange(21, dtype=np.uint64) * 3 + level % 3
                    bits[level // 3, start:stop] |= ((counts > level) * places).sum(1)
        return bits


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


@dataclass(frozen=True)
class _Words:
    """Words to look up in an index, each attribute ``(words,)``.

    Attributes
    ----------
    lowest, beyond
        First entry of the index that would match, and the first after it that would not.
    rows
        Row in ``longer`` of the sequence.
    position
        Position in the sequence at which the word begins.
    before
        Allowance of the regions before the word's, as `_Region` has it.
    """

    lowest: np.ndarray
    beyond: np.ndarray
    rows: np.ndarray
    position: np.ndarray
    before: np.ndarray

    @classmethod
    def joined(cls, parts: list["_Words"]) -> "_Words":
        """Return all words of the parts."""
        names = [field.name for field in fields(cls)]
        return cls(**{name: np.concatenate([getattr(x, name) for x in parts]) for name in names})


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


def similar_pairs(
    longer: Sequences,
    shorter: Sequences,
    threshold: float,
    cluster: np.ndarray | None = None,
    description: str = "",
) -> Iterator[Pairs]:
    """Yield every pair of similar sequences of which the second is not the longer one.

    Parameters
    ----------
    longer, shorter
        Sources of the first and the second sequence. If both are the same object, each pair is
        yielded in one order only, the later row first, and no sequence with itself.
    threshold
        Smallest similarity of a pair, 0–1.
    cluster
        Number of each row's cluster, ``(sequences,)``, where both are the same: pairs of one
        cluster may be left out. It may be changed in place between two yields.
    description
        Name of the task in the progress display; empty for no display.

    Yields
    ------
    rows, columns, distance
        Positions in ``longer`` and ``shorter`` and their Levenshtein distance, ``(pairs,)`` each.
        A pair may be yielded more than once.
    """
    join = _Join(longer, shorter, threshold, cluster)
    tasks: dict[tuple[int, int], list[int]] = {}
    compared = []
    for length in np.unique(longer.lengths).tolist():
        regions = _regions(length, join.edits(length))
        first, last = longer.rows(length, length)
        start, stop = shorter.rows(length - join.edits(length), length)
        if not regions or (last - first) * (stop - start) <= FEW_PAIRS:
            compared.append(length)
            continue
        for kind in {(region.length, region.edits) for region in regions}:
            tasks.setdefault(kind, []).append(length)
    steps: list[tuple[int, Iterator[Pairs]]] = [(1, join.compare_all(n)) for n in compared]
    # Words that tell more come first: later ones then meet pairs that are joined already.
    for kind in sorted(tasks, key=lambda kind: kind[1] - kind[0]):
        steps.append((len(tasks[kind]), join.search(kind, tasks[kind])))
    total = sum(weight for weight, _ in steps)
    with Progress(description, total, "steps") as progress:
        for weight, pairs in steps:
            yield from pairs
            progress.advance(weight)


class _Join:
    """A search for similar pairs; attributes as `similar_pairs` has them."""

    def __init__(
        self,
        longer: Sequences,
        shorter: Sequences,
        threshold: float,
        cluster: np.ndarray | None,
    ):
        self.longer, self.shorter, self.cluster = longer, shorter, cluster
        self.threshold = threshold
        self._space = np.empty(0, dtype=np.uint64)
        lengths = range(longer.lengths.max(initial=0) + 1)
        self.allowed = np.array([self.edits(n) for n in lengths], dtype=np.int32)[longer.lengths]

    def edits(self, length: int) -> int:
        """Return how many edits a sequence of a length may be from a shorter one."""
        # As an integer, so that a similarity of exactly the threshold counts whatever the rounding.
        return math.floor((1 - self.threshold) * length + 1e-9)

    def compare_all(self, length: int) -> Iterator[Pairs]:
        """Yield the pairs of the sequences of a length by comparing all."""
        edits = self.edits(length)
        first, last = self.longer.rows(length, length)
        start, stop = self.shorter.rows(length - edits, length)
        step = max(1, BLOCK_PAIRS // max(stop - start, 1))
        for begin in range(first, last, step):
            end = min(begin + step, last)
            columns_end = min(stop, end) if self.longer is self.shorter else stop
            texts = self.longer.text[begin:end], self.shorter.text[start:columns_end]
            distance = distances(*texts, cutoff=edits)
            rows, columns = np.nonzero(distance <= edits)
            found = distance[rows, columns]
            rows, columns = rows + begin, columns + start
            yield from self._new(rows, columns, found)

    def _new(self, rows: np.ndarray, columns: np.ndarray, distance: np.ndarray) -> Iterator[Pairs]:
        keep = columns < rows if self.longer is self.shorter else np.ones(len(rows), dtype=bool)
        if self.cluster is not None:
            keep &= self.cluster[rows] != self.cluster[columns]
        if keep.any():
            yield rows[keep], columns[keep], distance[keep]

    def search(self, kind: tuple[int, int], lengths: list[int]) -> Iterator[Pairs]:
        """Yield the pairs that share a word of a kind: region length and edits."""
        regions = [
            (length, region)
            for length in lengths
            for region in _regions(length, self.edits(length))
            if (region.length, region.edits) == kind
        ]
        places = [
            region.places(offset, self.edits(length))
            for length, region in regions
            for offset in (0, region.edits)
        ]
        anchors = min(first for first, _ in places), max(last for _, last in places)
        lowest = min(length - self.edits(length) for length in lengths)
        start, stop = self.shorter.rows(lowest, max(lengths))
        while start < stop:
            end, index = self._index(kind, anchors, start, stop)
            shortest, longest = self.shorter.lengths[start], self.shorter.lengths[end - 1]
            near = [
                (length, region)
                for length, region in regions
                if length >= shortest and length - self.edits(length) <= longest
            ]
            for words in self._words(near):
                yield from self._hits(words, index, start)
            start = end

    def _index(
        self, kind: tuple[int, int], anchors: tuple[int, int], start: int, stop: int
    ) -> tuple[int, np.ndarray]:
        """Return the row after the last of an index, and its sorted words, until the next call.

        The words are those that begin at a position from the first of ``anchors`` to the last. A
        word is its letters, its position and its owner (from ``start``), in this order of bits.
        """
        size, edits = kind
        pieces, count, row = [], 0, start
        while row < stop and count < BLOCK_WORDS and row - start < 2**OWNER_BITS:
            length = int(self.shorter.lengths[row])
            end = min(self.shorter.rows(length, length)[1], stop, row + ROWS)
            end = min(end, start + 2**OWNER_BITS)
            pieces.append((row, end))
            count += (end - row) * _word_count(length, anchors, size, size - edits)
            row = end
        if len(self._space) < count:
            self._space = np.empty(count, dtype=np.uint64)
        index, filled = self._space[:count], 0
        for row, end in pieces:
            letters = self.shorter.letters(row, end)[:, anchors[0] : anchors[1] + size]
            begins = letters[:, : anchors[1] - anchors[0] + 1]
            owner = np.arange(row - start, end - start, dtype=np.uint64)[:, None]
            anchor = np.arange(anchors[0], anchors[0] + begins.shape[1])
            anchor = np.minimum(anchor, 2**ANCHOR_BITS - 1).astype(np.uint64)
            place = anchor << np.uint64(OWNER_BITS) | owner
            for word in _words_from(letters, begins, 0, size, size - edits - 1):
                packed = index[filled : filled + word.size].reshape(word.shape)
                np.left_shift(word, np.uint64(ANCHOR_BITS + OWNER_BITS), out=packed)
                packed |= place[:, : word.shape[1]]
                filled += word.size
        index.sort()
        return end, index

    def _words(self, regions: list[tuple[int, _Region]]) -> Iterator[_Words]:
        """Yield the words to look up, of the sequences of these lengths and of these regions."""
        highest = 2**ANCHOR_BITS - 1
        held: list[_Words] = []
        for length, region in regions:
            edits = self.edits(length)
            first, last = self.longer.rows(length, length)
            step = BLOCK_WORDS_SOUGHT // math.comb(region.length, region.edits)
            for begin in range(first, last, step):
                rows = np.arange(begin, min(begin + step, last), dtype=np.int32)
                letters = self.longer.letters(begin, int(rows[-1]) + 1)
                letters = letters[:, region.start : region.start + region.length]
                for offset in range(region.edits + 1):
                    low, high = np.minimum(region.places(offset, edits), highest).astype(np.uint64)
                    for word in _words_at(letters, offset, region.length - region.edits):
                        content = word << np.uint64(ANCHOR_BITS)
                        held.append(
                            _Words(
                                lowest=(content + low) << np.uint64(OWNER_BITS),
                                beyond=(content + high + np.uint64(1)) << np.uint64(OWNER_BITS),
                                rows=rows,
                                position=np.full(len(rows), region.start + offset),
                                before=np.full(len(rows), region.before),
                            )
                        )
                if sum(len(words.rows) for words in held) >= BLOCK_WORDS_SOUGHT:
                    yield _Words.joined(held)
                    held = []
        if held:
            yield _Words.joined(held)

    def _hits(self, words: _Words, index: np.ndarray, offset: int) -> Iterator[Pairs]:
        """Yield the similar pairs among those that share a word at nearly the same position.

        Parameters
        ----------
        words
            Words to look up.
        index, offset
            As `_index` returns it, and the row in ``shorter`` of its first owner.
        """
        order = np.argsort(words.lowest)
        begin, beyond = np.searchsorted(index, words.lowest[order]), words.beyond[order]
        some = begin < len(index)
        some[some] = index[begin[some]] < beyond[some]
        order, begin, beyond = order[some], begin[some], beyond[some]
        # Most words have one entry, often that of their own row; only the others need a search.
        several = begin + 1 < len(index)
        several[several] = index[begin[several] + 1] < beyond[several]
        count = np.ones_like(begin)
        count[several] = np.searchsorted(index, beyond[several]) - begin[several]
        total = np.cumsum(count)
        start = 0
        while start < len(begin):
            before = total[start] - count[start]
            stop = max(start + 1, int(np.searchsorted(total, before + BLOCK_HITS, side="right")))
            piece = slice(start, stop)
            times = count[piece]
            entry = np.repeat(begin[piece] - (total[piece] - times - before), times)
            entry += np.arange(len(entry))
            yield from self._similar(words, np.repeat(order[piece], times), index[entry], offset)
            start = stop

    def _similar(
        self, words: _Words, sought: np.ndarray, found: np.ndarray, offset: int
    ) -> Iterator[Pairs]:
        """Yield the similar ones of pairs that share a word.

        Parameters
        ----------
        words
            Words that were looked up.
        sought
            Which of them each pair shares, ``(pairs,)``.
        found
            Entry of the index of each pair, ``(pairs,)``.
        offset
            Row in ``shorter`` of the index's first owner.
        """
        rows = words.rows[sought]
        columns = (found & np.uint64(2**OWNER_BITS - 1)).astype(np.int32) + np.int32(offset)
        if self.longer is self.shorter:
            keep = np.flatnonzero(columns < rows)
            rows, columns, sought, found = rows[keep], columns[keep], sought[keep], found[keep]
        if self.cluster is not None:
            keep = np.flatnonzero(self.cluster[rows] != self.cluster[columns])
            rows, columns, sought, found = rows[keep], columns[keep], sought[keep], found[keep]
        surplus = lacking = np.zeros(len(rows), dtype=np.uint8)
        for ours, theirs in zip(self.longer.residues, self.shorter.residues, strict=True):
            one, other, edits = ours[rows], theirs[columns], self.allowed[rows]
            surplus = surplus + np.bitwise_count(one & ~other)
            lacking = lacking + np.bitwise_count(other & ~one)
            keep = np.flatnonzero(np.maximum(surplus, lacking) <= edits)
            rows, columns, sought, found = rows[keep], columns[keep], sought[keep], found[keep]
            surplus, lacking = surplus[keep], lacking[keep]
        length, edits = self.longer.lengths[rows], self.allowed[rows]
        anchor = (found >> np.uint64(OWNER_BITS)).astype(np.int64) & (2**ANCHOR_BITS - 1)
        shift = anchor - words.position[sought]
        rest = np.abs(length - self.shorter.lengths[columns] + shift)
        likely = (rest <= edits - words.before[sought]) & (rest + np.abs(shift) <= edits)
        likely |= length >= 2**ANCHOR_BITS  # the position of a word is not known
        pairs = np.unique(rows[likely].astype(np.int64) * len(self.shorter) + columns[likely])
        rows, columns = pairs // len(self.shorter), pairs % len(self.shorter)
        difference = self.longer.lengths[rows] - self.shorter.lengths[columns]
        within = (difference >= 0) & (difference <= self.allowed[rows])
        rows, columns = rows[within], columns[within]
        if not len(rows):
            return
        edits = self.allowed[rows]
        distance = cpdist(
            self.longer.text[rows],
            self.shorter.text[columns],
            scorer=Levenshtein.distance,
            score_cutoff=int(edits.max()),
            dtype=np.uint32,
        )
        similar = distance <= edits
        yield from self._new(rows[similar], columns[similar], distance[similar])


def _word_count(length: int, anchors: tuple[int, int], size: int, letters: int) -> int:
    """Return how many words of ``letters`` letters, within ``size`` residues, a sequence has.

    Parameters
    ----------
    length
        Length of the sequence.
    anchors
        First and last position at which the words begin.
    size, letters
        Residues that a word spans, at most, and letters that are chosen among them, at least 2.
    """
    return sum(
        math.comb(last - 1, letters - 2) * max(0, min(length - last, anchors[1] + 1) - anchors[0])
        for last in range(letters - 1, size)
    )


def _words_from(
    letters: np.ndarray, word: np.ndarray, last: int, size: int, more: int
) -> Iterator[np.ndarray]:
    """Yield the gapped words that begin at each position, ``(rows, positions)`` each.

    Parameters
    ----------
    letters
        ``(rows, length)``.
    word
        The letters that are chosen so far, ``(rows, positions)``.
    last
        Offset of the last of them from the first.
    size
        Residues that a word spans, at most.
    more
        Letters to choose.
    """
    if not more:
        yield word
        return
    for offset in range(last + 1, size - more + 1):
        positions = letters.shape[1] - offset
        if positions > 0:
            next_letter = letters[:, offset : offset + word.shape[1]]
            longer = word[:, :positions] << np.uint64(LETTER_BITS) | next_letter
            yield from _words_from(letters, longer, offset, size, more - 1)


def _words_at(letters: np.ndarray, first: int, count: int) -> Iterator[np.ndarray]:
    """Yield the words of ``count`` letters of a region that begin at its letter ``first``."""
    from_first = letters[:, first:]
    size = from_first.shape[1]
    for word in _words_from(from_first, from_first[:, :1], 0, size, count - 1):
        yield word[:, 0]


def distances(rows: np.ndarray, columns: np.ndarray, cutoff: int | None) -> np.ndarray:
    """Return all Levenshtein distances, ``(rows, columns)``; cutoff + 1 means any above it."""
    if cutoff is None:
        largest = max((len(text) for texts in (rows, columns) for text in texts), default=0)
    else:
        largest = cutoff + 1
    dtype = np.uint8 if largest < 2**8 else np.uint32
    return cdist(
        rows,
        columns,
        scorer=Levenshtein.distance,
        score_cutoff=cutoff,
        dtype=dtype,
        workers=granted_cores(),
    )
