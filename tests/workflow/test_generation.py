"""A large generation in the workflow: shards that are killed resume, and give the same files."""

import time

import psutil
import pytest

pytestmark = [pytest.mark.workflow, pytest.mark.xdist_group("workflow")]

SAMPLES = "results/tiny/generation/samples.parquet"
WANTED = {
    "generation.labels": ["antimicrobial"],
    "generation.num_samples": 400,
    "generation.num_steps": 8,
}
SHARDED = {**WANTED, "generation.shard_size": 100}


def kill_a_shard(workspace, config):
    """Start Snakemake, and kill the first shard that has saved designs; return its journal."""
    before = {path: designs_in(path) for path in journals(workspace)}
    process = workspace.start(SAMPLES, "--configfile", config)
    while True:
        grown = [p for p in journals(workspace) if designs_in(p) > before.get(p, 0)]
        if grown:
            break
        assert process.poll() is None, process.stdout.read()
        time.sleep(0.01)
    for child in psutil.Process(process.pid).children(recursive=True):
        if "shard" in child.cmdline():
            child.kill()
    output, _ = process.communicate()
    assert process.returncode != 0, output
    return grown[0]


def journals(workspace):
    """Return the journals of shards that are not finished."""
    return list((workspace.results / "generation" / "shards").glob(".*.drawn.jsonl"))


def designs_in(journal):
    """Return the number of designs that a journal has after its first line."""
    return journal.read_bytes().count(b"\n") - 1 if journal.exists() else 0


def designs(workspace):
    """Return the files of the designs, by name."""
    folder = workspace.results / "generation"
    paths = [path for path in folder.rglob("*") if path.is_file()]
    named = {str(path.relative_to(folder)): path.read_bytes() for path in paths}
    return {name: data for name, data in named.items() if not name.startswith("shards/")}


def test_two_killed_shards_resume_and_the_files_are_those_of_one_job(
    finished, configure, tmp_path_factory
):
    many = finished.copy(tmp_path_factory.mktemp("many"))
    config = str(configure(many.directory / "config.yaml", **SHARDED))
    assert many.plan(SAMPLES, "--configfile", config) == {"design_shard", "generate"}
    killed = [kill_a_shard(many, config) for _ in range(2)]
    drawn = [path.read_bytes() for path in killed if path.exists()]
    assert drawn, "at least the journal of the last one is left"
    last = many.snakemake(SAMPLES, "--configfile", config)
    assert last.returncode == 0, last.stdout
    assert "designs were drawn before; resuming" in last.stdout
    assert len(list((many.results / "generation" / "shards").glob("*.jsonl"))) == 4
    assert journals(many) == []

    one = finished.copy(tmp_path_factory.mktemp("one"))
    config_of_one = str(configure(one.directory / "config.yaml", **WANTED))
    assert one.run(SAMPLES, "--configfile", config_of_one) == {"generate"}
    assert designs(many) == designs(one)

    assert many.plan(SAMPLES, "--configfile", config) == set()
