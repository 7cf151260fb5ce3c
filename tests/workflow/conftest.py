"""A run of the whole workflow on a tiny configuration, made once and looked at by many tests."""

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Workspace:
    """A working directory of the workflow.

    Attributes
    ----------
    directory
        Where results go.
    snakefile
        Which workflow runs.
    """

    directory: Path
    snakefile: Path = ROOT / "Snakefile"

    @property
    def results(self) -> Path:
        return self.directory / "results" / "tiny"

    def snakemake(self, *arguments: str, profile: str = "local") -> subprocess.CompletedProcess:
        """Run Snakemake as a user would; standard error is joined to the output."""
        command = [sys.executable, "-m", "snakemake", "--directory", str(self.directory)]
        command += [
            "--snakefile",
            str(self.snakefile),
            "--profile",
            str(ROOT / "profiles" / profile),
        ]
        return subprocess.run(
            [*command, *arguments],
            cwd=self.directory,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )

    def run(self, *arguments: str) -> set[str]:
        """Run the workflow to the end and return the rules that ran."""
        done = self.snakemake(*arguments)
        assert done.returncode == 0, done.stdout
        return rules_of(done.stdout)

    def plan(self, *arguments: str, profile: str = "local") -> set[str]:
        """Return the rules that would run."""
        done = self.snakemake("--dry-run", *arguments, profile=profile)
        assert done.returncode == 0, done.stdout
        return rules_of(done.stdout)

    def copy(self, directory: Path) -> "Workspace":
        """Return a copy with all times kept, to change at will."""
        shutil.copytree(self.directory, directory, dirs_exist_ok=True)
        return Workspace(directory, self.snakefile)

    def of(self, checkout: Path) -> "Workspace":
        """Return the same directory, worked on by another checkout of the workflow."""
        return Workspace(self.directory, checkout / "Snakefile")


def rules_of(output: str) -> set[str]:
    """Return the rules in Snakemake's table of jobs, without `all`."""
    tables = re.findall(r"^Job stats:\njob +count\n-[- ]+\n(.*?)^total ", output, re.M | re.S)
    assert tables or "Nothing to be done" in output, output
    lines = tables[0].splitlines() if tables else []
    return {line.split()[0] for line in lines} - {"all"}


def write_config(path: Path, **changes: object) -> Path:
    """Write the smoke configuration, made smaller, with some keys (`a.b`) changed."""
    config = yaml.safe_load((ROOT / "config" / "smoke.yaml").read_text())
    smaller = {"run": "tiny", "data.limit": 200, "training.num_epochs": 2}
    for key, value in {**smaller, **changes}.items():
        *sections, name = key.split(".")
        section = config
        for part in sections:
            section = section.setdefault(part, {})
        section[name] = value
    path.write_text(yaml.safe_dump(config))
    return path


@pytest.fixture(scope="session")
def configure():
    """Return the function that writes a configuration."""
    return write_config


@pytest.fixture
def workspace(tmp_path) -> Workspace:
    """An empty working directory."""
    return Workspace(tmp_path)


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Workspace:
    """The workflow, run to the end; tests look at it and leave it as it is."""
    workspace = Workspace(tmp_path_factory.mktemp("finished"))
    write_config(workspace.directory / "config.yaml")
    workspace.run("--configfile", "config.yaml")
    return workspace
