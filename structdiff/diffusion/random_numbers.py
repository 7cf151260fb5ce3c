"""Random numbers of training and sampling, as a function of seed, step and peptide.

Every peptide has a fixed part of a counter-based stream (Philox; Salmon et al., 2011). Its noise
does not depend on earlier draws, or on how the global batch is divided into micro-batches and
processes: a resumed, a distributed and an uninterrupted run have the same numbers. This module only
draws the numbers; the ``corrupt`` methods of `sequence_process` and `structure_process` turn them
into noise.
"""

from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

__all__ = [
    "Noise",
    "SamplingNoise",
    "noise",
    "split_uniforms",
    "step_uniform",
    "to_normal",
]

RESIDUE_UNIFORMS = 32
SEQUENCE_UNIFORMS = 20
"""Random numbers of a residue in a step, and how many of them are for the sequence process; the
others are for the structure process."""

_PEPTIDE_UNIFORMS = 8
_STREAM_RESIDUES, _STREAM_PEPTIDES, _STREAM_STEP, _STREAM_SAMPLING = range(4)


@dataclass(frozen=True)
class Noise:
    """Uniform random numbers in (0, 1) for a micro-batch.

    Attributes
    ----------
    residues
        32 numbers for each residue, ``(batch, length, 32)``; 0.5 on pads.
    peptides
        8 numbers for each peptide, ``(batch, 8)``.
    condition
        One number for each label and property of a peptide, ``(batch, labels + properties)``.
    stratum
        One number for each peptide, ``(batch,)``. The numbers of a global batch are stratified:
        they are evenly spread over (0, 1).
    """

    residues: Tensor
    peptides: Tensor
    condition: Tensor
    stratum: Tensor

    def to(self, device: torch.device) -> "Noise":
        """Return the same noise on a device."""
        return Noise(*(getattr(self, f.name).to(device, non_blocking=True) for f in fields(self)))


def _uniforms(seed: int, step: int, stream: int, first: int, count: int) -> np.ndarray:
    """Return ``count`` random numbers in [0, 1) of a stream, ``(count,)``.

    ``first`` is the index of the first one in the stream, a multiple of 4.
    """
    key = np.random.SeedSequence([seed & 0xFFFFFFFF, step, stream]).generate_state(2, np.uint64)
    bits = np.random.Philox(key=key).advance(first // 4)  # a counter value gives 4 draws
    return np.random.Generator(bits).random(count)


def noise(
    seed: int,
    step: int,
    lengths: np.ndarray,
    start: int,
    stop: int,
    width: int,
    num_conditions: int,
) -> Noise:
    """Draw the noise of a micro-batch: peptides ``start`` to ``stop`` of a step's global batch.

    Parameters
    ----------
    seed, step
        Seed, and number of the training step.
    lengths
        Lengths of all peptides of the global batch, ``(global batch,)``.
    start, stop
        Positions of the peptides in the global batch, ``stop`` excluded.
    width
        Padded length of the micro-batch.
    num_conditions
        Number of labels and properties, `structdiff.model.Condition.width`.
    """
    size = len(lengths)
    first, residue_count = int(lengths[:start].sum()), int(lengths[start:stop].sum())
    flat = _uniforms(
        seed,
        step,
        _STREAM_RESIDUES,
        first * RESIDUE_UNIFORMS,
        residue_count * RESIDUE_UNIFORMS,
    ).reshape(-1, RESIDUE_UNIFORMS)
    residues = np.full((stop - start, width, RESIDUE_UNIFORMS), 0.5, dtype=np.float32)
    residues[np.arange(width) < lengths[start:stop, None]] = flat
    count = _PEPTIDE_UNIFORMS + -(-num_conditions // 4) * 4
    peptides = _uniforms(
        seed, step, _STREAM_PEPTIDES, start * count, (stop - start) * count
    ).reshape(-1, count)
    # The global batch is sorted by length: a permutation keeps the strata independent of length.
    generator = np.random.Generator(np.random.Philox(key=[seed & 0xFFFFFFFF, step]))
    stratum = (generator.permutation(size)[start:stop] + generator.random()) / size
    return Noise(
        _open_interval(residues),
        _open_interval(peptides[:, :_PEPTIDE_UNIFORMS]),
        _open_interval(peptides[:, _PEPTIDE_UNIFORMS : _PEPTIDE_UNIFORMS + num_conditions]),
        _open_interval(stratum),
    )


def _open_interval(uniforms: np.ndarray) -> Tensor:
    """Return numbers in 0–1 as float32, clamped so that none is 0 or 1."""
    return torch.from_numpy(uniforms.astype(np.float32)).clamp_(1e-6, 1 - 1e-6)


def step_uniform(seed: int, step: int) -> float:
    """Return a random number in [0, 1), the same for all micro-batches of a training step."""
    return float(_uniforms(seed, step, _STREAM_STEP, 0, 4)[0])


def split_uniforms(uniforms: Tensor) -> tuple[Tensor, Tensor]:
    """Split random numbers ``(…, 32)`` into 20 for the sequence and 12 for the backbone."""
    sequence, structure = uniforms.tensor_split([SEQUENCE_UNIFORMS], dim=-1)
    return sequence, structure


@dataclass(frozen=True)
class SamplingNoise:
    """Random numbers in (0, 1) for sampling a batch, in every step.

    Attributes
    ----------
    seed
        Seed of the random numbers.
    index
        Number of each peptide, ``(batch,)``; seed and number determine its noise, so that a peptide
        does not depend on the others of its batch.
    length
        Padded length of the batch.
    device
        Device of the numbers.
    """

    seed: int
    index: np.ndarray
    length: int
    device: torch.device

    def sequence(self, step: int) -> Tensor:
        """Return the sequence process's random numbers for a step, ``(batch, length, 20)``.

        The numbers of step 0 make the noise that sampling starts from; steps begin at 1.
        """
        return split_uniforms(self._uniforms(step))[0]

    def structure(self, step: int) -> Tensor:
        """Return the structure process's random numbers for a step, ``(batch, length, 12)``.

        The numbers of step 0 make the noise that sampling starts from; steps begin at 1.
        """
        return split_uniforms(self._uniforms(step))[1]

    def _uniforms(self, step: int) -> Tensor:
        count = self.length * RESIDUE_UNIFORMS
        rows = [
            _uniforms(self.seed, step, _STREAM_SAMPLING, int(i) << 24, count) for i in self.index
        ]
        uniforms = np.stack(rows).reshape(len(rows), self.length, RESIDUE_UNIFORMS)
        return _open_interval(uniforms).to(self.device)


def to_normal(uniform: Tensor) -> Tensor:
    """Convert uniform random numbers in (0, 1) to standard normal numbers of the same shape."""
    return torch.special.ndtri(uniform)
