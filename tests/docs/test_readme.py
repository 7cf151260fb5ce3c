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
def folder(tmp_path_factory) -> Path:
    """A run folder with the data that the README's configuration names."""
    folder = tmp_path_factory.mktemp("readme") / "demo"
    run(folder.parent, "structdiff init demo")
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
    (folder / "own.yaml").write_text(printed + SMALLEST)
    return folder


def run(folder: Path, command: str) -> str:
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        env={
            **os.environ,
            "PATH": f"{Path(sys.prefix) / 'bin'}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),  # this checkout's code, whatever is installed
        },
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}"
    return done.stdout


@pytest.fixture(scope="module")
def followed(folder) -> list[tuple[str, str]]:
    """Every command of the README, run in its order: command and output.

    Installation is a step of CI; the demo, which takes minutes, is only planned.
    """
    install, init, demo, *others = commands()
    assert install == "pip install ."
    assert init == "structdiff init demo && cd demo"
    said = [(demo, run(folder, f"{demo} -n"))]
    for command in others:
        if command.startswith("structdiff doctor"):  # from here on the configuration is the user's
            shutil.copy(folder / "own.yaml", folder / "config" / "config.yaml")
        quicker = command.replace("--number 50", "--number 50 --num-steps 4")
        said.append((command, run(folder, quicker)))
    return said


def test_the_demo_has_a_plan(followed):
    command, plan = followed[0]
    assert command == "structdiff run"
    assert "report" in plan and len(plan.splitlines()) <= 40


def test_the_run_ends_with_the_report(followed, folder):
    assert (folder / "results" / "mine" / "report.html").is_file()
    doctor = next(said for command, said in followed if "doctor" in command)
    assert "run 'mine' can run here" in doctor
    for label in LABELS:
        assert (folder / "results" / "mine" / "generation" / f"{label}.fasta").is_file()


def test_the_order_sheet_is_written(followed, folder):
    assert (folder / "order.xlsx").is_file()


def test_the_folders_that_appear_are_there(followed, folder):
    section = README[README.index("## What appears") : README.index("## Design at once")]
    names = re.findall(r"`(\w+/)`", section)
    assert names == ["generation/", "selection/", "evaluation/"]
    assert all((folder / "results" / "mine" / name).is_dir() for name in names)


def test_the_python_block_runs(followed, folder):
    (block,) = blocks("python")
    quicker = block.replace("length=(12, 25)", "length=(8, 10), num_steps=4")
    (folder / "block.py").write_text(quicker + "print(len(designs), score.log_probability)\n")
    assert run(folder, "python block.py").startswith("10 ")


def test_each_design_task_runs(followed, folder):
    shutil.copy(next((folder / "pdb").glob("*.pdb")), folder / "target.pdb")
    (folder / "peptides.fasta").write_text(">a\nGIGKFLHSAKKFG\n")
    page = (ROOT / "docs" / "designing.md").read_text(encoding="utf-8")
    tasks = re.findall(r"^\| [^|]*\| `(structdiff design [^`]*)`", page, re.M)
    assert {task.split()[2] for task in tasks} == {
        *("free", "infill", "analogues", "inverse-fold", "fold", "scan"),
    }
    tasks = [task for task in tasks if "ecoli_mic" not in task]  # of a model that knows it
    own = "--model results/mine/selection/model.safetensors"
    for number, task in enumerate(tasks):
        few = re.sub(r"--number \d+", "--number 2", task)
        if " fold " not in few and " scan " not in few:
            few += " --num-steps 4" + ("" if "--number" in few else " --number 2")
        model = own if task.split()[2] in ("infill", "inverse-fold") else ""
        run(folder, f"{few} --output-dir out{number} {model}")
        assert list((folder / f"out{number}").iterdir()), task
