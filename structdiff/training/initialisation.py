"""Starting weights of a training: from the released model, a model file or a checkpoint.

``read_start(init, …)`` reads the weights and raises if they do not fit the configuration;
``initialise(network, conditions, start)`` copies them into a new network;
``matches(start, labels, properties)`` says in words what is taken over. Labels and properties are
matched by name. A label or property that the starting model does not have has no effect until the
network is trained.
"""

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from structdiff.diffusion import JointProcess
from structdiff.model import PRESETS, ConditionSpec, Denoiser, ModelSpec
from structdiff.model.conditions import CURVE_END, LABEL_STATES, property_features
from structdiff.pretrained import PRETRAINED, load_model
from structdiff.system.errors import UserError
from structdiff.system.files import hash_file
from structdiff.training.checkpoint import DamagedCheckpoint, read

if TYPE_CHECKING:
    from structdiff.config import Config

__all__ = [
    "RELEASED",
    "Start",
    "check_properties",
    "hash_weights",
    "initialise",
    "matches",
    "read_fitting_start",
    "read_start",
    "starting_file",
]

RELEASED = "released"
"""Value of ``training.init`` for the model that comes with the package."""

GRID = 401
"""Number of property values at which `initialise` evaluates the starting model's curve, to fit the
new network's curve."""


@dataclass(frozen=True)
class Start:
    """The model that a training starts from.

    Attributes
    ----------
    weights
        State dictionary of the network; from a checkpoint, the averaged weights.
    spec
        Sizes of the network.
    conditions
        Labels and properties of the model.
    process
        Noise processes of the model.
    """

    weights: dict[str, Tensor]
    spec: ModelSpec
    conditions: ConditionSpec
    process: JointProcess


def starting_file(init: str) -> Path:
    """Return the path of the file of starting weights.

    ``init`` is ``training.init``: ``released``, or the path of a ``model.safetensors`` or of a
    checkpoint (``.pth``).
    """
    return PRETRAINED if init == RELEASED else Path(init)


def hash_weights(init: str) -> str:
    """Return the SHA-256 of the file of starting weights, as hex digits.

    Raises `UserError` if the file cannot be read. ``init`` is ``training.init``.
    """
    path = starting_file(init)
    try:
        return hash_file(path)
    except OSError as error:
        raise UserError(
            f"training.init: {path}: cannot be read ({error.strerror}); give `released`, or the "
            "path of a model.safetensors or a checkpoint"
        ) from None


def read_start(init: str, preset: str, process: JointProcess) -> Start:
    """Read the starting weights.

    Parameters
    ----------
    init
        ``released``, or the path of a ``model.safetensors`` or of a checkpoint (``.pth``).
    preset
        The configuration's ``model.preset``.
    process
        The configuration's noise processes.

    Raises
    ------
    UserError
        If the file is missing or damaged, or its model has other sizes than ``preset`` or another
        sequence process than ``process``.
    """
    path = starting_file(init)
    if path.suffix == ".pth":
        try:
            state = read(path)
        except DamagedCheckpoint as damage:
            raise UserError(f"training.init: {damage}") from None
        spec = ModelSpec(**state["model_spec"])
        former = JointProcess(**state["diffusion"])
        start = Start(state["ema"], spec, ConditionSpec.read(state), former)
    else:
        try:
            model = load_model(path)
        except UserError as error:
            raise UserError(f"training.init: {error}") from None
        network = model.network
        start = Start(network.state_dict(), network.spec, model.conditions, model.process)
    sizes = (start.spec.width, start.spec.depth, start.spec.heads)
    if _sizes(preset) != sizes:
        fitting = [name for name in PRESETS if _sizes(name) == sizes]
        advice = f"set model.preset to {fitting[0]}" if fitting else "no preset has its sizes"
        raise UserError(
            f"training.init: {path} has {start.spec.width} channels and {start.spec.depth} blocks, "
            f"which is not model.preset {preset}: {advice}"
        )
    if type(start.process.sequence) is not type(process.sequence):
        raise UserError(
            f"training.init: {path} was trained with another noise process of the sequence than "
            "diffusion.sequence_process: set it as in the configuration of that model"
        )
    return start


def read_fitting_start(config: "Config") -> Start:
    """Read the starting weights of a configuration with ``training.init``.

    Raise `UserError` if the file cannot be read, or if the configuration does not fit it (see
    `read_start` and `check_properties`).
    """
    init = config.training.init
    assert init is not None, "asked for only with training.init"
    hash_weights(init)  # a missing file is an error
    process = JointProcess(**config.diffusion.model_dump(mode="json"))
    start = read_start(init, config.model.preset, process)
    measured = config.data.property_columns
    check_properties(
        start.conditions, {name: (one.unit, one.scale) for name, one in measured.items()}
    )
    return start


def _sizes(preset: str) -> tuple[int, int, int]:
    spec = PRESETS[preset](0, 1)
    return spec.width, spec.depth, spec.heads


def check_properties(start: ConditionSpec, properties: Mapping[str, tuple[str, str]]) -> None:
    """Raise `UserError` if a property has another unit or scale than in the starting model.

    ``start`` has the starting model's properties, and ``properties`` the unit and the scale of the
    new model's properties, by name.
    """
    for former in start.properties:
        unit, scale = properties.get(former.name, (former.unit, former.scale))
        if former.scale != scale:
            raise UserError(
                f"training.init: the property '{former.name}' had the scale {former.scale}, now "
                f"{scale}: use the same scale, or another name"
            )
        if _plain(former.unit) != _plain(unit):
            raise UserError(
                f"training.init: the property '{former.name}' had the unit "
                f"{former.unit or '(none)'}, now {unit or '(none)'}: convert the numbers and set "
                "data.property_columns, or use another name"
            )


def _plain(unit: str) -> str:
    """Return a unit without spaces, and with u instead of the two signs for micro."""
    return "".join(unit.split()).replace("\u00b5", "u").replace("\u03bc", "u")


def matches(start: ConditionSpec, labels: list[str], properties: Iterable[str]) -> list[str]:
    """Return lines that say which labels and properties a new model takes from the starting model.

    ``start`` has the labels and properties of the starting model; ``labels`` and ``properties`` are
    the names in the new model.
    """
    kinds = [
        (start.labels, labels),
        ([one.name for one in start.properties], list(properties)),
    ]
    parts = {
        "taken over": [name for former, now in kinds for name in now if name in former],
        "new": [name for former, now in kinds for name in now if name not in former],
        "no longer used": [name for former, now in kinds for name in former if name not in now],
    }
    lines = [f"{what}: {', '.join(names)}" for what, names in parts.items() if names]
    # A name in both lists was a label and is a property now, or the other way round.
    unused = {name.lower(): name for name in parts["no longer used"] if name not in parts["new"]}
    for name in parts["new"]:
        if near := difflib.get_close_matches(name.lower(), unused, n=1, cutoff=0.8):
            lines.append(
                f"warning: '{name}' is new, and '{unused[near[0]]}' of the starting model is not "
                "used: give both one name if they mean the same"
            )
    return lines


@torch.no_grad()
def initialise(network: Denoiser, conditions: ConditionSpec, start: Start) -> None:
    """Copy the weights of the starting model into a new network.

    Labels and properties are matched by name. A label that only the starting model has counts as
    unspecified from then on. Values of a property are standardised with its mean and standard
    deviation in the training peptides. Mean and standard deviation differ between the two models;
    therefore the learned curve of each property is fitted again on the new scale.

    Parameters
    ----------
    network
        The new network, changed in place; it must have the same preset as the starting model.
    conditions
        Labels and properties of the network.
    start
        The starting model.

    Raises
    ------
    UserError
        If a property has another unit or scale in the two models.
    """
    check_properties(
        start.conditions, {one.name: (one.unit, one.scale) for one in conditions.properties}
    )
    weights = {name: value.float() for name, value in start.weights.items()}
    names = start.conditions.labels
    former_rows = weights.pop("label_in.weight").unflatten(0, (-1, LABEL_STATES))
    # A model without labels has the weights of one label, which are not used.
    labels = dict(zip(names, former_rows[: len(names)], strict=True))
    curves = weights.pop("property_in.weight", torch.zeros(0))
    rows = torch.zeros_like(network.label_in.weight).unflatten(0, (-1, LABEL_STATES))
    for number, name in enumerate(conditions.labels):
        if name in labels:
            rows[number] = labels[name]
    dropped = [labels[name][0] for name in labels if name not in conditions.labels]
    bias = weights["level_in.2.bias"]
    weights["level_in.2.bias"] = bias + sum(dropped, torch.zeros_like(bias))
    weights["label_in.weight"] = rows.flatten(0, 1)
    if conditions.properties:
        pairs = zip(start.conditions.properties, curves, strict=True)
        known = {former.name: (former, curve) for former, curve in pairs}
        carried = torch.zeros_like(network.property_in.weight)
        value = torch.linspace(-CURVE_END, CURVE_END, GRID)
        features = property_features(value)
        for number, one in enumerate(conditions.properties):
            if one.name in known:
                former, curve = known[one.name]
                before = (value * one.sd + one.mean - former.mean) / former.sd
                wanted = property_features(before) @ curve
                carried[number] = torch.linalg.lstsq(features, wanted, driver="gelsd").solution
        weights["property_in.weight"] = carried
    network.load_state_dict(weights)
