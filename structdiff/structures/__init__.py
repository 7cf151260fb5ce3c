"""Structures of peptides, predicted or collected once and cached for all runs.

`predictors` produces structures, `cache` and `partial` store them, `shards` and `fold` plan and run
a prediction, `index` says where the structures of a run are, `manage` maintains the cache. The
command line and the workflow call `stage`.
"""

__all__ = ["CODE_VERSION"]

CODE_VERSION = 2
"""Version of the stage. Raise it when `structdiff fold` writes a different index for the same
input. When a predictor returns different structures, raise the ``code_version`` of that predictor
instead, which is part of its key; the workflow then looks for structures again."""
