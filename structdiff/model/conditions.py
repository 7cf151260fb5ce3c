"""Conditions: the labels of each peptide, known or requested, and their embedding.

A `ConditionSpec` names the labels of a data set and its models. A `Condition` is made by the data
set (``Condition.observed``) or from a request (``Condition.request``), hidden at random in
training, changed by guidance and embedded by the network. Only this module uses its content, so
that a new kind of condition is added here.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["HIDING", "LABEL_STATES", "Condition", "ConditionEmbedding", "ConditionSpec"]

_UNSPECIFIED, _ABSENT, _PRESENT = range(3)
"""States of a label."""
LABEL_STATES = 3

HIDING = 0.5
"""Probability that a label is hidden in training, so that any subset can be requested."""


@dataclass(frozen=True)
class ConditionSpec:
    """Names of the properties that a model can be conditioned on.

    Attributes
    ----------
    labels
        Names of the labels, in the order of the network's inputs.
    unopposed
        Labels that no training peptide is known to lack: guidance is away from *unspecified*.
    """

    labels: list[str]
    unopposed: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Return the values for a checkpoint or a header; empty ones are left out.

        The file of a model with labels only has the same content as in earlier versions.
        """
        values = asdict(self)
        return {name: value for name, value in values.items() if value or name == "labels"}

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> "ConditionSpec":
        """Read what `to_json` wrote from the values of a checkpoint or a header."""
        return cls(values["labels"], values.get("unopposed", []))


@dataclass(frozen=True)
class Condition:
    """Known or requested labels of each peptide of a batch.

    Attributes
    ----------
    labels
        State of each label: 0 unspecified, 1 absent, 2 present; ``(batch, labels)`` int64.
    opposites
        States that guidance moves away from; differ from ``labels`` where a label is requested.
        None: absent where present.
    """

    labels: Tensor
    opposites: Tensor | None = None

    @classmethod
    def observed(cls, labels: Tensor) -> "Condition":
        """Return the condition of peptides with known labels.

        Parameters
        ----------
        labels
            Bool, or int8 with -1 where unknown, ``(batch, labels)``.
        """
        return cls(_ABSENT + labels.long())

    @classmethod
    def request(
        cls, wanted: Sequence[str], spec: ConditionSpec, unwanted: Sequence[str] = ()
    ) -> "Condition":
        """Return the condition of one peptide with some labels and without others."""
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
        return cls(*(torch.tensor([states], dtype=torch.int64) for states in (labels, opposites)))

    @classmethod
    def unspecified(cls, count: int, num_labels: int) -> "Condition":
        """Return the condition of ``count`` peptides without any request."""
        return cls(torch.full((count, num_labels), _UNSPECIFIED))

    @property
    def width(self) -> int:
        """Number of properties that can be requested."""
        return self.labels.shape[1]

    def to(self, device: torch.device, non_blocking: bool = False) -> "Condition":
        """Return the same condition on a device."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def expand(self, count: int) -> "Condition":
        """Return the condition of one peptide for ``count`` peptides."""
        return self._map(lambda tensor: tensor.expand(count, -1))

    def _map(self, function: Callable[[Tensor], Tensor]) -> "Condition":
        """Return the condition with a function applied to each of its tensors."""
        opposites = None if self.opposites is None else function(self.opposites)
        return Condition(function(self.labels), opposites)

    @property
    def _away(self) -> Tensor:
        """States that guidance moves away from, ``(batch, labels)``."""
        if self.opposites is not None:
            return self.opposites
        return torch.where(self.labels == _PRESENT, _ABSENT, self.labels)

    def hide(self, peptides: Tensor, parts: Tensor, dropout: float) -> "Condition":
        """Return the condition with random parts unspecified, for training.

        Parameters
        ----------
        peptides, parts
            Uniform numbers, ``(batch,)`` and ``(batch, width)``.
        dropout
            Probability that everything is hidden; otherwise each part is hidden with `HIDING`.
        """
        hidden = (peptides < dropout)[:, None] | (parts < HIDING)
        return Condition(torch.where(hidden, _UNSPECIFIED, self.labels))

    def num_requests(self) -> Tensor:
        """Return the number of requested properties of each peptide, ``(batch,)``."""
        return (self.labels != self._away).sum(1)

    def opposite(self) -> "Condition":
        """Return the condition that guidance moves away from: requested labels are absent."""
        return replace(self, labels=self._away)

    def requests(self) -> Iterator[tuple["Condition", Tensor]]:
        """Yield a condition for each requested property, and who requests it ``(batch,)``.

        The other requested properties are absent in it.
        """
        opposite = self._away
        asked = self.labels != opposite
        columns = torch.arange(self.width, device=self.labels.device)
        for column in asked.any(0).nonzero().flatten():
            single = torch.where(columns == column, self.labels, opposite)
            yield replace(self, labels=single), asked[:, column]


class ConditionEmbedding(nn.Module):
    """Embedding of a condition: the sum of a learned vector for the state of each label.

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
        """Return ``(batch, width)``."""
        first = LABEL_STATES * torch.arange(condition.width, device=self.weight.device)
        return functional.embedding(first + condition.labels, self.weight).sum(1)
