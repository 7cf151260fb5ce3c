"""Every configuration that comes with the repository passes the doctor and a dry run."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from structdiff.config import load
from structdiff.structures.predictors import input_paths

pytestmark = pytest.mark.workflow

CONFIGURATIONS = sorted((Path(__file__).parents[2] / "config").glob("*.yaml"))


@pytest.fixture(params=CONFIGURATIONS, ids=lambda path: path.name)
def configuration(request, tmp_path):
    """A configuration; the files that it names are there, without their content."""
    config = load(request.param)
    for path in [config.data.path, *input_paths(config).values()]:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    weights = tmp_path / "hub" / "models--facebook--esmfold_v1" / "snapshots" / "abc"
    weights.mkdir(parents=True)
    for name in ("config.json", "model.safetensors"):
        (weights / name).touch()
    return request.param


def test_the_doctor_finds_nothing_wrong_with_it(configuration, tmp_path):
    table = load(configuration).data.path
    (tmp_path / table).unlink()  # the doctor reads tables that are there
    done = subprocess.run(
        [sys.executable, "-m", "structdiff", "doctor", "--config", configuration],
        cwd=tmp_path,
        env={**os.environ, "HF_HUB_CACHE": str(tmp_path / "hub")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    # What this machine lacks is no fault of the configuration.
    assert set(re.findall(r"^✗ (\w+)", done.stdout, re.M)) <= {"disk", "cache", "GPU"}
    assert "✓ structures" in done.stdout or "– structures" in done.stdout
    assert f"– peptides    {table} is not here yet" in done.stdout


def test_a_dry_run_plans_all_of_it(configuration, workspace):
    assert {"split", "fold", "train", "report"} <= workspace.plan("--configfile", configuration)


def test_the_demo_needs_no_configuration_from_any_folder(workspace, tmp_path):
    command = [sys.executable, "-m", "snakemake", "--dry-run", "--cores", "1"]
    done = subprocess.run(
        [*command, "--snakefile", workspace.snakefile],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "results/demo/report.html" in done.stdout + done.stderr
