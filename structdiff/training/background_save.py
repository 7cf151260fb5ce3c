"""Write checkpoints in the background while the training continues.

``CheckpointWriter(checkpoints, device).start(state, then)`` copies a state, and a thread writes the
copy with `Checkpoints.save`. Meanwhile, the training loop computes the next gradient; it calls
``copied()`` before it changes the tensors. On a CPU, the thread also makes the copy. On a GPU, the
copy to pinned memory is queued on the CUDA stream that computes, so that the training loop does not
wait for the copy.
"""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

import torch
from torch import Tensor

from structdiff.training.checkpoint import Checkpoints

__all__ = ["CheckpointWriter"]


class CheckpointWriter:
    """Writer of checkpoints in a background thread, one at a time.

    The memory for the copy of a state is reused for the next one.

    Parameters
    ----------
    checkpoints
        The checkpoints of the run.
    device
        The device of the tensors in the states.
    """

    def __init__(self, checkpoints: Checkpoints, device: torch.device):
        self.checkpoints, self.device = checkpoints, device
        self.on_gpu = device.type == "cuda"
        self._copies: dict[tuple, Tensor] = {}
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._copied = threading.Event()
        self._copied.set()
        self._pending: tuple[Future[None], Callable[[], None]] | None = None

    def start(
        self,
        state: dict[str, Any],
        then: Callable[[], None],
        *,
        best: bool = False,
        epoch: int | None = None,
    ) -> None:
        """Start to copy and write a state; first wait until the previous checkpoint is written.

        Parameters
        ----------
        state
            Tensors and plain values in dictionaries and lists. The tensors may be changed after
            `copied` has returned. The plain values must not be changed.
        then
            Function without arguments that `wait` or `look` calls, in the thread of their caller,
            once the checkpoint is on the disk.
        best
            Whether to write the state also as the best checkpoint.
        epoch
            Number N of the ``checkpoint_epoch_N.pth`` to write as well; None for none.

        Raises
        ------
        UserError
            If the previous checkpoint could not be written.
        """
        self.wait()
        self._copied.clear()
        copy = self._copy_from_gpu(state) if self.on_gpu else partial(self._copy_in_thread, state)

        def write() -> None:
            self.checkpoints.save(copy(), best=best, epoch=epoch)

        self._pending = self._pool.submit(write), then

    def copied(self) -> None:
        """Wait until the last state is copied, so that its tensors may be changed."""
        self._copied.wait()

    def look(self) -> None:
        """Call the last checkpoint's ``then`` if the checkpoint is on the disk; do not wait.

        Raises
        ------
        UserError
            If the checkpoint could not be written.
        """
        if self._pending is not None and self._pending[0].done():
            self.wait()

    def wait(self) -> None:
        """Wait until the last checkpoint is on the disk, and call its ``then``.

        Raises
        ------
        UserError
            If the checkpoint could not be written.
        """
        if self._pending is not None:
            (written, then), self._pending = self._pending, None
            written.result()
            then()

    def _copy_in_thread(self, state: dict[str, Any]) -> dict[str, Any]:
        try:
            return self._copy(state)
        finally:
            self._copied.set()

    def _copy_from_gpu(self, state: dict[str, Any]) -> Callable[[], dict[str, Any]]:
        """Queue the copy of a state from the GPU; return a function that waits for the copy."""
        copy = self._copy(state)
        copied = torch.cuda.current_stream(self.device).record_event()
        self._copied.set()

        def get() -> dict[str, Any]:
            copied.synchronize()
            return copy

        return get

    def _copy(self, value: Any, path: tuple = ()) -> Any:
        """Return a copy, in the memory of this writer, of the part of a state at ``path``."""
        if isinstance(value, dict):
            return {key: self._copy(item, (*path, key)) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return type(value)(
                self._copy(item, (*path, number)) for number, item in enumerate(value)
            )
        if not isinstance(value, Tensor):
            return value
        copy = self._copies.get(path)
        if copy is None or (copy.shape, copy.dtype) != (value.shape, value.dtype):
            copy = torch.empty(value.shape, dtype=value.dtype, pin_memory=value.is_cuda)
            self._copies[path] = copy
        return copy.copy_(value, non_blocking=True)
