"""Judges that the model was not trained against, asked about designs and controls alike.

``Judges(…).measure(sequences, …)`` returns their metrics of a set. A judge that is not there leaves
a `Unavailable` with the reason.
"""

from dataclasses import dataclass

import numpy as np

from structdiff.evaluation.classifiers import LabelClassifier
from structdiff.evaluation.external import ESM2, Macrel
from structdiff.evaluation.metric import Metric, Unavailable, Value
from structdiff.evaluation.model_tasks import compare
from structdiff.evaluation.sequence_metrics import Features
from structdiff.protein.structure import Structure
from structdiff.structures.predictors import Predictor

__all__ = ["METRICS", "Judges"]

ESM2_PEPTIDES = 200
"""Peptides of a set that ESM-2 reads, at most: it reads each as often as it has residues."""

_GROUP = "Independent judges"

METRICS = (
    Metric("called", _GROUP, "Called as asked, by a classifier of labels (share)", "≥ held-out"),
    Metric("macrel", _GROUP, "Macrel: antimicrobial, p > 0.5 (share)", "above shuffled"),
    Metric("pseudo_perplexity", _GROUP, "ESM-2 pseudo-perplexity, median", "as held-out"),
    Metric("plddt", _GROUP, "Refolded by ESMFold: pLDDT, mean", "as held-out"),
    Metric("self_consistency", _GROUP, "Refolded by ESMFold: Cα RMSD, median (Å)", "low"),
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

    def measure(
        self,
        sequences: list[str],
        features: Features,
        wanted: list[str],
        generator: np.random.Generator,
        backbones: list[np.ndarray | None] | None = None,
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
            Chooses those that ESM-2 reads and ESMFold folds.
        backbones
            The peptides' own backbones, ``(length, 4, 3)`` in Å, where they have any.
        """
        if not sequences:
            return {metric.key: Unavailable("no valid peptide") for metric in METRICS}
        described = features.descriptors(sequences)
        called = self.labels.called(sequences, described, wanted)
        values: dict[str, Value] = {
            "called": called if isinstance(called, Unavailable) else float(called.mean()),
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
        rows = np.sort(generator.permutation(len(sequences))[: self.num_folded])
        return values | self._refold(
            [sequences[row] for row in rows],
            [backbones[row] if backbones else None for row in rows],
        )

    def _refold(self, sequences: list[str], backbones: list[np.ndarray | None]) -> dict[str, Value]:
        """Return how sure ESMFold is of some peptides, and how far from their own backbones."""
        if isinstance(self.esmfold, Unavailable):
            return {"plddt": self.esmfold, "self_consistency": self.esmfold}
        found = {
            outcome.sequence: outcome
            for batch in self.esmfold.predict(list(dict.fromkeys(sequences)))
            for outcome in batch
            if isinstance(outcome, Structure)
        }
        if not found:
            none = Unavailable("ESMFold folded none of them")
            return {"plddt": none, "self_consistency": none}
        sure = [found[s].plddt.mean() for s in sequences if s in found]
        pairs = [
            (found[sequence].backbone[:, 1], own[:, 1])
            for sequence, own in zip(sequences, backbones, strict=True)
            if own is not None and sequence in found
        ]
        values: dict[str, Value] = {
            "plddt": float(np.mean(sure)),
            "self_consistency": Unavailable("has no backbone of its own"),
        }
        if pairs:
            values["self_consistency"] = float(np.median(compare(*zip(*pairs, strict=True))[0]))
        return values
