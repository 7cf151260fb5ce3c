"""Words of sequences, and the pairs of sequences that share one, as compiled loops.

`structdiff.peptides.word_search` explains what a word is and why shared words miss no similar pair.
A word is packed into 64 bits: its letters, its place and its owner, the highest bits first, so that
sorted words stand in the order of their letters, then of their places.
"""

from typing import NamedTuple

import numpy as np
from numba import njit

__all__ = [
    "MOST_OWNERS",
    "MOST_PLACES",
    "OWNER_BITS",
    "Facts",
    "Sought",
    "shared_words",
    "write_words",
]

LETTER_BITS, PLACE_BITS, OWNER_BITS = np.uint64(5), np.uint64(10), np.uint64(19)
CONTENT_START = PLACE_BITS + OWNER_BITS
OWNER_MASK = np.uint64(2**19 - 1)
PLACE_MASK = np.uint64(2**10 - 1)
MOST_OWNERS, MOST_PLACES = 2**19, 2**10

CHUNK = 2**12
"""Pairs that go through one filter after the other; they stay in the processor's cache."""


class Facts(NamedTuple):
    """What the filters ask of sequences.

    Attributes
    ----------
    lengths
        Lengths in residues, ``(sequences,)`` int32.
    counts
        How often each letter occurs, up to 255, ``(sequences, 32)`` uint8.
    """

    lengths: np.ndarray
    counts: np.ndarray


class Sought(NamedTuple):
    """Words of the longer sequences that are looked up together.

    Attributes
    ----------
    words
        Sorted words, ``(words,)`` uint64; the owner is the row less ``first_row``.
    first_row
        First row of the sequences.
    low, beyond
        First place of the index at which each place's words are looked for, and the first after
        them, as bits of an index entry, ``(places,)`` uint64. ``low`` ascends.
    position
        Position in the sequence at which the words of each place begin, ``(places,)`` int64.
    before
        Edits that the regions before theirs allow, plus one for each, ``(places,)`` int64.
    """

    words: np.ndarray
    first_row: int
    low: np.ndarray
    beyond: np.ndarray
    position: np.ndarray
    before: np.ndarray


@njit(nogil=True)
def write_words(letters, offsets, places, owner, words, filled):
    """Write the gapped words of some rows of one length.

    Parameters
    ----------
    letters
        Letters as numbers below 32, ``(positions, rows)`` uint8.
    offsets
        Positions of a word's further letters from its first, ``(choices, letters - 1)`` int64. A
        word may not reach beyond the last position.
    places
        Place of the words that begin at each of the first positions, ``(begins,)`` uint64.
    owner
        Owner of the first row's words; the other rows count from it.
    words
        The words are written here, ``(words,)`` uint64.
    filled
        How many it has already.

    Returns
    -------
    int
        How many it has now.
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
                written[row] = written[row] << CONTENT_START | (place + np.uint64(row))
            filled += rows
    return filled


@njit(nogil=True)
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


@njit(nogil=True)
def _next_hits(index, first_column, sought, below_only, state, found):
    """Write the next pairs that share a word, until all are written or ``found`` is full.

    Parameters as in `shared_words`, but ``found``, ``(4, pairs)`` int64, receives of each pair the
    row, the column, the shift of the word and the allowance before it.

    Returns
    -------
    int
        How many are written.
    """
    number, entry, at = state[0], state[1], state[2]
    filled = 0
    while number < len(sought.words):
        word = sought.words[number]
        content = word >> CONTENT_START << CONTENT_START
        place = word >> OWNER_BITS & PLACE_MASK
        row = sought.first_row + np.int64(word & OWNER_MASK)
        entry = _first_not_below(index, entry, content + sought.low[place])
        at = max(at, entry)
        while at < len(index) and index[at] < content + sought.beyond[place]:
            if filled == found.shape[1]:
                state[0], state[1], state[2] = number, entry, at
                return filled
            column = first_column + np.int64(index[at] & OWNER_MASK)
            anchor = np.int64(index[at] >> OWNER_BITS & PLACE_MASK)
            found[0, filled], found[1, filled] = row, column
            found[2, filled] = anchor - sought.position[place]
            found[3, filled] = sought.before[place]
            filled += column < row or not below_only
            at += 1
        number += 1
        at = 0
    state[0], state[1], state[2] = number, entry, at
    return filled


@njit(nogil=True)
def shared_words(
    index, first_column, sought, longer, shorter, allowed, cluster, below_only, state, found
):
    """Find pairs that share a word at nearly the same position and may be similar.

    No filter branches on a pair: so the processor waits for many pairs' memory at once.

    Parameters
    ----------
    index
        Sorted words of the shorter sequences, ``(entries,)`` uint64.
    first_column
        Row of the index's first owner.
    sought
        Words to look up, a `Sought`.
    longer, shorter
        The `Facts` of all sequences.
    allowed
        Edits that each longer sequence may be from a shorter one, ``(longer,)`` int32.
    cluster
        Number of each one's cluster, ``(longer,)`` int32: pairs of one cluster are left out. Empty
        where there are no clusters.
    below_only
        Whether only pairs count whose column is less than their row.
    state
        Where to go on, ``(3,)`` int64: zeros at first. It is changed; the first number is
        ``len(sought.words)`` when all is done.
    found
        The pairs are written here, ``(pairs,)`` int64, each as row × number of shorter ones +
        column. A pair may occur more than once.

    Returns
    -------
    int
        How many are written.
    """
    hits = np.empty((4, CHUNK), dtype=np.int64)
    rows, columns, shifts, befores = hits[0], hits[1], hits[2], hits[3]
    filled = 0
    while state[0] < len(sought.words) and filled + CHUNK <= len(found):
        count = _next_hits(index, first_column, sought, below_only, state, hits)
        if len(cluster):
            kept = 0
            for hit in range(count):
                for field in range(len(hits)):
                    hits[field, kept] = hits[field, hit]
                kept += cluster[rows[hit]] != cluster[columns[hit]]
            count = kept
        kept = 0
        for hit in range(count):
            row, column = rows[hit], columns[hit]
            length, edits = longer.lengths[row], allowed[row]
            longer_by = length - shorter.lengths[column]
            shift = shifts[hit]
            rest = abs(longer_by + shift)
            near = (rest <= edits - befores[hit]) & (rest + abs(shift) <= edits)
            near |= length >= MOST_PLACES  # the position of the word is not known
            rows[kept], columns[kept] = row, column
            kept += near & (longer_by >= 0) & (longer_by <= edits)
        for hit in range(kept):
            row, column = rows[hit], columns[hit]
            surplus = np.int32(0)
            for letter in range(longer.counts.shape[1]):
                ours, theirs = longer.counts[row, letter], shorter.counts[column, letter]
                surplus += np.int32(np.uint8(max(ours, theirs) - theirs))
            found[filled] = row * len(shorter.lengths) + column
            filled += surplus <= allowed[row]
    return filled
