"""The training stage: ``run(config, peptides, structures, output_dir, …)``.

One process trains in line; several (``training.num_gpus`` × ``training.num_nodes``) are started
through torchrun and each comes back here. What there is in ``output_dir`` decides what happens: a
finished run is reported, an unfinished one goes on from its last checkpoint, and one that was
trained with other settings or data is set aside.
"""

from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from structdiff import __version__
from structdiff.diffusion import JointProcess
from structdiff.model import Denoiser, spec
from structdiff.system import gpus
from structdiff.system.errors import UserError
from structdiff.training import checkpoint, folder_lock, launch, metrics, run_directory
from structdiff.training.adopt import adopt
from structdiff.training.dataset import SPLITS, TrainingSet
from structdiff.training.distributed import World, join, launched_by_torchrun
from structdiff.training.interrupt import EXIT_STATUS, Interrupt
from structdiff.training.logger import RunLogger, describe
from structdiff.training.trainer import Trainer

if TYPE_CHECKING:
    from structdiff.config import Config

__all__ = ["run"]


def run(
    config: "Config",
    peptides: Path,
    structures: Path | None,
    output_dir: Path,
    *,
    num_gpus: int | None = None,
    resume: Path | None = None,
    wait: bool = False,
) -> None:
    """Train, or go on training, in ``output_dir``.

    Parameters
    ----------
    config
        The configuration.
    peptides
        ``peptides.parquet`` of the peptides stage.
    structures
        ``index.parquet`` of the structures stage; None trains on sequences alone, as does
        ``data.use_predicted_structures: false``.
    output_dir
        The training folder; ``summary.json`` is written last.
    num_gpus
        Processes on this node, instead of ``training.num_gpus``. The global batch stays that of
        the configuration.
    resume
        Checkpoint to go on from, instead of the last one of ``output_dir``.
    wait
        Whether to wait for another trainer of ``output_dir`` to end, rather than to be refused.

    Raises
    ------
    UserError
        If the input, the machine or the checkpoints are at fault; if the loss is not finite.
    SystemExit
        With `interrupt.EXIT_STATUS` (75) if a signal stopped the training; its state is saved.
    """
    for path in (peptides, structures, resume):
        if path is not None and not path.is_file():
            raise UserError(f"{path}: no such file")
    if not config.data.use_predicted_structures:
        structures = None
    processes = num_gpus or config.training.num_gpus
    if wait:
        folder_lock.wait(output_dir)
    if launched_by_torchrun():
        finished = _train(config, peptides, structures, output_dir, resume)
    elif processes * config.training.num_nodes > 1:
        request = launch.Request(config, peptides, structures, output_dir, resume)
        with gpus.lease(processes):
            finished = launch.processes(request, processes, config.training.num_nodes)
    else:
        with gpus.lease(1):
            finished = _train(config, peptides, structures, output_dir, resume)
    if not finished:
        raise SystemExit(EXIT_STATUS)


def _train(
    config: "Config",
    peptides: Path,
    structures: Path | None,
    output_dir: Path,
    resume: Path | None,
) -> bool:
    """Be one process of a training; return whether it is finished."""
    with (
        Interrupt(watch_parent=launched_by_torchrun()) as interrupt,
        join() as world,
        ExitStack() as held,
    ):

        def prepare() -> tuple[Path | None, list[str]]:
            held.enter_context(folder_lock.hold(output_dir))
            return _prepare(config, peptides, structures, output_dir, resume)

        latest, notes = world.from_first(prepare)
        trainer = _trainer(config, output_dir, world)
        if latest is not None:
            trainer.load(checkpoint.read(latest))
        ended = metrics.read(output_dir / "metrics.jsonl")[-1:]
        if trainer.finished and ended and ended[0]["event"] == "end":
            if world.first:
                _summarise(trainer, config, output_dir)
                print(f"{output_dir}: trained already, {trainer.progress.epoch} epochs", flush=True)
            return True
        progress = trainer.progress
        journal = RunLogger(output_dir, progress.step, progress.epoch) if world.first else None
        if journal:
            _announce(trainer, journal, config, notes, latest)
        finished = trainer.run(journal, interrupt)
        if journal:
            if finished:
                _finish(trainer, journal, config, output_dir)
            journal.close()
        return finished


def _prepare(
    config: "Config",
    peptides: Path,
    structures: Path | None,
    output_dir: Path,
    resume: Path | None,
) -> tuple[Path | None, list[str]]:
    """Make the folder ready; return the checkpoint to go on from, if any, and what to tell."""
    from structdiff.config import dump

    content = run_directory.ensure_arrays(peptides, structures, output_dir / "arrays")
    wanted = {"settings": run_directory.identity(config, content), "resumed": None}
    known = run_directory.read_json(output_dir / "identity.json") or {
        "settings": {},
        "resumed": None,
    }
    changes = run_directory.difference(known["settings"], wanted["settings"])
    trained = metrics.epochs_validated(output_dir / "metrics.jsonl")
    if trained > config.training.num_epochs:
        changes.append(f"training.num_epochs: {trained} trained → {config.training.num_epochs}")
    checkpoints = _checkpoints(config, output_dir)
    notes = []
    if resume is not None and not changes and resume.resolve() == checkpoints.latest.resolve():
        resume = None  # what happens anyway
    if resume is not None and (changes or known["resumed"] != str(resume.resolve())):
        wanted["resumed"] = str(resume.resolve())
        notes += adopt(resume, wanted["settings"], checkpoints, output_dir)
    elif changes and run_directory.has_run(output_dir):
        aside = run_directory.set_aside(output_dir)
        notes.append(
            f"what was trained here before used other settings or data; it is now in {aside}, and "
            f"training begins afresh ({'; '.join(changes)})"
        )
    else:
        wanted["resumed"] = known["resumed"]
    (output_dir / "config.yaml").write_text(dump(config), encoding="utf-8")
    run_directory.write_json(output_dir / "identity.json", wanted)
    latest, problems = checkpoints.newest()
    return latest, notes + [f"{problem}; using {latest}" for problem in problems]


def _checkpoints(config: "Config", output_dir: Path) -> checkpoint.Checkpoints:
    return checkpoint.Checkpoints(output_dir / "checkpoints", config.training.keep_checkpoints)


def _trainer(config: "Config", output_dir: Path, world: World) -> Trainer:
    """Build the trainer of a fresh run: the same weights in every process."""
    data = TrainingSet.open(output_dir / "arrays")
    for split, share in (("train", "val_fraction + test_fraction"), ("val", "val_fraction")):
        if len(data.rows(split)) == 0:
            raise UserError(
                f"there are no peptides to {split} on, of {len(data)} in all: change split.{share}"
            )
    diffusion = config.diffusion.model_dump(mode="json")
    process = JointProcess(**diffusion)
    sizes = spec(
        config.model.preset, data.conditions, process.sequence_width, process.structure_width
    )
    torch.manual_seed(config.training.seed)
    return Trainer(
        config.training,
        Denoiser(sizes),
        process,
        data,
        world,
        _checkpoints(config, output_dir),
        {
            "run": config.run,
            "config": config.model_dump(mode="json"),
            **asdict(data.conditions),
            "lengths": data.lengths_by_labels("train"),
            "model_spec": asdict(sizes),
            "diffusion": diffusion,
            "identity": run_directory.read_json(output_dir / "identity.json")["settings"],
            "version": __version__,
        },
        num_workers=config.data.num_workers,
    )


def _announce(
    trainer: Trainer, journal: RunLogger, config: "Config", notes: list[str], latest: Path | None
) -> None:
    """Tell what is about to be trained, on what and how."""
    training, data, world = config.training, trainer.data, trainer.world
    journal.say(f"Starting StructDiff training: run {config.run}, version {__version__}")
    for note in notes:
        journal.warn(note)
    on_gpu = world.device.type == "cuda"
    where = torch.cuda.get_device_name(world.device) if on_gpu else "CPU, no GPU found"
    precision = "bfloat16 with float32 geometry" if trainer.scorer.bfloat16 else "float32"
    journal.say(f"Processes: {world.size}, each on {where}; {precision}")
    journal.say(f"Model parameters: {trainer.num_parameters:,} (preset {config.model.preset})")
    factors = (
        f"{training.batch_size} × {training.gradient_accumulation_steps} × {training.num_gpus}"
    )
    names = "batch_size × gradient_accumulation_steps × num_gpus"
    if training.num_nodes > 1:
        factors, names = f"{factors} × {training.num_nodes}", f"{names} × num_nodes"
    journal.say(f"Effective batch size: {trainer.global_batch} = {factors} ({names})")
    sizes = {split: data.rows(split) for split in ("train", "val")}
    known = {split: int(data.has_structure[rows].sum()) for split, rows in sizes.items()}
    journal.say(
        f"Peptides: {len(sizes['train']):,} to train on ({known['train']:,} with a structure, the "
        f"others train the sequence alone), {len(sizes['val']):,} to validate on "
        f"({known['val']:,} with a structure); {100 * trainer.utilization():.1f} % of all "
        "positions are residues, the rest is padding"
    )
    if latest is not None:
        progress = trainer.progress
        journal.say(f"Resumed from {latest} at step {progress.step:,}, epoch {progress.epoch} done")
    journal.start(
        {
            "step": trainer.progress.step,
            "world_size": world.size,
            "parameters": trainer.num_parameters,
            "device": where,
            "effective_batch": trainer.global_batch,
            "num_epochs": training.num_epochs,
            "steps_per_epoch": trainer.steps_per_epoch,
            "total_steps": trainer.total_steps,
            "version": __version__,
        }
    )


def _finish(trainer: Trainer, journal: RunLogger, config: "Config", output_dir: Path) -> None:
    """Tell how it ended; write the summary last."""
    progress = trainer.progress
    journal.end({"step": progress.step, "epoch": progress.epoch, "best": progress.best})
    journal.say(
        f"Training finished: {progress.epoch} epochs, {progress.step:,} steps, "
        f"{progress.seconds:,.0f} s; best validation: epoch {progress.best['epoch']}, "
        f"{describe(progress.best)}"
    )
    journal.sync()
    _summarise(trainer, config, output_dir)


def _summarise(trainer: Trainer, config: "Config", output_dir: Path) -> None:
    """Write ``summary.json``, unless the same stands there already."""
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
    }
    path = output_dir / "summary.json"
    if run_directory.read_json(path) != summary:
        run_directory.write_json(path, summary)
