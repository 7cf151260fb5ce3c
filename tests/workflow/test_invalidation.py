"""What a change makes run again: exactly the stages that it touches, and those after them."""

import os
import shutil
import time
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from structdiff.training import metrics
from tests.conftest import rules_of

pytestmark = [pytest.mark.workflow, pytest.mark.xdist_group("workflow")]

ROOT = Path(__file__).parents[2]

REPORT = {"pages", "report"}
EVALUATE = {"evaluate"} | REPORT
GENERATE = {"generate"} | EVALUATE
SELECT = {"select"} | GENERATE
TRAIN = {"train", "plot"} | SELECT
# Which shards of folding there are is known only when the plan is made.
FOLD = {"plan_folding", "fold"} | TRAIN
SPLIT = {"split"} | FOLD


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("evaluation.novelty_threshold", 0.8, EVALUATE),
        ("generation.num_samples", 21, GENERATE),
        ("generation.guidance_scale", 2.0, GENERATE),
        ("selection.metric", "diffusion", SELECT),
        ("training.optimizer.lr", 2e-3, TRAIN),
        ("training.num_epochs", 3, TRAIN),
        ("data.limit", 150, SPLIT),
        ("model.preset", "small", TRAIN),
        ("structures.predictor", "esmfold", FOLD),
        ("structures.esmfold.num_recycles", 2, REPORT),
        ("structures.max_failures", 3, REPORT),
        ("structures.shard_size", 10, REPORT),
        ("data.num_workers", 0, REPORT),
        ("training.save_every", 1, REPORT),
        ("training.batch_size", 8, TRAIN),
        ("diffusion.num_timesteps", 500, TRAIN),
        ("data.label_columns", ["antimicrobial"], SPLIT),
        ("split.seed", 1, SPLIT),
        ("data.max_length", 40, SPLIT),
    ],
)
def test_a_setting_reruns_the_stages_that_read_it(
    finished, configure, tmp_path, key, value, expected
):
    changed = configure(tmp_path / "config.yaml", **{key: value})
    assert finished.plan("--configfile", str(changed)) == expected


@pytest.mark.parametrize(
    "factors",
    [
        {"training.num_gpus": 2, "training.batch_size": 16},
        {"training.num_gpus": 2, "training.num_nodes": 2, "training.batch_size": 8},
        {"training.gradient_accumulation_steps": 2, "training.batch_size": 16},
    ],
    ids=["two GPUs", "two nodes", "accumulation"],
)
def test_the_same_batch_on_another_machine_reruns_no_training(
    finished, configure, tmp_path, factors
):
    changed = configure(tmp_path / "config.yaml", **factors)
    assert finished.plan("--configfile", str(changed)) == REPORT  # it shows the settings


def test_more_epochs_go_on_where_training_was(finished, configure, tmp_path):
    workspace = finished.copy(tmp_path)
    folder = workspace.results / "training"
    *before, end = metrics.read(folder / "metrics.jsonl")
    config = configure(tmp_path / "config.yaml", **{"training.num_epochs": 3})
    target = "results/tiny/training/summary.json"
    assert workspace.run(target, "--configfile", str(config)) == {"train"}
    lines = metrics.read(folder / "metrics.jsonl")
    assert lines[: len(before)] == before
    started, ended = lines[len(before)], lines[-1]
    assert (started["event"], started["step"]) == ("start", end["step"])
    assert (end["epoch"], ended["event"], ended["epoch"]) == (2, "end", 3)


def write_table(path, count, labels):
    """Write peptides of the demo; the first ones of a longer table are those of a shorter one."""
    columns = ["sequence", *labels]
    demo = pd.read_csv(path.parent / "resources" / "demo" / "peptides.csv")
    demo["long"] = (demo["sequence"].str.len() > 20).astype(int)
    demo[columns].head(count).to_csv(path, index=False)


def splits(workspace):
    table = pd.read_parquet(workspace.results / "peptides" / "peptides.parquet")
    return dict(zip(table["sequence"], table["split"], strict=True))


def planned(workspace):
    """Return the peptides that the plan of folding lists as missing."""
    plan = pd.read_csv(workspace.results / "structures" / "plan.tsv", sep="\t")
    return set(plan["sequence"])


def test_new_peptides_and_a_new_label_cost_only_themselves(finished, configure, tmp_path):
    workspace = finished.copy(tmp_path)
    shutil.rmtree(workspace.results)
    shutil.rmtree(tmp_path / "resources" / "structures")
    table, index = tmp_path / "table.csv", "results/tiny/structures/index.parquet"

    def run(count, labels):
        write_table(table, count, labels)
        changes = {"data.path": "table.csv", "data.id_column": None, "data.limit": None}
        changes["data.label_columns"] = labels
        config = str(configure(tmp_path / "config.yaml", **changes))
        everything = workspace.plan("--configfile", config)
        assert workspace.run(index, "--configfile", config) == {"split", "plan_folding", "fold"}
        assert workspace.plan(index, "--configfile", config) == set()
        return everything

    run(100, ["antimicrobial"])
    old = splits(workspace)
    assert planned(workspace) == set(old)
    assert run(110, ["antimicrobial"]) == SPLIT
    new = splits(workspace)
    assert {sequence: new[sequence] for sequence in old} == old
    assert planned(workspace) == set(new) - set(old)
    assert len(planned(workspace)) == 10
    assert run(110, ["antimicrobial", "long"]) == SPLIT
    assert splits(workspace) == new
    assert planned(workspace) == set()


def test_more_designs_are_made_without_training_again(finished, configure, tmp_path):
    workspace = finished.copy(tmp_path)
    trained = (workspace.results / "training" / "summary.json").stat().st_mtime_ns
    config = configure(tmp_path / "config.yaml", **{"generation.num_samples": 24})
    assert workspace.run("--configfile", str(config)) == GENERATE
    fasta = (workspace.results / "generation" / "antimicrobial.fasta").read_text()
    assert fasta.count(">") == 24
    assert (workspace.results / "training" / "summary.json").stat().st_mtime_ns == trained
    assert workspace.plan("--configfile", str(config)) == set()


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A copy of the workflow and its code, to edit."""
    directory = tmp_path_factory.mktemp("checkout")
    for name in ("workflow", "structdiff", "config", "profiles"):
        shutil.copytree(ROOT / name, directory / name)
    for name in ("Snakefile", "environment.yml"):
        shutil.copy2(ROOT / name, directory)
    return directory


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


@pytest.mark.parametrize(
    ("file", "old", "new", "expected"),
    [
        ("structdiff/generation/stage.py", "\nimport ", "\n# A comment.\nimport ", set()),
        ("structdiff/figures/stage.py", "\ndef ", "\nLIMIT = 1\n\n\ndef ", {"plot"} | REPORT),
        ("structdiff/generation/stage.py", "\ndef ", "\nLIMIT = 1\n\n\ndef ", GENERATE),
        ("structdiff/evaluation/design_table.py", "\n_KNOWN", "\nLIMIT = 1\n_KNOWN", GENERATE),
        ("structdiff/training/trainer.py", "\nclass ", "\nLIMIT = 1\n\n\nclass ", set()),
        ("structdiff/training/__init__.py", "CODE_VERSION = ", "CODE_VERSION = 9", TRAIN),
        ("workflow/report/losses.rst", "", "Read it from the left.\n", set()),
    ],
    ids=[
        *("a comment", "the figures", "generation", "columns of the designs"),
        *("a refactoring of training", "training's version", "a caption"),
    ],
)
def test_code_reruns_the_cheap_stages_that_import_it(
    finished, checkout, tmp_path, file, old, new, expected
):
    shutil.copytree(checkout, tmp_path, dirs_exist_ok=True)
    edit(tmp_path / file, old, new)
    workspace = finished.of(tmp_path)
    assert workspace.plan("--configfile", "config.yaml") == expected


def test_another_version_of_a_judge_designs_and_evaluates_again(finished, tmp_path, monkeypatch):
    (tmp_path / "macrel-99.dist-info").mkdir()
    metadata = tmp_path / "macrel-99.dist-info" / "METADATA"
    metadata.write_text("Metadata-Version: 2.1\nName: macrel\nVersion: 99\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    # Not in the server of `plan`, which has the paths of its start.
    output, _ = finished.start("--dry-run", "--configfile", "config.yaml").communicate()
    assert rules_of(output) == GENERATE


def test_another_checkout_and_touched_code_rerun_nothing(finished, checkout):
    now = time.time()
    for path in checkout.rglob("*"):
        os.utime(path, (now, now))
    workspace = finished.of(checkout)
    assert workspace.plan("--configfile", "config.yaml") == set()


def test_the_model_of_another_installation_reruns_nothing(finished, checkout, configure, tmp_path):
    """A training that starts from the package's model: only its content counts, not its path."""
    workspace = finished.copy(tmp_path)
    config = str(configure(tmp_path / "config.yaml", **{"training.init": "released"}))
    assert "train" in workspace.plan("--configfile", config)
    assert workspace.snakemake("--touch", "--configfile", config).returncode == 0
    assert workspace.of(checkout).plan("--configfile", config) == set()


def test_another_predictor_evaluates_again_although_no_peptide_has_a_structure(
    finished, configure, tmp_path
):
    """ESMFold is a judge then, also if Snakemake was stopped after `fold` wrote the same index."""
    workspace = finished.copy(tmp_path)
    index, none = "results/tiny/structures/index.parquet", {"data.use_predicted_structures": False}
    config = str(configure(tmp_path / "config.yaml", **none))
    judged = configure(tmp_path / "judged.yaml", **none, **{"structures.predictor": "esmfold"})
    assert workspace.run(index, "--configfile", config) == {"plan_folding", "fold"}
    assert workspace.snakemake("--touch", "--configfile", config).returncode == 0
    assert workspace.plan("--configfile", config) == set()
    assert workspace.run(index, "--configfile", str(judged)) == {"plan_folding", "fold"}
    assert workspace.plan("--configfile", str(judged)) == EVALUATE


def test_a_caption_reaches_the_report_when_it_is_asked_for(finished):
    assert finished.plan("--configfile", "config.yaml", "--forcerun", "report") == {"report"}


def test_the_snakefile_of_the_catalog_is_the_same_workflow(finished, workspace):
    where = finished.snakefile.parent / "workflow" / "Snakefile"
    assert replace(finished, snakefile=where).plan("--configfile", "config.yaml") == set()
    config = str(finished.directory / "config.yaml")
    planned = replace(workspace, snakefile=where).plan("--configfile", config)
    assert planned - {"default"} == SPLIT | {"demo_data"}


def test_another_profile_reruns_nothing(finished):
    assert finished.plan("--configfile", "config.yaml", profile="slurm") == set()
    assert finished.plan("--configfile", "config.yaml", "--resources", "gpu=0") == set()
