"""The notebook runs from top to bottom and leaves what it says."""

import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

pytestmark = pytest.mark.xdist_group("docs")

ROOT = Path(__file__).resolve().parents[2]
SHELL = "__import__('subprocess').run({!r}, shell=True, check=True)"


def script() -> str:
    """Return the notebook's code as one script; a line that begins with ``!`` is a shell's."""
    notebook = nbformat.read(ROOT / "docs" / "try.ipynb", as_version=4)
    nbformat.validate(notebook)
    lines = [
        line
        for cell in notebook.cells
        if cell.cell_type == "code"
        for line in cell.source.splitlines()
    ]
    return "\n".join(SHELL.format(line[1:]) if line.startswith("!") else line for line in lines)


def test_the_notebook_runs_and_leaves_designs_a_verdict_and_an_order(tmp_path):
    (tmp_path / "notebook.py").write_text(script(), encoding="utf-8")
    environment = {
        "MPLBACKEND": "Agg",
        "PATH": f"{Path(sys.prefix) / 'bin'}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run(
        [sys.executable, "notebook.py"],
        cwd=tmp_path,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert (tmp_path / "mine.fasta").read_text().count(">") == 10
    assert (tmp_path / "judged" / "comparison.tsv").stat().st_size > 0
    assert (tmp_path / "designs" / "designs.tsv").is_file()
    assert (tmp_path / "order.xlsx").stat().st_size > 0
