"""Folder of a training run: its arrays, its identity, and the checkpoint to resume from.

``prepare(config, …)`` prepares the folder. The training arrays are built once for given inputs. The
identity of a run (`identity`) is everything that determines its result. If the folder has a run
with another identity, that run is moved into ``superseded/<timestamp>/`` (nothing is deleted).

``--resume PATH`` resumes from a checkpoint that the user names. This checkpoint, the best
checkpoint of its run up to then, and the metrics and TensorBoard events of its run are copied into
the folder. A run that the folder had before is moved into ``superseded/`` too.
"""

import hashlib
import json
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from structdiff.system.errors import UserError
from structdiff.system.files import hash_file, write_json, write_text
from structdiff.training import CODE_VERSION, dataset, metrics
from structdiff.training.checkpoint import (
    BEST,
    LATEST,
    PREVIOUS,
    Checkpoints,
    DamagedCheckpoint,
    epoch_name,
    read,
)
from structdiff.training.initialisation import hash_weights

if TYPE_CHECKING:
    from structdiff.config import Config

__all__ = ["checkpoints", "ensure_arrays", "hash_arrays", "identity", "prepare", "read_json"]

RUN_FILES = (
    "checkpoints",
    "config.yaml",
    "identity.json",
    "logs",
    "metrics.jsonl",
    "summary.json",
    "tensorboard",
)
"""Files and subfolders of a run in its folder, except for the arrays, which can be built again."""

_FIXED = (
    *("model.", "diffusion.", "training data", "effective batch", "code version"),
    "starting weights",
)
"""Prefixes of the keys of an identity whose values must be the same in a checkpoint that
``--resume`` names and in the run that resumes it; values of other keys may differ."""

_RENAMED = {"training.corners.": "training.task_mix."}
"""Prefixes of keys in identities that earlier versions wrote, mapped to the current prefixes."""


def prepare(
    config: "Config",
    peptides: Path,
    structures: Path | None,
    output_dir: Path,
    resume: Path | None,
) -> tuple[Path | None, list[str]]:
    """Prepare a training folder for a run, new or resumed.

    Parameters
    ----------
    config
        The configuration.
    peptides, structures
        Paths of ``peptides.parquet`` and of the structures' ``index.parquet`` (None: no
        structures).
    output_dir
        The training folder.
    resume
        Checkpoint that ``--resume`` names; None to resume from the latest one in ``output_dir``.

    Returns
    -------
    tuple[Path | None, list[str]]
        The checkpoint to resume from, None for a new run; and messages for the log.

    Raises
    ------
    UserError
        If ``resume`` is damaged or was trained with other data or settings of `_FIXED`, the
        identity file is damaged, or all existing checkpoints are damaged.
    """
    from structdiff.config import dump

    content, message = ensure_arrays(peptides, structures, output_dir / "arrays")
    messages = [message] if message else []
    settings = identity(config, content)
    wanted: dict[str, Any] = {"settings": settings, "resumed": None}
    trained = _read_identity(output_dir / "identity.json")
    changes = _difference(trained["settings"], wanted["settings"])
    epochs = metrics.epochs_trained(output_dir / "metrics.jsonl")
    if epochs > config.training.num_epochs:
        changes.append(f"training.num_epochs: {epochs} trained → {config.training.num_epochs}")
    kept = checkpoints(config, output_dir)
    if resume is not None and not changes and resume.resolve() == kept.latest.resolve():
        resume = None  # the latest checkpoint is resumed anyway
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
    write_text(output_dir / "config.yaml", dump(config))
    write_json(output_dir / "identity.json", {**wanted, "sha256": _checksum(wanted)})
    latest, problems = kept.newest()
    return latest, messages + [f"{problem}; using {latest}" for problem in problems]


def checkpoints(config: "Config", output_dir: Path) -> Checkpoints:
    """Return the `Checkpoints` of a training folder."""
    return Checkpoints(output_dir / "checkpoints", config.training.keep_checkpoints)


def ensure_arrays(peptides: Path, structures: Path | None, directory: Path) -> tuple[str, str]:
    """Build the training arrays if they are missing, out of date or damaged.

    ``peptides`` and ``structures`` are as for `prepare`. ``directory`` is the folder of the arrays;
    its ``built.json`` has the hashes of the two inputs and of each file of the arrays.

    Returns
    -------
    tuple[str, str]
        A hash of the content of the arrays (see `hash_arrays`); and a message for the log that
        names damaged files, empty if there are none.
    """
    inputs = {
        "peptides": hash_file(peptides),
        "structures": None if structures is None else hash_file(structures),
        "code_version": CODE_VERSION,
    }
    message = ""
    built = _read_built(directory / "built.json")
    files = _hashes(directory)
    if built is None or built.get("inputs") != inputs or built.get("files") != files:
        if built is not None and built.get("inputs") == inputs and "files" in built:
            names = {*files, *built["files"]}
            damaged = sorted(n for n in names if files.get(n) != built["files"].get(n))
            message = f"{directory}: {', '.join(damaged)} damaged or missing; built again"
        dataset.build(peptides, structures, directory)
        files = _hashes(directory)
        write_json(directory / "built.json", {"inputs": inputs, "files": files})
    return _content(files), message


def hash_arrays(directory: Path) -> str:
    """Return the SHA-256 of the content of the training arrays in a folder, as hex digits.

    The identifiers of the peptides are not part of it, because they do not affect the training.
    """
    return _content(_hashes(directory))


def _content(files: dict[str, str]) -> str:
    """Return the result of `hash_arrays` for the SHA-256 of each file by its name."""
    hashes = "".join(files[name] for name in sorted(files) if name != "ids.npy")
    return hashlib.sha256(hashes.encode()).hexdigest()


def _hashes(directory: Path) -> dict[str, str]:
    """Return the SHA-256 of each file of the training arrays in a folder, by file name."""
    paths = sorted(directory.glob("*")) if directory.is_dir() else []
    return {p.name: hash_file(p) for p in paths if p.name != "built.json" and p.is_file()}


def _read_built(path: Path) -> dict[str, Any] | None:
    """Return the content of ``built.json``, None if it is missing or damaged."""
    try:
        built = read_json(path)
    except UserError:
        return None
    return built if isinstance(built, dict) and isinstance(built.get("files"), dict) else None


def identity(config: "Config", content: str) -> dict[str, Any]:
    """Return everything that determines the result of a training, except the number of epochs.

    Parameters
    ----------
    config
        The configuration.
    content
        Hash of the content of the training arrays, from `ensure_arrays`.

    Returns
    -------
    dict[str, Any]
        Values by key: settings have their path as the key, such as ``training.optimizer.lr``.
    """
    training = config.training.deciding()
    del training["num_epochs"]  # a finished run with more epochs is continued
    init = training.pop("init")
    start = {} if init is None else {"starting weights": hash_weights(init)}
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
        **start,
    }


def _difference(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Return the text 'key: old value → new value' for each key whose values differ."""
    for before, after in _RENAMED.items():
        old = {key.replace(before, after): value for key, value in old.items()}
    keys = [key for key in {**old, **new} if old.get(key) != new.get(key)]
    return [f"{key}: {_short(old.get(key))} → {_short(new.get(key))}" for key in keys]


def _has_run(output_dir: Path) -> bool:
    """Return whether a folder has files of a run."""
    return any((output_dir / name).exists() for name in RUN_FILES)


def _set_aside(output_dir: Path) -> Path:
    """Move a run into ``superseded/<timestamp>/`` of its folder; return the new path."""
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
    """Make a checkpoint the latest one of ``output_dir``; return messages for the log.

    A run that is in ``output_dir`` is first moved into ``superseded/``. The best checkpoint, the
    metrics and the TensorBoard events of the run of ``path`` are copied as well. ``wanted`` is the
    `identity` of the run that will resume it. Raises `UserError` if the checkpoint is damaged, or
    was trained with another value of a setting in `_FIXED`.
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
    if state["best"] is not None:
        messages += _import_best(path, state, kept)
    source = path.resolve().parent.parent
    if (source / "metrics.jsonl").is_file():
        shutil.copyfile(source / "metrics.jsonl", output_dir / "metrics.jsonl")
        metrics.truncate(output_dir / "metrics.jsonl", state["step"], state["epoch"])
    if (source / "tensorboard").is_dir():
        shutil.copytree(source / "tensorboard", output_dir / "tensorboard")
    return messages


def _import_best(path: Path, state: dict[str, Any], kept: Checkpoints) -> list[str]:
    """Copy the best checkpoint of a run up to the checkpoint ``path`` into ``kept``.

    It is ``path``, which has the content ``state``, or a file next to it. Returns messages for the
    log: one if the best checkpoint is not found, else none.
    """
    best = state["best"]
    moment = (best["step"], best["epoch"])
    if (state["step"], state["epoch"]) == moment:
        kept.import_checkpoint(path, BEST)
        return []
    for name in (BEST, epoch_name(best["epoch"]), PREVIOUS):
        try:
            other = read(path.with_name(name))
        except DamagedCheckpoint:
            continue
        if (other["step"], other["epoch"]) == moment:
            kept.import_checkpoint(path.with_name(name), BEST)
            return []
    return [
        f"the best checkpoint up to then (epoch {best['epoch']}, total {best['total']:.4f}) is not "
        f"next to {path}: a later one is kept as the best only if its loss is lower"
    ]


def read_json(path: Path) -> Any:
    """Return the content of a JSON file, None if there is no such file.

    Raises
    ------
    UserError
        If the file is not JSON.
    """
    if not path.is_file():
        return None
    try:
        return json.loads(path.read_bytes())
    except ValueError as error:
        raise UserError(_damaged(path, str(error))) from None


def _read_identity(path: Path) -> dict[str, Any]:
    """Return ``identity.json`` without its checksum; raise `UserError` if it is damaged.

    ``settings`` has the `identity` of the run, ``resumed`` the checkpoint of ``--resume``, or None.
    """
    new: dict[str, Any] = {"settings": {}, "resumed": None}
    trained = read_json(path) or new
    try:
        intact = trained.pop("sha256", None) in (None, _checksum(trained))
    except AttributeError:
        intact = False
    if not intact or trained.keys() != new.keys():
        raise UserError(_damaged(path, "its checksum is wrong"))
    return trained


def _checksum(value: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _damaged(path: Path, reason: str) -> str:
    return (
        f"{path}: is damaged ({reason}); restore it from a copy, or remove it and continue with "
        f"--resume {path.parent / 'checkpoints' / LATEST}"
    )


def _flat(value: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, item in value.items():
        flat |= _flat(item, f"{prefix}{key}.") if isinstance(item, dict) else {prefix + key: item}
    return flat


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 20 else f"{text[:12]}…"
