"""Training loop, with the same result for any number of processes and restarts.

``Trainer(settings, …).run(logger, interrupt)`` trains to the end, or raises `Stopped` once its
state is saved.

The global batch of a step is cut into contiguous micro-batches, which are distributed over the
processes. The loss of a micro-batch is a sum over its residues, divided by the number of residues
of the *global* batch (for the structure loss: of its residues with a structure). A process adds the
gradients of its micro-batches, and one all-reduce sums over the processes. The noise of a peptide
depends only on the seed, the step and the peptide's position in the global batch. Therefore the
same global batch gives the same losses and weights, except for rounding, for any number of
processes and accumulation steps. What a resumed run computes in a step depends only on the
checkpoint, the seed and the number of the step.
"""

import math
import time
from collections import deque
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from structdiff.diffusion import JointProcess, step_uniform
from structdiff.model import Denoiser
from structdiff.system.errors import UserError
from structdiff.system.gpus import is_out_of_memory
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
"""Age of the last checkpoint, in seconds, after which another one is saved."""

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
        Four sums over the current epoch: the sequence loss, the structure loss, the number of
        residues, and the number of residues with a structure.
    best
        ``epoch``, ``step`` and losses of the validation with the lowest total loss so far; None
        before the first validation.
    history
        For each epoch done: ``epoch``, ``step``, and the losses ``train`` and ``validation`` (None
        if not validated). The starting weights of ``training.init`` are epoch 0, with ``train``
        None.
    seconds
        Time spent on training steps, summed over all starts of the run.
    """

    step: int = 0
    epoch: int = 0
    sums: list[float] = field(default_factory=lambda: [0.0] * 4)
    best: dict[str, Any] | None = None
    history: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0


@dataclass(frozen=True)
class _Queued:
    """An optimizer step that the device may still be computing.

    Attributes
    ----------
    rows
        Rows of the training set in the global batch.
    residues, structured
        Number of residues of the global batch, and number of these residues in peptides that have a
        structure.
    lr
        Learning rate of the step.
    numbers
        The sums over the processes in ``FlatGradient.extra``: sequence loss, structure loss, number
        of processes that asked to stop, number that asked to save, and the failure flag of each
        process. The norm of the gradient follows.
    """

    rows: np.ndarray
    residues: int
    structured: int
    lr: float
    numbers: Readout


class Trainer:
    """Training loop of one run, as one process of a `World` executes it.

    Parameters
    ----------
    training
        Section ``training`` of the configuration.
    model
        The network; moved to the world's device. All processes start with the main process's
        weights.
    process
        The noise processes.
    data
        The training set.
    world
        The process group.
    checkpoints
        The checkpoints of the run, which the main process writes.
    description
        Values to add to each checkpoint, which describe the run: configuration, labels, sizes of
        the network, noise processes and others.
    num_workers
        Number of threads that prepare the next micro-batches; 0 prepares them in the training loop.
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
        self.progress = Progress()
        self.global_batch = training.effective_batch
        rows = data.epoch_rows("train", training.structure_repeats)
        self.steps_per_epoch = math.ceil(len(rows) / self.global_batch)
        self.total_steps = self.steps_per_epoch * training.num_epochs

    @property
    def num_parameters(self) -> int:
        """Number of parameters of the model."""
        return sum(parameter.numel() for parameter in self.parameters)

    def utilization(self) -> float:
        """Return the share of residues, 0–1, among all positions of epoch 0; others are pads."""
        return self.loader.utilization(self._plan(0))

    def _plan(self, epoch: int) -> list[np.ndarray]:
        """Return the rows of each global batch of an epoch; epochs are counted from 0."""
        training = self.training
        return self.data.global_batches(
            "train", self.global_batch, training.seed, epoch, training.structure_repeats
        )

    @property
    def finished(self) -> bool:
        """Whether all epochs are done."""
        return self.progress.epoch >= self.training.num_epochs

    def run(self, logger: RunLogger, interrupt: Interrupt) -> None:
        """Train until all epochs are done.

        Parameters
        ----------
        logger
            Log of the run; a `NullLogger` in all processes except the main process.
        interrupt
            Tells whether a signal was received.

        Raises
        ------
        Stopped
            If any process was asked to stop; the state is saved.
        UserError
            If a loss or gradient is not finite, the weights of the processes differ, or there is
            too little memory or disk space.
        """
        try:
            if self.start is not None and not self.progress.history:
                self._validate_start(self.start, logger, interrupt)
            while not self.finished:
                epoch = self.progress.epoch
                logger.info(f"🚀 Epoch {epoch + 1}/{self.training.num_epochs}")
                self._train_epoch(epoch, logger, interrupt)
                self._close_epoch(epoch, logger, interrupt)
            last = self.progress.history[-1]
            if last["validation"] is None:  # num_epochs was lowered
                validation = self.validate(interrupt)
                number = {"epoch": last["epoch"], "step": self.progress.step}
                last |= {**number, "validation": validation}
                self.save(logger, best=self._note_validation(number, validation, logger))
            self.writer.wait()
        except Stopped:
            self.save(logger)
            self.writer.wait()
            cause = interrupt.name or "a signal to another process"
            logger.event("stop", step=self.progress.step, cause=cause)
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
        """Validate the starting weights as epoch 0, and save them as a checkpoint.

        They are validated before and after `fit_output`, whose change of the weights is kept if it
        lowers the validation loss.
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
        """Train the rest of an epoch (counted from 0), and save a checkpoint when one is due.

        Raises `Stopped` after a signal, without saving.
        """
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
        """Queue one optimizer step on the device; `finish` waits for it and returns its losses.

        This method never waits for a GPU.

        Parameters
        ----------
        rows
            Rows of the training set in the global batch, ``(global batch,)``.
        micro_batches
            This process's micro-batches of the global batch.
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
            if not is_out_of_memory(error):
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
            try:
                self._update(number, norm, lr)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                where = f"the update of the weights in step {number + 1}"
                raise failures.out_of_memory(self.world.rank, where, training) from error

    def _update(self, number: int, norm: torch.Tensor, lr: float) -> None:
        """Clip the gradient, update the weights in the step ``number``, then the averaged ones."""
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
        current: list[torch.Tensor] = [*self.parameters]
        if self.start is not None:
            current = self.start.between()
        torch._foreach_lerp_([*self.ema.parameters()], current, 1 - decay)

    def finish(self) -> dict[str, Any]:
        """Wait for the oldest queued step and add it to the progress; return its values.

        If any process asked in this step to stop or to save, `stop_requested` or `save_requested`
        is set, in all processes.

        Returns
        -------
        dict[str, Any]
            ``step`` and ``epoch`` (both from 1), the losses by name, ``lr`` and ``grad_norm``
            (before clipping).

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
        """Wait for the oldest queued step; log it with its speed and the memory in use."""
        rows = self._queued[0].rows
        values = self.finish()
        now = time.monotonic()
        seconds, self._ended = now - self._ended, now
        self.progress.seconds += seconds
        values["residues_per_second"] = round(self.data.lengths[rows].sum() / seconds, 1)
        values["memory_bytes"] = memory_in_use(self.world.device)
        progress = self.progress
        logger.step(
            values,
            f"Epoch {progress.epoch + 1}/{self.training.num_epochs}, "
            f"step {progress.step:,}/{self.total_steps:,}",
        )

    @property
    def _flag(self) -> torch.Tensor:
        """Failure flag of this process (see `failures`), a scalar in the gradient vector."""
        return self.gradient.extra[4 + self.world.rank]

    def _accumulate(
        self, micro_batches: list[MicroBatch], residues: int, structured: int, conditioned: bool
    ) -> None:
        """Add gradients and loss sums of this process's micro-batches to the gradient vector.

        The failure flag is set if a loss or the gradient is not finite. ``residues`` and
        ``structured`` are as in `_Queued`; ``conditioned`` is whether to use self-conditioning.
        """
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
        """End an epoch (counted from 0): validate and save if due, and add it to the history.

        Raises `Stopped` if a signal is received during the validation, which is repeated when the
        run is resumed.
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
        best = validation is not None and self._note_validation(number, validation, logger)
        messages = []
        if best and validation is not None:
            messages.append(f"💾 Saved the best model (validation loss: {validation['total']:.4f})")
        keep = (epoch + 1) % training.save_every == 0
        if keep:
            messages.append(f"💾 Saved checkpoint_epoch_{epoch + 1}.pth")
        if due or keep or self._save_due():
            self.save(logger, messages, best=best, epoch=epoch + 1 if keep else None)

    def _note_validation(
        self, number: dict[str, int], validation: dict[str, Any], logger: RunLogger
    ) -> bool:
        """Log a validation and samples of the model; return whether it is the best one so far."""
        progress = self.progress
        best = progress.best is None or validation["total"] < progress.best["total"]
        if best:
            progress.best = {**number, **validation}
        logger.validation({**number, **validation})
        if self.world.is_main:
            logger.samples(draw(self.ema, self.loss_computer.process, self.data), progress.step)
        return best

    def validate(self, interrupt: Interrupt) -> dict[str, Any]:
        """Validate the averaged weights, as `structdiff.training.validation.validate` does."""
        return validate(self.ema, self.loss_computer, self.loader, self.global_batch, interrupt)

    # ---- state ---------------------------------------------------------------------------------

    def _save_due(self) -> bool:
        """Return whether the last save is more than `SECONDS_BETWEEN_SAVES` ago."""
        return time.monotonic() - self.saved_at > SECONDS_BETWEEN_SAVES

    def save(
        self,
        logger: RunLogger,
        messages: Sequence[str] = (),
        *,
        best: bool = False,
        epoch: int | None = None,
    ) -> None:
        """Start to write the current state as the latest checkpoint, in the background.

        Only the main process writes; it first waits until the previous checkpoint is written.

        Parameters
        ----------
        logger
            Log of the run.
        messages
            Messages to log when the checkpoint is on the disk.
        best
            Whether to write the state also as the best checkpoint.
        epoch
            Number N of the ``checkpoint_epoch_N.pth`` to write as well; None for none.

        Raises
        ------
        UserError
            If the previous checkpoint could not be written.
        """
        self.saved_at, self.save_requested = time.monotonic(), False
        if not self.world.is_main:
            return
        step = self.progress.step

        def report() -> None:
            logger.event("save", step=step)
            for message in messages:
                logger.info(message)

        logger.sync()
        self.writer.start(self.state(), report, best=best, epoch=epoch)

    def state(self) -> dict[str, Any]:
        """Return the content of a checkpoint: the training state and the description."""
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
        """Restore the content of a checkpoint, which the method `state` returned."""
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
        """Raise a `UserError`, in every process, if a step failed in any process.

        ``rows`` are the global batch of the step, ``flags`` the failure flags of all processes, and
        ``norm`` is the norm of the gradient.
        """
        if math.isfinite(norm) and not any(flags):
            return
        where = f"step {self.progress.step + 1} (epoch {self.progress.epoch + 1})"
        if failures.OUT_OF_MEMORY in flags:
            rank = flags.index(failures.OUT_OF_MEMORY)
            raise failures.out_of_memory(rank, where, self.training)
        rank_of = np.arange(len(rows)) // self.training.batch_size % self.world.size
        rows_of_rank = [rows[rank_of == rank] for rank in range(self.world.size)]
        raise failures.not_finite(flags, where, self.data, rows, rows_of_rank)
