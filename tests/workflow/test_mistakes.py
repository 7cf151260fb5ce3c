"""Mistakes stop the workflow at once, with words that say what to do."""

import pytest
import yaml

pytestmark = pytest.mark.workflow


def refused(workspace, *arguments):
    done = workspace.snakemake("--dry-run", *arguments)
    assert done.returncode != 0
    assert "Traceback" not in done.stdout
    return done.stdout


def test_a_typo_names_the_key_the_file_and_the_nearest_name(workspace, configure):
    config = configure(workspace.directory / "my.yaml", **{"training.num_epoch": 3})
    output = refused(workspace, "--configfile", str(config))
    assert "my.yaml" in output
    assert "unknown key 'training.num_epoch'; did you mean 'training.num_epochs'?" in output


def test_a_wrong_type_names_the_key(workspace, configure):
    config = configure(workspace.directory / "my.yaml", **{"training.batch_size": "many"})
    assert "training.batch_size" in refused(workspace, "--configfile", str(config))


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"data.path": "absent.csv"}, "data.path"),
        (
            {"structures.predictor": "files", "structures.files": {"path": "absent.tar"}},
            "structures.files.path",
        ),
    ],
    ids=["table", "structures"],
)
def test_a_missing_input_names_the_key_and_the_path(workspace, configure, changes, key):
    config = configure(workspace.directory / "my.yaml", **changes)
    output = refused(workspace, "--configfile", str(config))
    assert f"{key}: absent" in output
    assert "no such file" in output
    assert "MissingInputException" not in output


def test_a_failed_stage_shows_its_message_and_fails_the_run(workspace, configure):
    table = workspace.directory / "table.csv"
    table.write_text("id,peptide\na,GIGKFLHSAKKFGKAFVGEIMNS\n")
    config = configure(workspace.directory / "my.yaml", **{"data.path": "table.csv"})
    done = workspace.snakemake("--configfile", str(config))
    assert done.returncode != 0
    assert "structdiff: error:" in done.stdout
    assert "'sequence'" in done.stdout


def test_braces_in_a_path_are_named_with_its_key(workspace, configure):
    (workspace.directory / "t{1}.csv").write_text("id,sequence\na,GIGKFLHSAKKFGKAF\n")
    config = configure(workspace.directory / "my.yaml", **{"data.path": "t{1}.csv"})
    assert "data.path: t{1}.csv: Snakemake takes braces" in refused(
        workspace, "--configfile", str(config)
    )


def test_a_run_does_not_start_from_its_own_model(workspace, configure):
    model = workspace.results / "selection" / "model.safetensors"
    model.parent.mkdir(parents=True)
    model.touch()
    init = str(model.relative_to(workspace.directory))
    config = configure(workspace.directory / "my.yaml", **{"training.init": init})
    output = refused(workspace, "--configfile", str(config))
    assert f"training.init: {init}: is in the folder of this run's own results" in output


def test_the_account_of_the_rows_stays_after_the_split_has_failed(workspace, configure):
    table = workspace.directory / "table.csv"
    table.write_text("id,sequence\na,GIGKFLHSAK\nb,GIGXFLHSAK\n")
    changes = {"data.path": "table.csv", "data.label_columns": [], "data.limit": None}
    config = configure(workspace.directory / "my.yaml", **changes)
    done = workspace.snakemake("--configfile", str(config))
    assert done.returncode != 0
    kept = workspace.results / "logs" / "rejected.tsv"
    assert f"stays in {kept.relative_to(workspace.directory)}" in done.stdout
    assert kept.read_text().splitlines()[1].startswith("3\tb\t")


def recorded(workspace, *arguments):
    """Return the configuration that a run writes down, of a table that stops it at once."""
    (workspace.directory / "table.csv").write_text("id,peptide\n")
    assert workspace.snakemake(*arguments).returncode != 0
    (path,) = workspace.directory.glob("results/*/config.yaml")
    return yaml.safe_load(path.read_text())


def test_a_file_of_the_user_does_not_inherit_from_the_demo(workspace):
    config = workspace.directory / "my.yaml"
    config.write_text(yaml.safe_dump({"run": "mine", "data": {"path": "table.csv"}}))
    values = recorded(workspace, "--configfile", str(config))
    assert values["model"]["preset"] == "small"  # the default; the demo says tiny
    assert values["run"] == "mine"


def test_values_on_the_command_line_are_typed(workspace, configure):
    config = configure(workspace.directory / "my.yaml", **{"data.path": "table.csv"})
    override = "training={num_epochs: 7}"
    values = recorded(workspace, "--configfile", str(config), "--config", override)
    assert values["training"]["num_epochs"] == 7
    assert values["training"]["batch_size"] == 32  # of the file
