"""Conditions: the labels and properties of each peptide, known or requested, as network input.

A `ConditionSpec` names the labels and the properties of a data set and its models. A `Condition` is
made by the data set (``Condition.observed``) or from a request (``Condition.request``), hidden at
random in training, changed by guidance and embedded by the network. Only this module uses
the content of a condition, so that a new kind of condition is added here.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = [
    "HIDING",
    "LABEL_STATES",
    "Condition",
    "ConditionEmbedding",
    "ConditionSpec",
    "Property",
    "PropertyEmbedding",
    "property_features",
]

_UNSPECIFIED, _ABSENT, _PRESENT = range(3)
"""States of a label."""
LABEL_STATES = 3

CURVES, CURVE_END = 17, 4.0
"""Number of Gaussians that describe the value of a property, and the centre of the last Gaussian in
standard deviations."""

HIDING = 0.5
"""Probability that a label or property is hidden in training, so that a request can be for any
subset of them."""

MOST_APART = 2
"""Largest number of requested labels that have a guidance term each. With a term for each of three
labels, most residues of the designs for some of them are cysteine and glycine."""

QUANTILES = 101
"""Number of evenly spaced quantiles of the training values of a property."""


@dataclass(frozen=True)
class Property:
    """A number that a model is conditioned on, and its distribution in the training peptides.

    Attributes
    ----------
    name
        Name of the property.
    unit
        Unit of the values, for texts and figures.
    scale
        ``linear`` or ``log10``: whether ``mean``, ``sd``, ``quantiles`` and the network's input
        are of the value itself or of its decadic logarithm.
    mean, sd
        Mean and standard deviation of the known training values.
    quantiles
        `QUANTILES` evenly spaced quantiles of these values, from the smallest value to the largest.
    """

    name: str
    unit: str
    scale: str
    mean: float
    sd: float
    quantiles: list[float]

    @classmethod
    def fit(cls, name: str, unit: str, scale: str, values: np.ndarray) -> "Property":
        """Return a property with the distribution of known training values.

        ``values`` are ``(peptides,)``, in the property's unit.
        """
        scaled = np.log10(values) if scale == "log10" else values
        quantiles = np.quantile(scaled, np.linspace(0, 1, QUANTILES))
        return cls(name, unit, scale, scaled.mean().item(), scaled.std().item(), quantiles.tolist())

    @property
    def seen(self) -> tuple[float, float]:
        """The smallest and the largest training value, in the property's unit."""
        low, high = self._to_unit(np.array([self.quantiles[0], self.quantiles[-1]])).tolist()
        return low, high

    def standardise(self, values: np.ndarray) -> np.ndarray:
        """Return the network's input for values in the property's unit; NaN stays NaN.

        The result is (x - mean) / sd, where x is the value, or its decadic logarithm with the scale
        log10. If sd is 0, the difference is not divided.
        """
        return (self._to_scale(values) - self.mean) / (self.sd or 1.0)

    def draw(self, low: float, high: float, uniforms: np.ndarray) -> np.ndarray:
        """Draw values between ``low`` and ``high`` from the training distribution.

        Values and bounds are in the property's unit. ``uniforms`` are random numbers in 0–1, one
        for each value. If the training distribution has no mass between the bounds, the values
        are uniform between them, on the property's scale.
        """
        ends = self._to_scale(np.array([low, high]))
        shares = np.linspace(0, 1, QUANTILES)
        first, last = np.interp(ends, self.quantiles, shares)
        if ends[0] in self.quantiles:  # of several equal quantiles, the first
            first = shares[self.quantiles.index(ends[0])]
        if last - first > 1e-9:
            drawn = np.interp(first + uniforms * (last - first), shares, self.quantiles)
        else:
            drawn = ends[0] + uniforms * (ends[1] - ends[0])
        return self._to_unit(np.clip(drawn, *ends))

    def _to_scale(self, values: np.ndarray) -> np.ndarray:
        return np.log10(values) if self.scale == "log10" else values

    def _to_unit(self, values: np.ndarray) -> np.ndarray:
        return 10.0**values if self.scale == "log10" else values


@dataclass(frozen=True)
class ConditionSpec:
    """The labels and properties that a model can be conditioned on.

    Attributes
    ----------
    labels
        Names of the labels, in the order of the network's inputs.
    unopposed
        Labels that no training peptide is known to lack. Guidance towards them moves away from
        *unspecified* instead of *absent*.
    properties
        Properties that the model can be asked for, in the order of the network's inputs.
    """

    labels: list[str]
    unopposed: list[str] = field(default_factory=list)
    properties: list[Property] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Return the attributes as values for a checkpoint or the header of a model file.

        Empty attributes are left out, except for ``labels``, so that the file of a model with
        labels only has the same content as in earlier versions.
        """
        values = asdict(self)
        return {name: value for name, value in values.items() if value or name == "labels"}

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> "ConditionSpec":
        """Return the spec whose `to_json` is among the values of a checkpoint or header.

        Other values are ignored.
        """
        properties = [Property(**one) for one in values.get("properties", [])]
        return cls(values["labels"], values.get("unopposed", []), properties)


@dataclass(frozen=True)
class Condition:
    """Known or requested labels and properties of each peptide of a batch.

    Attributes
    ----------
    labels
        State of each label: 0 unspecified, 1 absent, 2 present; ``(batch, labels)`` int64.
    opposites
        For each label, the state that guidance moves away from, ``(batch, labels)`` int64. It
        differs from the state in ``labels`` where a label is requested. None means: absent where
        ``labels`` is present, otherwise the same as ``labels``.
    values
        Standardised value of each property, NaN where it is unspecified; ``(batch, properties)``
        float32; None without properties.
    """

    labels: Tensor
    opposites: Tensor | None = None
    values: Tensor | None = None

    @classmethod
    def observed(cls, labels: Tensor, values: Tensor | None = None) -> "Condition":
        """Return the condition of peptides with known labels and properties.

        Parameters
        ----------
        labels
            Whether each peptide has each label, ``(batch, labels)``: bool, or int8 with -1 where
            it is not known.
        values
            Standardised value of each property, ``(batch, properties)`` float32, NaN where it is
            not known; None without properties.
        """
        return cls(_ABSENT + labels.long(), values=values)

    @classmethod
    def request(
        cls, wanted: Sequence[str], spec: ConditionSpec, unwanted: Sequence[str] = ()
    ) -> "Condition":
        """Return the condition of one peptide with ``wanted`` and without ``unwanted`` labels.

        Other labels and all properties are unspecified; `with_values` adds properties.
        """
        labels, opposites = [], []
        for name in spec.labels:
            state, opposite = _UNSPECIFIED, _UNSPECIFIED
            if name in wanted:
                state = _PRESENT
                opposite = _UNSPECIFIED if name in spec.unopposed else _ABSENT
            elif name in unwanted:
                state, opposite = _ABSENT, _PRESENT
            labels.append(state)
            opposites.append(opposite)
        asked, away = (torch.tensor([each], dtype=torch.int64) for each in (labels, opposites))
        return cls(asked, away, _no_values(1, len(spec.properties)))

    def with_values(self, targets: Mapping[str, np.ndarray], spec: ConditionSpec) -> "Condition":
        """Repeat the condition of one peptide for several peptides and add their property values.

        Parameters
        ----------
        targets
            Values of each property by its name, ``(peptides,)``, in its unit. Other properties
            are unspecified.
        spec
            The labels and properties that the model can be asked for.
        """
        count = len(next(iter(targets.values())))
        none = np.full(count, np.nan)
        columns = [one.standardise(targets.get(one.name, none)) for one in spec.properties]
        values = torch.from_numpy(np.stack(columns, axis=1).astype(np.float32))
        return replace(self.expand(count), values=values)

    @classmethod
    def unspecified(cls, count: int, num_labels: int, num_properties: int = 0) -> "Condition":
        """Return a condition of ``count`` peptides with all labels and properties unspecified."""
        states = torch.full((count, num_labels), _UNSPECIFIED)
        return cls(states, values=_no_values(count, num_properties))

    @property
    def width(self) -> int:
        """Number of labels and properties."""
        return self.labels.shape[1] + (0 if self.values is None else self.values.shape[1])

    def to(self, device: torch.device, non_blocking: bool = False) -> "Condition":
        """Return the same condition on a device."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def expand(self, count: int) -> "Condition":
        """Return the condition of one peptide for ``count`` peptides."""
        return self._map(lambda tensor: tensor.expand(count, -1))

    def take(self, rows: Tensor) -> "Condition":
        """Return the condition of the peptides with the indices ``rows``, ``(count,)`` int64."""
        return self._map(lambda tensor: tensor[rows])

    def _map(self, function: Callable[[Tensor], Tensor]) -> "Condition":
        """Return the condition with a function applied to each of its tensors."""
        tensors = (self.labels, self.opposites, self.values)
        labels, opposites, values = (None if t is None else function(t) for t in tensors)
        assert labels is not None, "every condition has them"
        return Condition(labels, opposites, values)

    @property
    def _away(self) -> Tensor:
        """For each label, the state that guidance moves away from, ``(batch, labels)`` int64."""
        if self.opposites is not None:
            return self.opposites
        return torch.where(self.labels == _PRESENT, _ABSENT, self.labels)

    @property
    def _unwanted(self) -> Tensor:
        """Which labels are unwanted, ``(batch, labels)`` bool.

        All are false for a peptide that has no wanted label.
        """
        unwanted = (self.labels == _ABSENT) & (self._away == _PRESENT)
        return unwanted & (self.labels == _PRESENT).any(1, keepdim=True)

    def wanted(self) -> "Condition":
        """Return a copy in which the unwanted labels are unspecified.

        A peptide without a wanted label does not change.
        """
        unwanted = self._unwanted
        return replace(
            self,
            labels=self.labels.masked_fill(unwanted, _UNSPECIFIED),
            opposites=self._away.masked_fill(unwanted, _UNSPECIFIED),
        )

    def unwanted(self) -> Iterator[tuple["Condition", "Condition", Tensor]]:
        """Yield ``(absent, present, peptides)`` for each unwanted label that `wanted` leaves out.

        In the condition ``absent``, this label is absent, and in ``present`` it is present; other
        unwanted labels are unspecified in both. ``peptides`` ``(batch,)`` bool is true where this
        label is unwanted and another label is wanted.
        """
        unwanted, wanted = self._unwanted, self.wanted()
        columns = torch.arange(self.labels.shape[1], device=self.labels.device)
        for column in unwanted.any(0).nonzero().flatten():
            here = unwanted & (columns == column)
            absent, present = (
                replace(wanted, labels=wanted.labels.masked_fill(here, state))
                for state in (_ABSENT, _PRESENT)
            )
            yield absent, present, unwanted[:, column]

    def hide(self, peptides: Tensor, parts: Tensor, dropout: float) -> "Condition":
        """Return a copy with labels and properties hidden (unspecified) at random, for training.

        Parameters
        ----------
        peptides, parts
            Uniform random numbers in 0–1: one for each peptide, ``(batch,)``, and one for each
            label and property of each peptide, ``(batch, width)``.
        dropout
            Probability that all labels and properties of a peptide are hidden. If they are not all
            hidden, each label and each property is hidden with probability `HIDING`. All properties
            at once are also hidden with probability `HIDING`, because most requests are for labels
            only.
        """
        everything = peptides < dropout
        hidden = everything[:, None] | (parts < HIDING)
        count = self.labels.shape[1]
        labels = torch.where(hidden[:, :count], _UNSPECIFIED, self.labels)
        if self.values is None:
            return Condition(labels)
        all_values = peptides < dropout + (1 - dropout) * HIDING
        concealed = hidden[:, count:] | all_values[:, None]
        return Condition(labels, values=self.values.masked_fill(concealed, torch.nan))

    def asks_values(self) -> bool:
        """Return whether a property value is requested for at least one peptide."""
        return self.values is not None and not bool(self.values.isnan().all())

    def without_values(self) -> "Condition":
        """Return a copy with the same labels and all properties unspecified."""
        values = None if self.values is None else torch.full_like(self.values, torch.nan)
        return replace(self, values=values)

    def num_requests(self) -> Tensor:
        """Return how many labels, wanted or unwanted, each peptide requests, ``(batch,)``."""
        return (self.labels != self._away).sum(1)

    def opposite(self) -> "Condition":
        """Return the condition that guidance moves away from.

        Its ``labels`` are the ``opposites`` of this condition; the properties are the same.
        """
        return replace(self, labels=self._away)

    def requests(self) -> Iterator[tuple["Condition", Tensor]]:
        """Yield ``(condition, peptides)`` for each guidance term of the requested labels.

        In ``condition``, only one label has its requested state. Other requested labels have the
        opposite state; the properties do not change. ``peptides`` ``(batch,)`` bool is true where a
        peptide has this request. If a peptide requests more than `MOST_APART` labels, all of them
        have their requested state in one condition, which is yielded first.
        """
        opposite = self._away
        asked = self.labels != opposite
        many = asked.sum(1, keepdim=True) > MOST_APART
        if many.any():
            yield replace(self, labels=torch.where(many, self.labels, opposite)), many[:, 0]
        columns = torch.arange(self.labels.shape[1], device=self.labels.device)
        apart = asked & ~many
        for column in apart.any(0).nonzero().flatten():
            single = torch.where(apart & (columns == column), self.labels, opposite)
            yield replace(self, labels=single), apart[:, column]


class ConditionEmbedding(nn.Module):
    """Embedding of a condition's labels: the sum of a learned vector for each label's state.

    Parameters
    ----------
    num_labels
        Number of labels that a peptide can have.
    width
        Channels.
    """

    def __init__(self, num_labels: int, width: int):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(LABEL_STATES * max(num_labels, 1), width))

    def forward(self, condition: Condition) -> Tensor:
        """Return the embedding, ``(batch, width)``."""
        count = condition.labels.shape[1]
        first = LABEL_STATES * torch.arange(count, device=self.weight.device)
        return functional.embedding(first + condition.labels, self.weight).sum(1)


class PropertyEmbedding(nn.Module):
    """Embedding of a condition's properties: the sum of a learned function of each value.

    The function is a linear combination of the features from `property_features`; it is zero in a
    new network. An unspecified property adds nothing.

    Parameters
    ----------
    num_properties
        Number of properties that a peptide can have.
    width
        Channels.
    """

    def __init__(self, num_properties: int, width: int):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(num_properties, 2 + CURVES, width))

    def forward(self, condition: Condition) -> Tensor:
        """Return the embedding, ``(batch, width)``."""
        assert condition.values is not None, "a model with properties is told or asked of them"
        known = ~condition.values.isnan()
        features = property_features(condition.values.nan_to_num()) * known[..., None]
        return torch.einsum("bpf,pfw->bw", features, self.weight)


def property_features(values: Tensor) -> Tensor:
    """Return the features of property values: 1, the value and Gaussians, ``(…, 2 + CURVES)``.

    The Gaussians of a value are radial basis functions, centred from −4 to 4. ``values`` ``(…)``
    are standardised; they are clamped to ±`CURVE_END`.
    """
    value = values.clamp(-CURVE_END, CURVE_END)[..., None]
    centres = torch.linspace(-CURVE_END, CURVE_END, CURVES, device=values.device)
    step = 2 * CURVE_END / (CURVES - 1)
    curves = torch.exp(-0.5 * ((value - centres) / step).square())
    return torch.cat([torch.ones_like(value), value, curves], dim=-1)


def _no_values(count: int, num_properties: int) -> Tensor | None:
    """Return NaN for all property values, ``(count, properties)``; None without properties."""
    if not num_properties:
        return None
    return torch.full((count, num_properties), torch.nan, dtype=torch.float32)
