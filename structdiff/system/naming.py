"""What users call things: the labels of an entry, and file names made from labels and identifiers.

``wanted_labels("a+b")`` is ``["a", "b"]``; ``file_name("gram neg")`` is ``gram_neg``, and letters
of every script stay as they are.
"""

import re

__all__ = ["file_name", "wanted_labels"]


def file_name(text: str) -> str:
    """Return a text with every run of characters that may trouble a file system as one ``_``."""
    return re.sub(r"[^\w+.-]+", "_", text)


def wanted_labels(entry: str) -> list[str]:
    """Return the labels that an entry asks for: ``a+b`` both, ``none`` no label."""
    return [] if entry == "none" else [name.strip() for name in entry.split("+")]
