"""What there is to do is seen without heavy imports and without reading large data."""

import random
import re
import subprocess
import sys

import pytest

from structdiff.structures import shards

pytestmark = [pytest.mark.workflow, pytest.mark.xdist_group("workflow")]

PEPTIDES = 1_000_000
SHARDS = 200


def test_the_workflow_imports_nothing_heavy(finished):
    command = [sys.executable, "-X", "importtime", "-m", "snakemake", "--dry-run"]
    command += ["--snakefile", str(finished.snakefile), "--configfile", "config.yaml"]
    done = subprocess.run(
        command, cwd=finished.directory, capture_output=True, text=True, check=True
    )
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "structdiff.config" in imported
    assert not imported & {"torch", "transformers", "matplotlib"}  # Snakemake imports pandas


def test_a_million_peptides_are_planned(workspace, configure):
    """Before the table is read, and when folding waits in hundreds of shards."""
    rng = random.Random(0)
    sequences = ["".join(rng.choices("ACDEFGHIKLMNPQRSTVWY", k=20)) for _ in range(PEPTIDES)]
    table = workspace.directory / "table.csv"
    table.write_text("sequence,active\n" + "".join(f"{line},1\n" for line in sequences))
    changes = {"data.path": "table.csv", "data.limit": None, "data.label_columns": ["active"]}
    config = str(configure(workspace.directory / "config.yaml", **changes))
    assert "split" in workspace.plan("--configfile", config)

    fake_split_and_plan(workspace, sequences)
    done = workspace.snakemake("--dry-run", "--configfile", config)
    assert re.search(rf"^fold_shard +{SHARDS}$", done.stdout, re.M), done.stdout


def fake_split_and_plan(workspace, sequences):
    """Put empty files where the splitting would, and a plan of many shards."""
    folder = workspace.results / "peptides"
    folder.mkdir(parents=True)
    for name in (
        *("peptides.parquet", "neighbours.parquet", "merged.tsv", "rejected.tsv", "summary.tsv"),
        *("labels.tsv", "warnings.tsv"),
        *("leakage.png", "leakage.svg", "split_report.tsv"),
    ):
        (folder / name).touch()
    plan = workspace.results / "structures" / "plan.tsv"
    plan.parent.mkdir()
    names = [f"{number:016x}" for number in range(SHARDS)]
    shards.write_plan(plan, {x: sequences[i::SHARDS] for i, x in enumerate(names)})
