"""The two noise processes of a model: one on the sequence, one on the backbone.

In training, `structdiff.diffusion.losses` adds their noise to a batch; in sampling,
`structdiff.diffusion.sampling` removes it step by step.
"""

import torch
from torch import Tensor

from structdiff.diffusion.sequence_process import SEQUENCE_PROCESSES, SequenceProcess
from structdiff.diffusion.structure_process import STRUCTURE_PROCESSES, StructureProcess

__all__ = ["JointProcess"]


class JointProcess:
    """A sequence process and a structure process with the same noise levels.

    Parameters
    ----------
    sequence_process
        Name of one of `structdiff.diffusion.sequence_process.SEQUENCE_PROCESSES`.
    num_timesteps
        Number T of noise levels: 1/T, 2/T, … 1 (pure noise). Level 0 is clean.
    structure_process
        Name of one of `structdiff.diffusion.structure_process.STRUCTURE_PROCESSES`.

    Attributes
    ----------
    sequence
        The sequence process.
    structure
        The structure process.
    """

    def __init__(
        self, sequence_process: str, num_timesteps: int, structure_process: str = "torsion"
    ):
        self.sequence: SequenceProcess = SEQUENCE_PROCESSES[sequence_process]()
        self.structure: StructureProcess = STRUCTURE_PROCESSES[structure_process]()
        self.num_timesteps = num_timesteps

    def level(self, uniform: Tensor) -> Tensor:
        """Return numbers in (0, 1) rounded up to the noise levels 1/T, 2/T, … 1."""
        return torch.ceil(uniform * self.num_timesteps) / self.num_timesteps

    def grid(self, steps: int, start: float = 1.0) -> list[float]:
        """Return the noise levels of ``steps`` sampling steps, from ``start`` down to 0.

        The ``steps`` + 1 levels are evenly spaced and rounded to multiples of 1/T. Levels that
        become equal are listed once, so that there can be fewer steps.
        """
        first, total = round(start * self.num_timesteps), self.num_timesteps
        levels = {round(first * (1 - i / steps)) for i in range(steps + 1)}
        return [level / total for level in sorted(levels, reverse=True)]
