"""Training of the denoiser, in one process or several, with exact resumption.

`stage.run` is the stage, `worker.train` one process of it, `trainer.Trainer` the training loop.
`run_directory` prepares the folder, `checkpoint` writes and verifies checkpoints, `logger` and
`metrics` write the log, and `monitor` reads it.
"""

CODE_VERSION = 3
"""Raised when a change of the code changes what a training run computes; older runs are then set
aside and trained again. A refactoring that computes the same does not change it."""
