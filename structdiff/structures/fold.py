"""Find the peptides that the cache lacks, predict them in shards, save the structures in batches.

``plan(cache, predictor, sequences)`` finds the structures in the cache, without loading weights.
``fold(cache, predictor, name, sequences)`` predicts the missing peptides of one shard; each batch
is written while the next is computed. If a run is killed, the batches that were written stay, and
the next run of the shard predicts only the other peptides.
"""

import sys
import time
from collections.abc import Collection, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pandas as pd

from structdiff.protein.structure import Structure
from structdiff.structures.cache import Cache
from structdiff.structures.partial import Partial, adopt
from structdiff.structures.predictors import Failure, Outcome, Predictor
from structdiff.system.errors import UserError
from structdiff.system.locks import exclusive
from structdiff.system.progress import Progress

__all__ = ["Plan", "fold", "plan"]


@dataclass(frozen=True)
class Plan:
    """Plan of a prediction: the structures in the cache, and the sequences to predict.

    Attributes
    ----------
    located
        Places of the structures in the cache, indexed by sequence, as `Cache.scan` returns them.
    missing
        Sequences to predict, longest first, so that a lack of memory shows at once.
    failures
        Permanent failures that earlier runs saved in the cache: failures of the requested peptides,
        remarks on their structures, and failures that concern input files.
    adopted
        Number of structures that were recovered from killed runs.
    """

    located: pd.DataFrame
    missing: list[str]
    failures: list[Failure]
    adopted: int


def plan(cache: Cache, predictor: Predictor, sequences: Sequence[str]) -> Plan:
    """Return which sequences have a structure in the cache, and which must be predicted.

    Creates the cache folder if it does not exist, and recovers the batches of killed runs. Damaged
    files are set aside, and their sequences count as missing. A sequence with a permanent failure
    is not predicted again.

    Raises
    ------
    UserError
        If the cache cannot be written to.
    """
    cache.prepare()
    adopted = adopt(cache)
    wanted = set(sequences)
    located = cache.scan(wanted)
    wanted.difference_update(located.index)
    failures = [
        failure
        for failure in (cache.remembered() if predictor.remembers else ())
        if failure.concerns(located.index, wanted)
    ]
    wanted.difference_update(failure.sequence for failure in failures)
    missing = sorted(wanted, key=lambda sequence: (-len(sequence), sequence))
    return Plan(located, missing, failures, adopted)


def fold(cache: Cache, predictor: Predictor, name: str, sequences: Sequence[str]) -> list[Failure]:
    """Predict the peptides of a shard that the cache lacks, and save their structures in it.

    Parameters
    ----------
    cache
        The cache that receives the structures.
    predictor
        The predictor.
    name
        Name of the shard. If another process folds a shard of this name, the function waits until
        that process has finished.
    sequences
        Sequences of the shard.

    Returns
    -------
    list of Failure
        Failures and remarks of the predictor. The structures of all other peptides of the shard are
        in the cache.

    Raises
    ------
    UserError
        If the cache cannot be written to, the predictor cannot be used, or it does not give each
        peptide an outcome.
    """
    cache.prepare()
    cache.check_writable()
    busy = f"structures: another run is folding shard {name}; waiting for it"
    with exclusive(cache.folder / f"{name}.lock", lambda: print(busy, file=sys.stderr)):
        adopt(cache)
        held = cache.holds(sequences)
        missing = [sequence for sequence in sequences if sequence not in held]
        if held:
            print(f"structures: {len(held):,} of shard {name} are in the cache", flush=True)
        failures = _predict(cache, predictor, missing) if missing else []
        if predictor.remembers:
            cache.remember(failures)
    return failures


def _predict(cache: Cache, predictor: Predictor, missing: Sequence[str]) -> list[Failure]:
    """Predict peptides, save their structures in batches, and return the failures.

    Raise `UserError` if the predictor returns a structure of another sequence, or no outcome for a
    peptide.
    """
    failures: list[Failure] = []
    asked, unanswered = frozenset(missing), set(missing)
    description = f"structures ({predictor.name})"
    with (
        Progress(description, len(missing), "peptides") as progress,
        Partial(cache) as partial,
        ThreadPoolExecutor(1) as writer,
    ):
        pace = _Pace()
        saving: Future | None = None
        for batch in predictor.predict(missing):
            _check_outcomes(predictor, batch, asked)
            unanswered.difference_update(outcome.sequence for outcome in _answers(batch))
            structures = [outcome for outcome in batch if isinstance(outcome, Structure)]
            failures += [outcome for outcome in batch if isinstance(outcome, Failure)]
            if saving is not None:
                saving.result()
            saving = writer.submit(partial.add, structures)
            pace.add(structures)
            progress.advance(len(_answers(batch)), note=pace.note)
        if saving is not None:
            saving.result()
    if unanswered:
        raise UserError(
            f"structure predictor '{predictor.name}': has no outcome for {len(unanswered):,} of "
            f"{len(asked):,} peptides, such as {min(unanswered)}; it must yield a Structure or a "
            "Failure for each"
        )
    return failures


def _check_outcomes(predictor: Predictor, batch: Sequence[Outcome], asked: Collection[str]) -> None:
    """Check a batch of a predictor.

    Raise `UserError` if an outcome is neither a `Structure` nor a `Failure`, or if the sequence of
    a structure is not in ``asked``.
    """
    for outcome in batch:
        if not isinstance(outcome, Structure | Failure):
            raise UserError(
                f"structure predictor '{predictor.name}': yielded a {type(outcome).__name__} in a "
                "batch; a batch is a list of Structure and Failure"
            )
        if isinstance(outcome, Structure) and outcome.sequence not in asked:
            raise UserError(
                f"structure predictor '{predictor.name}': yielded a structure of "
                f"{outcome.sequence}, which it was not asked for"
            )


def _answers(batch: Sequence[Outcome]) -> list[Outcome]:
    """Return the outcomes of peptides in a batch, without remarks and failures of files."""
    return [
        outcome
        for outcome in batch
        if isinstance(outcome, Structure)
        or (outcome.sequence is not None and outcome.kind != "noted")
    ]


class _Pace:
    """Residues per second and mean pLDDT so far, for the progress line."""

    def __init__(self) -> None:
        self._start = time.monotonic()
        self._sum, self._scored, self._residues = 0.0, 0, 0

    def add(self, structures: Sequence[Structure]) -> None:
        scores = [structure.plddt for structure in structures if structure.plddt is not None]
        self._residues += sum(len(structure.sequence) for structure in structures)
        if scores:
            values = np.concatenate(scores)
            self._sum += float(values.sum())
            self._scored += len(values)

    @property
    def note(self) -> str:
        rate = self._residues / max(time.monotonic() - self._start, 1e-9)
        note = f"{rate:,.0f} residues/s"
        return note + (f", mean pLDDT {self._sum / self._scored:.1f}" if self._scored else "")
