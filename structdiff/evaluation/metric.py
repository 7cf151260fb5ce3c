"""A metric: its name, unit, definition, and the function that computes it for a set of peptides.

A metric is one `Metric`. Those of this package are in ``METRICS`` of `sequence_metrics`,
`judge_metrics` and `structure_metrics`; another package adds one by an entry point of the group
``structdiff.metrics``. `structdiff.evaluation.registry` lists them all.
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
"""The controls' keys in ``metrics.json`` and their names in tables and figures."""


@dataclass(frozen=True)
class Metric:
    """One row of the evaluation's tables, and the function that computes it.

    Attributes
    ----------
    key
        Name of the metric in ``metrics.json``.
    group
        The heading of its section in the tables.
    title
        Its name for readers, with the unit.
    good
        Which values are good, for readers.
    unit
        The unit alone; empty for a count.
    definition
        How it is computed, in one sentence.
    compute
        Function of a set that has at least one peptide (see ``of_empty``).
    controls
        Keys of the controls that it is computed for, in addition to the designs.
    in_story
        Whether the report's story shows it; the page of the metrics shows all.
    of_empty
        Whether it has a value where the set is empty.
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
