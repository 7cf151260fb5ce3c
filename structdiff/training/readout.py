"""Numbers that a GPU computes and the training loop reads later, without waiting in between."""

import torch
from torch import Tensor

__all__ = ["Readout"]


class Readout:
    """Copy of a few numbers from a GPU, queued after their computation; `read` waits for the copy.

    Numbers on a CPU are not copied.

    Parameters
    ----------
    numbers
        The numbers, ``(count,)``.
    """

    def __init__(self, numbers: Tensor):
        self._numbers, self._copied = numbers, None
        if numbers.is_cuda:
            self._numbers = torch.empty(numbers.shape, dtype=numbers.dtype, pin_memory=True)
            self._numbers.copy_(numbers, non_blocking=True)
            self._copied = torch.cuda.current_stream(numbers.device).record_event()

    def read(self) -> list[float]:
        """Wait until the numbers are computed and copied; return them."""
        if self._copied is not None:
            self._copied.synchronize()
        return self._numbers.tolist()
