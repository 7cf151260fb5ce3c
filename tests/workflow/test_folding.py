"""Folding in the workflow: new peptides cost only themselves, and a killed run loses nothing."""

import csv
import os
import random
import signal
import subprocess
import time

import numpy as np
import psutil
import pyarrow.parquet as pq
import pytest

from structdiff.protein.residues import AMINO_ACIDS

pytestmark = [pytest.mark.workflow, pytest.mark.xdist_group("workflow")]

INDEX = "results/tiny/structures/index.parquet"


def random_table(path, count, longest=24):
    """Write random peptides; the first ones of a longer table are those of a shorter one."""
    rng = np.random.default_rng(0)
    found: dict[str, None] = {}
    while len(found) < count:
        found["".join(rng.choice(list(AMINO_ACIDS), rng.integers(5, longest)))] = None
    rows = "".join(f"p{number},{sequence},1\n" for number, sequence in enumerate(found))
    path.write_text("id,sequence,active\n" + rows)
    return list(found)


def settings(configure, workspace, **changes):
    base = {"data.path": "table.csv", "data.label_columns": ["active"], "data.limit": None}
    return str(configure(workspace.directory / "config.yaml", **{**base, **changes}))


def planned(workspace):
    """Return the peptides of each shard of the plan."""
    shards: dict[str, list[str]] = {}
    with (workspace.results / "structures" / "plan.tsv").open() as file:
        for row in csv.DictReader(file, delimiter="\t"):
            shards.setdefault(row["shard"], []).append(row["sequence"])
    return shards


def index(workspace):
    return pq.read_table(workspace.directory / INDEX).to_pandas()


def rows_in_cache(workspace):
    files = (workspace.directory / "resources" / "structures").rglob("*.parquet")
    return [name for path in files for name in pq.read_table(path)["sequence"].to_pylist()]


def test_new_peptides_cost_only_themselves(workspace, configure):
    table = workspace.directory / "table.csv"
    sequences = random_table(table, 5000)
    config = settings(configure, workspace)
    workspace.run(INDEX, "--configfile", config)
    assert len(index(workspace)) == 5000

    more = random_table(table, 5010)
    workspace.run(INDEX, "--configfile", config)
    (shard,) = planned(workspace).values()
    assert sorted(shard) == sorted(more[5000:])
    assert sorted(rows_in_cache(workspace)) == sorted(more)
    assert set(index(workspace)["sequence"]) == set(more)

    assert workspace.plan(INDEX, "--configfile", config) == set()

    # Fewer peptides and another split: nothing is missing, so there is no shard to fold.
    lines = table.read_text().splitlines(keepends=True)
    table.write_text("".join(lines[:4001]))
    config = settings(configure, workspace, **{"split.seed": 1})
    workspace.run(INDEX, "--configfile", config)
    assert planned(workspace) == {}
    assert set(index(workspace)["sequence"]) == set(sequences[:4000])
    assert index(workspace)["file"].notna().all()
    assert len(rows_in_cache(workspace)) == 5010


def workers(process):
    """Return the processes that fold."""
    try:
        children = psutil.Process(process.pid).children(recursive=True)
        return [child for child in children if "shard" in child.cmdline()]
    except psutil.Error:
        return []


def kill(process, whom):
    """Kill the folding process, Snakemake, or both, as the kernel or a user would."""
    for worker in workers(process) if whom != "snakemake" else []:
        worker.kill()
    if whom == "both":
        os.killpg(process.pid, signal.SIGKILL)
    elif whom == "snakemake":
        process.kill()
    process.wait(timeout=300)


def saved_batches(workspace):
    """Return the batches that no cache file holds yet."""
    return set((workspace.directory / "resources" / "structures").glob("*/partial/*/*.parquet"))


def test_killed_at_three_moments_it_goes_on_each_time(workspace, configure, tiny_esmfold):
    sequences = random_table(workspace.directory / "table.csv", 400)
    esmfold = {"model": str(tiny_esmfold), "dtype": "float32"}
    changes = {"structures.predictor": "esmfold", "structures.esmfold": esmfold}
    config = settings(configure, workspace, **changes)
    workspace.run("results/tiny/structures/plan.tsv", "--configfile", config)
    assert list(map(len, planned(workspace).values())) == [400]

    moments = random.Random(0)
    # Snakemake alone comes last: its worker lives on, and folds the rest.
    for whom in ("worker", "both", "snakemake"):
        before = saved_batches(workspace)
        process = workspace.start(
            *(INDEX, "--configfile", config), output=subprocess.DEVNULL, start_new_session=True
        )
        while saved_batches(workspace) <= before:
            assert process.poll() is None, "it was done before it was killed"
            time.sleep(0.02)
        time.sleep(moments.uniform(0.0, 0.3))
        kill(process, whom)
    done = workspace.snakemake(INDEX, "--configfile", config)
    assert done.returncode == 0, done.stdout

    assert index(workspace)["file"].notna().all()
    # What a killed run had saved was not folded again.
    assert sorted(rows_in_cache(workspace)) == sorted(sequences)
    left = list((workspace.directory / "resources" / "structures").glob("*/partial/*"))
    assert left == []


def test_failures_are_to_be_read_after_the_stage_has_failed(workspace, configure):
    folder = workspace.directory / "pdb"
    folder.mkdir()
    (folder / "broken.pdb").write_text("ATOM\n")
    random_table(workspace.directory / "table.csv", 60)
    changes = {"structures.predictor": "files", "structures.files": {"path": "pdb"}}
    config = settings(configure, workspace, **changes)
    done = workspace.snakemake(INDEX, "--configfile", config)
    assert done.returncode != 0
    assert "structures.max_failures allows 0" in done.stdout
    assert "broken.pdb" in (workspace.results / "structures" / "failed.tsv").read_text()
    assert not (workspace.directory / INDEX).exists()

    allowed = settings(configure, workspace, **changes, **{"structures.max_failures": 1})
    assert workspace.run(INDEX, "--configfile", allowed) == {"fold"}
    assert index(workspace)["file"].isna().all()
