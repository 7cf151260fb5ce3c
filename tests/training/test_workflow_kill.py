"""Through Snakemake: the job, Snakemake or both are killed, and one more call completes the run."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from structdiff.config import load
from structdiff.training import folder_lock, metrics

pytestmark = [pytest.mark.workflow, pytest.mark.xdist_group("workflow")]

ROOT = Path(__file__).parents[2]


class Workflow:
    """The workflow as far as the training, in a folder of its own."""

    def __init__(self, directory: Path):
        self.directory, self.results = directory, directory / "results" / "killed"
        self.training = self.results / "training"
        config = yaml.safe_load((ROOT / "config" / "smoke.yaml").read_text())
        config["run"], config["data"]["limit"] = "killed", 60
        config["training"] |= {"num_epochs": 24, "validate_every": 2}
        (directory / "config.yaml").write_text(yaml.safe_dump(config))

    def start(self, *options: str) -> subprocess.Popen:
        """Start Snakemake, as a user does."""
        return subprocess.Popen(
            [
                *(sys.executable, "-m", "snakemake", "--snakefile", ROOT / "Snakefile"),
                *("--profile", ROOT / "profiles" / "local", "--configfile", "config.yaml"),
                *("--cores", "1", *options, "--"),
                self.training.relative_to(self.directory) / "summary.json",
            ],
            cwd=self.directory,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )

    def kill(self, snakemake: subprocess.Popen) -> None:
        """Kill Snakemake, and no other process."""
        snakemake.kill()
        snakemake.wait()

    def steps(self) -> list[int]:
        """Return the steps noted so far."""
        lines = metrics.read(self.training / "metrics.jsonl")
        return [line["step"] for line in lines if line["event"] == "step"]

    def trainer(self) -> int:
        """Wait until somebody trains, and has done a few steps more; return who."""
        before = self.steps()[-1] if self.steps() else 0
        self.until(lambda: folder_lock.holder(self.training) and self.steps()[-1:] > [before + 2])
        return int(folder_lock.holder(self.training).split()[1])

    def until(self, condition) -> None:
        """Wait until something is so."""
        end = time.monotonic() + 120
        while not condition():
            assert time.monotonic() < end, "it did not come to be in time"
            time.sleep(0.02)


def test_whatever_is_killed_one_more_call_completes_the_run(start, assert_identical, tmp_path):
    workflow = Workflow(tmp_path)
    snakemake = workflow.start()
    os.kill(workflow.trainer(), signal.SIGKILL)
    assert snakemake.wait() == 1

    snakemake = workflow.start()
    os.kill(workflow.trainer(), signal.SIGKILL)
    workflow.kill(snakemake)

    snakemake = workflow.start()
    trainer = workflow.trainer()
    os.kill(trainer, signal.SIGSTOP)  # it cannot end by itself before the next one's start
    workflow.kill(snakemake)
    assert folder_lock.holder(workflow.training).startswith(f"process {trainer} ")
    snakemake = workflow.start()
    assert workflow.trainer() != trainer  # the next Snakemake has ended it
    assert snakemake.wait() == 0

    assert (workflow.training / "summary.json").exists()
    assert workflow.steps() == list(range(1, workflow.steps()[-1] + 1))
    undisturbed = start(
        load(workflow.results / "config.yaml"),
        tmp_path / "undisturbed",
        peptides=workflow.results / "peptides" / "peptides.parquet",
        structures=workflow.results / "structures" / "index.parquet",
    )
    undisturbed.join()
    assert_identical(tmp_path / "undisturbed", workflow.training)
