"""The gradient of all parameters as one flat vector, with a few more numbers at its end.

Backward passes of all micro-batches add into it; one all-reduce a step sums it over the processes,
together with the loss sums and the flags that every process must know. Clipping and the norm are
single operations on it.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

__all__ = ["FlatGradient"]

_ALIGN = 64
"""Elements to which a parameter's place is rounded up, for kernels that read wide."""


class FlatGradient:
    """Own the ``.grad`` of some parameters as views of one float32 vector.

    Parameters
    ----------
    parameters
        All on one device.
    extra
        How many further numbers travel with it.

    Attributes
    ----------
    values
        The gradient, flat.
    extra
        The further numbers, ``(extra,)``.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], extra: int):
        parameters = list(parameters)
        sizes = [-(-p.numel() // _ALIGN) * _ALIGN for p in parameters]
        total = sum(sizes)
        self._all = torch.zeros(total + extra, device=parameters[0].device)
        self.values, self.extra = self._all[:total], self._all[total:]
        place = 0
        for parameter, size in zip(parameters, sizes, strict=True):
            parameter.grad = self._all[place : place + parameter.numel()].view_as(parameter)
            place += size

    def zero(self) -> None:
        """Begin a step."""
        self._all.zero_()

    def sum_over(self, world) -> None:
        """Sum gradient and extra numbers over the processes of a `distributed.World`."""
        world.sum(self._all)

    def norm(self) -> Tensor:
        """Return the Euclidean norm, a scalar."""
        return torch.linalg.vector_norm(self.values)

    def clip(self, norm: float, max_norm: float) -> None:
        """Scale the gradient down to ``max_norm`` if its ``norm`` is above."""
        if norm > max_norm:
            self.values.mul_(max_norm / norm)
