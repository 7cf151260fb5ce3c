"""Compiled loops that write the words of sequences and find pairs of sequences that share a word.

`structdiff.peptides.word_search` explains what a word is and why every similar pair shares one.
A word is packed into 64 bits. From the highest bit down, a packed word consists of its letters
(5 bits each), its place (10 bits) and its owner (19 bits). The owner is the number of the word's
sequence. Sorted words are therefore in the order of their letters, then of their places. In an
index of the shorter sequences, the place is the position at which the word begins, at most
`MOST_PLACES` - 1. In the words of the longer sequences, which are looked up, the place is a row of
the table in `Queries`.
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
"""Number of pairs that are filtered together; their data fit into the processor's cache."""


class Queries(NamedTuple):
    """Words of the longer sequences that are looked up together, and the table of their places.

    Attributes
    ----------
    words
        Sorted words, ``(words,)`` uint64. The owner is the row of the sequence minus ``first_row``.
        The place is an index into ``first``, ``last``, ``position`` and ``cost_before``.
    first_row
        Row of the sequence whose owner is 0.
    first, last
        Place and owner bits of the lowest and the highest index entry that a word at this place
        matches, ``(places,)`` uint64; ``first`` is ascending.
    position
        Position in the longer sequence at which the word begins, ``(places,)`` int64.
    cost_before
        Sum of edits + 1 over the regions before the region of the word, ``(places,)`` int64.
    """

    words: np.ndarray
    first_row: int
    first: np.ndarray
    last: np.ndarray
    position: np.ndarray
    cost_before: np.ndarray


class Filters(NamedTuple):
    """Data that decide whether a pair that shares a word may be similar.

    Attributes
    ----------
    longer_lengths, shorter_lengths
        Lengths in residues, ``(longer,)`` and ``(shorter,)`` int32.
    longer_counts, shorter_counts
        Count of each letter, at most 255, ``(longer, 32)`` and ``(shorter, 32)`` uint8.
    edits
        Largest distance of a similar pair, for each longer sequence, ``(longer,)`` int32.
    cluster
        Number of each sequence's cluster, ``(longer,)`` int32; pairs within one cluster are left
        out. An empty array leaves out no pairs.
    below_only
        Whether to keep only pairs whose column (shorter) is less than their row (longer).
    """

    longer_lengths: np.ndarray
    shorter_lengths: np.ndarray
    longer_counts: np.ndarray
    shorter_counts: np.ndarray
    edits: np.ndarray
    cluster: np.ndarray
    below_only: bool


def place_bits(place: np.ndarray, owner: int) -> np.ndarray:
    """Return the place and owner bits of packed words, ``(places,)`` uint64.

    ``place`` has the place of each word; all words have the same ``owner``. The owner -1 stands for
    the highest possible owner.
    """
    return place.astype(np.uint64) << OWNER_BITS | np.uint64(owner % MOST_OWNERS)


@njit
def write_words(letters, offsets, places, owner, words, filled):
    """Write the packed words of consecutive sequences of equal length into an array.

    Parameters
    ----------
    letters
        Letters as numbers below 32, ``(positions, rows)`` uint8.
    offsets
        Positions of the second and later letters of a word, relative to its first,
        ``(choices, letters - 1)`` int64. Words that would reach beyond the last position are not
        written.
    places
        Place of the words that begin at position 0, 1 and so on, ``(begins,)`` uint64. No word
        begins at a later position.
    owner
        Owner of the words of the first row; it increases by 1 from row to row.
    words
        Array that receives the words, ``(words,)`` uint64.
    filled
        Number of words that ``words`` has already.

    Returns
    -------
    int
        Number of words that ``words`` has now.
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
    """Return the position, from ``start`` on, of the first index entry that is at least ``low``.

    If there is none, the length of the index is returned.
    """
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

    Parameters
    ----------
    index, first_column, queries
        Words of the shorter sequences and words to look up, described in `shared_words`.
    below_only
        Whether to keep only pairs whose column is less than their row.
    state
        Where to resume, ``(3,)`` int64, changed in place: the current word in ``queries.words``,
        its first match in ``index``, and the next entry of ``index`` to read.
    hits
        Array that receives, for each pair, its row, its column, the shift of the word (position in
        the shorter sequence minus position in the longer one) and the ``cost_before`` of the word,
        ``(4, pairs)`` int64.

    Returns
    -------
    int
        Number of pairs that were written.
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
        Row of the shorter sequence whose owner in the index is 0.
    queries, filters
        The words to look up, `Queries`, and data that exclude pairs, `Filters`.
    state
        Where to resume, ``(3,)`` int64: zeros at first. It is changed in place; its first number is
        ``len(queries.words)`` when all words have been looked up.
    pairs
        Array that receives the pairs, ``(pairs,)`` int64, with room for at least `CHUNK`. A pair is
        row × number of shorter sequences + column; it may occur more than once.

    Returns
    -------
    int
        Number of pairs that were written.
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
            near |= length >= MOST_PLACES  # an index has no positions above MOST_PLACES - 1
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
