"""The workflow in other places: the catalog's Snakefile, a run folder, a module, a repository."""

import functools
import os
import shutil
import subprocess
import sys
import threading
from dataclasses import replace
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from structdiff.system.run_folder import create, workflow_root

pytestmark = [pytest.mark.workflow, pytest.mark.xdist_group("workflow")]

MODULE = """
configfile: "config.yaml"


module structdiff:
    snakefile:
        "{snakefile}"
    config:
        config


use rule * from structdiff as peptides_*


rule everything:
    default_target: True
    input:
        rules.peptides_all.input,
"""

# What `snakedeploy deploy-workflow https://github.com/structdiff/structdiff . --tag v0.1.0` writes.
DEPLOYED = """
from snakemake.utils import min_version


min_version("6.10.0")


configfile: "config/config.yaml"


# declare https://github.com/structdiff/structdiff as a module
module structdiff:
    snakefile:
        {snakefile}
    config:
        config


# use all rules from https://github.com/structdiff/structdiff
use rule * from structdiff
"""

CONDA = """#!/bin/sh
# In place of conda: makes an environment without StructDiff, whatever its file lists.
set -eu
case "$*" in
  "info --json") echo '{{"conda_prefix": "{prefix}", "platform": "linux-64"}}' ;;
  --version) echo "conda 25.1.0" ;;
  clean*) ;;
  config*) echo '{{"get": {{"channel_priority": "strict"}}}}' ;;
  *)
    while [ "$1" != --prefix ]; do shift; done
    "{python}" -m venv --without-pip "$2"
    echo "{packages}" > "$(echo "$2"/lib/python3*/site-packages)/packages.pth" ;;
esac
"""


@pytest.fixture
def without_report(finished, tmp_path):
    """A copy of the finished run whose report and settings file are gone."""
    workspace = finished.copy(tmp_path / "copy")
    for name in ("report.html", "config.yaml"):
        (workspace.results / name).unlink()
    return workspace


def is_our_report(path):
    """Whether a report has our style sheet, begins with the story and has the designs."""
    text = path.read_text()
    parts = ["#app nav { width: 100%", "openStory", "results/tiny/generation/antimicrobial.fasta"]
    return all(part in text for part in parts)


def test_the_snakefile_of_the_catalog_writes_the_report(without_report):
    snakefile = without_report.snakefile.parent / "workflow" / "Snakefile"
    workspace = replace(without_report, snakefile=snakefile)
    assert workspace.run("--configfile", "config.yaml") == {"report", "default"}
    assert is_our_report(workspace.results / "report.html")
    assert (workspace.results / "config.yaml").is_file()


def test_the_test_case_of_the_catalog_is_the_smoke_run(workspace):
    root = workspace.snakefile.parent
    # Without the results of a run that was started there.
    shutil.copytree(root / ".test" / "config", workspace.directory / ".test" / "config")
    case = replace(
        workspace,
        directory=workspace.directory / ".test",
        snakefile=root / "workflow" / "Snakefile",
    )
    done = case.snakemake("--dry-run")
    assert done.returncode == 0, done.stdout
    assert "results/smoke/report.html" in done.stdout


def test_a_run_folder_writes_the_report(without_report, tmp_path):
    create(tmp_path / "folder", "smoke", "local")
    shutil.copy(tmp_path / "folder" / "Snakefile", without_report.directory)
    (without_report.directory / "config").mkdir()
    shutil.copy(without_report.directory / "config.yaml", without_report.directory / "config")
    workspace = replace(without_report, snakefile=without_report.directory / "Snakefile")
    assert workspace.run() == {"report"}
    assert is_our_report(workspace.results / "report.html")
    assert workspace.plan() == set()


def test_a_module_of_another_workflow_writes_the_report(without_report, tmp_path):
    snakefile = tmp_path / "Snakefile"
    snakefile.write_text(MODULE.format(snakefile=without_report.snakefile))
    workspace = replace(without_report, snakefile=snakefile)
    assert workspace.run() == {"peptides_report", "everything"}
    assert is_our_report(workspace.results / "report.html")
    assert (workspace.results / "config.yaml").is_file()
    assert workspace.plan() == set()


def test_a_module_runs_from_the_table_on(workspace, configure, tmp_path):
    """Nothing is there beforehand: the settings are written, and the commands find the package."""
    configure(tmp_path / "config.yaml")
    snakefile = tmp_path / "Snakefile"
    snakefile.write_text(MODULE.format(snakefile=workspace.snakefile))
    workspace = replace(workspace, snakefile=snakefile)
    assert workspace.run("results/tiny/structures/index.parquet") == {
        *("peptides_demo_data", "peptides_split", "peptides_plan_folding", "peptides_fold")
    }


def copy_workflow(folder: Path, *names: str) -> None:
    """Copy the workflow of this checkout, and more of its folders."""
    root = workflow_root()
    for name in ("workflow", "config", *names):
        shutil.copytree(root / name, folder / name)
    for name in ("Snakefile", "environment.yml"):
        shutil.copy(root / name, folder)


@pytest.fixture
def from_github(tmp_path):
    """How a module names our workflow on GitHub, and the environment in which git has it."""
    repository = tmp_path / "hosted" / "structdiff" / "structdiff"
    repository.mkdir(parents=True)
    copy_workflow(repository)
    settings = tmp_path / "gitconfig"
    settings.write_text(
        f'[url "file://{tmp_path / "hosted"}/"]\n    insteadOf = https://github.com/\n'
        "[user]\n    name = tests\n    email = tests@example.org\n"
    )
    environment = {
        **os.environ,
        "GIT_CONFIG_GLOBAL": str(settings),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),  # where Snakemake keeps its clone
    }
    for arguments in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "all"], ["tag", "v0.1.0"]):
        subprocess.run(["git", *arguments], cwd=repository, env=environment, check=True)
    yield 'github("structdiff/structdiff", path="workflow/Snakefile", tag="v0.1.0")', environment


@pytest.fixture
def from_a_web_server(tmp_path):
    """How a module names our workflow on a web server, which runs meanwhile."""
    copy_workflow(tmp_path / "served")
    handler = functools.partial(SimpleHTTPRequestHandler, directory=tmp_path / "served")
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/workflow/Snakefile"
        yield f'"{address}"', {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")}
        server.shutdown()


def deploy(workspace, source, environment):
    """Write the deployed Snakefile and its configuration into a working directory."""
    folder = workspace.directory
    (folder / "workflow").mkdir()
    (folder / "workflow" / "Snakefile").write_text(DEPLOYED.format(snakefile=source))
    return replace(workspace, snakefile=folder / "workflow" / "Snakefile", environment=environment)


@pytest.mark.parametrize("source", ["from_github", "from_a_web_server"])
def test_a_workflow_that_is_not_on_this_machine_writes_the_report(without_report, source, request):
    workspace = deploy(without_report, *request.getfixturevalue(source))
    (workspace.directory / "config").mkdir()
    shutil.copy(workspace.directory / "config.yaml", workspace.directory / "config")
    done = workspace.snakemake()
    assert done.returncode == 0, done.stdout
    assert "of another version" not in done.stdout
    assert is_our_report(workspace.results / "report.html")
    assert workspace.plan() == set()


def test_rules_of_another_version_than_the_package_are_named(
    workspace, configure, from_a_web_server, tmp_path
):
    with (tmp_path / "served" / "workflow" / "rules" / "figures.smk").open("a") as file:
        file.write("# newer\n")
    (tmp_path / "config").mkdir()
    configure(tmp_path / "config" / "config.yaml")
    done = deploy(workspace, *from_a_web_server).snakemake("--dry-run")
    assert done.returncode == 0, done.stdout
    assert "(figures.smk differ). Install the version that the Snakefile names" in done.stdout


@pytest.fixture
def wheel(tmp_path) -> Path:
    """A folder with the package as the wheel installs it: its workflow in it."""
    package = tmp_path / "installed" / "structdiff"
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(workflow_root() / "structdiff", package, ignore=ignored)
    copy_workflow(package / "bundle", "profiles")
    return package.parent


def test_a_conda_environment_without_the_package_runs_that_of_the_wheel(wheel, tmp_path):
    """The environment's Python has its own packages, and of the wheel's only StructDiff."""
    prefix = tmp_path / "conda"
    (prefix / "bin").mkdir(parents=True)
    packages = next(path for path in sys.path if path.endswith("site-packages"))
    text = CONDA.format(prefix=prefix, python=sys.executable, packages=packages)
    (prefix / "bin" / "conda").write_text(text)
    (prefix / "bin" / "conda").chmod(0o755)
    (prefix / "bin" / "activate").write_text('export PATH="$1/bin:$PATH"\n')
    environment = {**os.environ, "PYTHONPATH": str(wheel)}
    environment["PATH"] = f"{prefix / 'bin'}:{environment['PATH']}"

    def structdiff(folder, *arguments):
        done = subprocess.run(
            [sys.executable, "-m", "structdiff", *arguments],
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout

    structdiff(tmp_path, "init", "x", "--config", "smoke")
    table = "resources/demo/peptides.csv"
    said = structdiff(tmp_path / "x", "run", "--sdm", "conda", "--cores", "1", table)
    assert "Creating conda environment" in said
    assert (tmp_path / "x" / table).is_file()
