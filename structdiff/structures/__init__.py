"""Structures of peptides, predicted or collected once and cached for all runs.

`predictors` is where structures come from, `cache` and `partial` where they are kept, `fold` plans
and runs a prediction, `stage` is what the command and the workflow call.
"""

__all__ = ["CODE_VERSION"]

CODE_VERSION = 2
"""Version of the stage. Raise it when `structdiff fold` would write another index for the same
input; raise a predictor's own ``code_version`` when its structures change (the cache's key)."""
