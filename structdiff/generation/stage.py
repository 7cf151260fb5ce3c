"""The generation stage: designed peptides and their backbones, for each label query.

``run(settings, model, output_dir)`` designs a set for each label query in ``generation.labels``: a
label, several parts joined by ``+`` (all requested at once), or ``none``. A set that cannot be
designed is left out, and a warning gives the reason.

If a set has more designs than ``generation.shard_size``, the workflow does the same in two steps,
so that many jobs design in parallel: `draw_shard` for each shard, then `collect`.
"""

import json
import sys
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from structdiff.generation import journal, sharding
from structdiff.generation.batching import with_batch_mates
from structdiff.generation.journal import Drawn
from structdiff.generation.output import DesignSet, collect_designs, numbered, write_designs
from structdiff.generation.request import OPEN, draw_lengths, read_query, training_lengths
from structdiff.generation.scoring import log_likelihoods
from structdiff.generation.tasks import Design, codesign
from structdiff.pretrained import TrainedModel, load_model
from structdiff.settings import Sampling
from structdiff.system.errors import UserError
from structdiff.system.gpus import choose_device, lease
from structdiff.system.locks import exclusive
from structdiff.system.naming import file_names

if TYPE_CHECKING:
    from structdiff.config import Generation

__all__ = [
    "collect",
    "draw_shard",
    "free_designs",
    "identify",
    "missing_set",
    "run",
]


def run(settings: "Generation", model: Path, output_dir: Path) -> None:
    """Design peptides for every label query of the settings.

    Parameters
    ----------
    settings
        Section ``generation`` of the configuration.
    model
        ``model.safetensors``, with the lengths of its training peptides.
    output_dir
        Folder of the files (see `structdiff.generation.output`). Earlier designs in it are
        replaced. The journal of the designs stays in the folder until
        `structdiff.generation.output.remove_journal` is called.

    Raises
    ------
    UserError
        If no set can be designed.
    """
    with lease(1):
        request = _Request(settings, model)
        write_designs(
            request.sets(),
            request.identity,
            output_dir,
            replace=True,
            log_likelihoods=partial(log_likelihoods, request.model),
            seen=request.model.seen,
        )


def draw_shard(settings: "Generation", model: Path, name: str, output_dir: Path) -> None:
    """Draw and score the designs of the shard ``name``, and write the shard's file.

    The batches are those of the whole sets, so that the designs are identical to those of `run`.
    A batch can have designs of several shards: each of these shards draws the whole batch, and
    writes only its own designs.

    Parameters
    ----------
    settings, model, output_dir
        Section ``generation``, model file, and folder of the designs, the same as for `run`.
    name
        One of the names that `structdiff.generation.sharding.shard_names` returns.

    Raises
    ------
    UserError
        If the settings have no shard of this name.
    SystemExit
        With status 130 after an interruption; the same command draws the rest.
    """
    names = sharding.shard_names(settings)
    if name not in names:
        raise UserError(
            f"shard {name}: the configuration has no such shard; its names follow from section "
            "`generation`, and the workflow gives them"
        )
    result = sharding.shard_file(output_dir, name)
    result.parent.mkdir(parents=True, exist_ok=True)
    unfinished = result.with_name(f".{name}.drawn.jsonl")

    def wait() -> None:
        print(f"generation: another job draws shard {name}; waiting for it to end", flush=True)

    with (
        lease(1),
        exclusive(result.with_name(f".{name}.lock"), wait),
        journal.interruptible() as ignore_signals,
    ):
        request = _Request(settings, model)
        records = journal.resume(unfinished, request.text, len(request.queries))
        parts = [
            _Part(request.model, query, settings.sampling, lengths, numbers)
            for query, lengths, numbers in zip(
                request.queries,
                request.lengths,
                request.numbers(names.index(name), len(names)),
                strict=True,
            )
        ]
        try:
            draws = [(part.query, part.draw) for part in parts]
            total = sum(len(part.drawn_too) for part in parts)
            journal.draw_all(unfinished, records, draws, total, "designing")
            for part, drawn in zip(parts, records, strict=True):
                part.score(drawn)
            ignore_signals()
        except KeyboardInterrupt:
            print(
                f"structdiff: interrupted: {sum(map(len, records)):,} designs of shard {name} are "
                "saved; the same command draws the rest",
                file=sys.stderr,
                flush=True,
            )
            raise SystemExit(journal.INTERRUPTED) from None
        kept = [
            {number: drawn[number] for number in part.numbers.tolist()}
            for part, drawn in zip(parts, records, strict=True)
        ]
        sharding.write_shard(result, request.text, kept)
        unfinished.unlink()


class _Part:
    """A shard's designs of one set.

    Attributes
    ----------
    query
        The label query of the set.
    numbers
        Numbers of the shard's designs, in the order in which they are drawn.
    drawn_too
        Numbers of all designs of the batches that contain the shard's designs.
    """

    def __init__(
        self,
        model: TrainedModel,
        query: str,
        sampling: Sampling,
        lengths: np.ndarray,
        numbers: np.ndarray,
    ):
        self.query, self.numbers = query, numbers
        self.drawn_too = with_batch_mates(numbers, lengths, model.device)
        self._others = set(range(len(lengths))).difference(self.drawn_too.tolist())
        self._model, self._sampling, self._lengths = model, sampling, lengths

    def draw(self, before: Collection[int]) -> Iterator[Design]:
        """Yield the designs of all batches that contain designs of the shard.

        ``before`` are the numbers of the designs that were drawn before. A batch is left out if
        ``before`` has all its designs.
        """
        if not len(self.numbers):
            return iter(())
        skip = self._others.union(before)
        return codesign(self._model, self._lengths, self.query, self._sampling, skip=skip)

    def score(self, drawn: dict[int, Drawn]) -> None:
        """Compute the log-likelihood of each design in ``drawn``, and store it in the design.

        The batches are those of the whole set, so that the values are identical to those of `run`.
        """
        sequences = [OPEN * length for length in self._lengths.tolist()]
        for number, record in drawn.items():
            sequences[number] = record.sequence
        scores = log_likelihoods(self._model, sequences, self._others)
        for number, record in drawn.items():
            record.log_likelihood = round(float(scores[number]), 3)


def collect(settings: "Generation", model: Path, output_dir: Path) -> None:
    """Write the same files as `run`, from the files of all shards in ``output_dir``.

    The files of shards of other settings are then removed.

    Raises
    ------
    UserError
        If the settings have no shards, or a shard is not drawn yet, or was drawn with other
        settings or another model.
    """
    names = sharding.shard_names(settings)
    if not names:
        raise UserError(
            "the configuration has no shards, because generation.num_samples is at most "
            "generation.shard_size; leave out --from-shards"
        )
    with lease(1):
        request = _Request(settings, model)
        records: list[dict[int, Drawn]] = [{} for _ in request.queries]
        for place, name in enumerate(names):
            path = sharding.shard_file(output_dir, name)
            numbers = request.numbers(place, len(names))
            for drawn, part in zip(
                records, sharding.read_shard(path, request.text, numbers), strict=True
            ):
                drawn |= part
        collect_designs(
            request.sets(),
            records,
            request.identity,
            output_dir,
            partial(log_likelihoods, request.model),
            request.model.seen,
        )
    for path in (output_dir / "shards").glob("[!.]*.jsonl"):  # not hidden journals of running jobs
        if path.stem not in names:  # a shard of other settings
            path.unlink()


class _Request:
    """Sets of designs that the settings ask for, and the model that draws them.

    Attributes
    ----------
    model
        The trained model.
    queries
        The label query of each set.
    lengths
        For each set, the lengths of its designs in residues, ``(designs,)``; empty for a set that
        cannot be designed.
    reasons
        Why each set cannot be designed; '' if it can.
    sampling
        Settings of the sampler.
    identity, text
        Everything that determines the designs, as plain values and as text.
    """

    def __init__(self, settings: "Generation", model: Path):
        self.model = load_model(model, choose_device())
        self.queries = settings.labels or self.model.labels or ["none"]
        self.lengths, self.reasons = [], []
        for query in self.queries:
            try:
                lengths, reason = _lengths(settings, self.model, query), ""
            except UserError as error:
                lengths, reason = np.array([], dtype=np.int64), str(error)
            self.lengths.append(lengths)
            self.reasons.append(reason)
        values = {"task": "free", **settings.deciding(), "labels": self.queries}
        self.sampling = settings.sampling
        self.identity = identify(self.model, self.sampling, values)
        self.text = json.dumps(self.identity, sort_keys=True)

    def sets(self) -> list[DesignSet]:
        """Return the request for each set; a set that cannot be designed has no designs."""
        names = file_names(self.queries)
        return [
            missing_set(names[query], query, reason)
            if reason
            else free_designs(self.model, names[query], query, lengths, self.sampling)
            for query, lengths, reason in zip(self.queries, self.lengths, self.reasons, strict=True)
        ]

    def numbers(self, place: int, count: int) -> list[np.ndarray]:
        """Return, for each set, the numbers of the designs of a shard.

        ``place`` is the index of the shard, from 0, and ``count`` the number of shards.
        """
        return [sharding.part_of(lengths, place, count) for lengths in self.lengths]


def free_designs(
    model: TrainedModel,
    name: str,
    query: str,
    lengths: Sequence[int] | np.ndarray,
    sampling: Sampling,
    *,
    sequence_only: bool = False,
) -> DesignSet:
    """Return the request for a set of free designs: one design of each length, for a label query.

    ``name`` is the name of the set; the ids of the designs begin with it.
    """

    def draw(skip: Collection[int]) -> Iterator[Design]:
        return codesign(model, lengths, query, sampling, sequence_only=sequence_only, skip=skip)

    asked = read_query(query, model.conditions)
    return DesignSet(name, numbered(name, len(lengths)), draw, query, asked)


def missing_set(name: str, query: str, reason: str) -> DesignSet:
    """Return an empty set for a label query that cannot be designed, with the reason."""

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
    """Draw the lengths of a set's designs, in residues, ``(designs,)``.

    They have the distribution of the training peptides with the labels of the query, within
    ``min_length`` and ``max_length`` where these are not None.

    Raises
    ------
    UserError
        If a wanted label has no training peptide, or no training peptide is known to lack an
        unwanted label; if one of the two bounds is None, and no training peptide with the labels
        has a length within the other; also for the reasons that `draw_lengths` names.
    """
    asked = read_query(query, model.conditions)
    for part in asked.labels + [f"not {label}" for label in asked.unwanted]:
        if model.lengths and not training_lengths(model, part).any():
            is_known = "is known to lack" if part.startswith("not ") else "has"
            label = part.removeprefix("not ")
            raise UserError(
                f"generation.labels: no training peptide {is_known} the label '{label}'"
            )
    low, high = settings.min_length, settings.max_length
    if asked.length is not None and not (low or high):
        return draw_lengths(model, query, settings.num_samples, settings.seed, None)
    if not (low and high):
        lengths = np.flatnonzero(training_lengths(model, query))
        lengths = lengths[(lengths >= (low or 0)) & (lengths <= (high or np.inf))]
        if not len(lengths):
            within = (
                f" with {low or 1} to {high or 'any number of'} residues" if low or high else ""
            )
            reason = f"no training peptide has '{query}'{within}"
            if not model.lengths:
                reason = "the model file has no lengths of training peptides"
            raise UserError(
                f"generation.labels: {reason}, so that there are no lengths to go by; set "
                "generation.min_length and max_length"
            )
        low, high = low or int(lengths[0]), high or int(lengths[-1])
    return draw_lengths(model, query, settings.num_samples, settings.seed, (low, high))
