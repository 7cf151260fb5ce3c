"""Trained models as safetensors files: weights with their description, without pickle.

The selection stage calls ``save_model(path, …)``. ``load_model(path)`` verifies the file and
returns a `TrainedModel`, with its noise processes and the names of its labels. ``PRETRAINED`` is
the model that comes with the package; ``structdiff/pretrained/README.md`` is the model card.

The header has the SHA-256 of the file, computed with zeros in place of the checksum, so that any
damage is found when the file is read. A file without a checksum is rejected: it may be from an
early version, or its checksum may be damaged.

The file also has hashes of the peptides that the model was trained on (`SeenPeptides`).

torch is imported only to read or write weights; ``read_checksum(path)`` does not need it.
"""

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from structdiff.peptides.seen import SeenPeptides
from structdiff.system.errors import UserError
from structdiff.system.files import another_content, write_bytes

if TYPE_CHECKING:
    import torch

    from structdiff.diffusion import JointProcess
    from structdiff.model import ConditionSpec, Denoiser, ModelSpec

__all__ = ["PRETRAINED", "TrainedModel", "float32", "load_model", "read_checksum", "save_model"]

PRETRAINED = Path(__file__).parent / "model.safetensors"
"""Path of the released model."""

_KEY = "structdiff"
_SEEN = {"peptides": "seen.peptides", "pieces": "seen.pieces"}
"""Names of the tensors with the hashes of the training peptides, by attribute of `SeenPeptides`."""

_CHECKSUM = re.compile(rb'\\"sha256\\": \\"([0-9a-f]{64})')
"""Pattern of the checksum in the header: JSON inside a string of JSON."""


@dataclass(frozen=True)
class TrainedModel:
    """A trained model: network, noise processes, labels and the lengths of its peptides.

    Attributes
    ----------
    network
        The network, in evaluation mode.
    process
        The noise processes that it was trained with.
    conditions
        Labels and properties that it can be conditioned on.
    lengths
        Number of training peptides of each length (the index in the list), for each combination of
        labels. A key has the names of the present labels and of the unknown labels, joined by
        ``+``, with a ``?`` before each unknown label; the key is ``""`` if all labels are absent.
        The dictionary is empty if the file has no lengths.
    info
        Everything else of the header: run, step, epoch, version, and the file's ``sha256``.
    seen
        Hashes of the peptides that the model and its starting weights were trained on; None if
        the file has none.
    """

    network: "Denoiser"
    process: "JointProcess"
    conditions: "ConditionSpec"
    lengths: dict[str, list[int]]
    info: dict[str, Any]
    seen: SeenPeptides | None = None

    @property
    def labels(self) -> list[str]:
        """Names of the labels."""
        return self.conditions.labels

    @property
    def device(self) -> "torch.device":
        """Device of the network."""
        return next(self.network.parameters()).device


def save_model(
    path: Path,
    weights: "dict[str, torch.Tensor]",
    spec: "ModelSpec",
    diffusion: dict[str, Any],
    conditions: "ConditionSpec",
    lengths: dict[str, list[int]],
    info: dict[str, Any],
    seen: SeenPeptides | None = None,
) -> None:
    """Write a model file atomically: weights in half precision, their description and a checksum.

    Rounded to float16 (a relative error of at most 2⁻¹¹), the weights take half the space; a loaded
    model computes in float32.

    Parameters
    ----------
    path
        ``model.safetensors``.
    weights
        State dictionary of a `Denoiser`.
    spec
        Sizes of the `Denoiser`.
    diffusion
        Arguments of `JointProcess` by name.
    conditions
        Labels and properties that the model can be conditioned on.
    lengths
        As `TrainedModel.lengths`.
    info
        Other values for the header.
    seen
        Hashes of the training peptides, if they are known.
    """
    import torch
    from safetensors.torch import save

    header = {
        "sha256": "",
        "model": asdict(spec),
        "diffusion": diffusion,
        **conditions.to_json(),
        "lengths": lengths,
        **info,
    } | {"sha256": 64 * "0"}
    tensors = {name: value.detach().half().cpu().contiguous() for name, value in weights.items()}
    if seen is not None:
        tensors |= {key: torch.from_numpy(getattr(seen, name)) for name, key in _SEEN.items()}
    content = save(tensors, metadata={_KEY: json.dumps(header)})
    start, stop = _place_of_checksum(content)
    checksum = hashlib.sha256(content).hexdigest().encode()
    # Not with safetensors' `save_file`, because only the owner can read a file that it writes.
    write_bytes(path, content[:start] + checksum + content[stop:])


def _place_of_checksum(content: bytes) -> tuple[int, int]:
    """Return the start and the end of the checksum in a file's bytes; (0, 0) if it has none."""
    found = _CHECKSUM.search(content)
    return found.span(1) if found else (0, 0)


def _read_verified(path: Path) -> bytes:
    """Return the content of a model file; raise `UserError` if it is missing or not intact."""
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


def _read_header(path: Path) -> tuple[bytes, dict[str, Any]]:
    """Return the verified content of a model file, and its header; errors as of `read_checksum`."""
    content = _read_verified(path)
    size = int.from_bytes(content[:8], "little")  # of the header, as safetensors defines it
    header = json.loads(json.loads(content[8 : 8 + size])["__metadata__"][_KEY])
    if "structure_inputs" not in header["model"]:
        raise UserError(
            f"{path}: is of a version whose network read the bond angles of its structures, which "
            "betray the residues in predicted ones; train again, or use the released model"
        )
    return content, header


def read_checksum(path: Path) -> str:
    """Verify a model file of `save_model`, and return the SHA-256 in its header.

    Raises
    ------
    UserError
        If the file is missing, damaged or not a model file, or of a version that cannot be used.
    """
    return _read_header(path)[1]["sha256"]


@contextmanager
def float32() -> Iterator[None]:
    """Make float32 the default type of new tensors, whatever the calling script has set."""
    import torch

    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        yield
    finally:
        torch.set_default_dtype(default)


def load_model(path: Path, device: "str | torch.device" = "cpu") -> TrainedModel:
    """Read a model file that `save_model` wrote, and verify its checksum.

    Raises
    ------
    UserError
        If the file is missing, damaged or not a model file, or needs another version, or if the
        device cannot be used.
    """
    import torch
    from safetensors.torch import load

    from structdiff.diffusion import JointProcess
    from structdiff.model import ConditionSpec, Denoiser, ModelSpec

    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # unknown, not in this machine, or not built in
        reason = str(error).splitlines()[0]
        raise UserError(f"the device '{device}' cannot be used: {reason}") from None
    content, header = _read_header(Path(path))
    version = header.get("version", "of another version")
    weights = load(content)
    hashed = {name: weights.pop(key).numpy() for name, key in _SEEN.items() if key in weights}
    try:
        with float32():
            network = Denoiser(ModelSpec(**header.pop("model")))
        network.load_state_dict(weights)
        process = JointProcess(**header.pop("diffusion"))
    except (RuntimeError, TypeError, KeyError):
        raise UserError(
            f"{path}: was trained by structdiff {version}, whose network or noise processes this "
            "version does not have; use that version, or train again"
        ) from None
    conditions, lengths = ConditionSpec.read(header), header.pop("lengths", {})
    info = {name: value for name, value in header.items() if name not in conditions.to_json()}
    network = network.to(device).eval().requires_grad_(False)
    seen = SeenPeptides(**hashed) if hashed else None
    return TrainedModel(network, process, conditions, lengths, info, seen)
