"""One process of a training: ``train(request)``.

If a training has one process, `structdiff.training.stage` calls ``train``. If it has several,
`structdiff.training.launch` makes torchrun start each of them as ``python -m
structdiff.training.worker REQUEST``, where REQUEST is the path of a file.

A restart does not help with an error that the user has to fix, such as a `UserError` or a full
disk. Therefore a process with such an error writes a message to a file next to the request, and
tells torchrun to end. The other processes, which may wait for this process in a collective
operation, end as soon as they see the file.
"""

import json
import os
import signal
import sys
import threading
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from structdiff import __version__
from structdiff.diffusion import JointProcess
from structdiff.model import Denoiser, spec
from structdiff.peptides import SPLITS
from structdiff.system.errors import UserError
from structdiff.system.files import explain, write_json, write_text
from structdiff.training import checkpoint, folder_lock, metrics, run_directory
from structdiff.training.dataset import TrainingSet
from structdiff.training.distributed import World, join, launched_by_torchrun
from structdiff.training.initialisation import hash_weights, initialise, read_start
from structdiff.training.interrupt import EXIT_STATUS, Interrupt, Stopped
from structdiff.training.logger import NullLogger, RunLogger, describe
from structdiff.training.trainer import Trainer

if TYPE_CHECKING:
    from structdiff.config import Config

__all__ = ["Request", "message_file", "train"]

USER_ERROR = 2
"""Exit status of a process after an error that the user has to fix, as of the command line."""

SECONDS_BETWEEN_LOOKS = 0.5
"""Seconds between two checks of whether a process has written a message."""

SECONDS_FOR_OTHERS = 5.0
"""Seconds that a process waits after it has written a message, so that the others end first."""


@dataclass(frozen=True)
class Request:
    """Arguments of a training, which all of its processes get.

    Attributes
    ----------
    config
        The configuration.
    peptides, structures
        Paths of ``peptides.parquet`` and of the structures' ``index.parquet`` (None: no
        structures).
    output_dir
        The training folder.
    resume
        Checkpoint to resume from; None for the last one in ``output_dir``.
    """

    config: "Config"
    peptides: Path
    structures: Path | None
    output_dir: Path
    resume: Path | None

    def write(self, path: Path) -> None:
        """Write the request to a JSON file, from which the processes read it."""
        request = {**vars(self), "config": self.config.model_dump(mode="json")}
        path.write_text(json.dumps(request, default=str), encoding="utf-8")  # paths as text

    @classmethod
    def read(cls, path: Path) -> "Request":
        """Read a request from a file that `write` wrote."""
        from structdiff.config import parse

        request = json.loads(path.read_text(encoding="utf-8"))
        config = parse(request.pop("config"), source=str(path))
        paths = {name: value and Path(value) for name, value in request.items()}
        return cls(config=config, **paths)


def train(request: Request) -> None:
    """Train in this process, together with the other processes of the training.

    If the training is finished already, only say so.

    Raises
    ------
    Stopped
        If a signal stopped the training; its state is saved.
    UserError
        If there is a problem with the input, the machine or the checkpoints, or the loss is not
        finite.
    """
    config, output_dir = request.config, request.output_dir
    with (
        Interrupt(watch_parent=launched_by_torchrun()) as interrupt,
        join() as world,
        ExitStack() as held,
    ):

        def prepare() -> tuple[Path | None, list[str]]:
            held.enter_context(folder_lock.hold(output_dir))
            return run_directory.prepare(
                config, request.peptides, request.structures, output_dir, request.resume
            )

        latest, notes = world.from_main(prepare)
        trainer = _make_trainer(config, output_dir, world)
        if latest is not None:
            trainer.load(checkpoint.read(latest))
        last_events = metrics.read(output_dir / "metrics.jsonl")[-1:]
        if trainer.finished and last_events and last_events[0]["event"] == "end":
            if world.is_main:
                _write_summary(trainer, config, output_dir)
                print(f"{output_dir}: trained already, {trainer.progress.epoch} epochs", flush=True)
            return
        progress = trainer.progress
        logger: RunLogger = NullLogger()
        if world.is_main:
            # -1: before the starting weights are validated as epoch 0, not even epoch 0 is done.
            epoch = progress.epoch if progress.history else -1
            logger = RunLogger(output_dir, progress.step, epoch)
        held.callback(logger.close)
        _announce(trainer, logger, config, notes, latest)
        trainer.run(logger, interrupt)
        _log_end(trainer, logger)
        if world.is_main:
            _write_summary(trainer, config, output_dir)


def _make_trainer(config: "Config", output_dir: Path, world: World) -> Trainer:
    """Return a trainer before its first step, with the same weights in every process.

    Raises `UserError` if the training or validation split has no peptides, or the model of
    ``training.init`` is missing, damaged or does not fit the configuration.
    """
    data = TrainingSet.open(output_dir / "arrays")
    for split, fractions in (("train", "val_fraction + test_fraction"), ("val", "val_fraction")):
        if len(data.rows(split)) == 0:
            raise UserError(
                f"split '{split}' has no peptides, of {len(data)} in all: change split.{fractions}"
            )
    diffusion = config.diffusion.model_dump(mode="json")
    process = JointProcess(**diffusion)
    sizes = spec(
        config.model.preset,
        data.conditions,
        process.sequence.width,
        process.structure.width,
        process.structure.inputs,
    )
    torch.manual_seed(config.training.seed)
    network = Denoiser(sizes)
    init = config.training.init
    if init is not None:
        initialise(network, data.conditions, read_start(init, config.model.preset, process))
    return Trainer(
        config.training,
        network,
        process,
        data,
        world,
        run_directory.checkpoints(config, output_dir),
        {
            "run": config.run,
            "config": config.model_dump(mode="json"),
            **data.conditions.to_json(),
            "lengths": data.lengths_by_labels("train"),
            "model_spec": asdict(sizes),
            "diffusion": diffusion,
            "identity": run_directory.read_json(output_dir / "identity.json")["settings"],
            "version": __version__,
            **({} if init is None else {"init": {"from": init, "sha256": hash_weights(init)}}),
        },
        num_workers=config.data.num_workers,
    )


def _announce(
    trainer: Trainer, logger: RunLogger, config: "Config", notes: list[str], latest: Path | None
) -> None:
    """Log the machine, the model and the data, warnings (``notes``) and the start of the run."""
    training, data, world = config.training, trainer.data, trainer.world
    logger.info(f"Starting StructDiff training: run {config.run}, version {__version__}")
    for note in notes:
        logger.warn(note)
    on_gpu = world.device.type == "cuda"
    device = torch.cuda.get_device_name(world.device) if on_gpu else "CPU, no GPU found"
    bfloat16 = trainer.loss_computer.dtype == torch.bfloat16
    precision = "bfloat16 with float32 geometry" if bfloat16 else "float32"
    logger.info(f"Processes: {world.size}, each on {device}; {precision}")
    logger.info(f"Model parameters: {trainer.num_parameters:,} (preset {config.model.preset})")
    factors = (
        f"{training.batch_size} × {training.gradient_accumulation_steps} × {training.num_gpus}"
    )
    names = "batch_size × gradient_accumulation_steps × num_gpus"
    if training.num_nodes > 1:
        factors, names = f"{factors} × {training.num_nodes}", f"{names} × num_nodes"
    logger.info(f"Effective batch size: {trainer.global_batch} = {factors} ({names})")
    rows = {split: data.rows(split) for split in ("train", "val")}
    structured = {split: int(data.has_structure[rows[split]].sum()) for split in rows}
    logger.info(
        f"Peptides: {len(rows['train']):,} to train on ({structured['train']:,} with a structure, "
        f"the others train the sequence alone), {len(rows['val']):,} to validate on "
        f"({structured['val']:,} with a structure); {100 * trainer.utilization():.1f} % of all "
        "positions are residues, the rest is padding"
    )
    warmup = training.scheduler.warmup_steps
    if trainer.total_steps < 2 * warmup:
        logger.warn(
            f"there are only {trainer.total_steps:,} steps in all, and the learning rate rises for "
            f"{warmup:,} (training.scheduler.warmup_steps): lower the effective batch size or "
            "raise training.num_epochs"
        )
    progress = trainer.progress
    if latest is not None:
        logger.info(f"Resumed from {latest} at step {progress.step:,}, epoch {progress.epoch} done")
        path = latest.parents[1] / "metrics.jsonl"
        last = max((x["step"] for x in metrics.read(path) if x["event"] == "step"), default=0)
        if last < progress.step:
            logger.warn(
                f"{path} has no step after {last:,}, though the checkpoint is of step "
                f"{progress.step:,}: the file was cut off, and the curves lack these steps"
            )
    logger.event(
        "start",
        step=progress.step,
        world_size=world.size,
        parameters=trainer.num_parameters,
        device=device,
        effective_batch=trainer.global_batch,
        num_epochs=training.num_epochs,
        steps_per_epoch=trainer.steps_per_epoch,
        total_steps=trainer.total_steps,
        version=__version__,
    )


def _log_end(trainer: Trainer, logger: RunLogger) -> None:
    """Log that the training is finished, and flush the log before the summary is written."""
    progress = trainer.progress
    assert progress.best is not None, "the last epoch is always validated"
    logger.event("end", step=progress.step, epoch=progress.epoch, best=progress.best)
    logger.info(
        f"Training finished: {progress.epoch} epochs, {progress.step:,} steps, "
        f"{progress.seconds:,.0f} s; best validation: epoch {progress.best['epoch']}, "
        f"{describe(progress.best)}"
    )
    logger.sync()


def _write_summary(trainer: Trainer, config: "Config", output_dir: Path) -> None:
    """Write ``summary.json``, unless it has the same content already."""
    progress, data = trainer.progress, trainer.data
    summary = {
        "run": config.run,
        "epochs": progress.epoch,
        "steps": progress.step,
        "seconds": round(progress.seconds, 1),
        "best": progress.best,
        "last": progress.history[-1],
        "parameters": trainer.num_parameters,
        "effective_batch": trainer.global_batch,
        "peptides": {split: len(data.rows(split)) for split in SPLITS},
        "with_structure": int(data.has_structure.sum()),
        "position_utilization": round(trainer.utilization(), 4),
        "version": __version__,
        **{key: trainer.description[key] for key in ("init",) if key in trainer.description},
    }
    path = output_dir / "summary.json"
    try:
        unchanged = run_directory.read_json(path) == summary
    except UserError:  # damaged
        unchanged = False
    if not unchanged:
        write_json(path, summary)


def message_file(request: Path) -> Path:
    """Return the path, next to the request file, of a process's message for the user."""
    return request.with_suffix(".error")


def _end_with(message: Path, failed: threading.Event) -> None:
    """Wait until the file ``message`` exists, then end this process, unless it has ``failed``."""
    while not message.exists():
        time.sleep(SECONDS_BETWEEN_LOOKS)
    if not failed.is_set():
        os._exit(USER_ERROR)  # the main thread may wait for the other one in a collective


def _main(path: Path) -> None:
    """Train in a process that torchrun has started, with the request in the file ``path``.

    Exits with `USER_ERROR` after an error that the user has to fix, and with `EXIT_STATUS` if a
    signal stopped it.
    """
    message = message_file(path)
    failed = threading.Event()
    threading.Thread(target=_end_with, args=(message, failed), daemon=True).start()
    try:
        train(Request.read(path))
    except (UserError, OSError) as error:
        # A file may be missing because another process has ended: torchrun restarts them all.
        text = None if isinstance(error, FileNotFoundError) else explain(error)
        if text is None:
            raise
        failed.set()
        write_text(message, text)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.kill(os.getppid(), signal.SIGTERM)  # torchrun ends the others and restarts none
        # The others end first: a collective prints errors if one of its processes has ended.
        time.sleep(SECONDS_FOR_OTHERS)
        sys.exit(USER_ERROR)
    except Stopped:
        sys.exit(EXIT_STATUS)


if __name__ == "__main__":
    _main(Path(sys.argv[1]))
