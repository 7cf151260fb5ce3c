"""Going on from a checkpoint that the user names (``--resume PATH``).

The checkpoint, its best one, its metrics and TensorBoard events become those of the folder; what
the folder held before is set aside, so that going back to an earlier checkpoint loses nothing.
"""

import shutil
from pathlib import Path
from typing import Any

from structdiff.system.errors import UserError
from structdiff.training import run_directory
from structdiff.training.checkpoint import BEST, LATEST, Checkpoints, DamagedCheckpoint, read
from structdiff.training.metrics import cut

__all__ = ["adopt"]

_FIXED = ("model.", "diffusion.", "training data", "effective batch", "code version")
"""What must be as it was, for the checkpoint's step and weights to mean the same."""


def adopt(
    path: Path, wanted: dict[str, Any], checkpoints: Checkpoints, output_dir: Path
) -> list[str]:
    """Make a checkpoint the latest of ``output_dir``; return what to tell.

    Parameters
    ----------
    path
        The checkpoint, of this folder or of another.
    wanted
        Identity of the run that is to go on.
    checkpoints
        Those of ``output_dir``.
    output_dir
        The training folder.

    Raises
    ------
    UserError
        If the checkpoint is damaged, or belongs to another model or other data.
    """
    try:
        state = read(path)
    except DamagedCheckpoint as damage:
        raise UserError(f"--resume: {damage}") from None
    changes = run_directory.difference(state["identity"], wanted)
    fixed = [change for change in changes if change.startswith(_FIXED)]
    if fixed:
        raise UserError(
            f"--resume: {path} was trained with something else, so it cannot go on here: "
            f"{'; '.join(fixed)}. Use its configuration and data (its folder's config.yaml)"
        )
    notes = [f"going on from {path}, step {state['step']:,}"]
    notes += [f"changed since that checkpoint: {change}" for change in changes]
    if run_directory.has_run(output_dir):
        aside = run_directory.set_aside(output_dir)
        notes.append(f"what was in {output_dir} is now in {aside}")
        if not path.exists():
            path = aside / path.resolve().relative_to(output_dir.resolve())
    checkpoints.adopt(path, LATEST)
    _adopt_best(path.with_name(BEST), state, checkpoints, notes)
    source = path.resolve().parent.parent
    if (source / "metrics.jsonl").is_file():
        shutil.copyfile(source / "metrics.jsonl", output_dir / "metrics.jsonl")
        cut(output_dir / "metrics.jsonl", state["step"], state["epoch"])
    if (source / "tensorboard").is_dir():
        shutil.copytree(source / "tensorboard", output_dir / "tensorboard")
    return notes


def _adopt_best(
    path: Path, state: dict[str, Any], checkpoints: Checkpoints, notes: list[str]
) -> None:
    """Bring along the best checkpoint up to then, if it is still there."""
    if state["best"] is None:
        return
    try:
        found = read(path)["step"] == state["best"]["step"]
    except DamagedCheckpoint:
        found = False
    if found:
        checkpoints.adopt(path, BEST)
    else:
        notes.append(
            f"the best checkpoint up to then (step {state['best']['step']:,}) is not beside it"
        )
