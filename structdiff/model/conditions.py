"""What a model can be asked for: the condition of each peptide, and its embedding.

A `ConditionSpec` names the labels of a data set and its models. A `Condition` is made by the data
set (``Condition.observed``) or from a request (``Condition.request``), hidden at random in
training, moved by guidance and embedded by the network. Only this module looks inside, so that a
new kind of condition is added here.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["HIDING", "LABEL_STATES", "Condition", "ConditionEmbedding", "ConditionSpec"]

_UNSPECIFIED, _ABSENT, _PRESENT = range(3)
"""States of a label."""
LABEL_STATES = 3

HIDING = 0.5
"""Chance of each label to be hidden in training, so that any part of them can be asked for."""


@dataclass(frozen=True)
class ConditionSpec:
    """What a model can be asked for.

    Attributes
    ----------
    labels
        Names of its labels, in the order of the network's inputs.
    """

    labels: list[str]

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> "ConditionSpec":
        """Return what `dataclasses.asdict` wrote among the values of a checkpoint or a header."""
        return cls(**{field.name: values[field.name] for field in fields(cls)})


@dataclass(frozen=True)
class Condition:
    """What is known of, or asked of, each peptide of a batch.

    Attributes
    ----------
    labels
        State of each label: 0 unspecified, 1 absent, 2 present; ``(batch, labels)`` int64.
    """

    labels: Tensor

    @classmethod
    def observed(cls, labels: Tensor) -> "Condition":
        """Return what is known of peptides that have some labels, ``(batch, labels)`` bool."""
        return cls(_ABSENT + labels.long())

    @classmethod
    def request(cls, wanted: Sequence[str], spec: ConditionSpec) -> "Condition":
        """Return the condition, of one peptide, that asks for the labels ``wanted``."""
        states = [_PRESENT if name in wanted else _UNSPECIFIED for name in spec.labels]
        return cls(torch.tensor([states], dtype=torch.int64))

    @classmethod
    def unspecified(cls, count: int, num_labels: int) -> "Condition":
        """Return the condition, of ``count`` peptides, that asks for nothing."""
        return cls(torch.full((count, num_labels), _UNSPECIFIED))

    @property
    def width(self) -> int:
        """Things that can be asked for."""
        return self.labels.shape[1]

    def to(self, device: torch.device, non_blocking: bool = False) -> "Condition":
        """Return the same condition on a device."""
        return Condition(self.labels.to(device, non_blocking=non_blocking))

    def expand(self, count: int) -> "Condition":
        """Return the condition of one peptide for ``count`` peptides."""
        return Condition(self.labels.expand(count, -1))

    def hide(self, peptides: Tensor, parts: Tensor, dropout: float) -> "Condition":
        """Return the condition with random parts unspecified, for training.

        Parameters
        ----------
        peptides, parts
            Uniform numbers, ``(batch,)`` and ``(batch, width)``.
        dropout
            Chance of a peptide to be left without any; each part is hidden with `HIDING`.
        """
        hidden = (peptides < dropout)[:, None] | (parts < HIDING)
        return Condition(torch.where(hidden, _UNSPECIFIED, self.labels))

    def num_requests(self) -> Tensor:
        """Return how many things are asked of each peptide, ``(batch,)``."""
        return (self.labels == _PRESENT).sum(1)

    def opposite(self) -> "Condition":
        """Return the condition that guidance moves away from: what is asked for is absent."""
        return Condition(torch.where(self.labels == _PRESENT, _ABSENT, self.labels))

    def requests(self) -> Iterator[tuple["Condition", Tensor]]:
        """Yield the condition that asks for each single thing, and which peptides ask ``(batch,)``.

        What else is asked for is absent in it.
        """
        asked, opposite = self.labels == _PRESENT, self.opposite().labels
        columns = torch.arange(self.width, device=self.labels.device)
        for column in asked.any(0).nonzero().flatten():
            single = torch.where(columns == column, self.labels, opposite)
            yield Condition(single), asked[:, column]


class ConditionEmbedding(nn.Module):
    """Sum of a learned vector for the state of each label.

    Parameters
    ----------
    num_labels
        Labels that a peptide can have.
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
