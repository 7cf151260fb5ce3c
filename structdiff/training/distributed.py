"""The processes of one training: who I am, on which device, and what we tell each other.

``with join() as world:`` is true for one process (no communication at all) and for a process that
torchrun started (gloo between CPU processes, NCCL between GPUs).
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from structdiff.system.errors import UserError

__all__ = ["World", "join", "launched_by_torchrun"]

T = TypeVar("T")

TIMEOUT = timedelta(minutes=30)


@dataclass(frozen=True)
class World:
    """The processes of a training.

    Attributes
    ----------
    rank
        Number of this process; 0 writes the files.
    size
        How many there are.
    device
        Where this one computes.
    """

    rank: int
    size: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this process writes the files."""
        return self.rank == 0

    def sum(self, tensor: Tensor) -> None:
        """Replace a tensor on `device` by its sum over all processes."""
        if self.size > 1:
            dist.all_reduce(tensor, op=dist.ReduceOp.SUM)

    def from_first(self, task: Callable[[], T]) -> T:
        """Do something in the first process; return its result in all of them.

        A `UserError` of the first process is raised in all.
        """
        if self.size == 1:
            return task()
        answer = [None, None]
        if self.first:
            try:
                answer[0] = task()
            except UserError as error:
                answer[1] = str(error)
        dist.broadcast_object_list(answer, src=0, device=torch.device("cpu"))
        if answer[1] is not None:
            raise UserError(answer[1])
        return answer[0]


def launched_by_torchrun() -> bool:
    """Whether this process is one of several that torchrun started."""
    return "TORCHELASTIC_RUN_ID" in os.environ and "LOCAL_RANK" in os.environ


@contextmanager
def join() -> Iterator[World]:
    """Join the other processes, if there are any; leave them at the end.

    Raises
    ------
    UserError
        If there are fewer GPUs than processes.
    """
    gpus = torch.cuda.device_count()
    if not launched_by_torchrun():
        yield World(0, 1, torch.device("cuda", 0) if gpus else torch.device("cpu"))
        return
    local_rank = int(os.environ["LOCAL_RANK"])
    if gpus and local_rank >= gpus:
        raise UserError(
            f"process {local_rank + 1} on this node has no GPU: {gpus} visible; "
            f"set training.num_gpus (or --num-gpus) to {gpus}"
        )
    device = torch.device("cuda", local_rank) if gpus else torch.device("cpu")
    if gpus:
        torch.cuda.set_device(device)
    dist.init_process_group("cpu:gloo,cuda:nccl" if gpus else "gloo", timeout=TIMEOUT)
    yield World(dist.get_rank(), dist.get_world_size(), device)
    dist.destroy_process_group()  # not after an error: the others may be gone already
