"""File names made from what users call things: labels, identifiers.

``file_name("gram neg")`` is ``gram_neg``; letters of every script stay as they are.
"""

import re

__all__ = ["file_name"]


def file_name(text: str) -> str:
    """Return a text with every run of characters that may trouble a file system as one ``_``."""
    return re.sub(r"[^\w+.-]+", "_", text)
