"""Metrics of the distribution of a set: how well its peptides cover, and pass for, the real ones.

Each set is compared with as many training peptides that have the labels, drawn at random, because
all of these metrics depend on the size of the sets.

Definitions
-----------
point
    A peptide's shares of the 20 residues, its length and descriptors, each divided by its standard
    deviation among the training peptides. The Fréchet biological distance (FBD) uses embeddings of
    a language model instead; the Fréchet distance here is a proxy for it.
Fréchet distance
    Squared Fréchet distance between two normal distributions with the means and covariances of the
    points (Heusel et al., NeurIPS 2017).
precision, recall
    Share of the set's points inside a ball around a training peptide that reaches to its fifth
    neighbour among these, and the reverse (Kynkäänniemi et al., NeurIPS 2019).
coverage
    Share of the balls around training peptides with a point of the set (Naeem et al., ICML 2020).
AUROC
    Of trees that tell the set from the training peptides, by five-fold cross-validation (Lopez-Paz
    & Oquab, ICLR 2017): 0.5 if they cannot, 1 if they always can. They see the shares of residues
    and dipeptides, length and descriptors.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from scipy.spatial.distance import cdist

from structdiff.evaluation.metric import Metric
from structdiff.evaluation.peptide_set import NO_REFERENCE, PeptideSet, subsample
from structdiff.evaluation.sequence_features import DESCRIPTORS, DIPEPTIDES, feature_table
from structdiff.evaluation.value import Unavailable, Value
from structdiff.system.cores import granted_cores

__all__ = ["METRICS"]

FEWEST, MOST = 50, 1000
"""Fewest and most peptides of each of the two sets that are compared."""

NEIGHBOURS = 5
"""Number of the neighbour that a ball reaches to."""

FOLDS, TREES = 5, 100


class _Pair(NamedTuple):
    """Feature tables of a set and of as many training peptides, and their points."""

    own: np.ndarray
    real: np.ndarray
    own_points: np.ndarray
    real_points: np.ndarray


def _pair(peptides: PeptideSet) -> "_Pair | Unavailable":
    """Return the features of the compared peptides."""
    reference = peptides.reference
    if reference is None:
        return NO_REFERENCE
    size = min(MOST, len(peptides.sequences), len(reference.properties))
    if size < FEWEST:
        return Unavailable(f"only {size} peptides can be compared, {FEWEST} wanted")
    generator = peptides.generator("distribution")
    chosen = subsample(peptides.sequences, size, generator)
    own = feature_table(chosen, peptides.features.descriptors(chosen))
    chosen = subsample(reference.properties.index.tolist(), size, generator)
    real = feature_table(chosen, reference.properties.loc[chosen, list(DESCRIPTORS)])
    own_points, real_points = (np.delete(table, DIPEPTIDES, axis=1) for table in (own, real))
    deviation = real_points.std(axis=0)
    unit = np.where(deviation > 0, deviation, 1.0)
    return _Pair(own, real, own_points / unit, real_points / unit)


def _of_pair(function: Callable[[_Pair], float]) -> Callable[[PeptideSet], Value]:
    """Return the function of a metric that compares the two sets."""

    def compute(peptides: PeptideSet) -> Value:
        pair = peptides.once(_pair)
        return pair if isinstance(pair, Unavailable) else float(function(pair))

    return compute


def frechet_distance(points: np.ndarray, others: np.ndarray) -> float:
    """Return the squared Fréchet distance between two sets of points, each ``(peptides, width)``.

    The trace of the square root of the product of the covariances is the sum of the square roots
    of its eigenvalues, which are not negative.
    """
    shift = points.mean(axis=0) - others.mean(axis=0)
    one, other = (np.cov(x, rowvar=False) for x in (points, others))
    roots = np.sqrt(np.linalg.eigvals(one @ other).real.clip(min=0))
    return float(shift @ shift + np.trace(one) + np.trace(other) - 2 * roots.sum())


def _in_balls(points: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return which points are in which balls around the others, ``(points, others)`` bool.

    A ball reaches to the fifth neighbour of its centre among the others.
    """
    radii = np.partition(cdist(others, others), NEIGHBOURS, axis=1)[:, NEIGHBOURS]
    return cdist(points, others) <= radii


def _precision(points: np.ndarray, others: np.ndarray) -> float:
    """Return the share of the points that are in a ball around one of the others."""
    return float(_in_balls(points, others).any(axis=1).mean())


def _coverage(points: np.ndarray, others: np.ndarray) -> float:
    """Return the share of the balls around the others that have one of the points."""
    return float(_in_balls(points, others).any(axis=0).mean())


def _auroc(peptides: PeptideSet) -> Value:
    from sklearn.ensemble import ExtraTreesClassifier
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedKFold

    pair = peptides.once(_pair)
    if isinstance(pair, Unavailable):
        return pair
    seed = int(peptides.generator("told apart").integers(2**31))
    is_own = np.repeat([True, False], [len(pair.own), len(pair.real)])
    table = np.concatenate([pair.own, pair.real])
    folds = list(StratifiedKFold(FOLDS, shuffle=True, random_state=seed).split(table, is_own))

    def predict(fold: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
        training, held_out = fold
        trees = ExtraTreesClassifier(TREES, min_samples_leaf=2, random_state=seed)
        return trees.fit(table[training], is_own[training]).predict_proba(table[held_out])[:, 1]

    with ThreadPoolExecutor(granted_cores()) as pool:
        probability = np.concatenate(list(pool.map(predict, folds)))
    return float(roc_auc_score(is_own[np.concatenate([held for _, held in folds])], probability))


_GROUP = "Likeness to real"
_SIZES = f"as many training peptides with the label, at most {MOST:,}"

METRICS: tuple[Metric, ...] = (
    Metric(
        "auroc", _GROUP, "Told apart from training peptides (AUROC)", "0.5, as held-out", "0–1",
        f"AUROC of trees that tell the set from {_SIZES}, by five-fold cross-validation; 0.5 is "
        "chance.", _auroc,
    ),
    Metric(
        "frechet", _GROUP, "Fréchet distance of descriptors", "low, as held-out", "variances",
        f"Squared Fréchet distance to {_SIZES}, of composition, length and descriptors in their "
        "standard deviations: a proxy for the Fréchet biological distance.",
        _of_pair(lambda pair: frechet_distance(pair.own_points, pair.real_points)),
    ),
    Metric(
        "precision", _GROUP, "Precision: among real peptides (share)", "as held-out", "share",
        f"Peptides nearer to one of {_SIZES}, than its fifth neighbour, by composition, length and "
        "descriptors.",
        _of_pair(lambda pair: _precision(pair.own_points, pair.real_points)), in_story=False,
    ),
    Metric(
        "recall", _GROUP, "Recall: real peptides among the set (share)", "as held-out", "share",
        "As the precision, with set and training peptides exchanged.",
        _of_pair(lambda pair: _precision(pair.real_points, pair.own_points)), in_story=False,
    ),
    Metric(
        "coverage", _GROUP, "Coverage: real neighbourhoods reached (share)", "as held-out", "share",
        f"Share of {_SIZES}, with a peptide of the set nearer than the fifth neighbour, by "
        "composition, length and descriptors.",
        _of_pair(lambda pair: _coverage(pair.own_points, pair.real_points)), in_story=False,
    ),
)  # fmt: skip
