"""What a run is trained on and with, told apart by content.

``ensure_arrays`` builds the training arrays once for given inputs. ``identity`` lists what
determines the result of a training; where that differs from what a folder was trained with,
``set_aside`` moves the old run into ``superseded/<timestamp>/`` (nothing is ever deleted).
"""

import hashlib
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from structdiff.training import CODE_VERSION, dataset

if TYPE_CHECKING:
    from structdiff.config import Config

__all__ = [
    "difference",
    "ensure_arrays",
    "has_run",
    "identity",
    "read_json",
    "set_aside",
    "write_json",
]

RUN_FILES = (
    "checkpoints",
    "config.yaml",
    "identity.json",
    "logs",
    "metrics.jsonl",
    "summary.json",
    "tensorboard",
)
"""What a run leaves in its folder, but for the arrays, which can be built again."""

_RENAMED = {"training.corners.": "training.task_mix."}
"""Keys as earlier versions wrote them into the identity of a run."""


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


def difference(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Return one 'key: old → new' for each value that differs."""
    for before, after in _RENAMED.items():
        old = {key.replace(before, after): value for key, value in old.items()}
    keys = [key for key in {**old, **new} if old.get(key) != new.get(key)]
    return [f"{key}: {_short(old.get(key))} → {_short(new.get(key))}" for key in keys]


def has_run(output_dir: Path) -> bool:
    """Return whether a run has left anything in a folder."""
    return any((output_dir / name).exists() for name in RUN_FILES)


def set_aside(output_dir: Path) -> Path:
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


def read_json(path: Path) -> Any:
    """Return what a JSON file holds, None if there is no such file."""
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file, atomically."""
    scratch = path.with_name(f".{path.name}.tmp")
    scratch.write_text(json.dumps(value, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    scratch.replace(path)


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
