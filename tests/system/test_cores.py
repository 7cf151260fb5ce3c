"""The cores that are granted: affinity, control groups of both versions, the environment."""

import os
from pathlib import Path

import pytest

from structdiff.system.cores import GRANTS, granted_cores


@pytest.fixture(autouse=True)
def many_cores(monkeypatch):
    """A machine of 64 cores that nothing limits."""
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    for name in GRANTS:
        monkeypatch.delenv(name, raising=False)


def write(root: Path, files: dict[str, str]) -> Path:
    """Write files below a folder that stands for the root of the file system."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_a_machine_without_limits_grants_all(tmp_path):
    assert granted_cores(tmp_path) == 64


def test_affinity_counts(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {1, 5, 6})
    assert granted_cores(tmp_path) == 3


@pytest.mark.parametrize(
    ("quota", "cores"),
    [("200000 100000", 2), ("150000 100000", 2), ("50000 100000", 1), ("max 100000", 64)],
)
def test_the_quota_of_a_container(tmp_path, quota, cores):
    files = {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": f"{quota}\n"}
    assert granted_cores(write(tmp_path, files)) == cores


def test_the_smallest_quota_of_the_groups_above_counts(tmp_path):
    files = {
        "proc/self/cgroup": "0::/Gerät/job/step\n",
        "sys/fs/cgroup/Gerät/job/step/cpu.max": "max 100000\n",
        "sys/fs/cgroup/Gerät/job/cpu.max": "400000 100000\n",
        "sys/fs/cgroup/Gerät/cpu.max": "3200000 100000\n",
    }
    assert granted_cores(write(tmp_path, files)) == 4


@pytest.mark.parametrize("folder", ["cpu", "cpu,cpuacct"])
def test_the_quota_of_a_group_of_version_1(tmp_path, folder):
    files = {
        "proc/self/cgroup": "4:memory:/docker/x\n3:cpu,cpuacct:/docker/x\n",
        f"sys/fs/cgroup/{folder}/cpu.cfs_quota_us": "200000\n",
        f"sys/fs/cgroup/{folder}/cpu.cfs_period_us": "100000\n",
        f"sys/fs/cgroup/{folder}/docker/x/cpu.cfs_quota_us": "-1\n",
        f"sys/fs/cgroup/{folder}/docker/x/cpu.cfs_period_us": "100000\n",
    }
    assert granted_cores(write(tmp_path, files)) == 2


@pytest.mark.parametrize("name", GRANTS)
def test_the_environment_counts(tmp_path, monkeypatch, name):
    monkeypatch.setenv(name, "5")
    assert granted_cores(tmp_path) == 5
    monkeypatch.setenv(name, "5,3")  # nested parallelism of OpenMP: not a number of cores
    assert granted_cores(tmp_path) == 64
