"""How to draw, and how many at once: what all tasks share."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

__all__ = ["BATCH_RESIDUES", "DEFAULT", "Sampling", "batches", "own_number"]

BATCH_RESIDUES = 8192
"""Residues sampled at once."""


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


def batches(lengths: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Yield a length and positions in ``lengths`` that have it, as many as are drawn at once."""
    for length in np.unique(lengths).tolist():
        rows = np.flatnonzero(lengths == length)
        for part in np.array_split(rows, -(-len(rows) * length // BATCH_RESIDUES)):
            yield length, part


def own_number(sequence: str) -> int:
    """Return a number in 0 … 2⁶² that is the sequence's own, for the noise of given sequences."""
    return int.from_bytes(hashlib.blake2b(sequence.encode(), digest_size=8).digest()) >> 2
