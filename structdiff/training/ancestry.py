"""Peptides that a model has seen: in its own training, and in the training of its starting model.

``read_seen(path)`` reads the hashes of these peptides from a model file. For a checkpoint, it
computes the hashes from the arrays of the training folder, and adds the hashes of the peptides that
the starting model has seen. ``seen_by_start(init)`` does the same for the starting model that a
configuration names, and prints a warning if these peptides are not known.
"""

from pathlib import Path
from typing import Any

from structdiff.peptides.seen import SeenPeptides
from structdiff.pretrained import load_model
from structdiff.system.errors import UserError, warn
from structdiff.training import checkpoint
from structdiff.training.dataset import TrainingSet
from structdiff.training.initialisation import hash_weights, starting_file
from structdiff.training.run_directory import hash_arrays

__all__ = ["UnknownPeptides", "read_seen", "seen_by_start"]


class UnknownPeptides(Exception):
    """Error: the training peptides of a model are not known; the message has file and reason."""


def read_seen(path: Path) -> SeenPeptides:
    """Return the hashes of the peptides that the model in a file has seen.

    ``path`` is a model file or a checkpoint (``.pth``).

    Raises
    ------
    UnknownPeptides
        If a model file has no hashes, a checkpoint is not in the folder of its training, or the
        model that the training started from is missing, has changed or has no hashes.
    UserError
        If the model file is missing or damaged, or the training arrays cannot be read.
    DamagedCheckpoint
        If the checkpoint is missing or damaged.
    """
    if path.suffix != ".pth":
        seen = load_model(path).seen
        if seen is None:
            raise UnknownPeptides(f"{path}: has no hashes of its training peptides")
        return seen
    state = checkpoint.read(path)
    seen = SeenPeptides.of(_training_sequences(path, state))
    if "init" in state:
        seen |= read_seen(_unchanged_start(path, state["init"]))
    return seen


def seen_by_start(init: str) -> SeenPeptides | None:
    """Return the hashes of the peptides that a starting model has seen.

    If these peptides are not known, print a warning and return None. ``init`` is the value of
    ``training.init``.

    Raises
    ------
    UserError
        If the file of the starting model is missing or damaged.
    """
    hash_weights(init)  # a missing file is an error
    try:
        return read_seen(starting_file(init))
    except checkpoint.DamagedCheckpoint as damage:
        raise UserError(f"training.init: {damage}") from None
    except UnknownPeptides as error:
        remedy = "; the model.safetensors of `structdiff select` would say it"
        warn(
            f"training.init: {error}: it is not known which of the held-out peptides the starting "
            f"model has seen{remedy if init.endswith('.pth') else ''}"
        )
        return None


def _training_sequences(path: Path, state: dict[str, Any]) -> list[str]:
    """Return the training sequences of the checkpoint ``path``, which has the content ``state``.

    Raises `UnknownPeptides` if its training folder does not have the arrays that it was trained on.
    """
    arrays = path.resolve().parent.parent / "arrays"
    if not arrays.is_dir():
        raise UnknownPeptides(f"{path}: its training arrays are not in {arrays}")
    if state.get("identity", {}).get("training data") != hash_arrays(arrays):
        raise UnknownPeptides(f"{path}: was not trained on the arrays in {arrays}")
    return TrainingSet.open(arrays).sequences("train")


def _unchanged_start(path: Path, init: dict[str, str]) -> Path:
    """Return the path of the starting model that ``init`` of the checkpoint ``path`` describes.

    Raises `UnknownPeptides` if the file is missing or has changed.
    """
    start = starting_file(init["from"])
    try:
        unchanged = hash_weights(init["from"]) == init["sha256"]
    except UserError:  # it cannot be read
        unchanged = False
    if not unchanged:
        raise UnknownPeptides(f"{path}: started from {start}, which is missing or has changed")
    return start
