"""Checks of a machine and a configuration, with remedies: ``structdiff doctor``.

``judge(machine, config)`` turns the facts that `structdiff.doctor.facts` collects into `Check`
results, with a remedy for each problem. ``run(config, directory)`` prints the results and returns
whether the pipeline can run here. Nothing is changed or downloaded, and the network is not used.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from structdiff.doctor.facts import Folder, Machine, Scheduler, look, names_a_path
from structdiff.system.errors import UserError

if TYPE_CHECKING:
    from structdiff.config import Config

__all__ = ["Check", "judge", "judge_inputs", "run"]

TABLE = "peptides"
"""Subject of the checks of the tables of peptides."""

GIB = 2**30
PYTHON = (3, 11)

STATE_BYTES = 16
"""Bytes per parameter in a checkpoint: weight, averaged weight and AdamW's two moments, float32."""
OTHER_CHECKPOINTS = 4
"""Checkpoints in addition to the periodic ones: latest, previous, best and the selected one."""
SPARE = 1 * GIB
"""Disk space in bytes for everything but checkpoints: logs, tables, designs and the report."""


@dataclass(frozen=True)
class Check:
    """The result of one check.

    Attributes
    ----------
    subject
        What is checked.
    state
        ``works`` if there is no problem, ``note`` if there is a problem but the pipeline can run,
        ``missing`` if the pipeline cannot run.
    finding
        What was found.
    remedy
        What to do; empty if there is nothing to do.
    """

    subject: str
    state: Literal["works", "note", "missing"]
    finding: str
    remedy: str = ""


def run(config: "Config | None", directory: Path) -> bool:
    """Check this machine, print the results, and return whether the pipeline can run here.

    Parameters
    ----------
    config
        Configuration of the run; None to check what every run needs.
    directory
        Folder in which the workflow would be started; relative paths in the configuration start
        in it.
    """
    import typer

    signs = {"works": ("✓", "green"), "note": ("–", "yellow"), "missing": ("✗", "red")}
    machine = look(config, directory)
    checks = list(judge(machine, config, directory))
    if config is not None:
        checks += judge_inputs(config, directory, machine)
    width = max(len(check.subject) for check in checks)
    for check in checks:
        sign, color = signs[check.state]
        typer.secho(f"{sign} {check.subject:{width}}  ", fg=color, nl=False)
        typer.echo(check.finding)
        if check.remedy:
            typer.echo(f"{'':{width + 4}}→ {check.remedy}")
    missing = [check.subject for check in checks if check.state == "missing"]
    what = f"run '{config.run}'" if config else "the pipeline"
    if missing:
        typer.echo(f"\n{what} cannot run here yet: {', '.join(missing)}")
    else:
        absent = any(check.subject == TABLE and check.state == "note" for check in checks)
        typer.echo(f"\n{what} can run here" + (", once its table is there" if absent else ""))
    return not missing


def judge(
    machine: Machine, config: "Config | None" = None, directory: Path = Path()
) -> Iterator[Check]:
    """Yield the result of each check of a machine; the other arguments are as for `run`."""
    yield _judge_python(machine)
    yield _judge_packages(machine)
    yield _judge_torch(machine)
    yield _judge_gpus(machine, config)
    yield Check(
        "processor", "works", f"{machine.cpus} cores, {machine.memory / GIB:.0f} GiB memory"
    )
    yield _judge_scheduler(machine.scheduler)
    yield _judge_structures(machine, config, directory)
    yield _judge_folder("disk", machine.results, _bytes_needed(config))
    yield _judge_cache(machine)


def judge_inputs(config: "Config", directory: Path, machine: Machine) -> Iterator[Check]:
    """Yield the result of the check of each table of peptides, and of the starting weights.

    The starting weights are not checked if torch cannot be imported.
    """
    from structdiff.peptides.formats import read_table
    from structdiff.peptides.stage import inputs

    for key, path in inputs(config.data):
        if not (directory / path).exists():
            remedy = f"put the table there or correct {key}; the demo's is made by the workflow"
            yield Check(TABLE, "note", f"{path} is not here yet", remedy)
            continue
        try:
            table = read_table(directory / path, config.data, key)
        except UserError as error:
            yield Check(TABLE, "missing", str(error))
        else:
            yield Check(TABLE, "works", f"{path}, {len(table.sequences):,} rows can be read")
    init = config.training.init
    if init is not None and machine.torch.version is not None:
        from structdiff.training.initialisation import RELEASED, read_fitting_start

        start = init if init == RELEASED else str(directory / init)
        training = config.training.model_copy(update={"init": start})
        try:
            read_fitting_start(config.model_copy(update={"training": training}))
        except UserError as error:
            yield Check("start", "missing", str(error))
        else:
            yield Check("start", "works", f"training.init: {init} fits the configuration")


def _judge_python(machine: Machine) -> Check:
    version = ".".join(map(str, machine.python))
    if machine.python[:2] < PYTHON:
        wanted = ".".join(map(str, PYTHON))
        remedy = f"install Python ≥ {wanted} and make the environment again: "
        remedy += "make install PYTHON=/path/to/python3"
        return Check("python", "missing", f"{version}, but {wanted} is needed", remedy)
    return Check("python", "works", version)


def _judge_packages(machine: Machine) -> Check:
    absent = [name for name, version in machine.packages.items() if version is None]
    remedy = "make install, or pip install -r requirements.lock in this environment"
    faults = [f"{name} is not installed" for name in absent]
    faults += [f"{name} {versions}" for name, versions in machine.wrong.items()]
    if faults:
        return Check("packages", "missing", "; ".join(faults), remedy)
    if not machine.packages:
        finding = "structdiff itself is not installed, so what it requires is not known here"
        return Check("packages", "note", finding, "pip install --no-deps -e .")
    return Check("packages", "works", f"all {len(machine.packages)} required ones are here")


def _judge_torch(machine: Machine) -> Check:
    torch = machine.torch
    if torch.version is None:
        return Check(
            "torch",
            "missing",
            f"cannot be imported: {torch.error}",
            "install it again: pip install --force-reinstall torch "
            "(https://pytorch.org says which build fits your driver)",
        )
    build = f"built for CUDA {torch.cuda}" if torch.cuda else "a build without CUDA"
    found = f"{torch.version}, {build}"
    if torch.error:
        return Check(
            "torch",
            "missing",
            f"{found}; does not compute: {torch.error}",
            "install a build that fits the driver and the GPU (https://pytorch.org), "
            "or hide the GPUs: export CUDA_VISIBLE_DEVICES=",
        )
    if machine.gpus and not torch.devices:
        return Check(
            "torch",
            "missing",
            f"{found}; it sees none of the {len(machine.gpus)} GPUs, so nothing that needs torch "
            "starts",
            "install a build for CUDA that fits the driver (https://pytorch.org), or compute on "
            "the CPU: export CUDA_VISIBLE_DEVICES=",
        )
    return Check("torch", "works", found)


def _judge_gpus(machine: Machine, config: "Config | None") -> Check:
    wanted = config.training.num_gpus if config else 1
    if not machine.gpus:
        finding = "none, all runs on the CPU"
        if config is not None and config.model.preset in ("tiny", "small"):
            return Check("GPU", "works", finding)
        remedy = "fine for the presets tiny and small; base and large want a GPU"
        return Check("GPU", "note", finding, remedy)
    names = ", ".join(
        f"{gpu.name} ({(gpu.memory_total or 0) / GIB:.0f} GiB)" for gpu in machine.gpus
    )
    busy = [gpu for gpu in machine.gpus if (gpu.memory_used or 0) > 0.5 * (gpu.memory_total or GIB)]
    if machine.torch.devices and machine.torch.devices < wanted:
        usable = machine.torch.devices
        finding = f"{names}; training.num_gpus asks for {wanted}, usable are {usable}"
        return Check("GPU", "missing", finding, f"set training.num_gpus to {usable}")
    if busy:
        finding = f"{names}; {len(busy)} of them are more than half full"
        return Check("GPU", "note", finding, "see who uses them: nvidia-smi")
    return Check("GPU", "works", names)


def _judge_scheduler(scheduler: Scheduler) -> Check:
    if not scheduler.installed:
        return Check("scheduler", "works", "this machine alone: --profile profiles/local")
    if scheduler.error:
        finding = f"sbatch is installed, but SLURM does not answer: {scheduler.error}"
        remedy = "use --profile profiles/local, or ask the site's administrators"
        return Check("scheduler", "note", finding, remedy)
    names = ", ".join(scheduler.partitions)
    return Check("scheduler", "works", f"SLURM with partition {names}: --profile profiles/slurm")


def _judge_structures(machine: Machine, config: "Config | None", directory: Path) -> Check:
    from structdiff.config import Structures
    from structdiff.structures.predictors import input_paths, predictor_class

    hub = config.structures.hub if config else Structures().esmfold
    if config and hub is None:
        kind = "a baseline that needs nothing" if predictor_class(config).is_baseline else "usable"
        paths = input_paths(config)
        for key, path in paths.items():
            if not (directory / path).exists():
                finding = f"{directory / path}: no such file or folder"
                return Check("structures", "missing", finding, f"set {key} to where it is")
        origin = f"from {', '.join(paths.values())}" if paths else kind
        return Check("structures", "works", f"'{config.structures.predictor}', {origin}")
    assert hub is not None
    name, model = hub.title, hub.model
    if machine.weights is not None:
        if not machine.torch.devices:
            return Check(
                "structures",
                "note",
                f"{name}'s weights are in {machine.weights}, but there is no GPU to run them",
                "on a CPU it takes seconds to minutes a peptide: fold on a machine with a GPU and "
                "copy its structures.cache here, or use structures.predictor files",
            )
        return Check("structures", "works", f"{name}'s weights are in {machine.weights}")
    remedy = f"put the model's folder on this machine and set structures.{name.lower()}.model to it"
    if names_a_path(model, directory):
        reason = f"{model} is not a folder with config.json and weights"
    elif machine.hub_offline:
        reason = f"{model} is not in the hub's cache, and HF_HUB_OFFLINE forbids to fetch it"
    else:
        return Check(
            "structures",
            "note",
            f"{name}'s weights ({model}) are not here; the first use fetches "
            f"{hub.weights_gib} GiB from the hub",
            f"without a network, {remedy}",
        )
    return Check(
        "structures",
        "missing" if config else "note",
        f"no weights of {name}: {reason}",
        f"{remedy}, or use structures.predictor files or ideal",
    )


def _judge_folder(subject: str, folder: Folder, needed: int) -> Check:
    if not folder.writable:
        remedy = "start in a folder of your own, or change its permissions"
        return Check(subject, "missing", f"{folder.path} cannot be written to", remedy)
    free, wanted = folder.free / GIB, needed / GIB
    if folder.free < needed:
        finding = f"{free:.1f} GiB free for {folder.path}, about {wanted:.1f} GiB needed"
        remedy = "free some space, start in a folder on a larger disk, or lower "
        remedy += "training.keep_checkpoints"
        return Check(subject, "missing", finding, remedy)
    if not folder.locks:
        return Check(
            subject,
            "note",
            f"{folder.path} is on a file system without file locks: runs of different machines in "
            "one folder may not notice each other",
            "mount it with locks (NFS: without `nolock`), or start in a folder on another disk",
        )
    return Check(subject, "works", f"{free:.1f} GiB free for {folder.path}, {wanted:.1f} needed")


def _judge_cache(machine: Machine) -> Check:
    check = _judge_folder("cache", machine.cache, SPARE)
    if check.state != "works":
        return check
    kept = f"{machine.cached} files of structures" if machine.cached else "empty so far"
    return Check("cache", "works", f"{machine.cache.path}, {kept}")


def _bytes_needed(config: "Config | None") -> int:
    """Return the disk space in bytes for a run's checkpoints, if it is known, and other files."""
    from structdiff.config import PARAMETERS

    if config is None:
        return SPARE
    kept = config.training.keep_checkpoints + OTHER_CHECKPOINTS
    return SPARE + round(PARAMETERS[config.model.preset] * STATE_BYTES * kept)
