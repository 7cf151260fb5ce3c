"""Judges that the model was not trained against: classifiers and predictors of other people.

A judge that is not installed leaves an `Unavailable` with the reason. Their metrics of a set are in
`structdiff.evaluation.judge_metrics`.
"""

from dataclasses import dataclass

from structdiff.evaluation.classifiers import LabelClassifier
from structdiff.evaluation.external import ESM2, Macrel
from structdiff.evaluation.value import Unavailable
from structdiff.structures.predictors import Predictor

__all__ = ["Judges"]


@dataclass(frozen=True)
class Judges:
    """The judges, or why they are missing.

    Attributes
    ----------
    labels
        Classifier of the labels, trained here on the training peptides.
    macrel
        Macrel's classifier of antimicrobial peptides.
    esm2
        A protein language model.
    esmfold
        The structures' predictor, where that is ESMFold.
    num_folded
        Peptides of a set that it folds, at most.
    """

    labels: LabelClassifier
    macrel: Macrel | Unavailable
    esm2: ESM2 | Unavailable
    esmfold: Predictor | Unavailable
    num_folded: int
