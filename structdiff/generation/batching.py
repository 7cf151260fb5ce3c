"""Batches of peptides for all tasks, the processes that compute the batches, and seeds.

On a CPU, processes with one thread each compute the batches: at most one process for each core that
`granted_cores` counts. The result for a peptide depends neither on the other peptides of its batch
nor on the number of processes.
"""

import hashlib
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import TypeVar

import numpy as np
import torch

from structdiff.pretrained import float32
from structdiff.system.cores import granted_cores
from structdiff.system.workers import in_order

__all__ = [
    "BATCH_RESIDUES",
    "PADDED",
    "batches",
    "compute_batches",
    "sequence_seed",
    "shuffled",
    "with_batch_mates",
]

BATCH_RESIDUES = 8192
"""Largest number of residues in a batch, pads included."""

CPU_BATCH_RESIDUES = 1024
"""Largest number of residues in a batch on a CPU, pads included. Larger batches are not faster on
a CPU, and divide the work less evenly among the processes."""

Batch = tuple[np.ndarray, np.ndarray]
Result = TypeVar("Result")

PADDED = 8
"""Peptides are padded to a multiple of this number of residues."""


def batches(lengths: np.ndarray, residues: int = BATCH_RESIDUES) -> Iterator[Batch]:
    """Divide peptides into batches, and yield the batches, shortest peptides first.

    A peptide is padded to the next multiple of `PADDED`, so that its padded length (and therefore
    its random numbers) does not depend on other peptides.

    Parameters
    ----------
    lengths
        Residues of each peptide, ``(peptides,)``.
    residues
        Largest number of residues in a batch, pads included.

    Yields
    ------
    rows, mask
        Positions of the batch's peptides in ``lengths``, ``(batch,)``, and a mask that is true at
        residues and false at pads, ``(batch, padded length)`` bool.
    """
    padded = -(-lengths // PADDED) * PADDED
    for width in np.unique(padded).tolist():
        rows = np.flatnonzero(padded == width)
        rows = rows[np.argsort(lengths[rows], kind="stable")]
        for part in np.array_split(rows, min(len(rows), -(-len(rows) * width // residues))):
            yield part, np.arange(width) < lengths[part, None]


def compute_batches(
    compute: Callable[[np.ndarray, np.ndarray], list[Result]],
    lengths: np.ndarray,
    device: torch.device,
    skip: Collection[int] = (),
) -> Iterator[Result]:
    """Yield the result of ``compute`` for each peptide, batch by batch, shortest first.

    Parameters
    ----------
    compute
        Function of the rows and the mask of a batch, as `batches` yields them. It returns one
        result for each row.
    lengths
        Residues of each peptide, ``(peptides,)``.
    device
        Device of the model. On a CPU, there is at most one process for each granted core.
    skip
        Positions of peptides whose results are not needed. A batch of only such peptides is not
        computed; from every other batch, the results of all peptides are yielded.

    Raises
    ------
    UserError
        If a worker process is killed.
    """
    unneeded = frozenset(skip)
    needed = [
        (rows, inside)
        for rows, inside in _batches_on(device, lengths)
        if not unneeded.issuperset(rows.tolist())
    ]

    def compute_batch(batch: Batch) -> list[Result]:
        # Fits of backbones need gradients, which the caller's inference mode would forbid.
        with float32(), torch.inference_mode(False):
            return compute(*batch)

    def compute_alone(batch: Batch) -> list[Result]:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            return compute_batch(batch)
        finally:
            torch.set_num_threads(threads)

    if device.type == "cpu":
        results = in_order(compute_alone, needed, granted_cores())
    else:
        results = map(compute_batch, needed)
    for result in results:
        yield from result


def _batches_on(device: torch.device, lengths: np.ndarray) -> Iterator[Batch]:
    return batches(lengths, CPU_BATCH_RESIDUES if device.type == "cpu" else BATCH_RESIDUES)


def with_batch_mates(rows: np.ndarray, lengths: np.ndarray, device: torch.device) -> np.ndarray:
    """Return the positions of all peptides in the batches that contain any of ``rows``.

    ``rows`` are positions of peptides in ``lengths``, which has the residues of each peptide,
    ``(peptides,)``. ``device`` is the device of the model: it determines the size of the batches.
    The result includes ``rows``, and is in the order of the batches.
    """
    wanted = np.zeros(len(lengths), dtype=bool)
    wanted[rows] = True
    parts = [part for part, _ in _batches_on(device, lengths) if wanted[part].any()]
    return np.concatenate(parts) if parts else np.array([], dtype=np.int64)


def sequence_seed(sequence: str) -> int:
    """Return a seed for the noise of a sequence: a hash of the sequence, from 0 to 2⁶² − 1."""
    return int.from_bytes(hashlib.blake2b(sequence.encode(), digest_size=8).digest()) >> 2


def shuffled(sequences: Sequence[str]) -> list[str]:
    """Return each sequence with its residues shuffled; the same sequence gives the same shuffle."""
    return [
        "".join(np.random.default_rng(sequence_seed(text)).permutation(list(text)))
        for text in sequences
    ]
