"""Process group of a training: rank, device and collective operations.

``with join() as world:`` works both in a single process (without communication) and in a process
that torchrun started (gloo between CPU processes, NCCL between GPUs).
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from structdiff.system.errors import UserError
from structdiff.system.gpus import choose_device
from structdiff.training.interrupt import Stopped
from structdiff.training.store import open_store

__all__ = ["World", "join", "launched_by_torchrun"]

T = TypeVar("T")

TIMEOUT = timedelta(minutes=10)
"""Time that a process waits for the other processes in a collective operation."""


@dataclass(frozen=True)
class World:
    """Process group of a training, as seen by one of its processes.

    All processes must call the methods that communicate, in the same order.

    Attributes
    ----------
    rank
        Number of this process, 0 to ``size`` − 1.
    size
        Number of processes, on all nodes.
    device
        Device on which this process computes.
    """

    rank: int
    size: int
    device: torch.device

    @property
    def is_main(self) -> bool:
        """Whether this is the main process (rank 0), which writes the files."""
        return self.rank == 0

    def sum(self, tensor: Tensor) -> None:
        """Overwrite a tensor on `device` with its sum over all processes."""
        if self.size > 1:
            dist.all_reduce(tensor, op=dist.ReduceOp.SUM)

    def copy_from_main(self, tensors: Sequence[Tensor]) -> None:
        """Overwrite tensors on `device` with the values that they have in the main process."""
        if self.size > 1:
            for tensor in tensors:
                dist.broadcast(tensor.detach(), src=0)  # else torch warns of lost gradients

    def agree(self, tensors: Sequence[Tensor]) -> bool:
        """Return whether float32 tensors on `device` have equal checksums in all processes.

        The checksum of a tensor is the sum of its bits, read as int32.
        """
        if self.size == 1:
            return True
        sums = torch.stack([tensor.detach().view(torch.int32).sum() for tensor in tensors])
        lowest_and_highest = torch.stack([-sums, sums])
        dist.all_reduce(lowest_and_highest, op=dist.ReduceOp.MAX)
        return bool((lowest_and_highest.sum(0) == 0).all())

    def from_main(self, task: Callable[[], T]) -> T:
        """Run a function in the main process; return its result in all processes.

        If the function raises a `UserError`, all processes raise it.
        """
        if self.size == 1:
            return task()
        result: list[Any] = [None, None]
        if self.is_main:
            try:
                result[0] = task()
            except UserError as error:
                result[1] = str(error)
        dist.broadcast_object_list(result, src=0, device=torch.device("cpu"))
        if result[1] is not None:
            raise UserError(result[1])
        return result[0]


def launched_by_torchrun() -> bool:
    """Return whether torchrun started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ and "LOCAL_RANK" in os.environ


@contextmanager
def join() -> Iterator[World]:
    """Join the process group within the block, if torchrun started this process; yield its `World`.

    Raises
    ------
    UserError
        If a node has GPUs, but fewer GPUs than processes, or if torch cannot use the GPUs.
    """
    if not launched_by_torchrun():
        yield World(0, 1, choose_device())
        return
    device = choose_device(int(os.environ["LOCAL_RANK"]))
    on_gpu = device.type == "cuda"
    if on_gpu:
        torch.cuda.set_device(device)
    dist.init_process_group(
        "cpu:gloo,cuda:nccl" if on_gpu else "gloo",
        timeout=TIMEOUT,
        store=open_store(TIMEOUT),
        rank=int(os.environ["RANK"]),
        world_size=int(os.environ["WORLD_SIZE"]),
    )
    try:
        yield World(dist.get_rank(), dist.get_world_size(), device)
    except Stopped:  # all processes stop together
        dist.destroy_process_group()
        raise
    dist.destroy_process_group()  # not after an error: the other processes may have ended already
