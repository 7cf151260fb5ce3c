"""Gradient of all parameters as one flat vector, with a few additional numbers at its end.

The backward passes of all micro-batches add to this vector. One all-reduce in each step sums it
over the processes, together with the additional numbers (loss sums and flags). The norm and the
clipping take one operation each, instead of one for each parameter.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

__all__ = ["FlatGradient"]

_ALIGN = 64
"""Each parameter's part of the vector starts at a multiple of this number of elements, for
vectorised kernels."""


class FlatGradient:
    """One float32 vector: the gradient of all parameters, then additional numbers.

    Parameters
    ----------
    parameters
        The parameters, all on one device.
    extra
        How many additional numbers are summed over the processes with the gradient.

    Attributes
    ----------
    values
        The gradient, ``(elements,)``, padded with zeros; each ``.grad`` is a view of a part of it.
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
        """Set the whole vector, gradient and additional numbers, to zero."""
        self._all.zero_()

    def sum_over(self, world) -> None:
        """Sum gradient and additional numbers over the processes of a `distributed.World`."""
        world.sum(self._all)

    def norm(self) -> Tensor:
        """Return the Euclidean norm of the gradient, a scalar on its device."""
        return torch.linalg.vector_norm(self.values)

    def clip(self, norm: Tensor, max_norm: float) -> None:
        """Scale the gradient so that its norm is at most ``max_norm``, without waiting for a GPU.

        ``norm`` is the result of the method `norm`.
        """
        self.values.mul_((max_norm / norm).clamp(max=1))
