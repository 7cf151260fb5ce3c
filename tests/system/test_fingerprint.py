"""Fingerprints of code and of files: what counts, what does not, and what is remembered."""

import os
import shutil
import subprocess
import sys
import textwrap
import time

import pytest

from structdiff.system import fingerprint as module
from structdiff.system.fingerprint import Digests, constant, fingerprint

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

    return edit


@pytest.fixture
def digests(tmp_path) -> Digests:
    return Digests(tmp_path / "digests.json")


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
def test_what_changes_no_result_changes_nothing(package, digests, name, old, new):
    before = fingerprint("structdiff.stage", digests)
    package(name, old, new)
    assert fingerprint("structdiff.stage", digests) == before


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
def test_what_may_change_a_result_changes_the_fingerprint(package, digests, name, old, new):
    before = fingerprint("structdiff.stage", digests)
    package(name, old, new)
    assert fingerprint("structdiff.stage", digests) != before


def test_a_constant_is_read_without_importing(package):
    assert constant("structdiff.stage", "CODE_VERSION") == 3


@pytest.mark.parametrize("name", ["structdiff.absent", "os"])
def test_a_module_that_is_not_ours_is_refused(package, digests, name):
    with pytest.raises(ValueError, match=name):
        fingerprint(name, digests)
    with pytest.raises(ValueError, match="assigns no literal"):
        constant(name, "CODE_VERSION")


STAGES = [
    "structdiff.peptides.stage",
    "structdiff.selection",
    "structdiff.figures.stage",
    "structdiff.generation.stage",
    "structdiff.evaluation.stage",
]


def test_every_stage_has_a_fingerprint_of_its_own(digests):
    assert len({fingerprint(stage, digests) for stage in STAGES}) == len(STAGES)


def test_nothing_heavy_is_imported():
    code = (
        "import sys; from pathlib import Path; "
        "from structdiff.system.fingerprint import Digests, fingerprint; "
        f"fingerprint({STAGES[3]!r}, Digests(Path('no/file'))); "
        "sys.exit(bool({'torch', 'pandas', 'numpy'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


OLD = 10**18
"""A time in 2001, in ns."""


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("sequence\nGIGKF\n")
    return path


@pytest.mark.parametrize("time_ns", [OLD, None], ids=["older", "equal"])
def test_a_file_that_is_replaced_counts_whatever_its_time(digests, table, tmp_path, time_ns):
    os.utime(table, ns=(OLD + 1, OLD + 1))
    before = digests.content(table)
    other = tmp_path / "other.csv"
    other.write_text(table.read_text().replace("GIGKF", "KWKLF"))
    times = (time_ns, time_ns) if time_ns else (table.stat().st_atime_ns, table.stat().st_mtime_ns)
    os.utime(other, ns=times)
    assert other.stat().st_size == table.stat().st_size
    shutil.copy2(other, table)
    assert digests.content(table) != before
    table.unlink()
    assert digests.content(table) != before  # as it was last seen


def test_a_copy_and_another_time_are_the_same(digests, table, tmp_path):
    before = digests.content(table)
    shutil.copy(table, tmp_path / "copy.csv")
    os.utime(table)
    assert digests.content(table) == digests.content(tmp_path / "copy.csv") == before


def test_a_folder_counts_by_the_names_and_contents_of_its_files(digests, tmp_path):
    folder = tmp_path / "pdb"
    (folder / "more").mkdir(parents=True)
    file = folder / "more" / "a.pdb"
    file.write_text("ATOM 1\n")
    (folder / "gone.pdb").symlink_to("nowhere")
    seen = {digests.content(folder)}
    stat = file.stat()
    file.write_text("ATOM 2\n")
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    seen.add(digests.content(folder))
    file.rename(folder / "b.pdb")
    seen.add(digests.content(folder))
    (folder / ".hidden").mkdir()
    (folder / ".hidden" / "c.pdb").write_text("ATOM 3\n")
    seen.add(digests.content(f"{folder}/"))
    assert len(seen) == 3


def test_what_has_settled_is_hashed_once(tmp_path, table, monkeypatch):
    def remembered() -> int:
        """Return how often the table is hashed by two processes, one after the other."""
        hashed = []
        for _ in range(2):
            digests = Digests(tmp_path / "digests.json")
            digests.remember("content", table, lambda path: hashed.append(path) or "digest")
            digests.save()
        return len(hashed)

    assert remembered() == 2  # it has only just been written
    monkeypatch.setattr(module, "SETTLED_NS", -1)
    assert remembered() == 1
    assert remembered() == 0


def test_a_file_that_has_just_changed_is_hashed_again_however_long_it_takes(
    digests, table, monkeypatch
):
    hashed, start = [], time.time_ns()
    monkeypatch.setattr(time, "time_ns", lambda: start + 10**10 * len(hashed))
    for _ in range(2):
        digests.remember("content", table, lambda path: hashed.append(path) or "digest")
    assert len(hashed) == 2


def test_a_file_that_was_never_there_is_an_error(digests, tmp_path):
    with pytest.raises(FileNotFoundError):
        digests.content(tmp_path / "absent.csv")


def test_a_damaged_memory_is_forgotten(table, tmp_path):
    memory = tmp_path / "digests.json"
    memory.write_text("{")
    digests = Digests(memory)
    assert len(digests.content(table)) == 16
    digests.save()
    assert Digests(memory).content(table) == digests.content(table)
