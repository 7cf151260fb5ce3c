"""The README, followed by a new user: each block runs as printed, on a small table of peptides."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from structdiff.protein.geometry import ANGLES, rebuild
from structdiff.protein.io import write_pdb

pytestmark = [pytest.mark.workflow, pytest.mark.xdist_group("readme")]

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")

LABELS = ["antimicrobial", "antifungal", "antiviral"]
CHECKOUT = ("Snakefile", "Makefile", "config", "profiles", "structdiff", "workflow")
CHECKOUT += ("pyproject.toml", "requirements.lock")

#: What makes the printed configuration small enough for a test.
SMALLER = {"preset: small": "preset: tiny", "num_epochs: 20": "num_epochs: 1"}
SMALLEST = "\ngeneration:\n  num_samples: 4\n  num_steps: 4\nevaluation:\n  num_control: 20\n"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.S)


def commands() -> list[str]:
    """Return each command of the README, without its comment."""
    lines = [line for block in blocks("bash") for line in block.splitlines()]
    return [re.sub(r"\s+#.*", "", line) for line in lines if line.strip()]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> Path:
    """A checkout as a new user has it, with the README's `my.yaml` and the data it names."""
    folder = tmp_path_factory.mktemp("readme")
    for name in CHECKOUT:
        (folder / name).symlink_to(ROOT / name)
    (folder / ".venv").symlink_to(sys.prefix)
    generator = np.random.default_rng(0)
    rows = []
    (folder / "pdb").mkdir()
    for number in range(60):
        letters = generator.choice(list("ACDEFGHIKLMNPQRSTVWY"), generator.integers(8, 16))
        sequence = "".join(letters)
        rows.append([f"p{number}", sequence, 1, number % 2, number % 3 == 0])
        torsions = torch.tensor([-1.0, -0.8, np.pi]).expand(len(sequence), 3)
        angles = torch.tensor(ANGLES).expand(len(sequence), 3)
        write_pdb(folder / "pdb" / f"{number}.pdb", sequence, rebuild(torsions, angles).numpy())
    (folder / "data").mkdir()
    table = pd.DataFrame(rows, columns=["id", "sequence", *LABELS]).astype(
        dict.fromkeys(LABELS, int)
    )
    table.to_csv(folder / "data" / "peptides.csv", index=False)
    with tarfile.open(folder / "data" / "pdb.tar.gz", "w:gz") as archive:
        archive.add(folder / "pdb", "pdb")
    (printed,) = blocks("yaml")
    for long, short in SMALLER.items():
        assert long in printed
        printed = printed.replace(long, short)
    (folder / "my.yaml").write_text(printed + SMALLEST)
    return folder


def run(folder: Path, command: str) -> str:
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},  # this checkout's code, whatever is installed
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}"
    return done.stdout


@pytest.fixture(scope="module")
def followed(checkout) -> dict[str, str]:
    """Every command of the README, run in its order: command → output."""
    said = {}
    for command in commands():
        if command.startswith("make"):  # minutes: the workflow's own tests run what they start
            said[command] = run(checkout, f"{command.split()[0]} --dry-run {command.split()[1]}")
        elif "config/peptides.yaml" in command:  # wants a GPU or a cluster
            said[command] = run(checkout, f"{command} --dry-run")
        else:
            said[command] = run(checkout, command)
    return said


def test_the_first_two_commands_are_what_they_say(followed):
    assert "snakemake --profile profiles/local" in followed["make demo"]
    assert "pytest" in followed["make test"]


def test_the_run_ends_with_the_report(followed, checkout):
    assert (checkout / "results" / "mine" / "report.html").is_file()
    doctor = followed[".venv/bin/structdiff doctor --config my.yaml"]
    assert "run 'mine' can run here" in doctor


def test_everything_that_appears_is_there(followed, checkout):
    section = README[README.index("## What appears") : README.index("## Your own data")]
    rows = re.findall(r"^\| (`.*?`) \|", section, re.M)
    names = [name for row in rows for name in re.findall(r"`(\w+/)`", row)]
    assert len(names) == 9
    for name in names:
        assert (checkout / "results" / "mine" / name).is_dir(), name
    for label in LABELS:
        assert (checkout / "results" / "mine" / "generation" / f"{label}.fasta").is_file()


def test_the_python_block_runs(followed, checkout):
    (block,) = blocks("python")
    demo = checkout / "results" / "demo" / "selection"
    demo.mkdir(parents=True)
    shutil.copy(checkout / "results" / "mine" / "selection" / "model.safetensors", demo)
    quicker = block.replace("length=(12, 25)", "length=(8, 10), num_steps=4")
    (checkout / "block.py").write_text(quicker + "print(len(designs), score.log_probability)\n")
    assert run(checkout, ".venv/bin/python block.py").startswith("10 ")


def test_each_design_task_runs(followed, checkout):
    shutil.copy(next((checkout / "pdb").glob("*.pdb")), checkout / "target.pdb")
    (checkout / "peptides.fasta").write_text(">a\nGIGKFLHSAKKFG\n")
    section = README[README.index("## Designing") : README.index("In Python")]
    own = re.search(r"`(--model \S+)`", section)[1]
    tasks = re.findall(r"^\| [^|]*\| `(structdiff design .*)` \|$", section, re.M)
    assert len(tasks) == 6
    for number, task in enumerate(tasks):
        few = re.sub(r"--number \d+", "--number 2", task)
        if " fold " not in few and " scan " not in few:
            few += " --num-steps 4" + ("" if "--number" in few else " --number 2")
        model = own if number % 2 else ""  # the released model and the user's in turn
        run(checkout, f".venv/bin/{few} --output-dir out{number} {model}")
        assert list((checkout / f"out{number}").iterdir()), task
