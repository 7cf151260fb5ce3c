"""The one exception that is shown to a user without a traceback.

Raise `UserError` when the input, the configuration or the machine is at fault, with a message
that says what is wrong, where (file, line, key) and what to do about it. The command line prints
it and exits with status 2; any other exception is a defect of ours and keeps its traceback.
"""

__all__ = ["UserError"]


class UserError(Exception):
    """Something that the user can put right; the message says how."""
