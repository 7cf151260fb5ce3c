"""What a change makes run again: exactly the stages that it touches, and those after them."""

import os
import shutil
import time
from pathlib import Path

import pytest

pytestmark = [pytest.mark.workflow, pytest.mark.xdist_group("workflow")]

ROOT = Path(__file__).parents[2]

REPORT = {"pages", "report"}
EVALUATE = {"evaluate"} | REPORT
GENERATE = {"generate"} | EVALUATE
SELECT = {"select"} | GENERATE
TRAIN = {"train", "plot"} | SELECT
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
        ("structures.esmfold.num_recycles", 2, REPORT),
        ("structures.max_failures", 3, REPORT),
        ("data.num_workers", 0, REPORT),
        ("training.save_every", 1, REPORT),
        ("training.batch_size", 8, TRAIN),
        ("split.seed", 1, SPLIT),
        ("data.max_length", 40, SPLIT),
    ],
)
def test_a_setting_reruns_the_stages_that_read_it(
    finished, configure, tmp_path, key, value, expected
):
    changed = configure(tmp_path / "config.yaml", **{key: value})
    assert finished.plan("--configfile", str(changed)) == expected


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
        ("structdiff/generation.py", "import re\n", "# A comment.\nimport re\n", set()),
        ("structdiff/figures.py", "\ndef ", "\nLIMIT = 1\n\n\ndef ", {"plot", "report"}),
        ("structdiff/generation.py", "\ndef ", "\nLIMIT = 1\n\n\ndef ", GENERATE),
        ("structdiff/training/loop.py", "\ndef ", "\nLIMIT = 1\n\n\ndef ", set()),
    ],
    ids=["a comment", "the figures", "generation", "a refactoring of training"],
)
def test_code_reruns_the_cheap_stages_that_import_it(
    finished, checkout, tmp_path, file, old, new, expected
):
    shutil.copytree(checkout, tmp_path, dirs_exist_ok=True)
    edit(tmp_path / file, old, new)
    workspace = finished.of(tmp_path)
    assert workspace.plan("--configfile", "config.yaml") == expected


def test_another_checkout_and_touched_code_rerun_nothing(finished, checkout):
    now = time.time()
    for path in checkout.rglob("*"):
        os.utime(path, (now, now))
    workspace = finished.of(checkout)
    assert workspace.plan("--configfile", "config.yaml") == set()


def test_another_profile_reruns_nothing(finished):
    assert finished.plan("--configfile", "config.yaml", profile="slurm") == set()
    assert finished.plan("--configfile", "config.yaml", "--resources", "gpu=0") == set()
