"""`UserError`, the exception that is shown to users without a traceback, warnings, and counts.

Raise `UserError` when the input, the configuration or the machine is at fault, with a message
that says what is wrong, where (file, line, key) and what to do about it. The command line prints
it and exits with status 2; any other exception is a bug of StructDiff and keeps its traceback.
"""

import sys

__all__ = ["UserError", "counted", "warn"]


class UserError(Exception):
    """A problem that the user can fix; the message says how."""


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, as in ``1 residue`` and ``1,200 residues``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def warn(message: str) -> None:
    """Print a warning on stderr."""
    print(f"structdiff: warning: {message}", file=sys.stderr, flush=True)
