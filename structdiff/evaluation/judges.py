"""Judges that the model was not trained against, asked about designs and controls alike.

``Judges(…).measure(sequences, …)`` returns their metrics of a set. A judge that is not there leaves
a `Missing` with the reason.
"""

from dataclasses import dataclass

import numpy as np

from structdiff.evaluation.external import ESM2, Macrel
from structdiff.evaluation.labels import LabelClassifier
from structdiff.evaluation.metric import Metric, Missing, Value
from structdiff.evaluation.sequence import Features

__all__ = ["METRICS", "Judges"]

ESM2_PEPTIDES = 200
"""Peptides of a set that ESM-2 reads, at most: it reads each as often as it has residues."""

_GROUP = "Independent judges"

METRICS = (
    Metric("called", _GROUP, "Called as asked, by a classifier of labels (share)", "≥ held-out"),
    Metric("macrel", _GROUP, "Macrel: antimicrobial, p > 0.5 (share)", "above shuffled"),
    Metric("pseudo_perplexity", _GROUP, "ESM-2 pseudo-perplexity, median", "as held-out"),
)


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
    """

    labels: LabelClassifier
    macrel: Macrel | Missing
    esm2: ESM2 | Missing

    def measure(
        self,
        sequences: list[str],
        features: Features,
        wanted: list[str],
        generator: np.random.Generator,
    ) -> dict[str, Value]:
        """Return every metric of a set, in the order of `METRICS`.

        Parameters
        ----------
        sequences
            Of standard residues.
        features
            Of at least these sequences.
        wanted
            The labels that were asked for.
        generator
            Chooses those that ESM-2 reads.
        """
        if not sequences:
            return {metric.key: Missing("no valid peptide") for metric in METRICS}
        described = features.descriptors(sequences)
        values: dict[str, Value] = {
            "called": self.labels.share(sequences, described, wanted),
            "macrel": self.macrel,
            "pseudo_perplexity": self.esm2,
        }
        if isinstance(self.macrel, Macrel):
            scores = self.macrel.scores(sequences)
            values["macrel"] = float((scores > 0.5).mean())
        if isinstance(self.esm2, ESM2):
            rows = np.sort(generator.permutation(len(sequences))[:ESM2_PEPTIDES])
            scores = self.esm2.scores([sequences[row] for row in rows])
            values["pseudo_perplexity"] = float(np.median(scores))
        return values
