"""Fingerprints of code: what counts, what does not, and how fast they are."""

import subprocess
import sys
import textwrap
import time

import pytest

from structdiff.system import fingerprint as module
from structdiff.system.fingerprint import constant, fingerprint

SOURCES = {
    "__init__.py": '"""A package."""\n',
    "system/__init__.py": "",
    "system/errors.py": "class UserError(Exception): ...\n",
    "stage.py": """
        from typing import TYPE_CHECKING

        from structdiff.system.errors import UserError
        from structdiff.part import helper

        if TYPE_CHECKING:
            from structdiff.types import Shape

        CODE_VERSION = 3

        def run(x: "Shape"):
            '''What it does.'''
            from structdiff.late import finish

            return finish(helper(x))  # a comment
        """,
    "part.py": "def helper(x):\n    return x + 1\n",
    "late.py": "def finish(x):\n    return x * 2\n",
    "types.py": "Shape = tuple\n",
    "elsewhere.py": "def other():\n    return 0\n",
}


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Make a small package and return a function that edits one of its files."""
    root = tmp_path / "structdiff"
    for name, text in SOURCES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(textwrap.dedent(text))
    monkeypatch.setattr(module, "PACKAGE", root)

    def edit(name: str, old: str, new: str) -> None:
        text = (root / name).read_text()
        assert old in text
        (root / name).write_text(text.replace(old, new))

    module._tree.cache_clear()
    module._digest.cache_clear()
    yield edit
    module._tree.cache_clear()
    module._digest.cache_clear()


def current() -> str:
    module._tree.cache_clear()
    module._digest.cache_clear()
    return fingerprint("structdiff.stage")


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("stage.py", "# a comment", "# another"),
        ("stage.py", "What it does.", "What it really does."),
        ("stage.py", "finish(helper(x))", "finish(\n        helper(x),\n    )"),
        ("part.py", "def helper", "# why\n\n\ndef helper"),
        ("types.py", "tuple", "list"),
        ("system/errors.py", "...", "code = 2"),
        ("elsewhere.py", "return 0", "return 1"),
    ],
    ids=["comment", "docstring", "format", "blank lines", "type checking", "message", "unreached"],
)
def test_what_changes_no_result_changes_nothing(package, name, old, new):
    before = current()
    package(name, old, new)
    assert current() == before


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("stage.py", "helper(x))", "helper(x) + 1)"),
        ("part.py", "x + 1", "x + 2"),
        ("late.py", "x * 2", "x * 3"),
        ("part.py", "def helper(x):", "def helper(x=0):"),
    ],
    ids=["the stage", "an import", "an import inside a function", "a default"],
)
def test_what_may_change_a_result_changes_the_fingerprint(package, name, old, new):
    before = current()
    package(name, old, new)
    assert current() != before


def test_a_constant_is_read_without_importing(package):
    assert constant("structdiff.stage", "CODE_VERSION") == 3


@pytest.mark.parametrize("name", ["structdiff.absent", "os"])
def test_a_module_that_is_not_ours_is_refused(package, name):
    with pytest.raises(ValueError, match=name):
        fingerprint(name)
    with pytest.raises(ValueError, match="assigns no literal"):
        constant(name, "CODE_VERSION")


STAGES = [
    "structdiff.peptides.stage",
    "structdiff.selection",
    "structdiff.figures.stage",
    "structdiff.generation.stage",
    "structdiff.evaluation.stage",
]


def test_all_stages_take_a_moment():
    start = time.perf_counter()
    assert len({fingerprint(stage) for stage in STAGES}) == len(STAGES)
    assert time.perf_counter() - start < 1.0


def test_nothing_heavy_is_imported():
    code = (
        "import sys; from structdiff.system.fingerprint import fingerprint; "
        f"fingerprint({STAGES[3]!r}); "
        "sys.exit(bool({'torch', 'pandas', 'numpy'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
