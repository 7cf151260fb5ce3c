"""Classifiers of the labels: do designs look like peptides that have the requested labels?

``LabelClassifier.fit(frame, labels, seed)`` fits extremely randomised trees (Geurts et al., 2006)
to the training peptides. Their features are residue and dipeptide frequencies, length and
descriptors. The classifiers do not use the diffusion model. The AUROC on the held-out peptides says
how reliable a classifier is, and is shown with every result.

A label is *called* (predicted) for a peptide if its probability is above a threshold. The threshold
is chosen so that the label is called as often as it occurs among the held-out peptides.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from structdiff.evaluation.sequence_features import describe, feature_table
from structdiff.evaluation.value import Unavailable
from structdiff.peptides.labels import FEWEST_EXAMPLES, has_label, lacks_label
from structdiff.system.cores import granted_cores

__all__ = ["LabelClassifier", "Trees", "control_table"]

TREES = 100


@dataclass(frozen=True)
class Trees:
    """The classifier of one label.

    Attributes
    ----------
    model
        The fitted `sklearn` trees, which predict the probability of the label.
    threshold
        Probability above which the label is called.
    auroc
        Area under the ROC curve on the held-out peptides; 0.5 is chance.
    """

    model: Any
    threshold: float
    auroc: float


@dataclass(frozen=True)
class LabelClassifier:
    """The classifiers of all labels.

    Attributes
    ----------
    trees
        Classifier of each label, or the reason why there is none.
    """

    trees: dict[str, Trees | Unavailable]

    @classmethod
    def fit(cls, frame: pd.DataFrame, labels: list[str], seed: int) -> "LabelClassifier":
        """Fit a classifier of each label on the training peptides and test it on the held-out ones.

        Parameters
        ----------
        frame
            ``sequence``, ``split`` and the labels; a peptide whose label is unknown is used neither
            to train nor to test the classifier of that label.
        labels
            Names of the label columns.
        seed
            Seed of the trees.

        Returns
        -------
        LabelClassifier
            The classifiers. A label with too few examples has an `Unavailable` instead.
        """
        if not labels:
            return cls({})
        sequences = frame["sequence"].tolist()
        features = feature_table(sequences, describe(sequences))
        training = (frame["split"] == "train").to_numpy()
        return cls(
            {
                name: _learn(
                    features[known := has_label(frame, name) | lacks_label(frame, name)],
                    has_label(frame, name)[known],
                    training[known],
                    seed,
                )
                for name in labels
            }
        )

    def called(
        self,
        sequences: list[str],
        described: pd.DataFrame,
        wanted: Sequence[str],
        unwanted: Sequence[str] = (),
    ) -> np.ndarray | Unavailable:
        """Return which peptides are predicted to have the requested labels, ``(sequences,)`` bool.

        A label is predicted if its probability is above the threshold of its classifier. The result
        is `Unavailable` if both lists of labels are empty, or if a listed label has no classifier.

        Parameters
        ----------
        sequences
            One-letter codes of the peptides; at least one.
        described
            Descriptors of the sequences, from `structdiff.evaluation.sequence_features.describe`.
        wanted
            The labels that must all be predicted.
        unwanted
            The labels of which none may be predicted.
        """
        if not (wanted or unwanted):
            return Unavailable("no label was asked for")
        features = feature_table(sequences, described)
        called = np.ones(len(sequences), dtype=bool)
        for label in [*wanted, *unwanted]:
            trees = self.trees[label]
            if isinstance(trees, Unavailable):
                return trees
            positive = trees.model.predict_proba(features)[:, 1] > trees.threshold
            called &= positive if label in wanted else ~positive
        return called


def _learn(
    features: np.ndarray, present: np.ndarray, training: np.ndarray, seed: int
) -> Trees | Unavailable:
    """Return the classifier of one label, or the reason why there is none.

    ``features`` is the feature table of the peptides whose label is known, ``(peptides, 428)``.
    ``present`` and ``training``, ``(peptides,)`` bool, say which of these peptides have the label
    and which are training peptides; the others are held out.
    """
    from sklearn.ensemble import ExtraTreesClassifier
    from sklearn.metrics import roc_auc_score

    held_out = ~training
    for part, name in ((training, "training"), (held_out, "held-out")):
        fewer = min(int(present[part].sum()), int((~present[part]).sum()))
        if fewer < (FEWEST_EXAMPLES if name == "training" else 1):
            return Unavailable(
                f"no classifier: of the {name} peptides only {fewer} "
                f"{'do not' if present[part].sum() > fewer else 'do'} have the label"
            )
    model = ExtraTreesClassifier(
        TREES, min_samples_leaf=2, random_state=seed & 0xFFFFFFFF, n_jobs=min(8, granted_cores())
    )
    model.fit(features[training], present[training])
    model.n_jobs = 1  # several threads would sum the trees in a different order each time
    probability = model.predict_proba(features[held_out])[:, 1]
    threshold = float(np.quantile(probability, 1 - present[held_out].mean()))
    return Trees(model, threshold, float(roc_auc_score(present[held_out], probability)))


def control_table(
    classifier: LabelClassifier,
    sets: dict[str, tuple[list[str], pd.DataFrame]],
    wanted: dict[str, list[str]],
) -> pd.DataFrame:
    """Return a table of how often each label is predicted in each set of designs.

    Parameters
    ----------
    classifier
        The classifier of the labels.
    sets
        The valid designs and their descriptors, by label query.
    wanted
        The labels that each query asks for (without unwanted labels), by label query.

    Returns
    -------
    pd.DataFrame
        A row for each set and label: ``set`` (the label query), ``label``, ``asked_for`` (whether
        the query asks for the label), ``called`` (share of the designs for which the label is
        predicted), ``unconditional`` (this share in the set ``none``, designed without labels),
        ``times`` (``called`` divided by ``unconditional``), ``auroc`` (of the classifier on
        held-out peptides), ``missing`` (reason for missing values).
    """
    rows = []
    for entry, (sequences, described) in sets.items():
        for label, trees in classifier.trees.items():
            row: dict[str, Any] = {"set": entry, "label": label, "missing": ""}
            row["asked_for"] = label in wanted[entry]
            if isinstance(trees, Unavailable):
                row["missing"] = trees.reason
            elif not sequences:
                row["missing"] = "there is no valid design"
            else:
                called = classifier.called(sequences, described, [label])
                assert not isinstance(called, Unavailable), "the label has a classifier"
                row |= {"called": float(called.mean()), "auroc": trees.auroc}
            rows.append(row)
    columns = ("set", "label", "asked_for", "called", "auroc", "missing")
    table = pd.DataFrame(rows, columns=list(columns))
    free = table[table["set"] == "none"].set_index("label")["called"]
    unconditional = table["label"].map(free)
    table.insert(4, "unconditional", unconditional)
    table.insert(5, "times", table["called"] / unconditional.where(unconditional > 0))
    if free.empty:
        table["missing"] = table["missing"].where(
            table["missing"] != "",
            "unconditional: no set was designed for 'none' (generation.labels)",
        )
    return table
