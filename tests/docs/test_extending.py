"""docs/extending.md: its package, installed outside of this one, adds what the page says."""

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

from structdiff.protein.io import read_structures

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")

#: Names of the metrics and their values for a set, printed as JSON.
MEASURE = """
import json
from types import SimpleNamespace
from structdiff.evaluation.value import Unavailable
from structdiff.evaluation.registry import all_metrics

metric = next(metric for metric in all_metrics() if metric.key == "lysine")
few = metric.compute(SimpleNamespace(sequences=["KK"]))
some = metric.compute(SimpleNamespace(sequences=["KK", "AA", "GG"]))
assert isinstance(few, Unavailable)
print(json.dumps({"group": metric.group, "value": some}))
"""


def files() -> dict[str, str]:
    """Return the page's blocks that name their file: name → content."""
    return dict(re.findall(r'```\w+ title="([^"]+)"\n(.*?)```', PAGE, re.S))


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """A folder with the page's package, as an installer would leave it."""
    folder = tmp_path_factory.mktemp("site-packages")
    for name, content in files().items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(content)
    (folder / "mypackage" / "__init__.py").touch()
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    metadata = folder / f"{project['name']}-{project['version']}.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    groups = [
        "\n".join([f"[{group}]", *(f"{name} = {target}" for name, target in entries.items())])
        for group, entries in project["entry-points"].items()
    ]
    (metadata / "entry_points.txt").write_text("\n\n".join(groups) + "\n")
    return folder


def run(installed: Path, *command: str, cwd: Path) -> str:
    """Run Python with the page's package installed; return what it printed."""
    done = subprocess.run(
        [sys.executable, *command],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(installed)])},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_predictor_folds_a_file(installed, tmp_path):
    (tmp_path / "peptides.fasta").write_text(">a\nGIGKFLHSAKKFGKAF\n>b\nKWKLFKKIGAVLKVL\n")
    command = re.search(r"```bash\nstructdiff (structures predict .*)\n```", PAGE)[1]
    run(installed, "-m", "structdiff", *command.split(), cwd=tmp_path)
    (file,) = (tmp_path / "folded").rglob("a.pdb")
    (structure,) = read_structures(file).structures
    ca = structure.backbone[:, 1]
    # Cα of an α-helix rise by 1.5 Å a residue
    assert np.linalg.norm(ca[-1] - ca[0]) == pytest.approx(1.5 * 15, abs=2.0)
    assert any((tmp_path / "resources" / "structures").glob("helix*"))


def test_the_metric_is_one_of_all(installed, tmp_path):
    measured = json.loads(run(installed, "-c", MEASURE, cwd=tmp_path))
    assert measured == {"group": "Composition", "value": pytest.approx(1 / 3)}


def test_the_sampler_draws_a_design(installed, tmp_path):
    run(installed, str(installed / "use.py"), cwd=tmp_path)


def test_the_table_names_files_that_exist():
    table = PAGE[PAGE.index("| addition | files") : PAGE.index("The code of the next")]
    most = {
        "structure predictor": 3,
        "metric": 1,
        "sampler": 2,
        "noise process of the sequence": 2,
        "noise process of the backbone": 3,
        "numeric condition": 6,
        "stage": 7,
    }
    counts = {}
    for what, count, which in re.findall(r"^\| ([a-z ]+) \| (\d)[^|]* \| (.*) \|$", table, re.M):
        counts[what] = int(count)
        for name in re.findall(r"`([\w/]+\.py|[\w/]+/)`", which):
            inside = name if "/" in name or name == "config.py" else f"evaluation/{name}"
            assert (ROOT / "structdiff" / inside).exists(), name
    assert {what for what, count in counts.items() if count > most.get(what, 2)} == set()
    assert set(most) <= set(counts)
    condition = PAGE[PAGE.index("## A condition") : PAGE.index("## A stage")]
    numeric, _, other = condition.partition("\n\nAnother kind")
    named = re.findall(r"`(structdiff/[\w/]+\.py)`", numeric)
    assert len(named) == counts["numeric condition"]
    assert all(
        (ROOT / name).is_file() for name in named + re.findall(r"`(structdiff/[\w/]+\.py)`", other)
    )
