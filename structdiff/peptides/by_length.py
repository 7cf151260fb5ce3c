"""Sequences in the order of their length, as the search for similar ones needs them."""

from collections.abc import Iterator
from functools import cached_property

import numpy as np

__all__ = ["Sequences"]

LETTERS = 2**17
"""Approximate number of letters of a block of sequences."""


class Sequences:
    """Sequences in the order of their length.

    Attributes
    ----------
    order
        Position of each sequence in the list that was given, ``(sequences,)``.
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

    def blocks(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        """Divide rows into blocks of one length: yield the first row and the row after the last."""
        while start < stop:
            length = int(self.lengths[start])
            most = max(1, LETTERS // max(length, 1))
            end = min(self.rows(length, length)[1], start + most, stop)
            yield start, end
            start = end

    def letters(self, start: int, stop: int) -> np.ndarray:
        """Return the letters of rows of one length as numbers below 32, ``(length, rows)`` uint8.

        Letters whose codes are equal modulo 32, such as a and A, have one number.
        """
        joined = "".join(self.text[start:stop]).encode("utf-32-le")
        codes = np.frombuffer(joined, dtype=np.uint32).reshape(stop - start, self.lengths[start])
        return np.ascontiguousarray((codes % 32).astype(np.uint8).T)

    @cached_property
    def counts(self) -> np.ndarray:
        """How often each of 32 letters occurs, up to 255, ``(sequences, 32)`` uint8."""
        counts = np.empty((len(self), 32), dtype=np.uint8)
        for start, stop in self.blocks(0, len(self)):
            cells = self.letters(start, stop) + 32 * np.arange(stop - start)
            count = np.bincount(cells.ravel(), minlength=32 * (stop - start))
            counts[start:stop] = np.minimum(count, 255).reshape(-1, 32)
        return counts
