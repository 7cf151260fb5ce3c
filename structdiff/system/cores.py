"""Processor cores that this process may use."""

import math
import os
from collections.abc import Iterator
from pathlib import Path

__all__ = ["granted_cores"]

GRANTS = ("OMP_NUM_THREADS", "SLURM_CPUS_PER_TASK")
"""Environment variables with a number of cores; Snakemake sets the first to the rule's threads."""


def granted_cores(root: Path = Path("/")) -> int:
    """Return how many cores this process is granted, at least 1.

    This is the smallest of the machine's cores, the CPU affinity of the process, the CPU quotas of
    its control group and of all parent groups (version 1 or 2; a container's ``--cpus``), and the
    environment variables `GRANTS`.

    Parameters
    ----------
    root
        Root of the file system, where ``proc`` and ``sys`` are.
    """
    counts = [os.cpu_count() or 1]
    if hasattr(os, "sched_getaffinity"):
        counts.append(len(os.sched_getaffinity(0)))
    counts += [int(value) for name in GRANTS if (value := os.environ.get(name, "")).isdecimal()]
    counts += [math.ceil(quota) for quota in _quotas(root)]
    return max(1, min(counts))


def _quotas(root: Path) -> Iterator[float]:
    """Yield the CPU quotas, in cores, of this process's control groups and their parents."""
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        group = Path(path.lstrip("/"))
        # A container often sees its own control group as the root of the groups.
        for folder in (group, *group.parents):
            if not controllers:
                limit = _read(root / "sys/fs/cgroup" / folder / "cpu.max")
                quota, _, period = limit.strip().partition(" ")
            elif "cpu" in controllers.split(","):
                files = root / "sys/fs/cgroup" / controllers / folder
                if not files.is_dir():
                    files = root / "sys/fs/cgroup/cpu" / folder
                quota, period = (
                    _read(files / f"cpu.cfs_{name}_us").strip() for name in ("quota", "period")
                )
            else:
                continue
            if quota.isdecimal() and period.isdecimal() and int(period):
                yield int(quota) / int(period)


def _read(path: Path) -> str:
    """Return the text of a file, or '' if the file cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return ""
