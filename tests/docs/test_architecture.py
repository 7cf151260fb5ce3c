"""The repository is as docs/architecture.md draws it."""

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "structdiff"
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


def lines_of_imports() -> dict[str, int]:
    """Return the line of each module in the picture, the top one first."""
    section = PAGE[PAGE.index("## The direction of imports") :]
    block = re.search(r"```\n(.*?)```", section, re.S)[1]
    return {name: line for line, names in enumerate(block.splitlines()) for name in names.split()}


def imports(path: Path) -> Iterator[str]:
    """Yield what a module imports, wherever it stands, but not what only type checkers read."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    idle = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING"
        for statement in node.body
        for inner in ast.walk(statement)
    }
    for node in ast.walk(tree):
        if id(node) in idle:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def part(path: Path) -> str:
    """Return the name in the picture."""
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


MODULES = [path for path in sorted(PACKAGE.rglob("*.py")) if path != PACKAGE / "__init__.py"]


def test_the_picture_names_every_module():
    assert {part(path) for path in MODULES} <= set(lines_of_imports())


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_nothing_imports_from_a_line_above_its_own(path):
    line, above = lines_of_imports(), []
    for name in imports(path):
        first, *rest = name.split(".")
        if first == "structdiff" and rest and line[rest[0]] < line[part(path)]:
            above.append(name)
    assert above == []


def test_the_model_needs_only_torch():
    for package in ("model", "diffusion"):
        for path in (PACKAGE / package).glob("*.py"):
            foreign = {name.split(".")[0] for name in imports(path)} & {
                *("pandas", "pyarrow", "pydantic", "yaml", "matplotlib", "snakemake", "biotite"),
            }
            assert foreign == set(), path


@pytest.mark.parametrize(
    "stage",
    ["peptides", "structures", "training", "selection", "figures", "generation", "evaluation"],
)
def test_a_stage_bears_one_name(stage):
    assert (ROOT / "workflow" / "rules" / f"{stage}.smk").is_file()
    assert (PACKAGE / stage).is_dir() or (PACKAGE / f"{stage}.py").is_file()
    assert (ROOT / "tests" / stage).is_dir()
    assert f"`results/<run>/{stage}/`" in PAGE


def test_the_root_shows_few_entries():
    done = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip("this is no git checkout")
    names = {line.split("/")[0] for line in done.stdout.splitlines()}
    assert len({name for name in names if not name.startswith(".")}) <= 18
