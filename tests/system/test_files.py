"""Files that are written whole or not at all, and tables that nothing takes for a command."""

import errno
import json
import os
from pathlib import Path

import pytest

from structdiff.system.errors import UserError
from structdiff.system.files import (
    explain,
    harmless,
    read_tsv,
    replacing,
    replacing_several,
    write_bytes,
    write_json,
    write_text,
    write_tsv,
)


def test_a_file_is_replaced_at_the_end_and_not_before(tmp_path):
    path = tmp_path / "new" / "a.txt"
    write_text(path, "first")
    with replacing(path, durable=True) as temporary:
        assert temporary.parent == path.parent
        temporary.write_text("second")
        assert path.read_text() == "first"
    assert path.read_text() == "second"
    assert [entry.name for entry in path.parent.iterdir()] == ["a.txt"]


def test_an_error_leaves_what_was_there_and_nothing_else(tmp_path):
    path = tmp_path / "a.txt"
    write_bytes(path, b"first")
    with pytest.raises(RuntimeError, match="half"), replacing(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError("half written")
    assert path.read_bytes() == b"first"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_is_replaced_as_a_whole(tmp_path):
    path = tmp_path / "arrays"
    for name in ("a", "b"):
        with replacing(path) as temporary:
            temporary.mkdir()
            (temporary / name).write_text(name)
    assert [entry.name for entry in path.iterdir()] == ["b"]


def test_several_files_go_together(tmp_path):
    write_text(tmp_path / "a", "old")
    with pytest.raises(ValueError, match="late"), replacing_several(tmp_path) as folder:
        (folder / "a").write_text("new")
        raise ValueError("late")
    assert (tmp_path / "a").read_text() == "old"
    with replacing_several(tmp_path) as folder:
        (folder / "a").write_text("new")
        (folder / "b").write_text("new")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["a", "b"]


def test_the_longest_name_can_be_written(tmp_path):
    for name in ("a" * 255, "肽" * 85):
        write_text(tmp_path / name, "x")
        assert (tmp_path / name).read_text() == "x"


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.ENOSPC, "free some space"),
        (errno.EDQUOT, "df -i"),
        (errno.EROFS, "name a folder that you may write to"),
    ],
)
def test_what_cannot_be_written_is_said_with_the_remedy(tmp_path, number, remedy):
    with pytest.raises(UserError, match=remedy) as caught, replacing(tmp_path / "a") as temporary:
        raise OSError(number, os.strerror(number), str(temporary))
    assert str(tmp_path / "a") in str(caught.value)


def test_a_file_that_cannot_be_read_is_not_called_one_that_cannot_be_written(tmp_path):
    with pytest.raises(PermissionError), replacing(tmp_path / "a"):
        raise PermissionError(errno.EACCES, "Permission denied", "/elsewhere/secret")


@pytest.mark.parametrize("below", [".", "..", "file/below", "folder", "a" * 256, "loop/below"])
def test_a_path_that_cannot_be_written_is_named(tmp_path, monkeypatch, below):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to("loop/below")
    with pytest.raises(OSError) as caught:
        write_text(Path(below), "x")
    path, _, rest = explain(caught.value).partition(": ")
    assert below.startswith(path)
    assert rest.endswith("; name another file or folder")
    assert not list(tmp_path.glob(".*"))


def test_a_folder_that_cannot_be_made_is_named():
    with pytest.raises(FileNotFoundError) as caught:
        write_text(Path("/proc/none/x"), "x")
    assert explain(caught.value).startswith("/proc/none: No such file or directory; name another")


def test_not_a_number_is_not_json(tmp_path):
    write_json(tmp_path / "a.json", {"a": [1, None]})
    assert json.loads((tmp_path / "a.json").read_text()) == {"a": [1, None]}
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", float("nan"))


def test_cells_are_plain(tmp_path):
    path = tmp_path / "a.tsv"
    write_tsv(path, ["a", "b", "c", "d", "e"], [["x", 1, 0.123456789, None, True]])
    write_tsv(path, ["a", "b"], [["é", float("nan")], ['"x"', 2.0]], "%.2f")
    assert path.read_text(encoding="utf-8") == 'a\tb\né\t\n"x"\t2.00\n'


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("=HYPERLINK(1)", "'=HYPERLINK(1)"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("+A1", "'+A1"),
        ("-A1", "'-A1"),
        ("＝A1", "'＝A1"),
        ("'=A1", "''=A1"),
        ("-1.5", "-1.5"),
        ("+2e3", "+2e3"),
        ("-", "-"),
        ("5'-end", "5'-end"),
        ("antimicrobial+antifungal", "antimicrobial+antifungal"),
    ],
)
def test_no_text_is_a_formula_and_each_comes_back(tmp_path, text, cell):
    path = tmp_path / "a.tsv"
    write_tsv(path, ["id", "n"], [[text, -1]])
    assert path.read_text(encoding="utf-8").splitlines()[1] == f"{cell}\t-1"
    assert read_tsv(path) == [{"id": text, "n": "-1"}]
    write_tsv(path, ["id", text], [["a", 1]])
    assert read_tsv(path) == [{"id": "a", text: "1"}]


def test_no_text_controls_a_terminal_or_breaks_a_row(tmp_path):
    path = tmp_path / "a.tsv"
    evil = "a\tb\r\n\x1b[2J\x07\x9b1m\u202eb\u2028" + os.fsdecode(b"\xe9")
    write_tsv(path, ["id"], [[evil]])
    text = path.read_text(encoding="utf-8")
    assert text == "id\na\\tb\\r\\n\\x1b[2J\\x07\\x9b1m\\u202eb\\u2028\\udce9\n"
    assert harmless(evil) == text.split("\n")[1]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (None, "cannot be read"),
        (b"a\tb\n1\t2\n1\n", "line 3: 1 cells, not 2"),
        (b"a\n1\n2", "is cut off"),
        (b"a\n\xff\n", "cannot be read"),
    ],
)
def test_a_table_that_is_not_whole_is_refused(tmp_path, data, message):
    path = tmp_path / "a.tsv"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(UserError, match=message) as caught:
        read_tsv(path)
    assert str(path) in str(caught.value)
