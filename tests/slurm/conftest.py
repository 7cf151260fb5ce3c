"""One SLURM for all tests here, and a pipeline that ran on it."""

import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from .cluster import Cluster, missing, running

#: Options of Snakemake: as a user calls it, but looking sooner whether a job has ended.
ON_SLURM = ("--configfile", "config.yaml", "--slurm-init-seconds-before-status-checks", "2")


#: Processes that fold, as (array task, GPUs), and that train, as (node, rank, GPUs).
Seen = dict[str, set[tuple[str | None, ...]]]


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A SLURM of two nodes; where none can be started, the test is skipped."""
    reason = missing()
    if reason:
        pytest.skip(reason)
    with tempfile.TemporaryDirectory(prefix="slurm-") as folder, running(Path(folder)) as started:
        started.environment["OMP_NUM_THREADS"] = "1"
        yield started


@dataclass(frozen=True)
class Finished:
    """A pipeline that ran on SLURM.

    Attributes
    ----------
    workspace
        Where.
    seen
        What `watch` saw of its processes.
    """

    workspace: object
    seen: Seen


@pytest.fixture(scope="session")
def change(configure, tiny_esmfold):
    """Return a function that writes the tests' configuration, some keys changed."""
    settings = {
        "data.limit": 60,
        "structures.predictor": "esmfold",
        "structures.esmfold": {"model": str(tiny_esmfold), "dtype": "float32", "num_recycles": 1},
        "structures.shard_size": 20,
        "training.num_gpus": 2,
        "training.batch_size": 4,
        "training.gradient_accumulation_steps": 2,
        "evaluation.num_control": 20,
        "evaluation.num_folded": 10,
    }

    def write(workspace, **changes):
        configure(workspace.directory / "config.yaml", **{**settings, **changes})

    return write


@pytest.fixture(scope="session")
def pipeline(cluster, make_workspace, change, tmp_path_factory) -> Finished:
    """Run the whole pipeline: three shards of folding, training on one node with two processes."""
    workspace = make_workspace(tmp_path_factory.mktemp("pipeline"), environment=cluster.environment)
    change(workspace)
    return Finished(workspace, watch(workspace))


def watch(workspace, *targets: str) -> Seen:
    """Run the workflow on SLURM to its end; return how SLURM has set up its processes."""
    seen: Seen = {"fold": set(), "train": set()}
    with (workspace.directory / "output.txt").open("w+") as output:
        process = workspace.start(*targets, *ON_SLURM, profile="slurm", output=output)
        while process.poll() is None:
            look(workspace.directory, seen)
            time.sleep(0.2)
        output.seek(0)
        assert process.returncode == 0, output.read()
    return seen


def look(directory: Path, seen: Seen) -> None:
    """Note the processes that now fold and train in a directory."""
    for process in psutil.process_iter():
        try:
            command = process.cmdline()
            if "structdiff" not in " ".join(command) or process.cwd() != os.fspath(directory):
                continue
            environment = process.environ()
        except psutil.Error:
            continue
        devices = environment.get("CUDA_VISIBLE_DEVICES")
        if "shard" in command and "structdiff" in command:
            seen["fold"].add((environment.get("SLURM_ARRAY_TASK_ID"), devices))
        elif "structdiff.training.worker" in command:
            node, rank = environment.get("SLURMD_NODENAME"), environment.get("LOCAL_RANK")
            seen["train"].add((node, rank, devices))
