"""Plan what is missing from the cache, predict it, save it batch by batch.

``plan(cache, predictor, sequences)`` finds what the cache holds already, without loading any
weights; ``run(plan, cache, predictor, shard_size)`` predicts the rest. The next batch is computed
while the last one is written.
"""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pandas as pd

from structdiff.progress import Progress
from structdiff.structures.cache import Cache
from structdiff.structures.partial import Partial, adopt
from structdiff.structures.predictors import Failure, Outcome, Predictor
from structdiff.structures.structure import Structure

__all__ = ["Plan", "plan", "run"]


@dataclass(frozen=True)
class Plan:
    """What there is and what is missing.

    Attributes
    ----------
    located
        What the cache holds, as `Cache.scan`.
    missing
        Sequences to predict, longest first: if memory is short, it shows at once.
    failures
        Failures that are known to last, of these peptides and of the source's files.
    adopted
        Structures that killed runs had left behind.
    """

    located: pd.DataFrame
    missing: list[str]
    failures: list[Failure]
    adopted: int


def plan(cache: Cache, predictor: Predictor, sequences: Sequence[str]) -> Plan:
    """Find what the cache holds of some sequences; what stood in a damaged file is missing."""
    cache.prepare()
    adopted = adopt(cache)
    wanted = set(sequences)
    located = cache.scan(wanted)
    wanted.difference_update(located.index)
    failures = [
        failure
        for failure in (cache.remembered() if predictor.remembers else ())
        if failure.sequence is None or failure.sequence in wanted
    ]
    wanted.difference_update(failure.sequence for failure in failures)
    missing = sorted(wanted, key=lambda sequence: (-len(sequence), sequence))
    return Plan(located, missing, failures, adopted)


def run(
    plan: Plan, cache: Cache, predictor: Predictor, shard_size: int
) -> tuple[pd.DataFrame, list[Failure]]:
    """Predict what is missing.

    Parameters
    ----------
    plan
        As `plan`.
    cache
        Where the structures go.
    predictor
        Where they come from.
    shard_size
        Structures in one cache file.

    Returns
    -------
    pandas.DataFrame
        Where all structures are, those that were there before included, as `Cache.scan`.
    list of Failure
        All failures, those that were known before included.
    """
    if not plan.missing:
        return plan.located, plan.failures
    failures: list[Failure] = []
    description = f"structures ({predictor.name})"
    with (
        Progress(description, len(plan.missing), "peptides") as progress,
        Partial(cache, shard_size) as partial,
        ThreadPoolExecutor(1) as writer,
    ):
        confidence = _Confidence()
        saving: Future | None = None
        for batch in predictor.predict(plan.missing):
            structures = [outcome for outcome in batch if isinstance(outcome, Structure)]
            failures += [outcome for outcome in batch if isinstance(outcome, Failure)]
            if saving is not None:
                saving.result()
            saving = writer.submit(partial.add, structures)
            confidence.add(structures)
            progress.advance(_count(batch), note=confidence.note)
        if saving is not None:
            saving.result()
    if predictor.remembers:
        cache.remember(failures)
    located = pd.concat([plan.located, *partial.written])
    everything = list(dict.fromkeys([*plan.failures, *failures]))
    return located[~located.index.duplicated()], everything


def _count(batch: Sequence[Outcome]) -> int:
    """Return how many peptides a batch settles."""
    return sum(outcome.sequence is not None for outcome in batch)


class _Confidence:
    """Mean pLDDT and residues so far, for the progress line."""

    def __init__(self) -> None:
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
        note = f"{self._residues:,} residues"
        return note + (f", mean pLDDT {self._sum / self._scored:.1f}" if self._scored else "")
