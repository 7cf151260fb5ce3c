"""Micro-batches of one process with their noise, prepared in the background.

``BatchLoader(data, training, world, num_workers)`` keeps the training set on the GPU if it fits;
``loader.stream(tasks, seed)`` prepares micro-batches in threads while the model computes, and
measures how long the training loop waits for them.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch

from structdiff.diffusion import Noise, noise
from structdiff.training.dataset import Batch, TrainingSet
from structdiff.training.distributed import World

if TYPE_CHECKING:
    from structdiff.config import Training

__all__ = ["BatchLoader", "MicroBatch", "bucket_length"]

SHARE_OF_FREE_MEMORY = 0.25
"""The training set is kept on the GPU if it takes at most this share of the free memory."""


@dataclass(frozen=True)
class MicroBatch:
    """Consecutive peptides of a global batch, from position ``start`` on, with their noise."""

    start: int
    batch: Batch
    noise: Noise


def bucket_length(longest: int) -> int:
    """Round a length up, so that there are few different padded lengths.

    Lengths of 16–31 are rounded up to a multiple of 2, lengths of 32–63 to a multiple of 4, lengths
    of 64–127 to a multiple of 8, and so on; shorter lengths are not changed. A model is compiled
    once for each padded length: for peptides of 5–50 residues, there are 25.
    """
    step = 2 ** max(longest.bit_length() - 4, 0)
    return -(-longest // step) * step


class BatchLoader:
    """Loader of the micro-batches of one process.

    Parameters
    ----------
    data
        The training set; moved to the world's device if that is a GPU with enough memory.
    training
        Section ``training`` of the configuration.
    world
        The process group.
    num_workers
        Number of threads that prepare the next micro-batches; 0 prepares them in the calling
        thread.

    Attributes
    ----------
    waited
        Seconds that callers of `stream` have waited so far.
    """

    def __init__(self, data: TrainingSet, training: "Training", world: World, num_workers: int):
        self.data, self.world, self.num_workers = data, world, num_workers
        self.size, self.compiled = training.batch_size, training.compile
        self.waited = 0.0
        if world.device.type == "cuda":
            free, _ = torch.cuda.mem_get_info(world.device)
            if data.nbytes <= SHARE_OF_FREE_MEMORY * free:
                data.to(world.device)

    def width(self, lengths: np.ndarray) -> int:
        """Return the padded length of a micro-batch whose peptides have ``lengths`` residues."""
        longest = int(lengths.max())
        return bucket_length(longest) if self.compiled else longest

    def local_slices(self, size: int) -> list[slice]:
        """Return the slices of this process's micro-batches in a global batch of ``size`` peptides.

        The micro-batches of a global batch are assigned to the processes in turn.
        """
        starts = range(self.world.rank * self.size, size, self.world.size * self.size)
        return [slice(start, min(start + self.size, size)) for start in starts]

    def micro_batches(self, rows: np.ndarray, seed: int, step: int) -> list[MicroBatch]:
        """Return this process's micro-batches of a global batch, on its device.

        Parameters
        ----------
        rows
            Rows of the training set in the global batch, ``(global batch,)``.
        seed, step
            Seed and number of the step, which determine the noise.
        """
        lengths, device = self.data.lengths[rows], self.world.device
        micro_batches = []
        for part in self.local_slices(len(rows)):
            width = self.width(lengths[part])
            batch = self.data.batch(rows[part], width)
            drawn = noise(seed, step, lengths, part.start, part.stop, width, batch.condition.width)
            micro_batches.append(MicroBatch(part.start, batch.to(device), drawn.to(device)))
        return micro_batches

    def stream(
        self, tasks: Iterable[tuple[int, np.ndarray]], seed: int
    ) -> Iterator[tuple[int, np.ndarray, list[MicroBatch]]]:
        """Yield the micro-batches of this process for each step, in order.

        Parameters
        ----------
        tasks
            ``(step, rows)`` of each step: its number, and the rows of the training set in its
            global batch.
        seed
            Seed of the noise.

        Yields
        ------
        tuple[int, np.ndarray, list[MicroBatch]]
            The step, its rows, and the result of `micro_batches` for them.
        """
        ahead: deque[tuple[int, np.ndarray, Callable[[], list[MicroBatch]]]] = deque()
        with ThreadPoolExecutor(max(self.num_workers, 1)) as pool:
            for step, rows in tasks:
                if self.num_workers:
                    prepared = pool.submit(self.micro_batches, rows, seed, step).result
                else:
                    prepared = partial(self.micro_batches, rows, seed, step)
                ahead.append((step, rows, prepared))
                if len(ahead) > self.num_workers:
                    yield self._next(ahead)
            while ahead:
                yield self._next(ahead)

    def _next(self, ahead: deque) -> tuple[int, np.ndarray, list[MicroBatch]]:
        step, rows, prepared = ahead.popleft()
        began = time.perf_counter()
        micro_batches = prepared()
        self.waited += time.perf_counter() - began
        return step, rows, micro_batches

    def utilization(self, plan: Iterable[np.ndarray]) -> float:
        """Return the share of residues, 0–1, among all positions of some global batches.

        The other positions are padding. ``plan`` has the rows of each global batch.
        """
        real = padded = 0
        for rows in plan:
            lengths = self.data.lengths[rows]
            real += int(lengths.sum())
            for start in range(0, len(rows), self.size):
                part = lengths[start : start + self.size]
                padded += len(part) * self.width(part)
        return real / padded
