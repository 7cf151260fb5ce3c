"""Inputs count by their content: one that is replaced reruns its stages, whatever its time."""

import os
import shutil

import pandas as pd
import pytest

from structdiff.pretrained import PRETRAINED

pytestmark = [pytest.mark.workflow, pytest.mark.xdist_group("workflow")]

TABLE = "resources/demo/peptides.csv"
INDEX = "results/tiny/structures/index.parquet"
FOLD = {"plan_folding", "fold"}
SPLIT = {"split", *FOLD}


def replace_keeping_times(path, text, seconds_older=0):
    """Replace a file as ``cp -p`` would, by one with an equal or an older modification time."""
    stat = path.stat()
    other = path.with_name("other")
    other.write_text(text)
    seconds = stat.st_mtime_ns - seconds_older * 10**9
    os.utime(other, ns=(seconds, seconds))
    shutil.copy2(other, path)
    other.unlink()


@pytest.mark.parametrize("seconds_older", [0, 10**8], ids=["equal", "older"])
def test_a_replaced_table_is_split_again(finished, tmp_path, seconds_older):
    workspace = finished.copy(tmp_path)
    table = tmp_path / TABLE
    lines = table.read_text().splitlines(keepends=True)
    replace_keeping_times(table, "".join(lines[:1] + lines[2:]), seconds_older)
    arguments = ("--configfile", "config.yaml")
    assert workspace.run(INDEX, *arguments) == SPLIT
    assert workspace.plan(INDEX, *arguments) == set()


def test_another_time_and_a_table_that_is_gone_rerun_nothing(finished, tmp_path):
    workspace = finished.copy(tmp_path)
    (tmp_path / TABLE).touch()
    assert workspace.plan("--configfile", "config.yaml") == set()
    (tmp_path / TABLE).unlink()  # the demo's, which is made where it is needed
    assert workspace.plan("--configfile", "config.yaml") == set()


def test_a_structure_replaced_in_a_folder_is_read_again(finished, workspace, configure, tmp_path):
    designs = pd.read_parquet(finished.results / "generation" / "samples.parquet")
    designs[["id", "sequence"]].assign(active=1).to_csv(tmp_path / "table.csv", index=False)
    shutil.copytree(finished.results / "generation" / "pdb", tmp_path / "pdb")
    changes = {"data.path": "table.csv", "data.label_columns": ["active"]}
    files = {"structures.predictor": "files", "structures.files": {"path": "pdb"}}
    config = str(configure(tmp_path / "config.yaml", **changes, **files))
    workspace.run(INDEX, "--configfile", config)
    before = pd.read_parquet(tmp_path / INDEX)["file"].unique()
    assert workspace.plan(INDEX, "--configfile", config) == set()

    file = min((tmp_path / "pdb").glob("*.pdb"))
    replace_keeping_times(file, file.read_text().replace("1.00", "0.90"))
    assert workspace.run(INDEX, "--configfile", config) == FOLD
    assert not set(before) & set(pd.read_parquet(tmp_path / INDEX)["file"].unique())


def test_a_replaced_model_folds_again(finished, workspace, configure, tmp_path):
    model = tmp_path / "model.safetensors"
    shutil.copy(finished.results / "selection" / "model.safetensors", model)
    predictor = {
        "structures.predictor": "structdiff",
        "structures.structdiff": {"model": "model.safetensors"},
    }
    config = str(configure(tmp_path / "config.yaml", **predictor, **{"data.limit": 60}))
    workspace.run(INDEX, "--configfile", config)
    assert workspace.plan(INDEX, "--configfile", config) == set()
    shutil.copy2(PRETRAINED, model)
    os.utime(model, (10**9, 10**9))
    assert workspace.plan(INDEX, "--configfile", config) == FOLD
