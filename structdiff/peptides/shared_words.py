"""Words of sequences, and the pairs of sequences that share one, as compiled loops.

`structdiff.peptides.word_search` explains what a word is and why every similar pair shares one.
A word is packed into 64 bits: its letters, its place and its owner, the highest bits first, so that
sorted words are in the order of their letters, then of their places. In an index, the place is the
position in the sequence; in the words that are looked up it is a row of a table, see `Queries`.
"""

from typing import NamedTuple

import numpy as np
from numba import njit

__all__ = [
    "CHUNK",
    "MOST_OWNERS",
    "MOST_PLACES",
    "Filters",
    "Queries",
    "place_bits",
    "shared_words",
    "write_words",
]

MOST_PLACES, MOST_OWNERS = 2**10, 2**19
LETTER_BITS, PLACE_BITS, OWNER_BITS = np.uint64(5), np.uint64(10), np.uint64(19)
LETTERS_START = PLACE_BITS + OWNER_BITS
PLACE_MASK, OWNER_MASK = np.uint64(MOST_PLACES - 1), np.uint64(MOST_OWNERS - 1)

CHUNK = 2**12
"""Pairs that go through one filter after the other; they stay in the processor's cache."""


class Queries(NamedTuple):
    """Words of the longer sequences that are looked up together.

    Attributes
    ----------
    words
        Sorted words, ``(words,)`` uint64. The owner is the row minus ``first_row``, the place is a
        row of the table that the next four make.
    first_row
        First row of the sequences.
    first, last
        Lowest and highest index entry to find, without the letters, ``(places,)`` uint64; ``first``
        ascends.
    position
        Position in the sequence at which the word begins, ``(places,)`` int64.
    cost_before
        Sum of edits + 1 over the regions before the word's, ``(places,)`` int64.
    """

    words: np.ndarray
    first_row: int
    first: np.ndarray
    last: np.ndarray
    position: np.ndarray
    cost_before: np.ndarray


class Filters(NamedTuple):
    """What decides whether a pair that shares a word may be similar.

    Attributes
    ----------
    longer_lengths, shorter_lengths
        Lengths in residues, ``(longer,)`` and ``(shorter,)`` int32.
    longer_counts, shorter_counts
        How often each letter occurs, up to 255, ``(longer, 32)`` and ``(shorter, 32)`` uint8.
    edits
        Largest distance of a similar pair with each longer sequence, ``(longer,)`` int32.
    cluster
        Number of each sequence's cluster, ``(longer,)`` int32: pairs of one cluster are left out.
        Empty where there are no clusters.
    below_only
        Whether only pairs count whose column is less than their row.
    """

    longer_lengths: np.ndarray
    shorter_lengths: np.ndarray
    longer_counts: np.ndarray
    shorter_counts: np.ndarray
    edits: np.ndarray
    cluster: np.ndarray
    below_only: bool


def place_bits(place: np.ndarray, owner: int) -> np.ndarray:
    """Return a word of no letters, ``(places,)`` uint64; ``owner`` -1 is the highest owner."""
    return place.astype(np.uint64) << OWNER_BITS | np.uint64(owner % MOST_OWNERS)


@njit
def write_words(letters, offsets, places, owner, words, filled):
    """Write the gapped words of some rows of one length.

    Parameters
    ----------
    letters
        Letters as numbers below 32, ``(positions, rows)`` uint8.
    offsets
        Positions of a word's further letters from its first, ``(choices, letters - 1)`` int64. No
        word reaches beyond the last position.
    places
        Place of the words that begin at each of the first positions, ``(begins,)`` uint64.
    owner
        Owner of the first row's words; the other rows count from it.
    words
        Array that receives the words, ``(words,)`` uint64.
    filled
        How many words it has already.

    Returns
    -------
    int
        How many words it has now.
    """
    width, rows = letters.shape
    for choice in range(len(offsets)):
        for begin in range(min(len(places), width - offsets[choice, -1])):
            written = words[filled : filled + rows]
            for row in range(rows):
                written[row] = letters[begin, row]
            for offset in offsets[choice]:
                following = letters[begin + offset]
                for row in range(rows):
                    written[row] = written[row] << LETTER_BITS | np.uint64(following[row])
            place = places[begin] << OWNER_BITS | np.uint64(owner)
            for row in range(rows):
                written[row] = written[row] << LETTERS_START | (place + np.uint64(row))
            filled += rows
    return filled


@njit
def _first_not_below(index, start, low):
    """Return the first entry from ``start`` that is at least ``low``."""
    size = len(index)
    if start >= size or index[start] >= low:
        return start
    step = 1
    while start + step < size and index[start + step] < low:
        start += step
        step *= 2
    while step > 0:
        if start + step < size and index[start + step] < low:
            start += step
        step //= 2
    return start + 1


@njit
def _next_hits(index, first_column, queries, below_only, state, hits):
    """Write the next pairs that share a word, until none is left or ``hits`` is full.

    Parameters as in `shared_words`. ``hits``, ``(4, pairs)`` int64, receives the row and the column
    of each pair, the shift of the word and its ``cost_before``.

    Returns
    -------
    int
        How many pairs are written.
    """
    query, first_hit, hit = state[0], state[1], state[2]
    filled = 0
    while query < len(queries.words):
        word = queries.words[query]
        letters = word >> LETTERS_START << LETTERS_START
        place = word >> OWNER_BITS & PLACE_MASK
        row = queries.first_row + np.int64(word & OWNER_MASK)
        first_hit = _first_not_below(index, first_hit, letters | queries.first[place])
        hit = max(hit, first_hit)
        while hit < len(index) and index[hit] <= letters | queries.last[place]:
            if filled == hits.shape[1]:
                state[0], state[1], state[2] = query, first_hit, hit
                return filled
            column = first_column + np.int64(index[hit] & OWNER_MASK)
            position = np.int64(index[hit] >> OWNER_BITS & PLACE_MASK)
            hits[0, filled], hits[1, filled] = row, column
            hits[2, filled] = position - queries.position[place]
            hits[3, filled] = queries.cost_before[place]
            filled += column < row or not below_only
            hit += 1
        query += 1
        hit = 0
    state[0], state[1], state[2] = query, first_hit, hit
    return filled


@njit
def shared_words(index, first_column, queries, filters, state, pairs):
    """Find pairs that share a word at nearly the same position and may be similar.

    The filters have no branches, so that the processor loads the data of many pairs at once.

    Parameters
    ----------
    index
        Sorted words of the shorter sequences, ``(entries,)`` uint64.
    first_column
        Row of the index's first owner.
    queries
        Words to look up, `Queries`.
    filters
        `Filters`.
    state
        Where to resume, ``(3,)`` int64: zeros at first. It is changed; the first number is
        ``len(queries.words)`` when all words have been looked up.
    pairs
        Array that receives the pairs, ``(pairs,)`` int64, at least `CHUNK`, each as row × number of
        shorter ones + column. A pair may occur more than once.

    Returns
    -------
    int
        How many pairs are written.
    """
    hits = np.empty((4, CHUNK), dtype=np.int64)
    rows, columns, shifts, costs = hits[0], hits[1], hits[2], hits[3]
    filled = 0
    while state[0] < len(queries.words) and filled + CHUNK <= len(pairs):
        count = _next_hits(index, first_column, queries, filters.below_only, state, hits)
        if len(filters.cluster):
            kept = 0
            for hit in range(count):
                for field in range(len(hits)):
                    hits[field, kept] = hits[field, hit]
                kept += filters.cluster[rows[hit]] != filters.cluster[columns[hit]]
            count = kept
        kept = 0
        for hit in range(count):
            row, column = rows[hit], columns[hit]
            length, edits = filters.longer_lengths[row], filters.edits[row]
            longer_by = length - filters.shorter_lengths[column]
            shift = shifts[hit]
            rest = abs(longer_by + shift)
            near = (rest <= edits - costs[hit]) & (rest + abs(shift) <= edits)
            near |= length >= MOST_PLACES  # the position of the word is not known
            rows[kept], columns[kept] = row, column
            kept += near & (longer_by >= 0) & (longer_by <= edits)
        for hit in range(kept):
            row, column = rows[hit], columns[hit]
            surplus = np.int32(0)
            for letter in range(filters.longer_counts.shape[1]):
                in_longer = filters.longer_counts[row, letter]
                in_shorter = filters.shorter_counts[column, letter]
                surplus += np.int32(np.uint8(max(in_longer, in_shorter) - in_shorter))
            pairs[filled] = row * len(filters.shorter_lengths) + column
            filled += surplus <= filters.edits[row]
    return filled
