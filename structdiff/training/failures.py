"""Failures of a step: as numbers that processes exchange, and as error messages.

A process in trouble sets its flag, which travels with the gradient, so that all processes stop
together and before the update. A positive flag is 1 + the place of a peptide in the global batch.
"""

from typing import TYPE_CHECKING

import numpy as np
import torch

from structdiff.system.errors import UserError
from structdiff.training.dataset import TrainingSet

if TYPE_CHECKING:
    from structdiff.config import Training

__all__ = ["GRADIENT", "OUT_OF_MEMORY", "is_out_of_memory", "not_finite", "out_of_memory"]

GRADIENT, OUT_OF_MEMORY = -1.0, -2.0


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error says that the GPU or the machine has no memory left."""
    # On a CPU, torch raises a plain RuntimeError.
    kinds = (torch.OutOfMemoryError, MemoryError)
    return isinstance(error, kinds) or "can't allocate memory" in str(error)


def out_of_memory(flags: list[float], where: str, training: "Training") -> UserError:
    """Return the error for a process whose memory is used up."""
    also = "" if training.activation_checkpointing else ", or set activation_checkpointing to true"
    return UserError(
        f"{where}: out of memory on rank {flags.index(OUT_OF_MEMORY)}: halve training.batch_size "
        f"(now {training.batch_size}) and double training.gradient_accumulation_steps (now "
        f"{training.gradient_accumulation_steps}), which trains the same{also}"
    )


def not_finite(
    flags: list[float],
    where: str,
    data: TrainingSet,
    rows: np.ndarray,
    shares: list[np.ndarray],
) -> UserError:
    """Return the error for a loss or gradient that is NaN or infinite.

    Parameters
    ----------
    flags
        One for each process.
    where
        The step, in words.
    data
        The training set.
    rows
        The global batch.
    shares
        Which of its rows each process took.
    """

    def name(*some: int) -> str:
        return ", ".join(f"peptide {data.ids[row]} (row {row})" for row in some)

    found = [
        f"the loss of {name(rows[int(flag) - 1])} on rank {rank}"
        if flag > 0
        else f"the gradient on rank {rank} of {name(*shares[rank])}"
        for rank, flag in enumerate(flags)
        if flag
    ]
    return UserError(
        f"{where}: not finite: {'; '.join(found) or 'the sum of the gradients'}. Training "
        "stopped before the update; the weights on disk are those of the last checkpoint. Look "
        "at these peptides, lower training.optimizer.lr, or set training.precision to float32"
    )
