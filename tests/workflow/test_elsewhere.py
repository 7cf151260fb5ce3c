"""The workflow under other names: the catalog's Snakefile, and a module of another workflow."""

from dataclasses import replace

import pytest

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
