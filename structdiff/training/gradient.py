"""Gradient of all parameters as one flat vector, with a few additional numbers at its end.

The backward passes of all micro-batches add to this vector; one all-reduce in each step sums it
over the processes, together with loss sums and flags. Norm and clipping are single operations.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

__all__ = ["FlatGradient"]

_ALIGN = 64
"""Alignment of each parameter in the vector, in elements, for vectorised kernels."""


class FlatGradient:
    """One float32 vector whose parts are the ``.grad`` of the parameters.

    Parameters
    ----------
    parameters
        The parameters, all on one device.
    extra
        How many additional numbers are at the end.

    Attributes
    ----------
    values
        The gradient, flat.
    extra
        The additional numbers, ``(extra,)``.
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
        """Set gradient and additional numbers to zero, at the beginning of a step."""
        self._all.zero_()

    def sum_over(self, world) -> None:
        """Sum gradient and additional numbers over the processes of a `distributed.World`."""
        world.sum(self._all)

    def norm(self) -> Tensor:
        """Return the Euclidean norm of the gradient, a scalar on its device."""
        return torch.linalg.vector_norm(self.values)

    def clip(self, norm: Tensor, max_norm: float) -> None:
        """Scale the gradient down to ``max_norm`` if its ``norm`` is larger, on the device."""
        self.values.mul_((max_norm / norm).clamp(max=1))
