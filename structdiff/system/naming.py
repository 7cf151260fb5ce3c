"""File names made from labels and identifiers.

``file_name("gram neg")`` is ``gram_neg``; letters of every script are kept. ``file_names(texts)``
returns distinct names for several texts.
"""

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable

__all__ = ["LONGEST_NAME", "file_name", "file_names"]

LONGEST_NAME = 200
"""Longest file name in bytes. File systems allow 255; the rest is for numbers, suffixes and the
additions to the names of temporary files."""

_RESERVED = frozenset(
    ("con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(10)))
)
"""Names that Windows reserves for devices, with any suffix."""


def file_name(text: str) -> str:
    """Return a valid file name for a text, of at most `LONGEST_NAME` bytes.

    Each run of characters that are not letters, digits, ``_``, ``+``, ``.`` or ``-`` becomes one
    ``_``; letters are in Unicode's composed form (NFC). Dots at the end are removed. ``_`` is put
    before an empty name, before a first ``.`` or ``-``, and before a name that Windows reserves. A
    name that is too long is cut, and ends in a hash of the whole text. Shorter names have no hash:
    texts that differ only in replaced characters have the same name, which `file_names` prevents.
    """
    name = re.sub(r"[^\w+.-]+", "_", unicodedata.normalize("NFC", text)).rstrip(".")
    if not name or name.startswith((".", "-")) or name.split(".")[0].lower() in _RESERVED:
        name = f"_{name}"
    return name if len(name.encode()) <= LONGEST_NAME else _with_hash(name, text)


def file_names(texts: Iterable[str]) -> dict[str, str]:
    """Return a file name for each of several texts; all differ, even if case is ignored.

    If several texts would have the same name, their names end in a hash of the text. A text that is
    a valid file name is its own name, unless another such text differs only in case.
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
    """Return ``name`` and a hash of the text, with ``name`` cut so that both fit `LONGEST_NAME`."""
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=6).hexdigest()
    kept = name.encode()[: LONGEST_NAME - len(digest) - 1].decode(errors="ignore")
    return f"{kept}-{digest}"
