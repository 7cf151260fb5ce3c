"""A large generation by many jobs: the same files as of one job, whatever the shards."""

import json
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest

from structdiff.config import Generation
from structdiff.generation import batching, sharding, stage
from structdiff.generation.output import read_samples, remove_journal
from structdiff.system.errors import UserError
from structdiff.system.files import read_tsv

LABELS = ["helical", "acidic + not helical"]


def settings(**changes):
    wanted = {"labels": LABELS, "num_samples": 110, "num_steps": 3, "min_length": 6}
    return Generation(**{**wanted, "max_length": 20, **changes})


def content(folder):
    """Return the designs' files of a folder, by name: all but those of the shards."""
    paths = [path for path in folder.rglob("*") if path.is_file()]
    named = {str(path.relative_to(folder)): path.read_bytes() for path in paths}
    return {name: data for name, data in named.items() if not name.startswith("shards/")}


@pytest.fixture(scope="module", autouse=True)
def many_batches():
    """So small batches that a set has many of them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batching, "CPU_BATCH_RESIDUES", 128)
        yield


@pytest.fixture(scope="module")
def model(model, model_that_saw, tmp_path_factory):
    """A model that has seen every fourth of its designs, which are drawn again."""
    folder = tmp_path_factory.mktemp("known")
    stage.run(settings(), model, folder)
    return model_that_saw(model, read_samples(folder)["sequence"][::4])


@pytest.fixture(scope="module")
def one_job(model, tmp_path_factory):
    """The files of one job."""
    folder = tmp_path_factory.mktemp("one_job")
    stage.run(settings(), model, folder)
    remove_journal(folder)
    return content(folder)


@pytest.mark.parametrize("size", [109, 30, 7])
def test_the_files_are_those_of_one_job_to_the_byte(model, one_job, tmp_path, size):
    wanted = settings(shard_size=size)
    names = sharding.shard_names(wanted)
    assert len(names) == -(-110 // size)
    for name in reversed(names):
        stage.draw_shard(wanted, model, name, tmp_path)
    stage.collect(wanted, model, tmp_path)
    assert content(tmp_path) == one_job
    redrawn = [row["redrawn"] for row in read_tsv(tmp_path / "summary.tsv")]
    assert redrawn == ["28", "27"]
    left = {path.name for path in (tmp_path / "shards").iterdir()}
    assert left == {f"{name}.jsonl" for name in names}


def test_shards_have_every_design_once_and_equal_work():
    lengths = np.random.default_rng(0).integers(5, 50, 1003)
    parts = [sharding.part_of(lengths, place, 11) for place in range(11)]
    assert sorted(np.concatenate(parts)) == list(range(1003))
    residues = [lengths[part].sum() for part in parts]
    assert max(residues) - min(residues) < 100
    assert [len(sharding.part_of(lengths[:2], place, 3)) for place in range(3)].count(1) == 2
    assert len(sharding.part_of(lengths[:0], 0, 3)) == 0


def test_a_shard_is_named_by_settings_and_place():
    assert sharding.shard_names(settings(shard_size=110)) == []
    names = sharding.shard_names(settings(shard_size=40))
    assert names == sharding.shard_names(settings(shard_size=50))
    others = [*sharding.shard_names(settings(shard_size=30))]
    others += sharding.shard_names(settings(shard_size=40, seed=1))
    assert len({*names, *others}) == 3 + 4 + 3


def test_a_set_without_designs_does_not_stop_the_others(model, tmp_path):
    wanted = settings(labels=["unknown", "helical"], num_samples=12, shard_size=6)
    for name in sharding.shard_names(wanted):
        stage.draw_shard(wanted, model, name, tmp_path)
    stage.collect(wanted, model, tmp_path)
    assert read_samples(tmp_path)["label"].tolist() == ["helical"] * 12


SLOW = (
    "import json, sys, time; from pathlib import Path; from structdiff.config import Generation; "
    "from structdiff.generation import batching, journal, stage; append = journal.append; "
    "batching.CPU_BATCH_RESIDUES = 128; "
    "journal.append = lambda *a: (append(*a), time.sleep(0.2)); settings, *paths = sys.argv[1:]; "
    "model, name, folder = paths; "
    "stage.draw_shard(Generation(**json.loads(settings)), Path(model), name, Path(folder))"
)
"""A job that draws a shard, with a pause after each design."""


@pytest.mark.workflow
def test_a_killed_shard_is_resumed_by_its_own_model_only(model, model_that_saw, tmp_path, capsys):
    values = {"labels": ["helical"], "num_samples": 24, "shard_size": 12, "num_steps": 3}
    wanted = Generation(**values)
    name = sharding.shard_names(wanted)[0]
    unfinished = sharding.shard_file(tmp_path / "killed", name).with_name(f".{name}.drawn.jsonl")
    job = [sys.executable, "-c", SLOW, json.dumps(values), model, name, tmp_path / "killed"]
    process = subprocess.Popen(list(map(str, job)))
    while not (unfinished.exists() and unfinished.read_bytes().count(b"\n") > 4):
        assert process.poll() is None
        time.sleep(0.02)
    process.kill()
    process.wait()
    shutil.copytree(tmp_path / "killed", tmp_path / "retrained")
    for folder, weights, message in (
        ("killed", model, "designs were drawn before; resuming"),
        ("retrained", model_that_saw(model, ["GIGKFLHSAK"]), "of another model; they are drawn"),
    ):
        stage.draw_shard(wanted, weights, name, tmp_path / folder)
        assert message in capsys.readouterr().out
        stage.draw_shard(wanted, weights, name, tmp_path / "whole")
        files = [sharding.shard_file(tmp_path / each, name) for each in (folder, "whole")]
        assert files[0].read_bytes() == files[1].read_bytes()
        assert not unfinished.exists()


def test_what_is_not_the_shard_is_refused(model, tmp_path):
    wanted = settings(labels=["helical"], num_samples=12, shard_size=6)
    with pytest.raises(UserError, match="shard 0123: the configuration has no such shard"):
        stage.draw_shard(wanted, model, "0123", tmp_path)
    names = sharding.shard_names(wanted)
    for name in names:
        with pytest.raises(UserError, match=rf"{name}\.jsonl: has not the designs"):
            stage.collect(wanted, model, tmp_path)
        stage.draw_shard(wanted, model, name, tmp_path)
    path = sharding.shard_file(tmp_path, names[0])
    whole = path.read_bytes()
    for damaged in (whole[:-20], whole.replace(b"sequence", b"sequencf", 1), b""):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match="missing or damaged, or is of other settings"):
            stage.collect(wanted, model, tmp_path)
    path.write_bytes(whole)
    (tmp_path / "shards" / "of_other_settings.jsonl").touch()
    running = tmp_path / "shards" / ".of_a_running_job.drawn.jsonl"
    running.touch()
    stage.collect(wanted, model, tmp_path)
    assert running.exists()
    assert {path.stem for path in (tmp_path / "shards").glob("[!.]*")} == set(names)


def test_a_configuration_without_shards_collects_nothing(model, tmp_path):
    wanted = settings(labels=["helical"], num_samples=3)
    stage.run(wanted, model, tmp_path)
    with pytest.raises(UserError, match=r"has no shards.*leave out --from-shards"):
        stage.collect(wanted, model, tmp_path)
    assert len(read_tsv(tmp_path / "designs.tsv")) == 3
