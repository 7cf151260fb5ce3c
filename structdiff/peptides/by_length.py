"""Sequences in the order of their length, as the search for similar ones needs them."""

from functools import cached_property

import numpy as np

__all__ = ["ROWS", "Sequences"]

ROWS = 2**12
"""Sequences whose letters are read together."""


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
        """Return the letters of rows of one length as numbers below 32, ``(length, rows)``."""
        joined = "".join(self.text[start:stop]).encode("utf-32-le")
        codes = np.frombuffer(joined, dtype=np.uint32).reshape(stop - start, self.lengths[start])
        return np.ascontiguousarray((codes & 31).astype(np.uint8).T)

    @cached_property
    def counts(self) -> np.ndarray:
        """How often each of 32 letters occurs, up to 255, ``(sequences, 32)`` uint8."""
        counts = np.zeros((len(self), 32), dtype=np.uint8)
        for length in np.unique(self.lengths[self.lengths > 0]).tolist():
            first, last = self.rows(length, length)
            for start in range(first, last, ROWS):
                stop = min(start + ROWS, last)
                cells = self.letters(start, stop) + 32 * np.arange(stop - start)
                count = np.bincount(cells.ravel(), minlength=32 * (stop - start))
                counts[start:stop] = np.minimum(count, 255).reshape(-1, 32)
        return counts
