"""A trained model as one safetensors file: weights, and how to use them, without any pickle.

``save_model(path, …)`` is what selection writes; ``load_model(path)`` gives the model ready for
`structdiff.diffusion.sample`, with its noise processes and the names of its labels. ``PRETRAINED``
is the model that comes with the package; its card stands beside it.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from structdiff.diffusion import JointProcess
from structdiff.model import ConditionSpec, Denoiser, ModelSpec
from structdiff.system.errors import UserError

__all__ = ["PRETRAINED", "TrainedModel", "load_model", "save_model"]

PRETRAINED = Path(__file__).parent / "model.safetensors"
"""A small model of antimicrobial, antifungal and antiviral peptides."""

_KEY = "structdiff"


@dataclass(frozen=True)
class TrainedModel:
    """A trained model and what belongs to it.

    Attributes
    ----------
    model
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
        Everything else of the header: run, step, epoch, version.
    """

    model: Denoiser
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
        """Where the model is."""
        return next(self.model.parameters()).device


def save_model(
    path: Path,
    weights: dict[str, Tensor],
    spec: ModelSpec,
    diffusion: dict[str, Any],
    conditions: ConditionSpec,
    lengths: dict[str, list[int]],
    info: dict[str, Any],
) -> None:
    """Write the weights in half precision with their description, atomically.

    Rounded to float16 (a relative error of at most 2⁻¹¹) they take half the space; whoever loads
    them computes in float32.

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
        Plain values to keep beside them.
    """
    header = {
        "model": asdict(spec),
        "diffusion": diffusion,
        **asdict(conditions),
        "lengths": lengths,
        **info,
    }
    tensors = {name: value.detach().half().cpu().contiguous() for name, value in weights.items()}
    scratch = path.with_name(f".{path.name}.tmp")
    # Not `save_file`, whose file none but its owner may read.
    scratch.write_bytes(save(tensors, metadata={_KEY: json.dumps(header)}))
    scratch.replace(path)


def load_model(path: Path, device: str | torch.device = "cpu") -> TrainedModel:
    """Read what `save_model` wrote.

    Raises
    ------
    UserError
        If the file is missing, damaged, or not one of ours.
    """
    if not Path(path).is_file():
        raise UserError(f"{path}: no such model; `structdiff select` writes model.safetensors")
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            header = json.loads((file.metadata() or {}).get(_KEY, "null"))
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, ValueError, OSError) as error:
        raise UserError(f"{path}: is not a whole safetensors file: {error}") from None
    if not header:
        raise UserError(f"{path}: is a safetensors file, but not a model of structdiff")
    model = Denoiser(ModelSpec(**header.pop("model")))
    try:
        model.load_state_dict(weights)
    except RuntimeError:
        raise UserError(
            f"{path}: was trained by structdiff {header.get('version', 'of another version')}, "
            "whose model has other parts; use that version, or train again"
        ) from None
    process = JointProcess(**header.pop("diffusion"))
    conditions, lengths = ConditionSpec.read(header), header.pop("lengths", {})
    info = {name: value for name, value in header.items() if name not in asdict(conditions)}
    model = model.to(device).eval().requires_grad_(False)
    return TrainedModel(model, process, conditions, lengths, info)
