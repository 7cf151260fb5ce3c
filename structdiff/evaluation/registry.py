"""Registry of the metrics of this package and of other packages.

``all_metrics()`` returns the metrics in the order of the tables; ``measure(peptides)`` computes all
of them for a set. Built-in metrics are in ``METRICS`` of `sequence_metrics`,
`distribution_metrics`, `judge_metrics` and `structure_metrics`. Another package registers a
`structdiff.evaluation.metric.Metric` by its key::

    [project.entry-points."structdiff.metrics"]
    lysine_share = "mypackage.metrics:lysine_share"
"""

import math

import numpy as np

from structdiff.evaluation import (
    distribution_metrics,
    judge_metrics,
    sequence_metrics,
    structure_metrics,
)
from structdiff.evaluation.metric import Metric
from structdiff.evaluation.peptide_set import PeptideSet
from structdiff.evaluation.value import Unavailable, Value
from structdiff.system.errors import UserError
from structdiff.system.plugins import METRICS

__all__ = ["all_metrics", "measure"]


def all_metrics() -> tuple[Metric, ...]:
    """Return all metrics: first the metrics of this package, then the metrics of other packages.

    Raises
    ------
    UserError
        If an entry point is not a `Metric`, or has the key of another metric.
    """
    metrics = {
        metric.key: metric
        for module in (sequence_metrics, distribution_metrics, judge_metrics, structure_metrics)
        for metric in module.METRICS
    }
    for name in METRICS.names():
        added = METRICS.load(name)
        where = f"entry point '{name}' of the group {METRICS.group}"
        if not isinstance(added, Metric):
            raise UserError(
                f"{where}: is a {type(added).__name__}, not a structdiff.evaluation.metric.Metric"
            )
        if added.key in metrics:
            raise UserError(f"{where}: there is another metric '{added.key}'; rename one of them")
        metrics[added.key] = added
    return tuple(metrics.values())


def measure(peptides: PeptideSet) -> dict[str, Value]:
    """Return the value of every metric for a peptide set, by the key of the metric.

    Raises
    ------
    UserError
        If a metric returns neither a finite number nor `Unavailable`.
    """
    return {metric.key: _value(metric, peptides) for metric in all_metrics()}


def _value(metric: Metric, peptides: PeptideSet) -> Value:
    if peptides.column not in ("generated", *metric.controls):
        return Unavailable("is not measured for this control")
    if not peptides.sequences and not metric.of_empty:
        return Unavailable("no valid peptide")
    value = metric.compute(peptides)
    if isinstance(value, Unavailable):
        return value
    if not isinstance(value, int | float | np.number) or not math.isfinite(value):
        raise UserError(
            f"metric '{metric.key}' returned {value!r} for the set '{peptides.column}'; it must "
            "return a finite number, or Unavailable with the reason"
        )
    return float(value)
