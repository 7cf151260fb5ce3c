"""Micro-batches: cut from a global batch, dealt to the processes, with their noise, ahead of time.

``BatchLoader(data, training, world, num_workers)`` keeps the training set on the device where it
fits; ``feeder.stream(tasks)`` prepares batches in threads while the model works, and counts the
seconds that the loop had to wait for them.
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

__all__ = ["BatchLoader", "MicroBatch", "few_widths"]

SHARE_OF_FREE_MEMORY = 0.25
"""The training set stays on the GPU if it takes no more than this of what is free."""


@dataclass(frozen=True)
class MicroBatch:
    """Peptides ``start …`` of a global batch, with their noise."""

    start: int
    batch: Batch
    noise: Noise


def few_widths(longest: int) -> int:
    """Round a length up to one of eight for each power of two (16, 18, … 32, 36, … 64, …).

    For a compiled model, which is compiled once for each width: 25 of them for 5–50 residues.
    """
    step = 2 ** max(longest.bit_length() - 4, 0)
    return -(-longest // step) * step


class BatchLoader:
    """Cut, deal and prepare the micro-batches of one process.

    Parameters
    ----------
    data
        The training set; moved to the world's device if that is a GPU with room for it.
    training
        The configuration's section of that name.
    world
        The processes.
    num_workers
        Threads that prepare the next batches; 0 prepares them in line.

    Attributes
    ----------
    waited
        Seconds that `stream` has kept its caller waiting.
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
        """Return the positions that peptides of some lengths are padded to."""
        longest = int(lengths.max())
        return few_widths(longest) if self.compiled else longest

    def share(self, size: int) -> list[slice]:
        """Return which places of a global batch are this process's micro-batches."""
        starts = range(self.world.rank * self.size, size, self.world.size * self.size)
        return [slice(start, min(start + self.size, size)) for start in starts]

    def cut(self, rows: np.ndarray, seed: int, step: int) -> list[MicroBatch]:
        """Return this process's micro-batches of a global batch, on its device.

        Parameters
        ----------
        rows
            The global batch.
        seed, step
            Identify the noise.
        """
        lengths, device, mine = self.data.lengths[rows], self.world.device, []
        for places in self.share(len(rows)):
            width = self.width(lengths[places])
            batch = self.data.batch(rows[places], width)
            drawn = noise(
                seed, step, lengths, places.start, places.stop, width, batch.condition.width
            )
            mine.append(MicroBatch(places.start, batch.to(device), drawn.to(device)))
        return mine

    def stream(
        self, tasks: Iterable[tuple[int, np.ndarray]], seed: int
    ) -> Iterator[tuple[int, np.ndarray, list[MicroBatch]]]:
        """Yield each step and global batch of ``tasks`` with this process's micro-batches."""
        ahead: deque[tuple[int, np.ndarray, Callable[[], list[MicroBatch]]]] = deque()
        with ThreadPoolExecutor(max(self.num_workers, 1)) as pool:
            for step, rows in tasks:
                if self.num_workers:
                    ready = pool.submit(self.cut, rows, seed, step).result
                else:
                    ready = partial(self.cut, rows, seed, step)
                ahead.append((step, rows, ready))
                if len(ahead) > self.num_workers:
                    yield self._next(ahead)
            while ahead:
                yield self._next(ahead)

    def _next(self, ahead: deque) -> tuple[int, np.ndarray, list[MicroBatch]]:
        step, rows, ready = ahead.popleft()
        began = time.perf_counter()
        mine = ready()
        self.waited += time.perf_counter() - began
        return step, rows, mine

    def utilization(self, plan: Iterable[np.ndarray]) -> float:
        """Return the share of the positions of all micro-batches of a plan that are residues."""
        real = padded = 0
        for rows in plan:
            lengths = self.data.lengths[rows]
            real += int(lengths.sum())
            for start in range(0, len(rows), self.size):
                part = lengths[start : start + self.size]
                padded += len(part) * self.width(part)
        return real / padded
