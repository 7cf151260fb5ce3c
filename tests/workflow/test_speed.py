"""Looking what there is to do takes a moment, however large the data."""

import os
import random
import re
import subprocess
import sys
import time

import pytest

from structdiff.structures import shards

pytestmark = [pytest.mark.workflow, pytest.mark.xdist_group("workflow")]

PEPTIDES = 1_000_000
SHARDS = 200


def processor_seconds(action):
    """Return the processor time of the processes that something starts, and what it returns."""
    before = os.times()
    result = action()
    after = os.times()
    return sum(after[2:4]) - sum(before[2:4]), result


def test_nothing_to_do_is_said_at_once(finished):
    seconds, rules = processor_seconds(lambda: finished.plan("--configfile", "config.yaml"))
    assert rules == set()
    assert seconds < 3


def test_the_workflow_imports_nothing_heavy(finished):
    command = [sys.executable, "-X", "importtime", "-m", "snakemake", "--dry-run"]
    command += ["--snakefile", str(finished.snakefile), "--configfile", "config.yaml"]
    done = subprocess.run(
        command, cwd=finished.directory, capture_output=True, text=True, check=True
    )
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "structdiff.config" in imported
    assert not imported & {"torch", "transformers", "matplotlib"}  # Snakemake imports pandas


def test_a_million_peptides_are_planned_in_a_moment(workspace, configure):
    """Before the table is read, and when folding waits in hundreds of shards."""
    rng = random.Random(0)
    sequences = ["".join(rng.choices("ACDEFGHIKLMNPQRSTVWY", k=20)) for _ in range(PEPTIDES)]
    table = workspace.directory / "table.csv"
    table.write_text("sequence,active\n" + "".join(f"{line},1\n" for line in sequences))
    changes = {"data.path": "table.csv", "data.limit": None, "data.label_columns": ["active"]}
    config = str(configure(workspace.directory / "config.yaml", **changes))
    start = time.perf_counter()
    assert "split" in workspace.plan("--configfile", config)
    assert time.perf_counter() - start < 60

    fake_split_and_plan(workspace, sequences)
    start = time.perf_counter()
    done = workspace.snakemake("--dry-run", "--configfile", config)
    assert time.perf_counter() - start < 60
    assert re.search(rf"^fold_shard +{SHARDS}$", done.stdout, re.M), done.stdout


def fake_split_and_plan(workspace, sequences):
    """Put empty files where the splitting would, and a plan of many shards."""
    folder = workspace.results / "peptides"
    folder.mkdir(parents=True)
    for name in (
        *("peptides.parquet", "neighbours.parquet", "merged.tsv", "rejected.tsv", "summary.tsv"),
        "labels.tsv",
        *("leakage.png", "leakage.svg", "split_report.tsv"),
    ):
        (folder / name).touch()
    plan = workspace.results / "structures" / "plan.tsv"
    plan.parent.mkdir()
    names = [f"{number:016x}" for number in range(SHARDS)]
    shards.write_plan(plan, {x: sequences[i::SHARDS] for i, x in enumerate(names)})
