"""A metric: its name, unit, definition, and the function that computes it for a set of peptides.

The metrics of this package are in ``METRICS`` of `sequence_metrics`, `distribution_metrics`,
`judge_metrics` and `structure_metrics`; another package adds a `Metric` by an entry point of the
group ``structdiff.metrics``. `structdiff.evaluation.registry` lists all metrics.
"""

from collections.abc import Callable
from dataclasses import dataclass

from structdiff.evaluation.peptide_set import PeptideSet
from structdiff.evaluation.value import Value

__all__ = ["CONTROLS", "Metric"]

CONTROLS = {
    "held_out": "held-out real",
    "shuffled": "shuffled",
    "composition_matched": "composition-matched",
    "markov": "order-2 Markov",
}
"""Name of each control in tables and figures, by its key in ``metrics.json``."""


@dataclass(frozen=True)
class Metric:
    """Name, unit, definition and function of a metric, which is one row of the evaluation's tables.

    Attributes
    ----------
    key
        Name of the metric in ``metrics.json``.
    group
        Heading under which the tables list the metric.
    title
        Name for readers, with the unit.
    good
        Text for readers that says which values are good, such as ``as held-out`` (close to the
        value of the held-out real peptides).
    unit
        The unit alone; empty for a count.
    definition
        How the metric is computed, in one sentence.
    compute
        Function that returns the value for a set. It is called with an empty set only if
        ``of_empty`` is true.
    controls
        Keys of the controls for which the metric is computed, in addition to the designs.
    in_story
        Whether ``story.html`` of the report shows the metric; the page of the metrics shows all.
    of_empty
        Whether the metric has a value for an empty set.
    """

    key: str
    group: str
    title: str
    good: str
    unit: str
    definition: str
    compute: Callable[[PeptideSet], Value]
    controls: tuple[str, ...] = tuple(CONTROLS)
    in_story: bool = True
    of_empty: bool = False
