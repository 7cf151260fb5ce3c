"""Folder of a training run: its arrays, its identity, and the checkpoint to resume from.

``prepare(config, …)`` makes the folder ready. The training arrays are built once for given inputs.
`identity` lists what determines the result of a training; if that differs from what the folder was
trained with, the old run is moved into ``superseded/<timestamp>/`` (nothing is ever deleted).

``--resume PATH`` resumes from a checkpoint that the user names. The checkpoint, its best one, its
metrics and TensorBoard events become those of the folder, and what the folder had before is set
aside, so that nothing is lost by resuming from an earlier checkpoint.
"""

import hashlib
import json
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from structdiff.system.errors import UserError
from structdiff.system.files import write_json
from structdiff.training import CODE_VERSION, dataset, metrics
from structdiff.training.checkpoint import BEST, LATEST, Checkpoints, DamagedCheckpoint, read

if TYPE_CHECKING:
    from structdiff.config import Config

__all__ = ["checkpoints", "ensure_arrays", "identity", "prepare", "read_json"]

RUN_FILES = (
    "checkpoints",
    "config.yaml",
    "identity.json",
    "logs",
    "metrics.jsonl",
    "summary.json",
    "tensorboard",
)
"""The files of a run, except for the arrays, which can be built again."""

_FIXED = ("model.", "diffusion.", "training data", "effective batch", "code version")
"""Settings that must be the same for the step and weights of a checkpoint to be resumed."""

_RENAMED = {"training.corners.": "training.task_mix."}
"""Keys as earlier versions wrote them into the identity of a run."""


def prepare(
    config: "Config",
    peptides: Path,
    structures: Path | None,
    output_dir: Path,
    resume: Path | None,
) -> tuple[Path | None, list[str]]:
    """Make a training folder ready for a run, new or resumed.

    Returns
    -------
    tuple[Path | None, list[str]]
        The checkpoint to resume from, if any, and messages for the log.
    """
    from structdiff.config import dump

    content = ensure_arrays(peptides, structures, output_dir / "arrays")
    wanted: dict[str, Any] = {"settings": identity(config, content), "resumed": None}
    trained = read_json(output_dir / "identity.json") or {"settings": {}, "resumed": None}
    changes = _difference(trained["settings"], wanted["settings"])
    epochs = metrics.epochs_validated(output_dir / "metrics.jsonl")
    if epochs > config.training.num_epochs:
        changes.append(f"training.num_epochs: {epochs} trained → {config.training.num_epochs}")
    kept = checkpoints(config, output_dir)
    messages = []
    if resume is not None and not changes and resume.resolve() == kept.latest.resolve():
        resume = None  # as without it
    if resume is not None and (changes or trained["resumed"] != str(resume.resolve())):
        wanted["resumed"] = str(resume.resolve())
        messages += _resume_from(resume, wanted["settings"], kept, output_dir)
    elif changes and _has_run(output_dir):
        aside = _set_aside(output_dir)
        messages.append(
            f"what was trained here before used other settings or data; it is now in {aside}, and "
            f"training begins again ({'; '.join(changes)})"
        )
    else:
        wanted["resumed"] = trained["resumed"]
    (output_dir / "config.yaml").write_text(dump(config), encoding="utf-8")
    write_json(output_dir / "identity.json", wanted)
    latest, problems = kept.newest()
    return latest, messages + [f"{problem}; using {latest}" for problem in problems]


def checkpoints(config: "Config", output_dir: Path) -> Checkpoints:
    """Return the checkpoints of a training folder."""
    return Checkpoints(output_dir / "checkpoints", config.training.keep_checkpoints)


def ensure_arrays(peptides: Path, structures: Path | None, directory: Path) -> str:
    """Build the training arrays unless they are there already; return a hash of their content.

    Parameters
    ----------
    peptides, structures
        As `structdiff.training.dataset.build`.
    directory
        Where the arrays go; ``built.json`` in it names the inputs that they were built from.
    """
    inputs = {
        "peptides": _sha256(peptides),
        "structures": None if structures is None else _sha256(structures),
        "code_version": CODE_VERSION,
    }
    built = read_json(directory / "built.json")
    if built is None or built["inputs"] != inputs:
        dataset.build(peptides, structures, directory)
        names = sorted(path.name for path in directory.iterdir() if path.name != "ids.npy")
        content = hashlib.sha256("".join(_sha256(directory / name) for name in names).encode())
        built = {"inputs": inputs, "content": content.hexdigest()}
        write_json(directory / "built.json", built)
    return built["content"]


def identity(config: "Config", content: str) -> dict[str, Any]:
    """Return what determines the result of a training, as flat keys and plain values.

    Parameters
    ----------
    config
        The configuration.
    content
        Hash of the training arrays.
    """
    training = config.training.deciding()
    del training["num_epochs"]  # a finished run with more epochs is continued
    sections = {
        "training": training,
        "model": config.model.deciding(),
        "diffusion": config.diffusion.deciding(),
    }
    return {
        **_flat(sections),
        "effective batch": config.training.effective_batch,
        "training data": content,
        "code version": CODE_VERSION,
    }


def _difference(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Return one 'key: old → new' for each value that differs."""
    for before, after in _RENAMED.items():
        old = {key.replace(before, after): value for key, value in old.items()}
    keys = [key for key in {**old, **new} if old.get(key) != new.get(key)]
    return [f"{key}: {_short(old.get(key))} → {_short(new.get(key))}" for key in keys]


def _has_run(output_dir: Path) -> bool:
    """Return whether a folder has files of a run."""
    return any((output_dir / name).exists() for name in RUN_FILES)


def _set_aside(output_dir: Path) -> Path:
    """Move a run into ``superseded/<timestamp>/`` of its folder; return where it went."""
    base = output_dir / "superseded"
    stamp, number = time.strftime("%Y%m%d_%H%M%S"), 0
    while (target := base / (f"{stamp}_{number}" if number else stamp)).exists():
        number += 1
    target.mkdir(parents=True)
    for name in RUN_FILES:
        if (output_dir / name).exists():
            (output_dir / name).rename(target / name)
    return target


def _resume_from(
    path: Path, wanted: dict[str, Any], kept: Checkpoints, output_dir: Path
) -> list[str]:
    """Make a checkpoint the latest of ``output_dir``; return messages for the log.

    Parameters
    ----------
    path
        The checkpoint, of this folder or of another.
    wanted
        Identity of the run.
    kept
        The checkpoints of ``output_dir``.
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
    changes = _difference(state["identity"], wanted)
    fixed = [change for change in changes if change.startswith(_FIXED)]
    if fixed:
        raise UserError(
            f"--resume: {path} was trained with something else, so it cannot be resumed here: "
            f"{'; '.join(fixed)}. Use its configuration and data (its folder's config.yaml)"
        )
    messages = [f"resuming from {path}, step {state['step']:,}"]
    messages += [f"changed since that checkpoint: {change}" for change in changes]
    if _has_run(output_dir):
        aside = _set_aside(output_dir)
        messages.append(f"what was in {output_dir} is now in {aside}")
        if not path.exists():
            path = aside / path.resolve().relative_to(output_dir.resolve())
    kept.import_checkpoint(path, LATEST)
    _import_best(path.with_name(BEST), state, kept, messages)
    source = path.resolve().parent.parent
    if (source / "metrics.jsonl").is_file():
        shutil.copyfile(source / "metrics.jsonl", output_dir / "metrics.jsonl")
        metrics.truncate(output_dir / "metrics.jsonl", state["step"], state["epoch"])
    if (source / "tensorboard").is_dir():
        shutil.copytree(source / "tensorboard", output_dir / "tensorboard")
    return messages


def _import_best(path: Path, state: dict[str, Any], kept: Checkpoints, messages: list[str]) -> None:
    """Bring along the best checkpoint up to then, if it is still there."""
    if state["best"] is None:
        return
    try:
        found = read(path)["step"] == state["best"]["step"]
    except DamagedCheckpoint:
        found = False
    if found:
        kept.import_checkpoint(path, BEST)
    else:
        messages.append(
            f"the best checkpoint up to then (step {state['best']['step']:,}) is not beside it"
        )


def read_json(path: Path) -> Any:
    """Return the content of a JSON file, None if there is no such file."""
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def _flat(value: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat = {}
    for key, item in value.items():
        flat |= _flat(item, f"{prefix}{key}.") if isinstance(item, dict) else {prefix + key: item}
    return flat


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 20 else f"{text[:12]}…"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
