"""Training loop, with the same result for any number of processes and restarts.

``Trainer(settings, …).run(logger, interrupt)`` trains to the end, or raises `Stopped` once its
state is saved.

The global batch of a step is cut into contiguous micro-batches, which are distributed over the
processes. The loss of a micro-batch is a sum over its residues, divided by the number of residues
of the *global* batch (for the structure loss: of residues with a structure). A process adds the
gradients of its micro-batches, and one all-reduce sums over the processes. The noise of a peptide
depends only on the seed, the step and its position in the global batch. Therefore losses and
weights do not depend on the number of processes or of accumulation steps (except for rounding), and
the next step depends only on the checkpoint and on (seed, step).
"""

import math
import time
from collections import deque
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from structdiff.diffusion import JointProcess, step_uniform
from structdiff.model import Denoiser
from structdiff.system.errors import UserError
from structdiff.training import failures
from structdiff.training.adaptation import FEW_UNTIL, StartingPoint, fit_output
from structdiff.training.background_save import CheckpointWriter
from structdiff.training.checkpoint import Checkpoints
from structdiff.training.dataloader import BatchLoader, MicroBatch
from structdiff.training.dataset import TrainingSet
from structdiff.training.distributed import World
from structdiff.training.gradient import FlatGradient
from structdiff.training.interrupt import Interrupt, Stopped
from structdiff.training.logger import RunLogger, memory_in_use
from structdiff.training.optimizer import learning_rate, make_optimizer
from structdiff.training.readout import Readout
from structdiff.training.validation import LossComputer, draw, validate

if TYPE_CHECKING:
    from structdiff.config import Training

__all__ = ["Progress", "Trainer"]

SECONDS_BETWEEN_SAVES = 300.0
"""A checkpoint is saved if the last one is older than this, in seconds."""

SLOW_LOADING = 0.2
"""The log warns if more than this share of an epoch is spent waiting for batches."""


@dataclass
class Progress:
    """Progress of a run: everything in a checkpoint except the tensors.

    Attributes
    ----------
    step
        Optimizer steps done.
    epoch
        Epochs done, including their validation.
    sums
        Sums over the current epoch: sequence and structure loss, residues, residues with a
        structure.
    best
        Epoch, step and losses of the lowest total validation loss so far, or None.
    history
        One entry for each epoch done.
    seconds
        Time spent training, summed over all starts of the run.
    """

    step: int
    epoch: int
    sums: list[float]
    best: dict[str, Any] | None
    history: list[dict[str, Any]]
    seconds: float

    @classmethod
    def begin(cls) -> "Progress":
        """Return the state before the first step."""
        return cls(0, 0, [0.0] * 4, None, [], 0.0)


@dataclass(frozen=True)
class _Queued:
    """An optimizer step that the device may still be computing, and the readout of its results.

    ``rows`` are those of the global batch; ``residues`` and ``structured`` are its numbers of
    residues and of residues with a structure.
    """

    rows: np.ndarray
    residues: int
    structured: int
    lr: float
    numbers: Readout


class Trainer:
    """One training run in one process of a `World`.

    Parameters
    ----------
    training
        Section ``training`` of the configuration.
    model
        The network, the same in every process; moved to the world's device.
    process
        The noise processes.
    data
        The training set.
    world
        The process group.
    checkpoints
        The checkpoints of the run, which the main process writes.
    description
        Values that describe the run in a checkpoint: configuration, labels, model, diffusion.
    num_workers
        Threads that prepare the next batches; 0 for none.
    """

    def __init__(
        self,
        training: "Training",
        model: Denoiser,
        process: JointProcess,
        data: TrainingSet,
        world: World,
        checkpoints: Checkpoints,
        description: dict[str, Any],
        num_workers: int = 0,
    ):
        self.training, self.data, self.world = training, data, world
        self.writer, self.description = CheckpointWriter(checkpoints, world.device), description
        self.saved_at = time.monotonic()
        self.loss_computer = LossComputer(process, training, world.device)
        self.loader = BatchLoader(data, training, world, num_workers)
        self.model = model.to(world.device).train()
        world.copy_from_main([*self.model.parameters()])
        self.model.checkpointing = training.activation_checkpointing
        self.model.dtype = self.loss_computer.dtype
        self.ema = deepcopy(self.model).eval().requires_grad_(False)
        if training.compile:
            self.model.compile_layers()
            self.ema.compile_layers()
        self.parameters = list(self.model.parameters())
        self.start = None if training.init is None else StartingPoint(self.model)
        settings = training.optimizer
        if self.start is not None:  # the pull towards it replaces the weight decay
            settings = settings.model_copy(update={"weight_decay": 0.0})
        self.optimizer = make_optimizer(self.model, self.model.blocks, settings, world)
        # Summed with the gradient: two loss sums, the requests to stop and to save, a flag of each
        # process.
        self.gradient = FlatGradient(self.parameters, 4 + world.size)
        self.stop_requested = self.save_requested = False
        # Steps that are queued while an earlier one is read, so that a GPU never waits for work.
        self.ahead = 1 if world.device.type == "cuda" else 0
        self._queued: deque[_Queued] = deque()
        self._ended = time.monotonic()
        self.progress = Progress.begin()
        self.global_batch = training.effective_batch
        rows = data.epoch_rows("train", training.structure_repeats)
        self.steps_per_epoch = math.ceil(len(rows) / self.global_batch)
        self.total_steps = self.steps_per_epoch * training.num_epochs

    @property
    def num_parameters(self) -> int:
        """Number of parameters of the model."""
        return sum(parameter.numel() for parameter in self.parameters)

    def utilization(self) -> float:
        """Return the share of residues, 0–1, among all positions of an epoch; others are pads."""
        return self.loader.utilization(self._plan(0))

    def _plan(self, epoch: int) -> list[np.ndarray]:
        """Return the global batches of an epoch."""
        training = self.training
        return self.data.global_batches(
            "train", self.global_batch, training.seed, epoch, training.structure_repeats
        )

    @property
    def finished(self) -> bool:
        """Whether all epochs are done."""
        return self.progress.epoch >= self.training.num_epochs

    def run(self, logger: RunLogger, interrupt: Interrupt) -> None:
        """Train to the end.

        Parameters
        ----------
        logger
            Log of the run; a `NullLogger` in all processes but the main one.
        interrupt
            Tells whether a signal was received.

        Raises
        ------
        Stopped
            If any process was asked to stop; the state is saved.
        UserError
            If a loss or gradient is not finite, weights differ, or memory or disk are used up.
        """
        try:
            if self.start is not None and not self.progress.history:
                self._validate_start(self.start, logger, interrupt)
            while not self.finished:
                epoch = self.progress.epoch
                logger.info(f"🚀 Epoch {epoch + 1}/{self.training.num_epochs}")
                self._train_epoch(epoch, logger, interrupt)
                self._close_epoch(epoch, logger, interrupt)
            self.writer.wait()
        except Stopped:
            self.save(logger)
            self.writer.wait()
            cause = interrupt.name or "a signal to another process"
            logger.stopped(self.progress.step, cause)
            logger.info(
                f"💾 Stopped by {cause}; saved at step {self.progress.step:,} in "
                f"{self.writer.checkpoints.latest}: start again to resume"
            )
            raise
        except Exception as error:
            try:
                self.writer.wait()
            except UserError as second:
                logger.warn(str(second))
            logger.failed(self.progress.step, error)
            raise

    def _validate_start(
        self, start: StartingPoint, logger: RunLogger, interrupt: Interrupt
    ) -> None:
        """Validate the starting weights as epoch 0.

        The result of `fit_output` is kept if it lowers the validation loss.
        """
        self.ema.load_state_dict(self.model.state_dict())
        validation = self.validate(interrupt)
        fit_output(self.ema, self.loss_computer, self.loader, self.training)
        fitted = self.validate(interrupt)
        better = fitted["total"] < validation["total"]
        logger.info(
            f"Composition and temperature of the residues fitted: validation loss "
            f"{validation['total']:.4f} → {fitted['total']:.4f}, {'kept' if better else 'not kept'}"
        )
        if better:
            validation = fitted
            self.model.load_state_dict(self.ema.state_dict())
            start.update()
        else:
            self.ema.load_state_dict(self.model.state_dict())
        number = {"epoch": 0, "step": 0}
        self.progress.history.append({**number, "train": None, "validation": validation})
        self.progress.best = {**number, **validation}
        logger.validation(self.progress.best)
        self.save(logger, best=True)

    # ---- one epoch -----------------------------------------------------------------------------

    def _train_epoch(self, epoch: int, logger: RunLogger, interrupt: Interrupt) -> None:
        """Train the remaining steps of an epoch; raise `Stopped` after a signal."""
        remaining = self._plan(epoch)[self.progress.step - epoch * self.steps_per_epoch :]
        tasks = enumerate(remaining, self.progress.step)
        began = self._ended = time.monotonic()
        waited = self.loader.waited
        for number, rows, micro_batches in self.loader.stream(tasks, self.training.seed):
            self.step(rows, micro_batches, interrupt)
            last = (number + 1) % self.steps_per_epoch == 0
            if len(self._queued) > self.ahead:
                self._read(logger)
            if self.stop_requested or self.save_requested or last:
                while self._queued:
                    self._read(logger)
            if self.stop_requested:
                raise Stopped
            self.writer.look()
            if self.save_requested and not last:
                self.save(logger)
        waited, seconds = self.loader.waited - waited, self._ended - began
        if waited > SLOW_LOADING * seconds:
            logger.warn(
                f"the model waited for its batches in {100 * waited / seconds:.0f} % of this "
                f"epoch's time: raise data.num_workers (now {self.loader.num_workers})"
            )

    def step(self, rows: np.ndarray, micro_batches: list[MicroBatch], interrupt: Interrupt) -> None:
        """Queue one optimizer step; `finish` waits for it and returns its losses.

        This function never waits for a GPU.

        Parameters
        ----------
        rows
            Rows of the training set in the global batch.
        micro_batches
            The micro-batches of this process.
        interrupt
            Tells whether a signal was received.
        """
        training, number = self.training, self.progress.step + len(self._queued)
        residues = int(self.data.lengths[rows].sum())
        structured = int(self.data.lengths[rows[self.data.has_structure[rows]]].sum())
        conditioned = step_uniform(training.seed, number) < training.self_conditioning

        self.gradient.zero()
        complete = True
        try:
            self._accumulate(micro_batches, residues, structured, conditioned)
        except (RuntimeError, MemoryError) as error:
            if not failures.is_out_of_memory(error):
                raise
            complete = False
            self._flag.fill_(failures.OUT_OF_MEMORY)
        if interrupt.requested:
            self.gradient.extra[2] = 1
        if self.world.is_main and self._save_due():
            self.gradient.extra[3] = 1
        self.gradient.sum_over(self.world)
        norm, lr = self.gradient.norm(), self._learning_rate(number)
        numbers = Readout(torch.cat([self.gradient.extra, norm[None]]))
        self._queued.append(_Queued(rows, residues, structured, lr, numbers))
        if complete:
            self._update(number, norm, lr)

    def _update(self, number: int, norm: torch.Tensor, lr: float) -> None:
        """Update the weights from the gradient, clipped, and the averaged weights.

        ``number`` is the index of the step, ``norm`` the norm of the gradient, and ``lr`` the
        learning rate.
        """
        training = self.training
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.gradient.clip(norm, training.max_grad_norm)
        self.writer.copied()
        self.optimizer.step()
        if self.start is not None:
            strength = min(lr * training.optimizer.weight_decay, 1.0)
            self.start.pull(strength, few=number < FEW_UNTIL * self.total_steps)
        decay = min(training.ema_decay, (2 + number) / (11 + number))
        torch._foreach_lerp_([*self.ema.parameters()], [*self.parameters], 1 - decay)

    def finish(self) -> dict[str, Any]:
        """Wait for the oldest queued step; return its losses, learning rate and gradient norm.

        Sets `stop_requested` or `save_requested` in all processes if one of them asked for it.

        Raises
        ------
        UserError
            If a loss or gradient is not finite, or a process was out of memory. The weights must
            then not be saved.
        """
        progress, queued = self.progress, self._queued.popleft()
        sequence, structure, stop, save, *flags, norm = queued.numbers.read()
        self._refuse(queued.rows, flags, norm)
        self.stop_requested = self.stop_requested or stop > 0
        self.save_requested = self.save_requested or save > 0
        progress.step += 1
        added = (sequence, structure, queued.residues, queued.structured)
        progress.sums = [a + b for a, b in zip(progress.sums, added, strict=True)]
        losses = self.loss_computer.mean(*added)
        number = {"step": progress.step, "epoch": progress.epoch + 1}
        return {**number, **losses, "lr": queued.lr, "grad_norm": norm}

    def _read(self, logger: RunLogger) -> None:
        """Wait for the oldest queued step and log it."""
        rows = self._queued[0].rows
        values = self.finish()
        now = time.monotonic()
        seconds, self._ended = now - self._ended, now
        self.progress.seconds += seconds
        values["residues_per_second"] = round(self.data.lengths[rows].sum() / seconds, 1)
        values["memory_bytes"] = memory_in_use(self.world.device)
        logger.step(values, self._where())

    @property
    def _flag(self) -> torch.Tensor:
        """Failure flag of this process (see `failures`), ``()``; a view into the gradient vector.

        The other processes read it after the sum over the processes.
        """
        return self.gradient.extra[4 + self.world.rank]

    def _accumulate(
        self, micro_batches: list[MicroBatch], residues: int, structured: int, conditioned: bool
    ) -> None:
        """Add the gradient, the loss sums and the flag of this process's micro-batches."""
        training = self.training
        sums, flag = self.gradient.extra[:2], self._flag
        for micro in micro_batches:
            sequence, structure = self.loss_computer(
                self.model, micro, conditioned=conditioned, label_dropout=training.label_dropout
            )
            loss = sequence.sum() / residues
            loss = loss + training.structure_weight * structure.sum() / max(structured, 1)
            loss.backward()
            sequence, structure = sequence.detach(), structure.detach()
            sums += torch.stack([sequence.sum(), structure.sum()])
            not_finite = ~torch.isfinite(sequence + structure)
            position = micro.start + 1 + not_finite.float().argmax()
            position = torch.where(not_finite.any(), position, 0)
            flag.copy_(torch.where(flag == 0, position.to(flag.dtype), flag))
        not_finite = ~torch.isfinite(self.gradient.norm())
        flag.copy_(torch.where((flag == 0) & not_finite, failures.GRADIENT, flag))

    def _close_epoch(self, epoch: int, logger: RunLogger, interrupt: Interrupt) -> None:
        """Validate if due, add the epoch to the history, and save if due.

        Raises
        ------
        Stopped
            If a signal is received during the validation, which is then repeated after a restart.
        UserError
            If the weights of the processes differ, or a loss is not finite.
        """
        training, progress = self.training, self.progress
        if not self.world.agree([*self.parameters, *self.ema.parameters()]):
            raise failures.diverged(f"the end of epoch {epoch + 1}")
        due = (epoch + 1) % training.validate_every == 0 or epoch + 1 == training.num_epochs
        validation = self.validate(interrupt) if due else None
        losses = self.loss_computer.mean(*progress.sums)
        number = {"epoch": epoch + 1, "step": progress.step}
        progress.history.append({**number, "train": losses, "validation": validation})
        progress.epoch, progress.sums = epoch + 1, [0.0] * 4
        logger.epoch(epoch + 1, progress.step, losses, memory_in_use(self.world.device))
        best = False
        if validation is not None:
            best = progress.best is None or validation["total"] < progress.best["total"]
            if best:
                progress.best = {**number, **validation}
            logger.validation({**number, **validation})
            if self.world.is_main:
                logger.samples(draw(self.ema, self.loss_computer.process, self.data), progress.step)
        messages = []
        if best and validation is not None:
            messages.append(f"💾 Saved the best model (validation loss: {validation['total']:.4f})")
        keep = (epoch + 1) % training.save_every == 0
        if keep:
            messages.append(f"💾 Saved checkpoint_epoch_{epoch + 1}.pth")
        if due or keep or self._save_due():
            self.save(logger, messages, best=best, epoch=epoch + 1 if keep else None)

    def validate(self, interrupt: Interrupt) -> dict[str, Any]:
        """Return the losses of the averaged weights on the validation peptides."""
        return validate(self.ema, self.loss_computer, self.loader, self.global_batch, interrupt)

    # ---- state ---------------------------------------------------------------------------------

    def _save_due(self) -> bool:
        """Return whether the last save was so long ago that another one is due."""
        return time.monotonic() - self.saved_at > SECONDS_BETWEEN_SAVES

    def save(
        self,
        logger: RunLogger,
        messages: Sequence[str] = (),
        *,
        best: bool = False,
        epoch: int | None = None,
    ) -> None:
        """Let the main process write the latest checkpoint in the background.

        The main process first waits until the previous checkpoint is written.

        Parameters
        ----------
        logger
            Log of the run.
        messages
            Lines for the log when the checkpoint is on the disk.
        best, epoch
            As in `Checkpoints.save`.
        """
        self.saved_at, self.save_requested = time.monotonic(), False
        if not self.world.is_main:
            return
        step = self.progress.step

        def report() -> None:
            logger.saved(step)
            for message in messages:
                logger.info(message)

        logger.sync()
        self.writer.start(self.state(), report, best=best, epoch=epoch)

    def state(self) -> dict[str, Any]:
        """Return the content of a checkpoint: all that the next step needs, and the description."""
        progress, training = self.progress, self.training
        last = progress.history[-1] if progress.history else None
        return {
            "model": self.model.state_dict(),
            "ema": self.ema.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": {
                **training.scheduler.model_dump(),
                "peak": training.optimizer.lr,
                "total_steps": self.total_steps,
                "last_lr": self._learning_rate(max(progress.step - 1, 0)),
            },
            **asdict(progress),
            "validation": last["validation"] if last and last["step"] == progress.step else None,
            "sampler": {
                "seed": training.seed,
                "global_batch": self.global_batch,
                "batches_of_epoch_done": progress.step - progress.epoch * self.steps_per_epoch,
            },
            "noise": {"seed": training.seed, "step": progress.step},
            "world_size": self.world.size,
            "timestamp": datetime.now(UTC).isoformat(timespec="seconds"),
            **({} if self.start is None else {"start": self.start.state_dict()}),
            **self.description,
        }

    def load(self, state: dict[str, Any]) -> None:
        """Restore a state that `state` returned."""
        self.model.load_state_dict(state["model"])
        self.ema.load_state_dict(state["ema"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.start is not None:
            self.start.load_state_dict(state["start"])
        names = Progress.__dataclass_fields__
        self.progress = Progress(**{name: state[name] for name in names})

    # ---- parts ---------------------------------------------------------------------------------

    def _learning_rate(self, step: int) -> float:
        scheduler = self.training.scheduler
        return learning_rate(
            step,
            self.total_steps,
            name=scheduler.name,
            peak=self.training.optimizer.lr,
            warmup_steps=scheduler.warmup_steps,
            min_lr=scheduler.min_lr,
        )

    def _refuse(self, rows: np.ndarray, flags: list[float], norm: float) -> None:
        """Raise in every process if the step failed in one of them."""
        if math.isfinite(norm) and not any(flags):
            return
        where = f"step {self.progress.step + 1} (epoch {self.progress.epoch + 1})"
        if failures.OUT_OF_MEMORY in flags:
            raise failures.out_of_memory(flags, where, self.training)
        rank_of = np.arange(len(rows)) // self.training.batch_size % self.world.size
        rows_of_rank = [rows[rank_of == rank] for rank in range(self.world.size)]
        raise failures.not_finite(flags, where, self.data, rows, rows_of_rank)

    def _where(self) -> str:
        """Return 'epoch i/N, step j/M'."""
        progress = self.progress
        return (
            f"Epoch {progress.epoch + 1}/{self.training.num_epochs}, "
            f"step {progress.step:,}/{self.total_steps:,}"
        )
