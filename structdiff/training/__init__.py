"""Training the denoiser: one process or many, exact to resume, readable while it runs.

``structdiff.training.stage.run`` is the stage; `loop.Trainer` is the loop itself; `checkpoint`
writes and verifies what is kept; `metrics` and `journal` tell what happens; `monitor` reads it.
"""

CODE_VERSION = 3
"""Raised when a change of the code changes what a training run computes: older runs are then set
aside and trained again. A refactoring that computes the same leaves it alone."""
