"""Random numbers of a training step as a function of (seed, step, place in the global batch).

Every peptide owns a fixed stretch of a counter-based stream (Philox; Salmon et al., 2011), so its
noise does not depend on how the global batch is cut into micro-batches, on how these are dealt to
processes, or on what was drawn before: a resumed, a distributed and an uninterrupted run see the
same numbers.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

__all__ = ["Noise", "noise", "step_coin"]

_RESIDUE_DRAWS = 32
_PEPTIDE_DRAWS = 24
_STREAM_RESIDUES, _STREAM_PEPTIDES, _STREAM_STEP = 0, 1, 2


@dataclass(frozen=True)
class Noise:
    """Uniform random numbers in (0, 1) for a micro-batch.

    Attributes
    ----------
    residues
        ``(batch, length, 32)``: one row for each residue, 0.5 on pads.
    peptides
        ``(batch, 24)``: one row for each peptide.
    stratum
        ``(batch,)``: evenly spread over (0, 1) within the global batch.
    """

    residues: Tensor
    peptides: Tensor
    stratum: Tensor

    def to(self, device: torch.device) -> "Noise":
        """Return the same noise on a device."""
        return Noise(
            *(x.to(device, non_blocking=True) for x in (self.residues, self.peptides, self.stratum))
        )


def _uniforms(seed: int, step: int, stream: int, first: int, count: int) -> np.ndarray:
    """Return draws ``first … first + count`` of a stream; both are multiples of 4."""
    key = np.random.SeedSequence([seed & 0xFFFFFFFF, step, stream]).generate_state(2, np.uint64)
    bits = np.random.Philox(key=key).advance(first // 4)  # a counter value gives 4 draws
    return np.random.Generator(bits).random(count)


def noise(seed: int, step: int, lengths: np.ndarray, start: int, stop: int, width: int) -> Noise:
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
    """
    size = len(lengths)
    offsets = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    first, last = offsets[start], offsets[stop]
    flat = _uniforms(
        seed,
        step,
        _STREAM_RESIDUES,
        int(first) * _RESIDUE_DRAWS,
        int(last - first) * _RESIDUE_DRAWS,
    ).reshape(-1, _RESIDUE_DRAWS)
    residues = np.full((stop - start, width, _RESIDUE_DRAWS), 0.5, dtype=np.float32)
    residues[np.arange(width) < lengths[start:stop, None]] = flat
    peptides = _uniforms(
        seed,
        step,
        _STREAM_PEPTIDES,
        start * _PEPTIDE_DRAWS,
        (stop - start) * _PEPTIDE_DRAWS,
    ).reshape(-1, _PEPTIDE_DRAWS)
    # The global batch is sorted by length: a permutation keeps the strata independent of it.
    generator = np.random.Generator(np.random.Philox(key=[seed & 0xFFFFFFFF, step]))
    stratum = (generator.permutation(size)[start:stop] + generator.random()) / size
    tiny = np.float32(1e-6)
    return Noise(
        torch.from_numpy(residues.clip(tiny, 1 - tiny)),
        torch.from_numpy(peptides.astype(np.float32).clip(tiny, 1 - tiny)),
        torch.from_numpy(stratum.astype(np.float32).clip(tiny, 1 - tiny)),
    )


def step_coin(seed: int, step: int) -> float:
    """Return a number in [0, 1) that all micro-batches of a step share."""
    return float(_uniforms(seed, step, _STREAM_STEP, 0, 4)[0])


def to_normal(uniform: Tensor) -> Tensor:
    """Turn uniform numbers in (0, 1) into standard normal ones."""
    return torch.special.ndtri(uniform)
