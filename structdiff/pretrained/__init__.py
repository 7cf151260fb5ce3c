"""A trained model as one safetensors file: weights and their description, without any pickle.

``save_model(path, …)`` writes it, as selection does; ``load_model(path)`` verifies it and returns a
`TrainedModel`, with its noise processes and the names of its labels. ``PRETRAINED`` is the model
that comes with the package; ``structdiff/pretrained/README.md`` is its card.

The header has the SHA-256 of the file, computed with zeros in its own place. Damage of any kind is
then found when the file is read. A file without it is refused: one that was written before there
was a checksum cannot be told from one whose checksum is damaged.
"""

import hashlib
import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor

from structdiff.diffusion import JointProcess
from structdiff.model import ConditionSpec, Denoiser, ModelSpec
from structdiff.system.errors import UserError
from structdiff.system.files import another_content, write_bytes

__all__ = ["PRETRAINED", "TrainedModel", "load_model", "save_model"]

PRETRAINED = Path(__file__).parent / "model.safetensors"
"""A small model of antimicrobial, antifungal and antiviral peptides."""

_KEY = "structdiff"
_CHECKSUM = re.compile(rb'\\"sha256\\": \\"([0-9a-f]{64})')
"""The checksum in the header: JSON inside a string of JSON."""


@dataclass(frozen=True)
class TrainedModel:
    """A trained model and what belongs to it.

    Attributes
    ----------
    network
        In evaluation mode.
    process
        The noise processes it was trained with.
    conditions
        What it can be asked for.
    lengths
        Counts of the training peptides of each length, a list whose index is the length, by their
        exact set of labels (names joined by ``+``, ``""`` for none). Empty where the file does not
        say.
    info
        Everything else of the header: run, step, epoch, version, and the file's ``sha256``.
    """

    network: Denoiser
    process: JointProcess
    conditions: ConditionSpec
    lengths: dict[str, list[int]]
    info: dict[str, Any]

    @property
    def labels(self) -> list[str]:
        """Names of its labels."""
        return self.conditions.labels

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return next(self.network.parameters()).device


def save_model(
    path: Path,
    weights: dict[str, Tensor],
    spec: ModelSpec,
    diffusion: dict[str, Any],
    conditions: ConditionSpec,
    lengths: dict[str, list[int]],
    info: dict[str, Any],
) -> None:
    """Write the weights in half precision with their description and a checksum, atomically.

    Rounded to float16 (a relative error of at most 2⁻¹¹) they take half the space; a loaded model
    computes in float32.

    Parameters
    ----------
    path
        ``model.safetensors``.
    weights
        State dictionary of a `Denoiser`.
    spec
        What the `Denoiser` was built from.
    diffusion
        Arguments of `JointProcess`.
    conditions
        What the model can be asked for.
    lengths
        As `TrainedModel.lengths`.
    info
        Plain values to keep with them.
    """
    header = {
        "sha256": "",
        "model": asdict(spec),
        "diffusion": diffusion,
        **conditions.to_json(),
        "lengths": lengths,
        **info,
    }
    header["sha256"] = 64 * "0"
    tensors = {name: value.detach().half().cpu().contiguous() for name, value in weights.items()}
    content = save(tensors, metadata={_KEY: json.dumps(header)})
    start, stop = _place_of_checksum(content)
    checksum = hashlib.sha256(content).hexdigest().encode()
    # Not `save_file`, whose file only its owner may read.
    write_bytes(path, content[:start] + checksum + content[stop:])


def _place_of_checksum(content: bytes) -> tuple[int, int]:
    """Return where the checksum is in a file; (0, 0) if it has none."""
    found = _CHECKSUM.search(content)
    return found.span(1) if found else (0, 0)


def _read_verified(path: Path) -> bytes:
    """Return the content of a model file.

    Raises
    ------
    UserError
        If the file is missing, cannot be read, or is not what `save_model` wrote.
    """
    remedy = "write it again with `structdiff select`, or copy it again from where it is whole"
    if path.resolve() == PRETRAINED.resolve():
        remedy = "install structdiff again"
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise UserError(
            f"{path}: no such model; `structdiff select` writes model.safetensors"
        ) from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error}") from None
    if other := another_content(content):
        raise UserError(f"{path}: {other}")
    start, stop = _place_of_checksum(content)
    if start == stop:
        raise UserError(
            f"{path}: has no checksum: it is damaged, was written by an early version, or is not a "
            f"model of structdiff; {remedy}"
        )
    zeroed = content[:start] + 64 * b"0" + content[stop:]
    if hashlib.sha256(zeroed).hexdigest().encode() != content[start:stop]:
        raise UserError(f"{path}: is damaged, its content does not match its checksum; {remedy}")
    return content


def load_model(path: Path, device: str | torch.device = "cpu") -> TrainedModel:
    """Read what `save_model` wrote, and verify its checksum.

    Raises
    ------
    UserError
        If the file is missing, damaged or not one of ours, or this version does not have its parts.
    """
    content = _read_verified(Path(path))
    size = int.from_bytes(content[:8], "little")  # of the header, as safetensors defines it
    header = json.loads(json.loads(content[8 : 8 + size])["__metadata__"][_KEY])
    version = header.get("version", "of another version")
    try:
        network = Denoiser(ModelSpec(**header.pop("model")))
        network.load_state_dict(load(content))
        process = JointProcess(**header.pop("diffusion"))
    except (RuntimeError, TypeError, KeyError):
        raise UserError(
            f"{path}: was trained by structdiff {version}, whose network or noise processes this "
            "version does not have; use that version, or train again"
        ) from None
    conditions, lengths = ConditionSpec.read(header), header.pop("lengths", {})
    info = {name: value for name, value in header.items() if name not in conditions.to_json()}
    network = network.to(device).eval().requires_grad_(False)
    return TrainedModel(network, process, conditions, lengths, info)
