"""Operations that make the host wait for a GPU, found without one, on the meta device.

Tensors there have no data: what needs their values on the host (``item``, ``tolist``, ``bool``,
``nonzero``, ``cpu``) raises by itself, and `copies` lists the copies from the host.
"""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

__all__ = ["META", "copies"]

META = torch.device("meta")

_FROM_VALUES = (torch.tensor, torch.as_tensor, torch.asarray, torch.Tensor.new_tensor)


def _place() -> str:
    """Return the line of this repository that is being run."""
    frames = [x for x in traceback.extract_stack() if x.filename != __file__]
    ours = [x for x in frames if "site-packages" not in x.filename]
    return f"{ours[-1].filename}:{ours[-1].lineno}: {ours[-1].line}"


class _OfValues(TorchFunctionMode):
    """Notes tensors that are made of Python's numbers."""

    def __init__(self, places: list[str]):
        super().__init__()
        self.places = places

    def __torch_function__(self, function, types, arguments=(), options=None):
        result = function(*arguments, **(options or {}))
        if function in _FROM_VALUES and result.device == META:
            self.places.append(_place())
        return result


class _OfTensors(TorchDispatchMode):
    """Notes tensors that are copied from the CPU."""

    def __init__(self, places: list[str]):
        super().__init__()
        self.places = places

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        result = function(*arguments, **(options or {}))
        source = {"_to_copy": 0, "copy_": 1}.get(function.overloadpacket.__name__)
        if source is not None and result.device == META and arguments[source].device != META:
            self.places.append(_place())
        return result


@contextmanager
def copies() -> Iterator[list[str]]:
    """Collect the lines of this repository that copy from the host to the device."""
    places: list[str] = []
    with _OfValues(places), _OfTensors(places):
        yield places
