"""Hashes of peptides: the same on every machine, and small enough for a model file.

Splits and names are derived from ``hashes(sequences, purpose)``. `SeenPeptides` has the hashes of
the peptides that a model was trained on, and of their pieces of `PIECE` residues. A model file
stores these hashes, so that copies of its training peptides are found without the table.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from structdiff.protein.residues import AMINO_ACIDS, encode

__all__ = ["PIECE", "SeenPeptides", "hashes"]

PIECE = 8
"""Length of a piece in residues: two unrelated peptides rarely share a piece."""

_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
"""2⁶⁴ divided by the golden ratio: multiplicative hashing (Knuth, vol. 3, 6.4)."""


def hashes(sequences: Iterable[str], purpose: str) -> np.ndarray:
    """Return a 64-bit hash of each sequence, ``(sequences,)`` uint64, the same on every machine.

    ``purpose`` salts the hash, so that draws for different purposes are independent.
    """
    salted = hashlib.blake2b(f"{purpose}:".encode(), digest_size=8)
    digests = []
    for sequence in sequences:
        state = salted.copy()
        state.update(sequence.encode())
        digests.append(state.digest())
    return np.frombuffer(b"".join(digests), dtype=">u8").astype(np.uint64)


@dataclass(frozen=True, eq=False)
class SeenPeptides:
    """Hashes of the peptides that a model and its starting weights were trained on.

    Attributes
    ----------
    peptides
        64-bit hashes of the peptides, sorted and unique, uint64.
    pieces
        32-bit hashes of the peptides' pieces of `PIECE` residues, sorted and unique, uint32. If
        there are 225,000, about one in 20,000 unseen pieces has the same hash as one of these
        pieces by chance.
    """

    peptides: np.ndarray
    pieces: np.ndarray

    @classmethod
    def of(cls, sequences: Iterable[str]) -> "SeenPeptides":
        """Return the hashes of sequences of the 20 standard residues."""
        sequences = list(sequences)
        pieces, _ = _pieces(sequences)
        return cls(np.unique(hashes(sequences, "seen")), np.unique(pieces))

    def __or__(self, other: "SeenPeptides") -> "SeenPeptides":
        """Return the hashes of both sets of peptides."""
        return SeenPeptides(
            np.union1d(self.peptides, other.peptides), np.union1d(self.pieces, other.pieces)
        )

    def __len__(self) -> int:
        return len(self.peptides)

    def includes(self, sequences: Iterable[str]) -> np.ndarray:
        """Return which sequences are identical to one of the peptides, ``(sequences,)`` bool."""
        return np.isin(hashes(sequences, "seen"), self.peptides)

    def shared_pieces(self, sequences: Iterable[str]) -> np.ndarray:
        """Return the share of each sequence's pieces that these peptides contain.

        Returns
        -------
        np.ndarray
            Shares 0–1, NaN for a sequence that is shorter than a piece, ``(sequences,)`` float64.
        """
        sequences = list(sequences)
        pieces, sequence = _pieces(sequences)
        total = np.bincount(sequence, minlength=len(sequences))
        shared = np.bincount(sequence[np.isin(pieces, self.pieces)], minlength=len(sequences))
        with np.errstate(invalid="ignore"):
            return shared / total

    def columns(self, sequences: Sequence[str]) -> dict[str, list]:
        """Return two columns for a table of designs, with one value for each sequence.

        ``in_training`` is 1 if the sequence is identical to one of the peptides, else 0;
        ``training_pieces`` is the share that `shared_pieces` returns, rounded to 0.001.
        """
        return {
            "in_training": self.includes(sequences).astype(int).tolist(),
            "training_pieces": self.shared_pieces(sequences).round(3).tolist(),
        }


def _pieces(sequences: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return the hash of each piece, uint32, and the index of its sequence, ``(pieces,)`` each."""
    codes = encode("".join(sequences)).astype(np.uint64)
    number = np.repeat(np.arange(len(sequences)), [len(sequence) for sequence in sequences])
    count = max(len(codes) - PIECE + 1, 0)
    value = np.zeros(count, dtype=np.uint64)
    for offset in range(PIECE):
        value = value * np.uint64(len(AMINO_ACIDS)) + codes[offset : offset + count]
    inside = number[:count] == number[len(codes) - count :]
    hashed = (value * _MULTIPLIER) >> np.uint64(32)
    return hashed[inside].astype(np.uint32), number[:count][inside]
