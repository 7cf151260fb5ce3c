"""Failures of a training step: flags that processes exchange, and error messages.

A process that fails sets its flag. The flags are summed over the processes together with the
gradient, so that all processes stop before they save anything of the step. A flag is 0 (no
failure), `GRADIENT` (the gradient is not finite), `OUT_OF_MEMORY`, or 1 + *i*, where *i* is the
position in the global batch, from 0, of a peptide whose loss is not finite.
"""

from typing import TYPE_CHECKING

import numpy as np

from structdiff.system.errors import UserError
from structdiff.training.dataset import TrainingSet

if TYPE_CHECKING:
    from structdiff.config import Training

__all__ = ["GRADIENT", "OUT_OF_MEMORY", "diverged", "not_finite", "out_of_memory"]

GRADIENT, OUT_OF_MEMORY = -1.0, -2.0


def out_of_memory(rank: int, where: str, training: "Training") -> UserError:
    """Return the error to raise when a process is out of memory.

    Parameters
    ----------
    rank
        Rank of the process.
    where
        What failed, for the message: a step, or the validation.
    training
        Section ``training`` of the configuration.
    """
    also = "" if training.activation_checkpointing else ", or set activation_checkpointing to true"
    return UserError(
        f"{where}: out of memory on rank {rank}: halve training.batch_size "
        f"(now {training.batch_size}) and double training.gradient_accumulation_steps (now "
        f"{training.gradient_accumulation_steps}), which trains the same{also}"
    )


def diverged(where: str) -> UserError:
    """Return the error to raise when the weights are no longer the same in all processes.

    ``where`` names the moment, for the message.
    """
    return UserError(
        f"{where}: the weights differ between the processes, so a GPU, its memory or the network "
        "computes or transmits wrong values. The last checkpoint was written before; see the "
        "system's log for GPU errors (Xid, ECC), leave that GPU or node out, and start again"
    )


def not_finite(
    flags: list[float],
    where: str,
    data: TrainingSet,
    rows: np.ndarray,
    shares: list[np.ndarray],
) -> UserError:
    """Return the error to raise for a loss or gradient that is NaN or infinite.

    Parameters
    ----------
    flags
        Flag of each process, by rank: 0, `GRADIENT`, or 1 + the position in ``rows`` of a peptide
        whose loss is not finite.
    where
        Name of the step, for the message.
    data
        The training set.
    rows
        Rows of the training set in the global batch, ``(global batch,)``.
    shares
        The part of ``rows`` that each process computed, by rank.
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
        "stopped and saved nothing of this step; the weights on disk are those of the last "
        "checkpoint. Look at these peptides, lower training.optimizer.lr, or set "
        "training.precision to float32"
    )
