"""Training of the denoiser, in one process or several, with exact resumption.

`stage.run` runs the stage and starts its processes, `worker.train` runs one process, and
`trainer.Trainer` is the training loop. `run_directory` prepares the folder, `checkpoint` writes and
verifies checkpoints, `logger` and `metrics` write the log, and `monitor` reads it.
"""

CODE_VERSION = 7
"""Version of the training code. Raise it when a change of the code changes the trained weights:
older runs are then moved aside and trained again. A refactoring does not change it."""
