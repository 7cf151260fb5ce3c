"""Structure predictors: the interface, the registry and the factory.

``make_predictor(config)`` returns the predictor that a configuration asks for; its
``predict(sequences)`` yields outcomes batch by batch, so that each batch is saved while the next is
computed. ``predictor_class(config)`` and ``input_paths(config)`` return what it needs, without
loading weights or torch. Another package adds a predictor by an entry point of the group
``structdiff.predictors``; its settings stand under ``structures.options``.
"""

import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

from structdiff.protein.structure import Structure
from structdiff.system.errors import UserError
from structdiff.system.plugins import PREDICTORS

if TYPE_CHECKING:
    from structdiff.config import Config

__all__ = [
    "Failure",
    "Outcome",
    "Predictor",
    "input_paths",
    "make_predictor",
    "predictor_class",
]


@dataclass(frozen=True)
class Failure:
    """A structure that a predictor could not give, or a remark on how it read one.

    Attributes
    ----------
    reason
        Why, in words.
    sequence
        The peptide that it concerns; None for a file that could not be read.
    source
        The file that it concerns, if any.
    kind
        ``failed`` counts as a failure. The others are only reported: ``absent`` means that the
        source knows no such peptide, ``ignored`` that something in a file was left out, ``noted``
        that structures were completed or interpreted.
    count
        How many structures it concerns.
    """

    reason: str
    sequence: str | None = None
    source: str | None = None
    kind: Literal["failed", "absent", "ignored", "noted"] = "failed"
    count: int = 1


Outcome = Structure | Failure


class Predictor(Protocol):
    """A source of structures; its settings are the keyword arguments of its class.

    The class attributes are known before the predictor is made: its module must not import torch
    or other slow packages at its top. A subclass that leaves one out has the default.

    Attributes
    ----------
    name
        Its registered name, the beginning of the cache folder's name.
    is_baseline
        Whether it is only a baseline; said wherever its structures are named.
    is_expensive
        Whether its work is divided into shards that jobs do in parallel.
    needs_gpu
        Whether each of these jobs asks for a GPU.
    remembers
        Whether a failure is a lasting fact of the key (a broken file), which is not tried again.
    paths
        Names of the settings that name a file or folder to read.
    """

    name: ClassVar[str]
    is_baseline: ClassVar[bool] = False
    is_expensive: ClassVar[bool] = False
    needs_gpu: ClassVar[bool] = False
    remembers: ClassVar[bool] = False
    paths: ClassVar[tuple[str, ...]] = ()

    @property
    def key(self) -> dict[str, str | int]:
        """Everything that decides the structures: name, weights, settings, version of the code.

        The name stands under ``predictor``.
        """

    def predict(self, sequences: Sequence[str]) -> Iterator[list[Outcome]]:
        """Yield the outcomes of unique sequences, in batches of the predictor's choice.

        Every sequence has exactly one outcome that names it; failures that name a file instead
        may come in addition.
        """


def predictor_class(config: "Config") -> type[Predictor]:
    """Return the class of the predictor that a configuration asks for.

    Raises
    ------
    UserError
        If there is none of this name.
    """
    return PREDICTORS.load(config.structures.predictor)


def input_paths(config: "Config") -> dict[str, str]:
    """Return the files and folders that the predictor reads, by their keys in the configuration."""
    section, settings = _settings(config)
    names = [name for name in predictor_class(config).paths if settings.get(name)]
    return {f"structures.{section}.{name}": settings[name] for name in names}


def make_predictor(config: "Config") -> Predictor:
    """Return the predictor that a configuration asks for.

    Raises
    ------
    UserError
        If there is none of this name, it has other settings, or its files or weights cannot be
        used.
    """
    section, settings = _settings(config)
    chosen = predictor_class(config)
    try:
        inspect.signature(chosen).bind(**settings)
    except TypeError as error:
        raise UserError(f"structures.{section}: the predictor '{chosen.name}': {error}") from None
    return chosen(**settings)


def _settings(config: "Config") -> tuple[str, dict[str, Any]]:
    """Return the section of `structures` that has the predictor's settings, and the settings."""
    name = config.structures.predictor
    if name not in PREDICTORS.built_in:
        return "options", dict(config.structures.options)
    section = getattr(config.structures, name, None)
    return name, section.model_dump() if section else {}
