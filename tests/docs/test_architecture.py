"""The repository is as docs/architecture.md draws it."""

import ast
import graphlib
import re
import subprocess
from collections import Counter
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
    """Yield what a module imports, wherever it stands, for type checkers as well."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def module(path: Path) -> str:
    """Return the name to import a file of the package by."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def parents(name: str) -> set[str]:
    """Return the packages that a module is in."""
    parts = name.split(".")
    return {".".join(parts[:end]) for end in range(1, len(parts))}


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
        room = rest[0] if first == "structdiff" and rest else ""
        if room in line and line[room] < line[part(path)]:
            above.append(name)
    assert above == []


def test_no_modules_import_each_other_in_a_circle():
    files = {module(path): path for path in PACKAGE.rglob("*.py")}
    graph = {}
    for name, path in files.items():
        imported = set()
        for each in imports(path):
            # what is imported from a package is a module of it, or stands in its __init__
            imported |= {each, each.rpartition(".")[0]} & files.keys()
        graph[name] = imported - {name, "structdiff"} - parents(name)
    try:
        tuple(graphlib.TopologicalSorter(graph).static_order())
    except graphlib.CycleError as error:
        pytest.fail(" → ".join(reversed(error.args[1])))


def test_the_package_has_few_loose_modules():
    assert len([path for path in PACKAGE.glob("*.py") if path.name != "__init__.py"]) <= 6


def test_no_two_modules_have_one_name():
    stems = Counter(path.stem for path in PACKAGE.rglob("*.py"))
    rooms = {path.parent.name for path in PACKAGE.rglob("__init__.py")} - {"structdiff"}
    repeated = {name for name, count in stems.items() if count > 1 or name in rooms}
    assert repeated <= {"__init__", "__main__", "stage"}


#: Tests of more than one module, by folder of `tests/`.
OF_SEVERAL_MODULES = {
    ".": {"bad_inputs", "environment"},
    "report": {"drawings"},
    "docs": {"architecture", "extending", "readme", "site", "notebook"},
    "slurm": {"faults", "pipeline"},
    "structures/predictors": {"esmfold_device"},
    "training": {"compile", "device", "guide", "kill", "workflow_kill"},
}


def test_the_tests_mirror_the_package():
    astray = []
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        folder, name = path.parent.relative_to(ROOT / "tests"), path.stem.removeprefix("test_")
        room = PACKAGE / folder
        named = (room / f"{name}.py").is_file() or (room / name).is_dir()
        whole = folder.name == name and (room.is_dir() or room.with_suffix(".py").is_file())
        stated = name in OF_SEVERAL_MODULES.get(str(folder), ()) or folder == Path("workflow")
        if not (named or whole or stated):
            astray.append(str(path.relative_to(ROOT)))
    assert astray == []


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
def test_a_stage_has_one_name(stage):
    assert (ROOT / "workflow" / "rules" / f"{stage}.smk").is_file()
    assert (PACKAGE / stage).is_dir() or (PACKAGE / f"{stage}.py").is_file()
    assert (ROOT / "tests" / stage).is_dir()
    assert f"`results/<run>/{stage}/`" in PAGE


def test_the_root_shows_few_entries():
    done = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip("not a git checkout")
    names = {line.split("/")[0] for line in done.stdout.splitlines()}
    assert len({name for name in names if not name.startswith(".")}) <= 18
