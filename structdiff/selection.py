"""The selection stage: choose the checkpoint that becomes the model.

``run(config, training, output_dir)`` verifies every checkpoint of a training run, and chooses the
checkpoint with the lowest validation loss ``selection.metric``; if ``selection.epoch`` is given,
only checkpoints of this epoch can be chosen. It writes a copy of this checkpoint, its averaged
weights as ``model.safetensors`` with hashes of the training peptides, and a table of all
candidates. It prints a warning if the checkpoint with the lowest recorded loss is missing, or the
training peptides are not known.
"""

import math
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from structdiff.model import ConditionSpec, ModelSpec
from structdiff.pretrained import save_model
from structdiff.system.errors import UserError, warn
from structdiff.system.files import replacing, write_text, write_tsv
from structdiff.training import metrics
from structdiff.training.ancestry import UnknownPeptides, read_seen
from structdiff.training.checkpoint import BEST, Checkpoints, DamagedCheckpoint, read, verify

if TYPE_CHECKING:
    from structdiff.config import Config

__all__ = ["Candidate", "candidates", "choose", "run"]


@dataclass(frozen=True)
class Candidate:
    """A checkpoint of a training run, which may be chosen as the model.

    Attributes
    ----------
    path
        Path of the checkpoint.
    epoch, step
        Epoch and step at which it was written; None if it cannot be read.
    validation
        Validation losses of the checkpoint by name; empty if it was not validated.
    reason
        Why the checkpoint cannot be chosen; empty if it can.
    history
        Validation losses of each validated epoch up to this checkpoint, by epoch.
    """

    path: Path
    epoch: int | None
    step: int | None
    validation: dict[str, Any]
    reason: str
    history: dict[int, dict[str, Any]]


def candidates(training: Path, epoch: int | None = None) -> list[Candidate]:
    """Return the checkpoints of a training folder, in the order of their steps.

    Checkpoints that cannot be read are last. If ``epoch`` is given, the `Candidate.reason` of
    checkpoints of other epochs says that they cannot be chosen.
    """
    paths = Checkpoints(training / "checkpoints", keep=0).candidates()
    found = [_candidate(path, epoch) for path in paths]
    return sorted(found, key=lambda c: (math.inf if c.step is None else c.step, c.path.name))


def choose(found: list[Candidate], metric: str) -> Candidate:
    """Return the candidate with the lowest loss ``metric``; if losses are equal, the earliest.

    Raises
    ------
    UserError
        If no candidate that can be chosen has this loss.
    """
    able = _able(found, metric)
    if not able:
        reasons = "; ".join(f"{c.path.name}: {c.reason or 'has no ' + metric}" for c in found)
        raise UserError(
            f"no checkpoint has a validation loss '{metric}' (selection.metric) to choose by: "
            f"{reasons}"
        )
    return min(able, key=lambda c: (c.validation[metric], c.step, c.path.name != BEST))


def _able(found: list[Candidate], metric: str) -> list[Candidate]:
    """Return the candidates with the loss ``metric`` and without a `Candidate.reason`."""
    return [c for c in found if not c.reason and c.validation.get(metric) is not None]


def run(config: "Config", training: Path, output_dir: Path) -> None:
    """Choose a checkpoint of ``training`` and write it to ``output_dir``.

    Raises
    ------
    UserError
        If no undamaged checkpoint (of ``selection.epoch``, if that is given) has the loss
        ``selection.metric``.
    """
    metric = config.selection.metric
    found = candidates(training, config.selection.epoch)
    if not found:
        raise UserError(
            f"{training}: has no checkpoints; give the folder that `structdiff train` wrote"
        )
    chosen = choose(found, metric)
    missing = (
        None
        if config.selection.epoch is not None
        else better_on_record(training, found, chosen, metric)
    )
    if missing:
        _warn(training, chosen, missing, metric)
    state = read(chosen.path)
    with replacing(output_dir / BEST) as temporary:
        shutil.copyfile(chosen.path, temporary)
    write_text(output_dir / f"{BEST}.sha256", f"{verify(chosen.path)}  {BEST}\n")
    try:
        seen = read_seen(chosen.path)
    except UnknownPeptides as error:
        warn(
            f"{error}. model.safetensors has no hashes of its training peptides, and copies of "
            "them cannot be told without the table"
        )
        seen = None
    save_model(
        output_dir / "model.safetensors",
        state["ema"],
        ModelSpec(**state["model_spec"]),
        state["diffusion"],
        ConditionSpec.read(state),
        state.get("lengths", {}),
        {
            name: state[name]
            for name in ("step", "epoch", "run", "version", "init")
            if name in state
        },
        seen,
    )
    _write_table(output_dir / "selection.tsv", found, chosen, metric, missing)
    print(
        f"{chosen.path.name} of epoch {chosen.epoch} is chosen: "
        f"{metric} {chosen.validation[metric]:.4f}, the lowest of "
        f"{len(_able(found, metric))} candidates"
    )


def _candidate(path: Path, wanted: int | None) -> Candidate:
    try:
        state = read(path)
    except DamagedCheckpoint as damage:
        return Candidate(path, None, None, {}, str(damage), {})
    epoch, validation, reason = state["epoch"], state["validation"] or {}, ""
    if wanted not in (None, epoch):
        reason = f"is of epoch {epoch}, not {wanted} (selection.epoch)"
    elif not validation:
        reason = "was not validated at its step"
    history = {x["epoch"]: x["validation"] for x in state.get("history", []) if x["validation"]}
    return Candidate(path, epoch, state["step"], validation, reason, history)


def better_on_record(
    training: Path, found: list[Candidate], chosen: Candidate, metric: str
) -> tuple[int, dict[str, Any]] | None:
    """Return the epoch and the losses of a validation that was better than the chosen checkpoint.

    The losses of earlier validations are recorded in ``metrics.jsonl`` and in the history of each
    checkpoint in ``found``. The result is the validation with the lowest loss ``metric``. It is
    None if this loss is not lower than the loss of the chosen checkpoint.
    """
    record: dict[int, dict[str, Any]] = {
        line["epoch"]: line
        for line in metrics.read(training / "metrics.jsonl")
        if line["event"] == "validation"
    }
    for candidate in found:
        record |= candidate.history
    known = {epoch: losses for epoch, losses in record.items() if losses.get(metric) is not None}
    if not known:
        return None
    best = min(known, key=lambda epoch: (known[epoch][metric], epoch))
    return (best, known[best]) if known[best][metric] < chosen.validation[metric] else None


def _warn(
    training: Path, chosen: Candidate, missing: tuple[int, dict[str, Any]], metric: str
) -> None:
    """Warn that the epoch with the lowest recorded loss has no checkpoint, and say what to do."""
    epoch, losses = missing
    warn(
        f"epoch {epoch} has a lower validation loss ({metric} {losses[metric]:.4f}) than epoch "
        f"{chosen.epoch} ({chosen.validation[metric]:.4f}), which is released, but its checkpoint "
        f"is not in {training / 'checkpoints'}, or is damaged: restore it with its .sha256 file "
        "from a copy, or train again. Training keeps the best checkpoint by the total loss, and "
        "training.keep_checkpoints of every training.save_every epochs"
    )


def _write_table(
    path: Path,
    found: list[Candidate],
    chosen: Candidate,
    metric: str,
    missing: tuple[int, dict[str, Any]] | None,
) -> None:
    rows = [
        [
            candidate.path.name,
            candidate.epoch,
            candidate.step,
            *(candidate.validation.get(name) for name in metrics.LOSSES),
            "yes" if candidate is chosen else "no",
            _reason(candidate, chosen, metric),
        ]
        for candidate in found
    ]
    if missing:
        epoch, losses = missing
        reason = f"lowest {metric} on record, but its checkpoint is missing or damaged"
        rows.append(["", epoch, None, *(losses.get(name) for name in metrics.LOSSES), "no", reason])
    columns = ["candidate", "epoch", "step", *metrics.LOSSES, "chosen", "reason"]
    write_tsv(path, columns, rows, "%.6f")


def _reason(candidate: Candidate, chosen: Candidate, metric: str) -> str:
    """Return why a candidate was chosen, or why it was not chosen, as text for the table."""
    if candidate.reason:
        return candidate.reason
    if candidate is chosen:
        return f"lowest validation loss {metric}"
    if candidate.step == chosen.step:
        return f"the same weights as {chosen.path.name}"
    if candidate.validation.get(metric) is None:
        return f"has no validation loss {metric}"
    difference = candidate.validation[metric] - chosen.validation[metric]
    return f"{metric} is {difference:.4f} higher"
