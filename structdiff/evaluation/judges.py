"""Judges that the model was not trained against: independent classifiers and predictors.

Their metrics of a set are in `structdiff.evaluation.judge_metrics`.
"""

from dataclasses import dataclass

from structdiff.evaluation.classifiers import LabelClassifier
from structdiff.evaluation.external import ESM2, Macrel
from structdiff.evaluation.value import Unavailable
from structdiff.structures.predictors import Predictor

__all__ = ["Judges"]


@dataclass(frozen=True)
class Judges:
    """The judges, each an `Unavailable` with the reason where it is missing.

    Attributes
    ----------
    labels
        Classifier of the labels, trained here on the training peptides.
    macrel
        Macrel's classifier of antimicrobial peptides.
    esm2
        A protein language model.
    esmfold
        The predictor of the structures, if that is ESMFold.
    num_folded
        The largest number of peptides of a set that ESMFold folds.
    """

    labels: LabelClassifier
    macrel: Macrel | Unavailable
    esm2: ESM2 | Unavailable
    esmfold: Predictor | Unavailable
    num_folded: int
