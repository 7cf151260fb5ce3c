"""Structure predictors: the interface, the registry and the factory.

``make_predictor(config)`` returns the predictor that a configuration names. The predictor's
``predict(sequences)`` yields outcomes (structures and failures) batch by batch, so that each batch
is saved while the next is computed. ``predictor_class(config)`` and ``input_paths(config)`` return
the predictor's class and input files, without loading weights or torch. Another package adds a
predictor by an entry point of the group ``structdiff.predictors``; the settings of such a predictor
are in ``structures.options``.
"""

import inspect
from collections.abc import Container, Iterator, Sequence
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
    """A peptide or file without a structure, or a remark about how structures were read.

    Attributes
    ----------
    reason
        Why there is no structure, or the remark; shown to the user.
    sequence
        The sequence of the peptide that failed or that the remark is about; None if the failure
        concerns a file.
    source
        Name of the structure file; None if no single file is concerned.
    kind
        Only ``failed`` counts towards ``structures.max_failures``. The other kinds are only
        reported: ``absent`` if no file has this sequence, ``ignored`` if something in a file was
        left out, ``noted`` for a remark that structures were completed or interpreted.
    count
        Number of structures that the failure or remark concerns.
    """

    reason: str
    sequence: str | None = None
    source: str | None = None
    kind: Literal["failed", "absent", "ignored", "noted"] = "failed"
    count: int = 1

    def concerns(self, located: Container[str], lost: Container[str]) -> bool:
        """Return whether this failure or remark concerns a file, or a peptide of a run.

        ``located`` are the sequences of the run that have a structure; only these can have a remark
        (``noted``). ``lost`` are the other sequences of the run; only these can have a failure.
        """
        return self.sequence is None or self.sequence in (located if self.kind == "noted" else lost)


Outcome = Structure | Failure


class Predictor(Protocol):
    """Interface of a structure predictor; the settings are the keyword arguments of the class.

    The class attributes are read before the predictor is made, so the predictor's module must not
    import torch or other slow packages at its top. All attributes except ``name`` have defaults.

    Attributes
    ----------
    name
        Name in ``structures.predictor``; the name of the cache folder begins with it.
    is_baseline
        Whether the predictor is only a baseline; ``summary.tsv`` and the log then say so.
    is_expensive
        Whether the peptides are divided into shards, which jobs fold in parallel.
    needs_gpu
        Whether each job of this predictor requests a GPU.
    remembers
        Whether failures are permanent as long as `key` is the same (such as a damaged file). They
        are then saved in the cache, and these peptides are not tried again.
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
        """Key of the cache: everything that determines the structures, as names and values.

        This includes the weights, the settings and the version of the code. ``key["predictor"]`` is
        the predictor's name.
        """

    def predict(self, sequences: Sequence[str]) -> Iterator[list[Outcome]]:
        """Yield the outcomes of unique sequences, in batches whose size the predictor chooses.

        Every sequence has exactly one outcome: a structure or a failure. The batches may have
        further `Failure` objects: failures of files, without a sequence, and remarks (``noted``).
        """


def predictor_class(config: "Config") -> type[Predictor]:
    """Return the class of the predictor that a configuration names.

    Raises
    ------
    UserError
        If no predictor has this name, or the package that adds the predictor cannot be imported or
        adds an object that is not a class.
    """
    name = config.structures.predictor
    chosen = PREDICTORS.load(name)
    if not isinstance(chosen, type):
        raise UserError(
            f"entry point '{name}' of the group {PREDICTORS.group}: is a {type(chosen).__name__}, "
            "not a class with the interface of structdiff.structures.predictors.Predictor"
        )
    return chosen


def input_paths(config: "Config") -> dict[str, str]:
    """Return the files and folders that the configured predictor reads.

    Returns
    -------
    dict
        Path by configuration key, such as ``structures.files.path``; empty if nothing is read.

    Raises
    ------
    UserError
        If no predictor has this name, or the package that adds it cannot be imported.
    """
    section, settings = _settings(config)
    names = [name for name in predictor_class(config).paths if settings.get(name)]
    return {f"structures.{section}.{name}": settings[name] for name in names}


def make_predictor(config: "Config") -> Predictor:
    """Return the predictor that a configuration names, with the configured settings.

    Raises
    ------
    UserError
        If no predictor has this name, a setting is unknown or missing, or the predictor
        cannot use its files or weights.
    """
    section, settings = _settings(config)
    chosen = predictor_class(config)
    try:
        inspect.signature(chosen).bind(**settings)
    except TypeError as error:
        raise UserError(f"structures.{section}: the predictor '{chosen.name}': {error}") from None
    return chosen(**settings)


def _settings(config: "Config") -> tuple[str, dict[str, Any]]:
    """Return the name of the predictor's section in ``structures``, and the settings in it.

    The section is ``options`` for a predictor of another package.
    """
    name = config.structures.predictor
    if name not in PREDICTORS.built_in:
        return "options", dict(config.structures.options)
    section = getattr(config.structures, name, None)
    return name, section.model_dump() if section else {}
