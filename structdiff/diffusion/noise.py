"""Random numbers of a training step as a function of (seed, step, place in the global batch).

Every peptide owns a fixed stretch of a counter-based stream (Philox; Salmon et al., 2011), so its
noise does not depend on how the global batch is cut into micro-batches, on how these are dealt to
processes, or on what was drawn before: a resumed, a distributed and an uninterrupted run see the
same numbers.
"""

from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

__all__ = ["RESIDUE_DRAWS", "Noise", "noise", "sampling_noise", "step_uniform", "to_normal"]

RESIDUE_DRAWS = 32
_PEPTIDE_DRAWS = 8
_STREAM_RESIDUES, _STREAM_PEPTIDES, _STREAM_STEP, _STREAM_SAMPLING = range(4)


@dataclass(frozen=True)
class Noise:
    """Uniform random numbers in (0, 1) for a micro-batch.

    Attributes
    ----------
    residues
        ``(batch, length, 32)``: one row for each residue, 0.5 on pads.
    peptides
        ``(batch, 8)``: one row for each peptide.
    labels
        ``(batch, labels)``.
    stratum
        ``(batch,)``: evenly spread over (0, 1) within the global batch.
    """

    residues: Tensor
    peptides: Tensor
    labels: Tensor
    stratum: Tensor

    def to(self, device: torch.device) -> "Noise":
        """Return the same noise on a device."""
        return Noise(*(getattr(self, f.name).to(device, non_blocking=True) for f in fields(self)))


def _uniforms(seed: int, step: int, stream: int, first: int, count: int) -> np.ndarray:
    """Return draws ``first … first + count`` of a stream; both are multiples of 4."""
    key = np.random.SeedSequence([seed & 0xFFFFFFFF, step, stream]).generate_state(2, np.uint64)
    bits = np.random.Philox(key=key).advance(first // 4)  # a counter value gives 4 draws
    return np.random.Generator(bits).random(count)


def noise(
    seed: int, step: int, lengths: np.ndarray, start: int, stop: int, width: int, num_labels: int
) -> Noise:
    """Draw the noise of peptides ``start … stop`` of a step's global batch.

    Parameters
    ----------
    seed, step
        Identify the step.
    lengths
        Lengths of all peptides of the global batch, ``(global batch,)``.
    start, stop
        Which of them.
    width
        Padded length of the micro-batch.
    num_labels
        Labels of the training set.
    """
    size = len(lengths)
    offsets = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    first, last = offsets[start], offsets[stop]
    flat = _uniforms(
        seed,
        step,
        _STREAM_RESIDUES,
        int(first) * RESIDUE_DRAWS,
        int(last - first) * RESIDUE_DRAWS,
    ).reshape(-1, RESIDUE_DRAWS)
    residues = np.full((stop - start, width, RESIDUE_DRAWS), 0.5, dtype=np.float32)
    residues[np.arange(width) < lengths[start:stop, None]] = flat
    draws = _PEPTIDE_DRAWS + -(-num_labels // 4) * 4
    peptides = _uniforms(
        seed, step, _STREAM_PEPTIDES, start * draws, (stop - start) * draws
    ).reshape(-1, draws)
    # The global batch is sorted by length: a permutation keeps the strata independent of it.
    generator = np.random.Generator(np.random.Philox(key=[seed & 0xFFFFFFFF, step]))
    stratum = (generator.permutation(size)[start:stop] + generator.random()) / size
    return Noise(
        _open_interval(residues),
        _open_interval(peptides[:, :_PEPTIDE_DRAWS]),
        _open_interval(peptides[:, _PEPTIDE_DRAWS : _PEPTIDE_DRAWS + num_labels]),
        _open_interval(stratum),
    )


def _open_interval(draws: np.ndarray) -> Tensor:
    """Return float32 numbers that rounding has not turned into 0 or 1."""
    return torch.from_numpy(draws.astype(np.float32)).clamp_(1e-6, 1 - 1e-6)


def step_uniform(seed: int, step: int) -> float:
    """Return a number in [0, 1) that all micro-batches of a step share."""
    return float(_uniforms(seed, step, _STREAM_STEP, 0, 4)[0])


def sampling_noise(seed: int, step: int, index: np.ndarray, length: int) -> Tensor:
    """Draw the noise of a sampling step, ``(peptides, length, 32)``, uniform in (0, 1).

    A function of the seed, the step and each peptide's own number, so that a peptide does not
    depend on which others are sampled beside it.
    """
    rows = [
        _uniforms(seed, step, _STREAM_SAMPLING, int(i) << 24, length * RESIDUE_DRAWS) for i in index
    ]
    return _open_interval(np.stack(rows).reshape(len(rows), length, RESIDUE_DRAWS))


def to_normal(uniform: Tensor) -> Tensor:
    """Turn uniform numbers in (0, 1) into standard normal ones."""
    return torch.special.ndtri(uniform)
