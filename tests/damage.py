"""Damaged copies of a file's bytes, and an object whose pickle runs code."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

__all__ = ["Evil", "cut_off", "flipped"]


def flipped(whole: bytes, count: int) -> Iterator[bytes]:
    """Yield copies with one flipped bit each, at ``count`` different places."""
    for bit in np.random.default_rng(0).choice(8 * len(whole), count, replace=False).tolist():
        data = bytearray(whole)
        data[bit // 8] ^= 1 << (bit % 8)
        yield bytes(data)


def cut_off(whole: bytes) -> Iterator[bytes]:
    """Yield copies that end too early."""
    yield from (whole[:length] for length in (0, 1, 7, 12, len(whole) // 2, len(whole) - 1))


class Evil:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))
