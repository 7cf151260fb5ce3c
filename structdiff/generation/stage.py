"""The generation stage: designed peptides and their backbones, for each label query.

``run(settings, model, output_dir)`` designs a set for each of ``generation.labels``: a label,
several joined by ``+`` (all requested at once), or ``none``. A set that cannot be designed is
reported and left out.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from structdiff.generation.output import DesignSet, numbered, write_designs
from structdiff.generation.request import draw_lengths, read_query, training_lengths
from structdiff.generation.scoring import log_likelihoods
from structdiff.generation.tasks import Design, codesign
from structdiff.pretrained import TrainedModel, load_model
from structdiff.settings import Sampling
from structdiff.system.errors import UserError
from structdiff.system.gpus import choose_device, lease
from structdiff.system.naming import file_names

if TYPE_CHECKING:
    from structdiff.config import Generation

__all__ = ["free_designs", "identify", "missing_set", "run"]


def run(settings: "Generation", model: Path, output_dir: Path) -> None:
    """Design peptides for every label query of the settings.

    Parameters
    ----------
    settings
        Section ``generation`` of the configuration.
    model
        ``model.safetensors``, with the lengths of its training peptides.
    output_dir
        Folder of the files of `structdiff.generation.output`; other designs there are replaced.

    Raises
    ------
    UserError
        If no set can be designed.
    """
    with lease(1):
        trained_model = load_model(model, choose_device())
        queries = settings.labels or trained_model.labels or ["none"]
        sampling = settings.sampling
        names = file_names(queries)
        sets = []
        for query in queries:
            try:
                lengths = _lengths(settings, trained_model, query)
            except UserError as error:
                sets.append(missing_set(names[query], query, str(error)))
            else:
                sets.append(free_designs(trained_model, names[query], query, lengths, sampling))
        values = {"task": "free", **settings.model_dump(mode="json"), "labels": queries}
        write_designs(
            sets,
            identify(trained_model, sampling, values),
            output_dir,
            replace=True,
            log_likelihoods=partial(log_likelihoods, trained_model),
            seen=trained_model.seen,
        )


def free_designs(
    model: TrainedModel,
    name: str,
    query: str,
    lengths: Sequence[int] | np.ndarray,
    sampling: Sampling,
    *,
    sequence_only: bool = False,
) -> DesignSet:
    """Return the set of free designs of given lengths for a label query."""

    def draw(skip: Collection[int]) -> Iterator[Design]:
        return codesign(model, lengths, query, sampling, sequence_only=sequence_only, skip=skip)

    return DesignSet(name, numbered(name, len(lengths)), draw, query)


def missing_set(name: str, query: str, reason: str) -> DesignSet:
    """Return a set that cannot be designed, with the reason."""

    def draw(skip: Collection[int]) -> Iterator[Design]:
        yield from ()

    return DesignSet(name, [], draw, query, missing=reason)


def identify(
    model: TrainedModel, sampling: Sampling | None, values: dict[str, Any]
) -> dict[str, Any]:
    """Return everything that determines designs: model, sampler settings and task settings."""
    from structdiff import __version__

    return {
        "structdiff": __version__,
        "model": model.info["sha256"],
        "sampling": None if sampling is None else asdict(sampling),
        **values,
    }


def _lengths(settings: "Generation", model: TrainedModel, query: str) -> np.ndarray:
    """Draw the designs' lengths from those of the training peptides that have the labels."""
    asked = read_query(query, model.conditions)
    for part in asked.labels + [f"not {label}" for label in asked.unwanted]:
        if model.lengths and not training_lengths(model, part).any():
            is_known = "is known to lack" if part.startswith("not ") else "has"
            label = part.removeprefix("not ")
            raise UserError(
                f"generation.labels: no training peptide {is_known} the label '{label}'"
            )
    low, high = settings.min_length, settings.max_length
    if not (low and high):
        lengths = np.flatnonzero(training_lengths(model, query))
        lengths = lengths[(lengths >= (low or 0)) & (lengths <= (high or np.inf))]
        if not len(lengths):
            raise UserError(
                f"generation.labels: no training peptide has '{query}' with a length within the "
                "wanted range, so that there are no lengths to go by; set generation.min_length "
                "and max_length"
            )
        low, high = low or int(lengths[0]), high or int(lengths[-1])
    return draw_lengths(model, query, settings.num_samples, settings.seed, (low, high))
