"""Facts about the machine, for ``structdiff doctor``: packages, torch, GPUs, SLURM and disks.

``look(config, directory)`` returns the facts as a `Machine`. Nothing is changed or downloaded.
torch is tested in another process, because it may crash or hang.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from structdiff.system.cores import granted_cores
from structdiff.system.gpus import Reading, readings, visible
from structdiff.system.locks import try_lock

if TYPE_CHECKING:
    from structdiff.config import Config

__all__ = ["Folder", "Machine", "Scheduler", "Torch", "look", "names_a_path"]

PATIENCE = 120
"""Seconds that torch may take to start and compute."""

_ASK_TORCH = """
import json, torch
answer = {"version": torch.__version__, "cuda": torch.version.cuda, "devices": 0, "error": None}
try:
    assert float(torch.ones(8, 8).matmul(torch.ones(8, 8)).sum()) == 512
    if torch.cuda.is_available():
        answer["devices"] = torch.cuda.device_count()
        for device in range(answer["devices"]):
            ones = torch.ones(8, 8, device=f"cuda:{device}")
            assert float(ones.matmul(ones).sum()) == 512
except Exception as error:
    answer["error"] = f"{type(error).__name__}: {error}".splitlines()[0]
print(json.dumps(answer))
"""


@dataclass(frozen=True)
class Torch:
    """Version and devices of torch, as another process reports them.

    Attributes
    ----------
    version
        Version of torch; None if the process crashed, did not answer or could not import torch.
    cuda
        Version of CUDA that torch was built for; None for a build without CUDA.
    devices
        Number of GPUs that torch sees.
    error
        Error message of the import or of a computation; None if there was no error.
    """

    version: str | None
    cuda: str | None = None
    devices: int = 0
    error: str | None = None


@dataclass(frozen=True)
class Scheduler:
    """State of SLURM on this machine.

    Attributes
    ----------
    installed
        Whether the command ``sbatch`` exists.
    partitions
        Names of the partitions that ``sinfo`` lists.
    error
        Reason why ``sinfo`` lists no partition; None if it lists one or SLURM is not installed.
    """

    installed: bool
    partitions: tuple[str, ...] = ()
    error: str | None = None


@dataclass(frozen=True)
class Folder:
    """A folder that the pipeline writes to or will create.

    Attributes
    ----------
    path
        Path of the folder. If it does not exist, the other attributes describe its nearest parent
        that exists.
    free
        Free disk space in bytes.
    writable
        Whether a file can be created in the folder.
    locks
        Whether files in the folder can be locked; training, folding and the cache rely on this.
    """

    path: Path
    free: int
    writable: bool = True
    locks: bool = True


@dataclass(frozen=True)
class Machine:
    """All facts about a machine that `structdiff.doctor.checks.judge` needs.

    Attributes
    ----------
    python
        Version of Python: major, minor, micro.
    packages
        Installed version of each required package, by package name; None if it is not installed.
    wrong
        Text with the installed and the required version of each package whose version does not fit,
        by package name.
    torch, gpus, scheduler
        State of torch, of the GPUs and of SLURM.
    results, cache
        Folders of the results and of the structure cache.
    cached
        Number of cache files with structures (Parquet).
    weights
        Folder of the predictor's weights, or of ESMFold's weights if the predictor is not ESMFold
        or ESMFold2; None if they were not found.
    hub_offline
        Whether downloads from the hub are forbidden (``HF_HUB_OFFLINE``).
    cpus, memory
        Cores that this process may use; memory of the machine in bytes.
    """

    python: tuple[int, int, int]
    packages: dict[str, str | None]
    wrong: dict[str, str]
    torch: Torch
    gpus: list[Reading]
    scheduler: Scheduler
    results: Folder
    cache: Folder
    cached: int
    weights: Path | None
    hub_offline: bool
    cpus: int
    memory: int


def look(config: "Config | None", directory: Path) -> Machine:
    """Return the facts about this machine.

    Parameters
    ----------
    config
        Configuration with the predictor, its weights and the cache; None for the defaults.
    directory
        Folder in which the workflow would be started, with the folder ``results``. Relative paths
        in the configuration start in it.
    """
    from structdiff.config import Structures

    structures = config.structures if config else Structures()
    packages, wrong = _packages()
    cache = directory / structures.cache
    return Machine(
        python=sys.version_info[:3],
        packages=packages,
        wrong=wrong,
        torch=ask_torch(),
        gpus=_gpus(),
        scheduler=_ask_slurm(),
        results=_folder(directory / "results"),
        cache=_folder(cache),
        cached=sum(1 for _ in cache.glob("*/*.parquet")) if cache.is_dir() else 0,
        weights=_weights((structures.hub or structures.esmfold).model, directory),
        hub_offline=os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"),
        cpus=granted_cores(),
        memory=os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
    )


def ask_torch() -> Torch:
    """Test in another process whether torch can compute on the CPU and on each GPU."""
    command = [sys.executable, "-c", _ASK_TORCH]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=PATIENCE
        )
    except subprocess.TimeoutExpired:
        return Torch(None, error=f"no answer within {PATIENCE} seconds")
    if done.returncode == 0:
        return Torch(**json.loads(done.stdout.splitlines()[-1]))
    lines = done.stderr.strip().splitlines()
    return Torch(None, error=lines[-1] if lines else f"it ended with status {done.returncode}")


def names_a_path(model: str, directory: Path) -> bool:
    """Return whether ``model`` is a local path, and not the id ``owner/name`` of a hub model.

    A relative path starts in ``directory``.
    """
    is_folder = (directory / model).is_dir()
    return is_folder or model.startswith((".", "/", "~")) or model.count("/") != 1


def _packages() -> tuple[dict[str, str | None], dict[str, str]]:
    """Return ``packages`` and ``wrong`` of `Machine`; both empty if structdiff is not installed."""
    from packaging.requirements import Requirement

    try:
        lines = metadata.requires("structdiff") or []
    except metadata.PackageNotFoundError:
        return {}, {}
    versions, wrong = {}, {}
    for requirement in map(Requirement, lines):
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            version = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            version = None
        versions[requirement.name] = version
        if version and not requirement.specifier.contains(version, prereleases=True):
            wrong[requirement.name] = f"{version} is here, {requirement.specifier} is needed"
    return versions, wrong


def _gpus() -> list[Reading]:
    """Return the GPUs; none if CUDA_VISIBLE_DEVICES hides all, or pynvml is not installed."""
    try:
        return readings() if visible() else []
    except ImportError:  # reported with the packages
        return []


def _ask_slurm() -> Scheduler:
    if shutil.which("sbatch") is None:
        return Scheduler(installed=False)
    command = ["sinfo", "--noheader", "--format=%R"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
    except (OSError, subprocess.TimeoutExpired) as error:
        return Scheduler(installed=True, error=f"sinfo: {error}")
    partitions = tuple(sorted(set(done.stdout.split())))
    if done.returncode or not partitions:
        lines = done.stderr.strip().splitlines() or ["sinfo lists no partition"]
        return Scheduler(installed=True, error=lines[-1])
    return Scheduler(installed=True, partitions=partitions)


def _folder(path: Path) -> Folder:
    """Return the facts about a folder, or about its nearest parent that exists."""
    existing = path
    while not existing.exists():
        existing = existing.parent
    free = shutil.disk_usage(existing).free
    try:
        with tempfile.TemporaryFile(dir=existing) as file:
            return Folder(path, free, locks=try_lock(file) is not None)
    except OSError:
        return Folder(path, free, writable=False)


def _weights(model: str, directory: Path) -> Path | None:
    """Return the folder with a model's configuration and weights; None if there is none.

    ``model`` is as for `names_a_path`; a hub model is looked for in the hub's cache.
    """
    if names_a_path(model, directory):
        folders = [directory / Path(model).expanduser()]
    else:
        from huggingface_hub.constants import HF_HUB_CACHE

        repository = Path(HF_HUB_CACHE) / f"models--{model.replace('/', '--')}"
        folders = list(repository.glob("snapshots/*"))
    kinds = ("*.safetensors", "*.bin")
    for folder in folders:
        if (folder / "config.json").is_file() and any(any(folder.glob(kind)) for kind in kinds):
            return folder
    return None
