"""Run folders: what `create` lays out and refuses, which profile counts, and the short plan."""

from pathlib import Path

import pytest

from structdiff.config import load
from structdiff.system import run_folder
from structdiff.system.errors import UserError
from structdiff.system.run_folder import (
    MAX_LINES,
    configurations,
    create,
    profile_folder,
    profiles,
    short_plan,
    workflow_root,
)


def stats(counts: dict[str, int]) -> str:
    """Return a table of jobs as Snakemake prints it."""
    width = max(map(len, counts))
    lines = [f"{name:{width}}  {count:>5}" for name, count in counts.items()]
    total = f"{'total':{width}}  {sum(counts.values()):>5}\n\n"
    return "\n".join(
        ["Job stats:", f"{'job':{width}}  count", f"{'-' * width}  -----", *lines, total]
    )


def test_the_workflow_is_in_the_checkout_or_in_the_wheel(monkeypatch, tmp_path):
    assert (workflow_root() / "Snakefile").is_file()
    package = tmp_path / "structdiff"
    monkeypatch.setattr(run_folder, "PACKAGE", package)
    with pytest.raises(UserError, match="has no workflow"):
        workflow_root()
    (package / "bundle" / "workflow" / "rules").mkdir(parents=True)
    assert workflow_root() == package / "bundle"


@pytest.mark.parametrize("config", sorted(configurations()))
@pytest.mark.parametrize("profile", sorted(profiles()))
def test_a_folder_has_configuration_profile_and_snakefile(tmp_path, config, profile):
    folder = tmp_path / "new" / "run"
    create(folder, config, profile)
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert files == {
        *("Snakefile", "config/config.yaml", "config/README.md"),
        f"profiles/{profile}/config.yaml",
    }
    assert load(folder / "config" / "config.yaml") == load(configurations()[config])
    first = (folder / "config" / "config.yaml").read_text().splitlines()[0]
    assert Path(first.partition("$schema=")[2]).is_file()
    assert profile_folder(folder, None) == Path("profiles") / profile


def test_a_folder_with_something_in_it_is_left_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="there is something already"):
        create(tmp_path, "smoke", "local")
    with pytest.raises(UserError, match="there is something already"):
        create(tmp_path / "notes.txt", "smoke", "local")
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize(
    ("config", "profile", "message"),
    [
        ("smoky", "local", "--config: there is no 'smoky'; known: demo, "),
        ("smoke", "../local", "--profile: there is no '../local'; known: local, slurm"),
    ],
)
def test_an_unknown_name_is_refused_with_the_known_ones(tmp_path, config, profile, message):
    with pytest.raises(UserError) as caught:
        create(tmp_path / "run", config, profile)
    assert message in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_the_profile_is_the_named_one_the_only_one_or_local(tmp_path):
    create(tmp_path / "run", "smoke", "slurm")
    assert profile_folder(tmp_path / "run", None) == Path("profiles/slurm")
    checkout = workflow_root()
    assert profile_folder(checkout, None) == Path("profiles/local")
    assert profile_folder(checkout, "slurm") == Path("profiles/slurm")
    assert profile_folder(checkout, "profiles/slurm") == Path("profiles/slurm")
    with pytest.raises(UserError, match="--profile: there is no 'local'; known: slurm"):
        profile_folder(tmp_path / "run", "local")
    with pytest.raises(UserError, match="there is no Snakefile here; `structdiff init DIR`"):
        profile_folder(tmp_path, None)


def test_the_plan_names_each_stage_with_the_cause_first():
    output = stats({"split": 1, "fold_shard": 12, "train": 1, "all": 1}) + (
        "Reasons:\n    (check individual jobs above for details)\n"
        "    input files updated by another job:\n        all, fold_shard, train\n"
        "    params have changed since last execution:\n        split, train\n"
    )
    assert short_plan(output).splitlines() == [
        "stage       jobs  why",
        "split          1  settings, code or input changed",
        "fold_shard    12  follows a job above",
        "train          1  settings, code or input changed",
        "14 jobs in 3 stages. `structdiff run` starts them.",
    ]


def test_a_plan_of_many_stages_fits_a_screen():
    names = {f"rule_{number}": 1 for number in range(100)}
    reasons = f"    forced:\n        {', '.join(names)}\n"
    lines = short_plan(stats({**names, "all": 1}) + reasons).splitlines()
    assert len(lines) <= MAX_LINES
    assert lines[-2:] == [
        "… and 66 more stages",
        "100 jobs in 100 stages. `structdiff run` starts them.",
    ]


def test_a_plan_of_the_last_rule_alone_has_no_stage():
    plan = short_plan(stats({"all": 1}) + "    forced:\n        all\n")
    assert plan.splitlines()[-1] == "0 jobs in 0 stages. `structdiff run` starts them."


def test_a_warning_of_the_workflow_stays_in_the_plan():
    """Results of unknown settings are not called up to date because their warning is dropped."""
    warning = "Warning: It is not known with which settings these files were made: a."
    nothing = f"Using profile x\n{warning}\nBuilding DAG\nNothing to be done (all …)\n"
    assert short_plan(nothing).splitlines() == [warning, "Nothing to do: all results are there."]
    table = stats({"report": 1, "all": 1}) + "    forced:\n        report\n"
    assert short_plan(f"{warning}\n{table}") == f"{warning}\n{short_plan(table)}"


def test_what_is_not_a_dry_run_has_no_plan():
    assert short_plan("Nothing to be done (all requested files are present)").startswith("Nothing")
    assert short_plan("WorkflowError: …") is None
