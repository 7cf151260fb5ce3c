"""Batches of peptides, the same for all tasks, and the random numbers of a sequence."""

import hashlib
from collections.abc import Iterator, Sequence

import numpy as np

__all__ = ["BATCH_RESIDUES", "batches", "sequence_seed", "shuffled"]

BATCH_RESIDUES = 8192
"""Largest number of residues in a batch, including pads."""

PADDED = 8
"""Peptides are padded to a multiple of this number of residues."""


def batches(lengths: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the peptides of each batch, shortest first.

    A peptide is padded to the next multiple of `PADDED`, so that its padded length, and therefore
    its random numbers, depend only on its own length.

    Parameters
    ----------
    lengths
        Residues of each peptide, ``(peptides,)``.

    Yields
    ------
    rows, mask
        Positions in ``lengths``, ``(batch,)``, and where each has residues, ``(batch, width)``.
    """
    padded = -(-lengths // PADDED) * PADDED
    for width in np.unique(padded).tolist():
        rows = np.flatnonzero(padded == width)
        rows = rows[np.argsort(lengths[rows], kind="stable")]
        for part in np.array_split(rows, -(-len(rows) * width // BATCH_RESIDUES)):
            yield part, np.arange(width) < lengths[part, None]


def sequence_seed(sequence: str) -> int:
    """Return a seed in 0 … 2⁶² for the noise of a sequence, computed from the sequence only."""
    return int.from_bytes(hashlib.blake2b(sequence.encode(), digest_size=8).digest()) >> 2


def shuffled(sequences: Sequence[str]) -> list[str]:
    """Return each sequence with its residues in an order by chance, always the same one."""
    return [
        "".join(np.random.default_rng(sequence_seed(text)).permutation(list(text)))
        for text in sequences
    ]
