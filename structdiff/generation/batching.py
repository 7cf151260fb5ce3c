"""How to draw, and how many at once: what all tasks share."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

__all__ = ["BATCH_RESIDUES", "DEFAULT", "Sampling", "batches", "sequence_seed"]

BATCH_RESIDUES = 8192
"""Residues sampled at once."""

PADDED = 8
"""Peptides are padded to a multiple of so many residues."""


@dataclass(frozen=True)
class Sampling:
    """The sampler's settings, as `structdiff.diffusion.sample` explains them.

    Attributes
    ----------
    num_steps
        Denoising steps.
    guidance_scale
        Pull towards the labels; 1 is none.
    temperature
        Divides the logits of the residues.
    seed
        Decides every random number.
    """

    num_steps: int = 100
    guidance_scale: float = 1.0
    temperature: float = 1.0
    seed: int = 0


DEFAULT = Sampling()


def batches(lengths: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the peptides to draw at once, shortest first.

    Peptides of about the same length are padded to a common multiple of `PADDED`: what a peptide
    is padded to depends on its own length alone, and so does what is drawn for it.

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
    """Return a number in 0 … 2⁶² that is the sequence's own, for the noise of given sequences."""
    return int.from_bytes(hashlib.blake2b(sequence.encode(), digest_size=8).digest()) >> 2
