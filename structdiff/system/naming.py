"""Names: the labels that a label query asks for, and file names made from labels and identifiers.

``wanted_labels("a+b")`` is ``["a", "b"]``. ``file_name("gram neg")`` is ``gram_neg``; letters of
every script stay as they are. ``file_names(texts)`` gives the names of several texts, all distinct.
"""

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable

__all__ = ["LONGEST_NAME", "file_name", "file_names", "wanted_labels"]

LONGEST_NAME = 200
"""Bytes of a file name at most: file systems take 255, and numbers, suffixes and the names of
unfinished files need some."""

_RESERVED = frozenset(
    ("con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(10)))
)
"""Names that Windows keeps for devices, with any suffix."""


def file_name(text: str) -> str:
    """Return a file name for a text that every file system takes, of at most `LONGEST_NAME` bytes.

    Each run of characters that are not letters, digits, ``_``, ``+``, ``.`` or ``-`` becomes one
    ``_``; letters are in Unicode's composed form (NFC). A name that has to be cut ends in a hash of
    the whole text, so that two long texts have two names. A short text keeps its own name; texts
    that differ only in replaced characters share it (`file_names` keeps them distinct).
    """
    name = re.sub(r"[^\w+.-]+", "_", unicodedata.normalize("NFC", text)).rstrip(".")
    if not name or name.startswith((".", "-")) or name.split(".")[0].lower() in _RESERVED:
        name = f"_{name}"
    return name if len(name.encode()) <= LONGEST_NAME else _with_hash(name, text)


def file_names(texts: Iterable[str]) -> dict[str, str]:
    """Return a file name for each of several texts; no two are alike, also where case is ignored.

    A text that is a valid file name itself keeps it; of others that would share a name, each gets a
    hash of its text at the end.
    """
    names = {text: file_name(text) for text in texts}
    shared = Counter(name.casefold() for name in names.values())
    exact = Counter(name.casefold() for text, name in names.items() if text == name)
    return {
        text: name
        if shared[name.casefold()] == 1 or (text == name and exact[name.casefold()] == 1)
        else _with_hash(name, text)
        for text, name in names.items()
    }


def _with_hash(name: str, text: str) -> str:
    """Return a name, cut as need be, with a hash of the text at its end."""
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=6).hexdigest()
    kept = name.encode()[: LONGEST_NAME - len(digest) - 1].decode(errors="ignore")
    return f"{kept}-{digest}"


def wanted_labels(entry: str) -> list[str]:
    """Return the labels that a label query asks for: ``a+b`` both, ``none`` no label."""
    return [] if entry == "none" else [name.strip() for name in entry.split("+")]
