"""Where structures come from: one interface, four sources.

``make_predictor(config)`` returns the source that a configuration asks for; ``predict(sequences)``
yields its outcomes batch by batch, so that each batch can be saved while the next is computed.
Any other object of the `Predictor` interface serves as well.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol

from structdiff.protein.structure import Structure

if TYPE_CHECKING:
    from structdiff.config import Config

__all__ = ["Failure", "Outcome", "Predictor", "make_predictor"]


@dataclass(frozen=True)
class Failure:
    """What a predictor could not do.

    Attributes
    ----------
    reason
        Why, in words.
    sequence
        The peptide that it concerns; None for a file that could not be read.
    source
        The file that it concerns, if any.
    kind
        ``failed`` counts as a failure; ``absent`` means that the source knows no such peptide,
        ``ignored`` that something in a file was left out: these two are only reported.
    """

    reason: str
    sequence: str | None = None
    source: str | None = None
    kind: Literal["failed", "absent", "ignored"] = "failed"


Outcome = Structure | Failure


class Predictor(Protocol):
    """A source of structures.

    Attributes
    ----------
    name
        Short name, the beginning of the cache folder's name.
    is_baseline
        Whether it only serves as a baseline; said wherever its structures are named.
    is_expensive
        Whether its work is divided into shards that jobs do side by side, a GPU each.
    remembers
        Whether a failure is a lasting fact of the key (a broken file), not to be tried again.
    """

    name: ClassVar[str]
    is_baseline: ClassVar[bool]
    is_expensive: ClassVar[bool]
    remembers: ClassVar[bool]

    @property
    def key(self) -> dict[str, str | int]:
        """Everything that decides the structures: weights, settings, version of the code."""

    def predict(self, sequences: Sequence[str]) -> Iterator[list[Outcome]]:
        """Yield the outcomes of unique sequences, in batches of the predictor's choice.

        Every sequence has exactly one outcome that names it; failures that name a file instead
        may come besides.
        """


def make_predictor(config: "Config") -> Predictor:
    """Return the predictor that a configuration asks for.

    Raises
    ------
    UserError
        If its files or weights cannot be used.
    """
    name = config.structures.predictor
    if name == "files":
        from structdiff.structures.predictors.files import FilesPredictor

        return FilesPredictor(config.structures.files.path)
    if name == "esmfold":
        from structdiff.structures.predictors.esmfold import ESMFoldPredictor

        settings = config.structures.esmfold
        return ESMFoldPredictor(
            settings.model,
            revision=settings.revision,
            num_recycles=settings.num_recycles,
            dtype=settings.dtype,
        )
    if name == "structdiff":
        from structdiff.pretrained import PRETRAINED
        from structdiff.structures.predictors.trained import DenoiserPredictor

        own = config.structures.structdiff.model
        return DenoiserPredictor(Path(own) if own else PRETRAINED)
    from structdiff.structures.predictors.ideal import IdealPredictor

    return IdealPredictor()
