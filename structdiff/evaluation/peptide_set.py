"""The set of peptides that a metric is computed for: the designs, or one of their controls."""

import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from structdiff.evaluation.backbone_geometry import Geometry
from structdiff.evaluation.judges import Judges
from structdiff.evaluation.sequence_features import Features, Reference
from structdiff.evaluation.value import Unavailable, Value

__all__ = ["NO_REFERENCE", "PeptideSet", "Settings", "function_of", "random_state", "subsample"]

T = TypeVar("T")

NO_REFERENCE = Unavailable("no training peptide has the label")
"""Value of a metric that needs training peptides with the labels, if there are none."""


def random_state(seed: int, *purpose: str) -> np.random.Generator:
    """Return a new random number generator, determined by the seed and the texts ``purpose``."""
    return np.random.default_rng([seed & 0xFFFFFFFF, *(zlib.crc32(p.encode()) for p in purpose)])


def subsample(items: list[str], size: int, generator: np.random.Generator) -> list[str]:
    """Return at most ``size`` of the items, chosen at random, in their original order."""
    if len(items) <= size:
        return list(items)
    return [items[row] for row in np.sort(generator.choice(len(items), size, replace=False))]


@dataclass(frozen=True)
class Settings:
    """Thresholds and sizes of an evaluation, from the configuration.

    Attributes
    ----------
    novelty_threshold
        Similarity (0–1) to a training peptide at or above which a peptide is a copy.
    num_control
        Largest number of peptides in a control.
    seed
        Seed of all random choices.
    min_length, max_length
        Smallest and largest number of residues of a valid peptide.
    """

    novelty_threshold: float
    num_control: int
    seed: int
    min_length: int
    max_length: int


@dataclass(frozen=True, eq=False)
class PeptideSet:
    """The designs of a label query, or one of their controls.

    Attributes
    ----------
    entry
        The label query, such as ``antimicrobial + not hemolytic + charge 4..7``, or ``none``.
    column
        Key of the set: ``generated`` for the designs, or the key of the control.
    sequences
        The valid sequences.
    features
        Features of at least these sequences.
    reference
        The training peptides that have the labels; None if there are none.
    geometry
        Geometry of the set's backbones, or the reason why there is none.
    reference_geometry
        Geometry of the structures of training peptides that have the labels, or why there is none.
    backbones
        Backbone of each design, ``(length, 4, 3)`` in Å, or None if the design has none. For a
        control, None instead of the list.
    judges
        The independent judges.
    settings
        Thresholds and sizes.
    valid_share
        Share of the designs that are valid; 1 for a control.
    """

    entry: str
    column: str
    sequences: list[str]
    features: Features
    reference: Reference | None
    geometry: Geometry | Unavailable
    reference_geometry: Geometry | Unavailable
    backbones: list[np.ndarray | None] | None
    judges: Judges
    settings: Settings
    valid_share: float = 1.0
    _shared: dict[Any, Any] = field(default_factory=dict, repr=False)

    def generator(self, purpose: str) -> np.random.Generator:
        """Return a new random number generator, determined by the seed, the set and ``purpose``."""
        return random_state(self.settings.seed, self.entry, self.column, purpose)

    def once(self, function: "Callable[[PeptideSet], T]") -> T:
        """Return ``function(self)``, computed once for all metrics that need the result."""
        if function not in self._shared:
            self._shared[function] = function(self)
        return self._shared[function]


def function_of(
    part: Callable[[PeptideSet], T | Unavailable], function: Callable[[T], Value]
) -> Callable[[PeptideSet], Value]:
    """Return a metric function: ``function`` of the set's ``part``, unless that is `Unavailable`.

    The part is computed once for all metrics that need it.
    """

    def compute(peptides: PeptideSet) -> Value:
        shared = peptides.once(part)
        return shared if isinstance(shared, Unavailable) else function(shared)

    return compute
