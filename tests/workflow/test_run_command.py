"""`structdiff init` and `structdiff run`, as a user types them."""

import subprocess
import sys

import pytest


def structdiff(folder, *arguments):
    return subprocess.run(
        [sys.executable, "-m", "structdiff", *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


def test_a_new_folder_has_a_plan_that_fits_a_screen(tmp_path):
    assert structdiff(tmp_path, "init", "x", "--config", "smoke").returncode == 0
    done = structdiff(tmp_path / "x", "run", "-n")
    assert done.returncode == 0, done.stdout
    lines = done.stdout.splitlines()
    assert len(lines) <= 40
    assert lines[0].split() == ["stage", "jobs", "why"]
    assert [line.split()[0] for line in lines[1:12]] == [
        *("demo_data", "split", "plan_folding", "fold", "train", "plot", "select", "generate"),
        *("evaluate", "pages", "report"),
    ]
    assert "not made yet" in lines[1]


@pytest.mark.workflow
def test_options_and_targets_go_to_snakemake(tmp_path):
    structdiff(tmp_path, "init", "x", "--config", "smoke")
    table = "resources/demo/peptides.csv"
    done = structdiff(tmp_path / "x", "run", "--cores", "1", "--", table)
    assert done.returncode == 0, done.stdout
    assert (tmp_path / "x" / table).is_file()
    done = structdiff(tmp_path / "x", "run", "-n", "--", table)
    assert done.stdout.startswith("Nothing to do")


@pytest.mark.workflow
def test_a_mistake_is_shown_in_whole_with_the_status_of_snakemake(tmp_path):
    structdiff(tmp_path, "init", "x", "--config", "smoke")
    with (tmp_path / "x" / "config" / "config.yaml").open("a") as file:
        file.write("\ntrainnig: {}\n")
    done = structdiff(tmp_path / "x", "run", "-n")
    assert done.returncode == 1
    assert "config/config.yaml: unknown key 'trainnig'; did you mean 'training'?" in done.stdout


def test_a_folder_that_is_not_a_run_folder_exits_2(tmp_path):
    done = structdiff(tmp_path, "run", "-n")
    assert done.returncode == 2
    assert "`structdiff init DIR` lays out a folder" in done.stdout


def test_neither_verb_imports_torch(tmp_path):
    code = (
        "import sys\nfrom typer.testing import CliRunner\nfrom structdiff.cli import app\n"
        "assert CliRunner().invoke(app, ['init', 'x']).exit_code == 0\n"
        "assert 'torch' not in sys.modules and 'snakemake' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
