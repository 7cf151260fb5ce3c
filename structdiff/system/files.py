"""Atomic writes of files: bytes, text, JSON and TSV, complete or not at all.

``with replacing(path) as temporary:`` yields a temporary path in the same folder. When the block
ends without an error, the temporary file replaces the file at ``path``. ``write_bytes``,
``write_text``, ``write_json`` and ``write_tsv`` use it. A full disk or a folder without write
permission raises a `UserError`.

A TSV file has one row in each line, cells separated by tabs, and no quoting. `write_tsv` makes text
safe: a control character is written as its escape (``\\x1b``), and a text that a spreadsheet
would read as a formula begins with an apostrophe, which `read_tsv` removes.
"""

import errno
import hashlib
import itertools
import json
import os
import re
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from structdiff.system.errors import UserError
from structdiff.system.job import check_current

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "another_content",
    "explain",
    "harmless",
    "hash_file",
    "is_number",
    "read_rows",
    "read_tsv",
    "remedy",
    "replacing",
    "replacing_several",
    "sync",
    "visible_files",
    "write_bytes",
    "write_frame",
    "write_json",
    "write_text",
    "write_tsv",
]

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_FORMULA = re.compile(r"['=+\-@＝＋－＠](?=.)")
_MARKED_FORMULA = re.compile(r"'['=+\-@＝＋－＠].")
_HTML = re.compile(rb"(\xef\xbb\xbf)?\s*<(!doctype\s+html|html)\b", re.IGNORECASE)
_LFS = b"version https://git-lfs.github.com/"
_REMEDIES = {
    **dict.fromkeys(
        (errno.ENOSPC, errno.EDQUOT, errno.EFBIG),
        "free some space (`df -h`, and `df -i` for the number of files) and run again",
    ),
    **dict.fromkeys(
        (errno.EACCES, errno.EPERM, errno.EROFS),
        "name a folder that you may write to, or ask for access",
    ),
}

_WRONG_PATH = {
    errno.EACCES,
    errno.EEXIST,
    errno.EISDIR,
    errno.ELOOP,
    errno.ENAMETOOLONG,
    errno.ENOENT,
    errno.ENOTDIR,
    errno.EPERM,
}
"""Errors of the system for a path at which nothing can be read or written."""


def another_content(data: bytes) -> str:
    """Return a message if a file holds a web page or a Git LFS pointer instead of a table.

    The message says what the data are and what to do; it is empty for other data.
    """
    if _HTML.match(data):
        return "is a web page (HTML), probably the message of a failed download; download it again"
    if data.startswith(_LFS):
        return "is a pointer of Git LFS to the file; fetch the file itself with `git lfs pull`"
    return ""


@contextmanager
def replacing(path: Path, *, durable: bool = False) -> Iterator[Path]:
    """Yield a temporary path; what is written there replaces ``path`` when the block ends.

    If the block raises an error, the temporary file is removed and ``path`` does not change.

    Parameters
    ----------
    path
        The file or folder to write (an existing folder is removed first). Its parent folder is
        created.
    durable
        Whether a file must survive a power failure once the block has ended; not for folders.

    Raises
    ------
    UserError
        If the file system is full or cannot be written to, or another Snakemake has taken over
        the run (`structdiff.system.job`); ``path`` is unchanged.
    """
    with _temporary(path) as temporary:
        yield temporary
        check_current(path)
        if temporary.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        elif durable:
            sync(temporary)
        temporary.replace(path)
        if durable:
            sync(path.parent)


@contextmanager
def replacing_several(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder; its files move to ``folder`` if the block ends without an error.

    Raises
    ------
    UserError
        If the file system is full or cannot be written to, or another Snakemake has taken over
        the run.
    """
    with _temporary(folder / "files") as temporary:
        temporary.mkdir()
        yield temporary
        check_current(folder / "files")
        for path in sorted(temporary.iterdir()):
            path.replace(folder / path.name)


@contextmanager
def _temporary(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the folder of ``path``, and remove it at the end.

    The temporary name is short, because the name of ``path`` may be as long as a file system
    allows. Raises `UserError` if the disk is full or writing is not allowed (see `remedy`).
    """
    if path.name in ("", ".."):  # also of `.` and `/`
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    temporary = path.with_name(f".{path.name[:32]}.{uuid.uuid4().hex[:12]}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
    except OSError as error:
        advice = remedy(error)
        place = Path(error.filename or temporary).parent
        if advice is None or not (place == path.parent or temporary in (place, *place.parents)):
            raise
        raise UserError(f"{path}: cannot be written ({error.strerror}); {advice}") from error
    finally:
        with suppress(OSError):
            shutil.rmtree(temporary) if temporary.is_dir() else temporary.unlink(missing_ok=True)


def remedy(error: OSError) -> str | None:
    """Return advice to the user for a full disk or quota, or a lack of permission; else None."""
    return _REMEDIES.get(error.errno or 0)


def explain(error: UserError | OSError) -> str | None:
    """Return the message to the user for an error that the user can fix; None for other errors."""
    if isinstance(error, UserError):
        return str(error)
    path = error.filename2 or error.filename
    if error.errno in _WRONG_PATH:
        return None if path is None else f"{path}: {error.strerror}; name another file or folder"
    advice = remedy(error)
    fault = f"{error.filename or 'a file'}: cannot be written ({error.strerror}); {advice}"
    return None if advice is None else fault


def visible_files(folder: Path, refuse: Callable[[OSError], None] | None = None) -> Iterator[Path]:
    """Yield the files and links in a folder and its subfolders, without hidden ones.

    Files and subfolders whose names begin with a dot are left out. A link to a folder is followed,
    unless the link is inside its own target.

    Parameters
    ----------
    folder
        The folder.
    refuse
        Called with the error if ``folder`` or a subfolder cannot be read. If it returns, or if it
        is None, the files of that folder are left out.
    """
    for parent, subfolders, names in os.walk(folder, onerror=refuse, followlinks=True):
        subfolders[:] = [
            name
            for name in subfolders
            if not (name.startswith(".") or _is_circle(Path(parent, name)))
        ]
        yield from (Path(parent, name) for name in names if not name.startswith("."))


def _is_circle(path: Path) -> bool:
    """Return whether a path is a link to a folder that contains the link."""
    if not path.is_symlink():
        return False
    target = path.resolve()
    return any(folder.resolve() == target for folder in path.absolute().parents)


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file, as hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync(path: Path) -> None:
    """Flush a file, or the entries of a folder, from memory to the disk (fsync)."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_bytes(path: Path, data: bytes, *, durable: bool = False) -> None:
    """Write a file of bytes atomically; `replacing` explains ``durable`` and the errors."""
    with replacing(path, durable=durable) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path, text: str, *, durable: bool = False) -> None:
    """Write a UTF-8 text file atomically; `replacing` explains ``durable`` and the errors."""
    write_bytes(path, text.encode("utf-8"), durable=durable)


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file atomically; `replacing` explains the errors.

    Raises
    ------
    ValueError
        If ``value`` has a number that is NaN or infinite.
    """
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def write_tsv(
    path: Path,
    columns: Iterable[str],
    rows: Iterable[Sequence[object]],
    float_format: str = "%.6g",
) -> None:
    """Write a table as a TSV file, atomically; `replacing` explains the errors.

    Parameters
    ----------
    path
        The file.
    columns
        Names of the columns.
    rows
        Cells of each row: text, numbers, booleans, or None or NaN for an empty cell.
    float_format
        Format of the floating-point numbers, for the operator ``%``, such as ``%.6g``.
    """
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
        for row in itertools.chain([list(columns)], rows):
            file.write("\t".join(_cell(value, float_format) for value in row) + "\n")


def write_frame(path: Path, frame: "pd.DataFrame", float_format: str = "%.6g") -> None:
    """Write a data frame, without its index, as a TSV file (see `write_tsv`)."""
    plain = frame.astype(object).where(frame.notna(), None)
    write_tsv(path, frame.columns, plain.itertuples(index=False, name=None), float_format)


def read_tsv(path: Path) -> list[dict[str, str]]:
    """Return the rows of a table that `write_tsv` wrote, each as texts by column name.

    `read_rows` explains the errors.
    """
    header, rows = read_rows(path)
    return [dict(zip(header, row, strict=True)) for row in rows]


def read_rows(path: Path) -> tuple[list[str], list[list[str]]]:
    """Return the names of the columns and the rows of a table that `write_tsv` wrote.

    Raises
    ------
    UserError
        If the file is missing, is not UTF-8, ends in the middle of a line, or has a row with more
        or fewer cells than the header; the message has the number of that line.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from None
    if lines.pop():
        raise UserError(f"{path}: the last line is not complete: the file is cut off")
    header, *rows = (line.split("\t") for line in lines) if lines else [[]]
    for number, row in enumerate(rows, start=2):
        if len(row) != len(header):
            raise UserError(f"{path}, line {number}: {len(row)} cells, not {len(header)}")
    return list(map(_text, header)), [list(map(_text, row)) for row in rows]


def _text(cell: str) -> str:
    return cell[1:] if _MARKED_FORMULA.match(cell) else cell


def harmless(text: str) -> str:
    """Return a text in which characters that control a terminal or break a line are escaped.

    Bytes of a file name that are not UTF-8 are escaped too.
    """
    return _CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def _cell(value: object, float_format: str) -> str:
    if value is None or value != value:
        return ""
    if isinstance(value, float):
        return float_format % value
    text = harmless(str(value))
    is_formula = isinstance(value, str) and _FORMULA.match(text) and not is_number(text)
    return f"'{text}" if is_formula else text


def is_number(text: str) -> bool:
    """Return whether `float` accepts a text."""
    try:
        float(text)
    except ValueError:
        return False
    return True
