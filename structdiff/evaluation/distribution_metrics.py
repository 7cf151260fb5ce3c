"""Metrics that compare the distributions of a peptide set and of real peptides.

All of these metrics depend on the sizes of the two sets. Therefore they are computed for two random
samples of equal size, at most 1,000 peptides each: one of the set, and one of the training peptides
that have the labels.

Definitions
-----------
point
    Vector of a peptide: the shares of the 20 residues, the length and the descriptors, each divided
    by its standard deviation over the training sample, unless all values of the sample are equal.
Fréchet distance
    Squared Fréchet distance between two normal distributions with the means and covariances of the
    points of the two samples (Heusel et al., NeurIPS 2017). It is a proxy for the Fréchet
    biological distance (FBD), which uses embeddings of a language model instead of these points.
ball
    The points around a training peptide that are not farther away than its fifth nearest neighbour
    in the training sample.
precision
    Share of the set's points inside at least one ball (Kynkäänniemi et al., NeurIPS 2019).
recall
    The precision with the two samples exchanged: the balls are around the peptides of the set.
coverage
    Share of the balls that contain a point of the set (Naeem et al., ICML 2020).
AUROC
    Area under the ROC curve of trees that classify a peptide as from the set or from the training
    sample, by five-fold cross-validation (Lopez-Paz & Oquab, ICLR 2017): 0.5 is chance, 1 is
    perfect separation. Their features are the shares of residues and dipeptides, the length and the
    descriptors.
"""

from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from scipy.spatial.distance import cdist

from structdiff.evaluation.metric import Metric
from structdiff.evaluation.peptide_set import NO_REFERENCE, PeptideSet, function_of, subsample
from structdiff.evaluation.sequence_features import (
    DESCRIPTORS,
    DIPEPTIDES,
    deviation,
    feature_table,
)
from structdiff.evaluation.value import Unavailable, Value
from structdiff.system.cores import granted_cores

__all__ = ["METRICS"]

FEWEST, MOST = 50, 1000
"""Smallest and largest size of the two samples that are compared."""

NEIGHBOURS = 5
"""Rank of the neighbour whose distance from the centre of a ball is the radius of the ball."""

FOLDS, TREES = 5, 100


class _Pair(NamedTuple):
    """Features and points of two random samples of equal size.

    ``own`` is the sample of a peptide set and ``real`` the sample of training peptides; both are
    feature tables ``(peptides, 428)``. ``own_points`` and ``real_points`` are their points,
    ``(peptides, 28)``.
    """

    own: np.ndarray
    real: np.ndarray
    own_points: np.ndarray
    real_points: np.ndarray


def _pair(peptides: PeptideSet) -> "_Pair | Unavailable":
    """Draw the two samples of equal size, and return their features and points.

    The result is `Unavailable` if there is no reference, or if a sample would have fewer than
    `FEWEST` peptides.
    """
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
    spread = deviation(real_points)
    unit = np.where(spread > 0, spread, 1.0)
    return _Pair(own, real, own_points / unit, real_points / unit)


def frechet_distance(points: np.ndarray, others: np.ndarray) -> float:
    """Return the squared Fréchet distance between two sets of points, each ``(peptides, width)``.

    The points of each set are treated as a normal distribution. The trace of the square root of the
    product of the two covariances is computed as the sum of the square roots of the eigenvalues of
    this product, which are not negative.
    """
    shift = points.mean(axis=0) - others.mean(axis=0)
    one, other = (np.cov(x, rowvar=False) for x in (points, others))
    roots = np.sqrt(np.linalg.eigvals(one @ other).real.clip(min=0))
    return float(shift @ shift + np.trace(one) + np.trace(other) - 2 * roots.sum())


def _in_balls(points: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return which points are in the ball around each of ``others``, ``(points, others)`` bool.

    The radius of a ball is the distance from its centre to the fifth nearest neighbour in
    ``others``. Both arguments are ``(peptides, width)``.
    """
    radii = np.partition(cdist(others, others), NEIGHBOURS, axis=1)[:, NEIGHBOURS]
    return cdist(points, others) <= radii


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
        function_of(_pair, lambda pair: frechet_distance(pair.own_points, pair.real_points)),
    ),
    Metric(
        "precision", _GROUP, "Precision: among real peptides (share)", "as held-out", "share",
        f"Peptides nearer to one of {_SIZES}, than its fifth neighbour, by composition, length and "
        "descriptors.",
        function_of(_pair, lambda p: _in_balls(p.own_points, p.real_points).any(axis=1).mean()),
        in_story=False,
    ),
    Metric(
        "recall", _GROUP, "Recall: real peptides among the set (share)", "as held-out", "share",
        "As the precision, with set and training peptides exchanged.",
        function_of(_pair, lambda p: _in_balls(p.real_points, p.own_points).any(axis=1).mean()),
        in_story=False,
    ),
    Metric(
        "coverage", _GROUP, "Coverage: real neighbourhoods reached (share)", "as held-out", "share",
        f"Share of {_SIZES}, with a peptide of the set nearer than the fifth neighbour, by "
        "composition, length and descriptors.",
        function_of(_pair, lambda p: _in_balls(p.own_points, p.real_points).any(axis=0).mean()),
        in_story=False,
    ),
)  # fmt: skip
