"""Structure predictors: the interface, the registry and the factory.

``make_predictor(config)`` returns the predictor that a configuration asks for; its
``predict(sequences)`` yields outcomes batch by batch, so that each batch is saved while the next is
computed. ``predictor_class(config)`` and ``input_paths(config)`` return its class and input files,
without loading weights or torch. Another package adds a predictor by an entry point of the group
``structdiff.predictors``; its settings are in ``structures.options``.
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
    """A peptide or file without a structure, or a remark about how a structure was read.

    Attributes
    ----------
    reason
        The reason, for users.
    sequence
        The peptide's sequence; None for a file that could not be read.
    source
        Name of the file, if any.
    kind
        ``failed`` counts as a failure. The others are only reported: ``absent`` if the source has
        no such peptide, ``ignored`` if something in a file was left out, ``noted`` if structures
        were completed or interpreted.
    count
        Number of structures that the failure or remark concerns.
    """

    reason: str
    sequence: str | None = None
    source: str | None = None
    kind: Literal["failed", "absent", "ignored", "noted"] = "failed"
    count: int = 1


Outcome = Structure | Failure


class Predictor(Protocol):
    """A source of structures; its settings are the keyword arguments of its class.

    The class attributes are read before the predictor is made, so its module must not import torch
    or other slow packages at its top. All except ``name`` have defaults.

    Attributes
    ----------
    name
        Registered name; the name of the cache folder begins with it.
    is_baseline
        Whether the predictor is only a baseline; ``summary.tsv`` and the log then say so.
    is_expensive
        Whether its work is divided into shards that jobs do in parallel.
    needs_gpu
        Whether each job of this predictor requests a GPU.
    remembers
        Whether failures are permanent for a key (such as a damaged file), so that they are saved in
        the cache and not tried again.
    paths
        Names of the settings whose values are files or folders to read.
    """

    name: ClassVar[str]
    is_baseline: ClassVar[bool] = False
    is_expensive: ClassVar[bool] = False
    needs_gpu: ClassVar[bool] = False
    remembers: ClassVar[bool] = False
    paths: ClassVar[tuple[str, ...]] = ()

    @property
    def key(self) -> dict[str, str | int]:
        """Everything that determines the structures: name, weights, settings, version of the code.

        ``key["predictor"]`` is the name.
        """

    def predict(self, sequences: Sequence[str]) -> Iterator[list[Outcome]]:
        """Yield the outcomes of unique sequences, in batches of the predictor's choice.

        Every sequence has exactly one outcome. There may be more failures that concern files.
        """


def predictor_class(config: "Config") -> type[Predictor]:
    """Return the class of the predictor that a configuration asks for.

    Raises
    ------
    UserError
        If there is no predictor of this name.
    """
    return PREDICTORS.load(config.structures.predictor)


def input_paths(config: "Config") -> dict[str, str]:
    """Return the files and folders that the predictor reads, by their configuration keys."""
    section, settings = _settings(config)
    names = [name for name in predictor_class(config).paths if settings.get(name)]
    return {f"structures.{section}.{name}": settings[name] for name in names}


def make_predictor(config: "Config") -> Predictor:
    """Return the predictor that a configuration asks for.

    Raises
    ------
    UserError
        If there is no predictor of this name, a setting is unknown, or its files or weights cannot
        be used.
    """
    section, settings = _settings(config)
    chosen = predictor_class(config)
    try:
        inspect.signature(chosen).bind(**settings)
    except TypeError as error:
        raise UserError(f"structures.{section}: the predictor '{chosen.name}': {error}") from None
    return chosen(**settings)


def _settings(config: "Config") -> tuple[str, dict[str, Any]]:
    """Return the name of the predictor's section in ``structures``, and its settings."""
    name = config.structures.predictor
    if name not in PREDICTORS.built_in:
        return "options", dict(config.structures.options)
    section = getattr(config.structures, name, None)
    return name, section.model_dump() if section else {}
