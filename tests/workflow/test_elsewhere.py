"""The workflow in other places: the catalog's Snakefile, a run folder, a module of a workflow."""

import shutil
from dataclasses import replace

import pytest

from structdiff.system.run_folder import create

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
        *("peptides_demo_data", "peptides_split", "peptides_plan_folding", "peptides_fold"),
    }
