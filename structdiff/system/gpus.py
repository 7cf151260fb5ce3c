"""GPUs: which there are, how busy they are, and who may use which.

``readings()`` asks NVML. ``lease(count)`` gives concurrent jobs on one machine different GPUs: a
job holds a lock file for each of its GPUs, which the kernel frees when the job ends, however it
ends. Where CUDA_VISIBLE_DEVICES is set (by the user, or by SLURM), that choice stands and nothing
is leased. Needs no torch.
"""

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from structdiff.system.errors import UserError
from structdiff.system.locks import try_lock

__all__ = ["Reading", "lease", "readings", "visible"]

VISIBLE = "CUDA_VISIBLE_DEVICES"


@dataclass(frozen=True)
class Reading:
    """The state of a GPU.

    Attributes
    ----------
    index, name, uuid
        As NVML numbers and names it.
    utilization
        Percent of the last second in which it computed; None where it does not tell.
    memory_used, memory_total
        Bytes.
    temperature
        °C; None where it does not tell.
    """

    index: int
    name: str
    uuid: str
    utilization: int | None
    memory_used: int
    memory_total: int
    temperature: int | None


def readings() -> list[Reading]:
    """Return the state of every NVIDIA GPU of the machine, an empty list where there is none."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:  # no driver: no GPU
        return []
    try:
        return [_read(pynvml, index) for index in range(pynvml.nvmlDeviceGetCount())]
    finally:
        pynvml.nvmlShutdown()


def _read(pynvml, index: int) -> Reading:
    def ask(question: Callable, *details):
        try:
            return question(handle, *details)
        except pynvml.NVMLError_NotSupported:  # partitioned GPUs do not tell everything
            return None

    handle = pynvml.nvmlDeviceGetHandleByIndex(index)
    rates = ask(pynvml.nvmlDeviceGetUtilizationRates)
    memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
    return Reading(
        index=index,
        name=str(pynvml.nvmlDeviceGetName(handle)),
        uuid=str(pynvml.nvmlDeviceGetUUID(handle)),
        utilization=rates.gpu if rates else None,
        memory_used=int(memory.used),
        memory_total=int(memory.total),
        temperature=ask(pynvml.nvmlDeviceGetTemperature, pynvml.NVML_TEMPERATURE_GPU),
    )


def visible() -> list[str]:
    """Return the GPUs that this process may use, as CUDA_VISIBLE_DEVICES would name them."""
    chosen = os.environ.get(VISIBLE)
    if chosen is not None:
        names = [name.strip() for name in chosen.split(",")]
        names = names[: names.index("-1")] if "-1" in names else names  # CUDA stops there too
        return [name for name in names if name not in ("", "NoDevFiles")]
    return [str(reading.index) for reading in readings()]


@contextmanager
def lease(
    count: int,
    devices: list[str] | None = None,
    directory: Path | None = None,
    tell: Callable[[str], None] = print,
) -> Iterator[list[str]]:
    """Hold ``count`` GPUs that no other job holds, waiting until there are so many.

    Within the block CUDA_VISIBLE_DEVICES names them, for this process (before its first use of
    CUDA) and its children. Where it is set already, or there is no GPU, nothing is changed.

    Parameters
    ----------
    count
        How many.
    devices
        The GPUs of the machine; if None, NVML is asked.
    directory
        Folder of the lock files; the same for all jobs of the machine.
    tell
        Called with a message when the job has to wait.

    Raises
    ------
    UserError
        If the machine has GPUs, but fewer than ``count``.
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
    if not directory.exists():
        directory.mkdir(parents=True, exist_ok=True)
        directory.chmod(0o1777)  # other users' jobs put their locks here too
    with ExitStack() as held:
        mine = _take(count, devices, directory, held)
        if mine is None:
            tell(f"all {len(devices)} GPUs are in use by other jobs; waiting for {count}")
        while mine is None:
            time.sleep(0.5)
            mine = _take(count, devices, directory, held)
        os.environ[VISIBLE] = ",".join(mine)
        try:
            yield mine
        finally:
            del os.environ[VISIBLE]


def _take(count: int, devices: list[str], directory: Path, held: ExitStack) -> list[str] | None:
    """Lock ``count`` free devices, all or none; one job at a time tries."""
    with _open(directory / "queue.lock") as queue:
        while try_lock(queue) is False:  # another job is choosing
            time.sleep(0.01)
        with ExitStack() as attempt:
            mine = []
            for device in devices:
                file = _open(directory / f"gpu-{device}.lock")
                if try_lock(file) is False:
                    file.close()
                    continue
                attempt.enter_context(file)
                mine.append(device)
                if len(mine) == count:
                    held.enter_context(attempt.pop_all())
                    return mine
    return None


def _open(path: Path) -> TextIO:
    """Open a lock file that every user of the machine may lock."""
    if not path.exists():
        path.touch(0o666)
        path.chmod(0o666)
    return path.open("r+", encoding="utf-8")
