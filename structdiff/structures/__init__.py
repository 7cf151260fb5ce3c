"""Structures of peptides: predicted or collected once, cached for all runs, never lost.

`structure` and `io` are the data and its files, `predictors` where structures come from, `cache`
and `partial` where they are kept, `fold` the planning and running, `stage` what the command and
the workflow call.
"""

__all__ = ["CODE_VERSION"]

CODE_VERSION = 1
"""Version of the stage. Raise it when `structdiff fold` would write another index for the same
input; raise a predictor's own ``code_version`` when its structures change (the cache's key)."""
