"""Results that were copied without what Snakemake knows of them."""

import json
import shutil
from dataclasses import replace

import pytest

from tests.workflow.test_invalidation import GENERATE

pytestmark = [pytest.mark.workflow, pytest.mark.xdist_group("workflow")]


@pytest.fixture
def copied(finished, tmp_path):
    """The finished run in another folder, without .snakemake, and with new times."""
    for name in ("results", "resources"):
        shutil.copytree(finished.directory / name, tmp_path / name, copy_function=shutil.copy)
    shutil.copy(finished.directory / "config.yaml", tmp_path)
    return replace(finished, directory=tmp_path)


def test_a_copy_has_nothing_to_do(copied):
    assert copied.plan("--configfile", "config.yaml") == set()


def test_a_setting_that_was_changed_after_the_copy_counts(copied, configure):
    changed = configure(copied.directory / "changed.yaml", **{"generation.seed": 1})
    assert copied.plan("--configfile", str(changed)) == GENERATE


def test_results_that_are_copied_over_older_ones_count_with_their_own_settings(finished, tmp_path):
    workspace = finished.copy(tmp_path)
    for path in (tmp_path / ".snakemake" / "metadata").iterdir():
        record = json.loads(path.read_text())
        if record["rule"] != "demo_data":  # its table is not in the folder of the run
            path.write_text(json.dumps({**record, "params": ["older"]}))
    assert workspace.plan("--configfile", "config.yaml") == set()


def test_what_cannot_be_known_is_said(copied):
    (copied.results / ".records.json").unlink()
    done = copied.snakemake("--dry-run", "--configfile", "config.yaml")
    assert "Warning: It is not known with which settings these files were made: " in done.stdout
    assert "results/tiny/training/summary.json" in done.stdout
