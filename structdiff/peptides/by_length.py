"""Sequences sorted by length, for the search for similar pairs."""

from collections.abc import Iterator
from functools import cached_property

import numpy as np

__all__ = ["Sequences"]

LETTERS = 2**17
"""Largest number of letters in a block of sequences, unless one sequence has more."""


class Sequences:
    """Sequences sorted by length. A row is the position of a sequence in this order.

    Attributes
    ----------
    order
        For each row, the position of its sequence in the list that was given, ``(sequences,)``.
    text
        The sequence of each row, ``(sequences,)`` object.
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
        """Return the range of rows whose sequences have ``shortest`` to ``longest`` residues.

        The range is the first row, and the last row + 1.
        """
        start, stop = np.searchsorted(self.lengths, [shortest, longest + 1])
        return int(start), int(stop)

    def blocks(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        """Divide the rows ``start`` to ``stop`` - 1 into blocks of sequences of equal length.

        Each block is yielded as its first row and its last row + 1.
        """
        while start < stop:
            length = int(self.lengths[start])
            most = max(1, LETTERS // max(length, 1))
            end = min(self.rows(length, length)[1], start + most, stop)
            yield start, end
            start = end

    def letters(self, start: int, stop: int) -> np.ndarray:
        """Return the letters of rows of equal length as numbers, ``(length, rows)`` uint8.

        A number is the code of the letter modulo 32, so that a and A have the same number.
        """
        joined = "".join(self.text[start:stop]).encode("utf-32-le")
        codes = np.frombuffer(joined, dtype=np.uint32).reshape(stop - start, self.lengths[start])
        return np.ascontiguousarray((codes % 32).astype(np.uint8).T)

    @cached_property
    def counts(self) -> np.ndarray:
        """How often each letter occurs in each sequence, at most 255, ``(sequences, 32)`` uint8."""
        counts = np.empty((len(self), 32), dtype=np.uint8)
        for start, stop in self.blocks(0, len(self)):
            cells = self.letters(start, stop) + 32 * np.arange(stop - start)
            count = np.bincount(cells.ravel(), minlength=32 * (stop - start))
            counts[start:stop] = np.minimum(count, 255).reshape(-1, 32)
        return counts
