"""GPUs of this machine: their state, their leases, and the device to compute on.

``readings()`` returns the state of each GPU, from NVML. ``lease(count)`` assigns different GPUs to
concurrent jobs on one machine: a job holds a locked file for each of its GPUs, which the kernel
unlocks when the job ends, even if it is killed. If CUDA_VISIBLE_DEVICES is set (by the user or by
SLURM), that choice is kept and nothing is leased. Only ``choose_device()`` decides between GPU and
CPU, and only this function needs torch.
"""

import os
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from structdiff.system.cores import granted_cores
from structdiff.system.errors import UserError, warn
from structdiff.system.locks import try_lock

if TYPE_CHECKING:
    import torch

__all__ = ["Reading", "choose_device", "is_out_of_memory", "lease", "readings", "visible"]

VISIBLE = "CUDA_VISIBLE_DEVICES"

# Texts in plain RuntimeErrors of torch on a CPU, cuBLAS, cuDNN, and NCCL's CUDA calls.
_NO_MEMORY = (
    "can't allocate memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "out of memory",
)

_BUSY_MEMORY, _BUSY_PERCENT = 0.05, 10
"""Share of memory in use, and utilization in %, above which a GPU counts as busy. Busy GPUs are
leased after idle ones."""


@dataclass(frozen=True)
class Reading:
    """State of a GPU, or of an instance of a partitioned GPU (MIG).

    Attributes
    ----------
    index, name, uuid
        Index, name and UUID in NVML. For an instance of a partitioned GPU, the index is the GPU's.
    utilization
        Utilization in the last second, %; None if unknown.
    memory_used, memory_total
        Memory in bytes; None if unknown, as for a GPU that shares the machine's memory.
    temperature
        Temperature in °C; None if unknown.
    """

    index: int
    name: str
    uuid: str
    utilization: int | None
    memory_used: int | None
    memory_total: int | None
    temperature: int | None

    @property
    def busy(self) -> bool:
        """Whether another program seems to use the GPU."""
        memory = (self.memory_used or 0) > _BUSY_MEMORY * (self.memory_total or float("inf"))
        return memory or (self.utilization or 0) > _BUSY_PERCENT


def readings() -> list[Reading]:
    """Return the state of every NVIDIA GPU that NVML shows to this process; empty if there is none.

    CUDA_VISIBLE_DEVICES is not considered. A GPU that does not answer (lost, or hidden from this
    job) is left out.
    """
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:  # no driver: no GPU
        return []
    try:
        count = _ask(pynvml, pynvml.nvmlDeviceGetCount) or 0
        return [reading for index in range(count) for reading in _read(pynvml, index)]
    finally:
        pynvml.nvmlShutdown()


def _ask(pynvml: Any, question: Callable, *details: Any) -> Any:
    """Return the answer of an NVML function, None if NVML has none."""
    try:
        return question(*details)
    except pynvml.NVMLError:
        return None


def _read(pynvml: Any, index: int) -> list[Reading]:
    """Return the state of a GPU, or of each instance of a partitioned one; none without answer."""
    handle = _ask(pynvml, pynvml.nvmlDeviceGetHandleByIndex, index)
    if handle is None:
        return []
    mode = _ask(pynvml, pynvml.nvmlDeviceGetMigMode, handle)
    handles = [handle]
    if mode and mode[0]:  # partitioned: only its instances can be used
        count = _ask(pynvml, pynvml.nvmlDeviceGetMaxMigDeviceCount, handle) or 0
        instance = pynvml.nvmlDeviceGetMigDeviceHandleByIndex
        handles = [_ask(pynvml, instance, handle, number) for number in range(count)]
    found = []
    for device in handles:
        uuid = None if device is None else _ask(pynvml, pynvml.nvmlDeviceGetUUID, device)
        if uuid is None:
            continue
        rates = _ask(pynvml, pynvml.nvmlDeviceGetUtilizationRates, device)
        memory = _ask(pynvml, pynvml.nvmlDeviceGetMemoryInfo, device)
        found.append(
            Reading(
                index=index,
                name=str(_ask(pynvml, pynvml.nvmlDeviceGetName, device) or "GPU"),
                uuid=str(uuid),
                utilization=rates.gpu if rates else None,
                memory_used=int(memory.used) if memory else None,
                memory_total=int(memory.total) if memory else None,
                temperature=_ask(
                    pynvml, pynvml.nvmlDeviceGetTemperature, handle, pynvml.NVML_TEMPERATURE_GPU
                ),
            )
        )
    return found


def visible() -> list[str]:
    """Return the GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them.

    If CUDA_VISIBLE_DEVICES is set, the result is the indices or UUIDs in it, and empty if it is
    empty. Otherwise the result is the UUIDs of all GPUs of the machine, idle ones first.
    """
    chosen = os.environ.get(VISIBLE)
    if chosen is not None:
        names = [name.strip() for name in chosen.split(",")]
        names = names[: names.index("-1")] if "-1" in names else names  # CUDA stops at -1 too
        return [name for name in names if name not in ("", "NoDevFiles")]
    return [reading.uuid for reading in sorted(readings(), key=lambda reading: reading.busy)]


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error means that the GPU or the machine is out of memory."""
    import torch

    kinds = (torch.OutOfMemoryError, MemoryError)
    return isinstance(error, kinds) or any(text in str(error) for text in _NO_MEMORY)


def choose_device(local_rank: int = 0) -> "torch.device":
    """Return the device for torch: a GPU if there is one, else the CPU.

    On the CPU, torch is limited to `granted_cores` threads.

    Parameters
    ----------
    local_rank
        Rank of this process on its node, from 0; with GPUs, also the index of its GPU.

    Raises
    ------
    UserError
        If torch cannot use the machine's GPUs, or if there are fewer GPUs than processes.
    """
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if count:
        if local_rank >= count:
            raise UserError(
                f"process {local_rank + 1} on this node has no GPU: {count} visible; "
                f"set training.num_gpus (or --num-gpus) to {count}"
            )
        return torch.device("cuda", local_rank)
    names = [reading.name for reading in readings()] if visible() else []
    if names:
        built = torch.version.cuda
        raise UserError(
            f"this machine has GPUs ({', '.join(names)}), but torch {torch.__version__} cannot use "
            f"them: it is built for {f'CUDA {built}' if built else 'CPUs only'}, and "
            f"{_driver()}. Install {'a newer driver' if built else 'a build of torch for CUDA'} "
            f"(docs/installation.md), or set {VISIBLE}= (empty) to compute on the CPU"
        )
    torch.set_num_threads(min(torch.get_num_threads(), granted_cores()))
    return torch.device("cpu")


def _driver() -> str:
    """Return a phrase with the versions of the NVIDIA driver and of the CUDA that it supports."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        return f"the driver does not answer ({error})"
    try:
        driver = _ask(pynvml, pynvml.nvmlSystemGetDriverVersion)
        version = _ask(pynvml, pynvml.nvmlSystemGetCudaDriverVersion) or 0
        return f"the driver {driver} supports CUDA {version // 1000}.{version % 1000 // 10}"
    finally:
        pynvml.nvmlShutdown()


@contextmanager
def lease(
    count: int,
    devices: list[str] | None = None,
    directory: Path | None = None,
    tell: Callable[[str], None] = print,
) -> Iterator[list[str]]:
    """Lease ``count`` GPUs that no other job has leased; wait until enough are free.

    Yields the UUIDs of the leased GPUs. Within the block, CUDA_VISIBLE_DEVICES names them, for this
    process and its children; the block must begin before this process uses CUDA. If the variable is
    set already, nothing is leased, and the GPUs in it are yielded. Without GPUs, the list is empty.

    Parameters
    ----------
    count
        Number of GPUs.
    devices
        Names of the GPUs to choose from; by default those that `visible` returns.
    directory
        Folder of the lock files, the same for all jobs of the machine.
    tell
        Called with a message when the job has to wait.

    Raises
    ------
    UserError
        If there are GPUs, but fewer than ``count``, or the lock files cannot be used.
    """
    preset = VISIBLE in os.environ
    devices = visible() if devices is None else devices
    if not devices:
        yield []
        return
    if count > len(devices):
        raise UserError(
            f"{count} GPUs are asked for, but {len(devices)} are there"
            + (f" ({VISIBLE}={os.environ[VISIBLE]})" if preset else "")
            + f"; set training.num_gpus (or --num-gpus) to {len(devices)} or less"
        )
    if preset:
        yield devices
        return
    directory = directory or Path(tempfile.gettempdir()) / "structdiff-gpus"
    with ExitStack() as held:
        folder = _open_folder(directory)
        held.callback(os.close, folder)
        leased = _take(count, devices, directory, folder, held)
        if leased is None:
            tell(f"all {len(devices)} GPUs are in use by other jobs; waiting for {count}")
        while leased is None:
            time.sleep(0.5)
            leased = _take(count, devices, directory, folder, held)
        os.environ[VISIBLE] = ",".join(leased)
        try:
            yield leased
        finally:
            del os.environ[VISIBLE]


def _take(
    count: int, devices: list[str], directory: Path, folder: int, held: ExitStack
) -> list[str] | None:
    """Lock ``count`` free devices and return them; None if fewer are free.

    Only one job at a time tries to lock devices. ``folder`` is the file descriptor of
    ``directory``. The lock files are added to ``held``, which keeps them locked.
    """
    with _open(directory / "queue.lock", folder) as queue:
        while (locked := try_lock(queue)) is False:  # another job is choosing
            time.sleep(0.01)
        if locked is None:
            warn(
                f"{directory}: without file locks, other jobs may take the same GPUs; set "
                f"{VISIBLE} for each job, or TMPDIR to a local disk"
            )
        with ExitStack() as attempt:
            leased = []
            for device in devices:
                file = _open(directory / f"gpu-{device}.lock", folder)
                if try_lock(file) is False:
                    file.close()
                    continue
                attempt.enter_context(file)
                leased.append(device)
                if len(leased) == count:
                    held.enter_context(attempt.pop_all())
                    return leased
    return None


def _open_folder(directory: Path) -> int:
    """Open the folder of the lock files, for all users of the machine; return a file descriptor.

    Raises `UserError` if ``directory`` is a link, is not a folder, lets users remove each other's
    files (shared, but not sticky), or is the private folder of another user.
    """
    try:
        directory.mkdir(mode=0o700, parents=True)
        directory.chmod(0o1777)  # sticky, as the folder for temporary files is
    except FileExistsError:
        pass
    except OSError as error:
        raise _refused(directory, f"cannot be made ({error.strerror})") from None
    try:
        folder = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError as error:
        raise _refused(directory, f"is a link, or is not a folder ({error.strerror})") from None
    status = os.fstat(folder)
    shared = status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    if shared and not status.st_mode & stat.S_ISVTX:
        os.close(folder)
        raise _refused(directory, "can be changed by other users, and is not sticky")
    if not shared and status.st_uid not in (0, os.geteuid()):
        os.close(folder)
        raise _refused(directory, "is another user's")
    return folder


def _open(path: Path, folder: int) -> TextIO:
    """Open or create a lock file that every user of the machine may lock.

    Raises `UserError` if the file cannot be opened, is a link or is not a regular file.
    """
    while True:
        try:
            try:
                # Without O_CREAT: Linux refuses that for another user's file in a sticky folder.
                handle = os.open(path.name, os.O_RDWR | os.O_NOFOLLOW, dir_fd=folder)
            except FileNotFoundError:
                flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
                handle = os.open(path.name, flags, 0o666, dir_fd=folder)
                os.fchmod(handle, 0o666)  # whatever the umask
        except FileExistsError:  # another job has created it meanwhile
            continue
        except OSError as error:
            raise _refused(path, f"cannot be opened ({error.strerror})") from None
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
            os.close(handle)
            raise _refused(path, "is not a file of its own")
        return open(handle, "r+", encoding="utf-8")  # noqa: PTH123


def _refused(path: Path, reason: str) -> UserError:
    return UserError(
        f"{path}: {reason}, so the GPUs cannot be leased there. Remove it, or set TMPDIR to "
        f"another folder for all jobs of the machine, or set {VISIBLE} to the GPUs of this job"
    )
