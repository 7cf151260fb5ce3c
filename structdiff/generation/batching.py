"""The sampler's settings and the batches that all tasks share."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from structdiff.diffusion.sampling import DEFAULT_SAMPLER

__all__ = ["BATCH_RESIDUES", "DEFAULT", "Sampling", "batches", "sequence_seed"]

BATCH_RESIDUES = 8192
"""Residues of a batch, pads included."""

PADDED = 8
"""Peptides are padded to a multiple of this number of residues."""


@dataclass(frozen=True)
class Sampling:
    """The sampler's settings.

    Attributes
    ----------
    num_steps
        Denoising steps.
    guidance_scale
        Guidance towards the labels; 1 is none for one label.
    temperature
        Divides the logits of the residues.
    seed
        Decides every random number.
    sampler
        Name of one of `structdiff.diffusion.SAMPLERS`.
    """

    num_steps: int = 100
    guidance_scale: float = 1.0
    temperature: float = 1.0
    seed: int = 0
    sampler: str = DEFAULT_SAMPLER


DEFAULT = Sampling()


def batches(lengths: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the peptides of each batch, shortest first.

    A peptide is padded to the next multiple of `PADDED`, so that its padded length, and with it the
    drawn numbers, depend on its own length alone.

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
    """Return a number in 0 … 2⁶² that depends on the sequence alone, to seed its noise."""
    return int.from_bytes(hashlib.blake2b(sequence.encode(), digest_size=8).digest()) >> 2
