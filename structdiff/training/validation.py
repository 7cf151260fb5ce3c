"""Losses of micro-batches, validation of a model, and sequences drawn during training.

The network may compute in bfloat16; the noise processes, the geometry and the losses are float32.
"""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from structdiff.diffusion import (
    JointProcess,
    SamplingNoise,
    TaskMix,
    denoiser,
    given,
    losses,
    sample,
    step_uniform,
)
from structdiff.model import Denoiser, Prediction
from structdiff.protein.residues import decode
from structdiff.system.errors import UserError
from structdiff.system.gpus import is_out_of_memory
from structdiff.training import failures
from structdiff.training.dataloader import BatchLoader, MicroBatch
from structdiff.training.dataset import TrainingSet
from structdiff.training.interrupt import Interrupt, Stopped

if TYPE_CHECKING:
    from structdiff.config import Training

__all__ = ["VALIDATION_SEED", "LossComputer", "draw", "validate"]

VALIDATION_SEED = 2_147_483_647
"""Seed of the noise in every validation of every run, so that losses can be compared."""


class LossComputer:
    """Function that computes the losses of a network on a micro-batch.

    Parameters
    ----------
    process
        The noise processes.
    training
        Section ``training`` of the configuration.
    device
        The network's device.

    Attributes
    ----------
    dtype
        Type in which the network should compute, float32 or bfloat16; the caller must set it in
        the network.
    """

    def __init__(self, process: JointProcess, training: "Training", device: torch.device):
        self.process, self.training = process, training
        self.task_mix = TaskMix(**training.task_mix.model_dump())
        default = "bfloat16" if device.type == "cuda" else "float32"
        precision = default if training.precision == "auto" else training.precision
        self.dtype: torch.dtype = getattr(torch, precision)

    def __call__(
        self,
        model: Callable[..., Prediction],
        micro: MicroBatch,
        *,
        conditioned: bool,
        label_dropout: float,
    ) -> tuple[Tensor, Tensor]:
        """Return the sequence and the structure loss of each peptide of a micro-batch.

        Both are ``(batch,)`` float32, summed over the residues of each peptide; the sequence loss
        is in nats.

        Parameters
        ----------
        model
            The network, or a function that is called like one.
        micro
            The micro-batch, on the network's device.
        conditioned
            Whether to use self-conditioning.
        label_dropout
            Probability that all labels and properties of a peptide are hidden, 0–1.
        """
        scored = losses(
            model,
            self.process,
            micro.batch,
            micro.noise,
            self_conditioning=conditioned,
            label_dropout=label_dropout,
            task_mix=self.task_mix,
        )
        return scored.sequence, scored.structure

    def mean(
        self, sequence: float, structure: float, residues: float, structured: float
    ) -> dict[str, Any]:
        """Return the mean losses per residue, under the names that the log uses.

        ``sequence`` and ``structure`` are sums of losses over ``residues`` residues, of which
        ``structured`` have a structure. In the result, ``diffusion`` is the mean sequence loss,
        ``structure`` the mean structure loss of the residues that have a structure (None if there
        are none), and ``total`` their weighted sum.
        """
        sequence = sequence / residues
        if not structured:
            return {"total": sequence, "diffusion": sequence, "structure": None}
        structure = structure / structured
        total = sequence + self.training.structure_weight * structure
        return {"total": total, "diffusion": sequence, "structure": structure}


@torch.no_grad()
def validate(
    model: Denoiser,
    loss_computer: LossComputer,
    loader: BatchLoader,
    global_batch: int,
    interrupt: Interrupt,
) -> dict[str, Any]:
    """Return the losses of a model on the validation peptides, with the same noise every time.

    All processes take part, and get the same result.

    Parameters
    ----------
    model
        The network.
    loss_computer
        Computes the losses.
    loader
        Loader of the micro-batches of this process.
    global_batch
        Number of peptides in a global batch.
    interrupt
        Tells whether a signal was received.

    Returns
    -------
    dict[str, Any]
        Mean losses per residue, as `LossComputer.mean` returns them.

    Raises
    ------
    Stopped
        If a process was asked to stop during the validation.
    UserError
        If memory runs out or the loss is not finite.
    """
    data, world, training = loader.data, loader.world, loss_computer.training
    plan = data.global_batches("val", global_batch, VALIDATION_SEED, 0)
    # Summed with the losses: the request to stop and a flag of each process.
    sums = torch.zeros(3 + world.size, dtype=torch.float64, device=world.device)
    try:
        for i, _, micro_batches in loader.stream(enumerate(plan), VALIDATION_SEED):
            conditioned = step_uniform(VALIDATION_SEED, i) < training.self_conditioning
            for micro in micro_batches:
                parts = loss_computer(model, micro, conditioned=conditioned, label_dropout=0.0)
                sums[:2] += torch.stack([part.double().sum() for part in parts])
            if interrupt.requested:
                sums[2] = 1
                break
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        sums[3 + world.rank] = failures.OUT_OF_MEMORY
    world.sum(sums)
    sequence, structure, stop, *flags = sums.tolist()
    if any(flags):
        raise failures.out_of_memory(flags.index(failures.OUT_OF_MEMORY), "validation", training)
    if stop:
        raise Stopped
    if not math.isfinite(sequence + structure):
        raise UserError(
            "the validation loss is not finite, though the training loss is: look at the "
            "validation peptides, or set training.precision to float32. The weights on disk are "
            "those of the last checkpoint"
        )
    rows = data.rows("val")
    lengths = data.lengths[rows]
    structured = lengths[data.has_structure[rows]]
    return loss_computer.mean(sequence, structure, int(lengths.sum()), int(structured.sum()))


def draw(model: Denoiser, process: JointProcess, data: TrainingSet) -> list[str]:
    """Return eight sequences of the median training length, drawn without a condition."""
    count, length = 8, int(np.median(data.lengths[data.rows("train")]))
    device = next(model.parameters()).device
    mask = torch.ones(count, length, dtype=torch.bool, device=device)
    noise = SamplingNoise(0, np.arange(count), length, device)
    start = given.codesign(process, mask, noise, num_steps=20)
    drawn = sample(denoiser(model, mask, model.unconditional(count)), process, start, noise)
    return [decode(tokens) for tokens in drawn.tokens.cpu().numpy()]
