"""Metrics of a set of sequences, the same for designs and for every control.

`METRICS` has each metric with its definition and function. The reference of a set is the training
peptides that have the labels (`structdiff.evaluation.sequence_features.Reference`). Held-out
peptides are a control and not part of the reference, so that the column ``held_out`` shows the
values of real peptides that the model was not trained on.

Definitions
-----------
k-mer distance
    Jensen–Shannon distance (the square root of the divergence, natural logarithm, as scipy's
    `jensenshannon` by default: 0 to 0.83) between the k-mer frequencies of the set and of the
    reference. The distance falls as a set grows, so only compare sets of equal size.
order
    Share of a peptide's 20 shuffles that are less likely than the peptide under an order-2 Markov
    chain of the reference, averaged over the set. It is 0.5 if the order of the residues is random,
    whatever the size and composition of the set. K-mer distances do not measure order: real
    peptides of families that are not in the training set have k-mer distances as large as shuffled
    peptides.
nearest training neighbour
    The most similar of *all* training peptides, whatever their labels, and the normalised
    Levenshtein similarity to it (0–1).
property distance
    Wasserstein distance between the values of a property in the set and in the reference, in
    standard deviations of the reference; for lengths, in residues.

The instability index is left out: it does not separate real from random peptides.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from rapidfuzz.distance import Levenshtein
from rapidfuzz.process import cdist
from scipy.spatial.distance import jensenshannon
from scipy.stats import wasserstein_distance

from structdiff.evaluation.metric import Metric
from structdiff.evaluation.peptide_set import NO_REFERENCE, PeptideSet, function_of
from structdiff.evaluation.sequence_features import (
    DESCRIPTORS,
    KMERS,
    ROUNDING,
    composition,
    deviation,
    kmer_frequencies,
    largest_shares,
    order_scores,
)
from structdiff.evaluation.value import Unavailable, Value

__all__ = ["METRICS"]

FEWEST_WITH_CYSTEINES = 20
"""Smallest number of peptides with two or more cysteines for which ``even_cysteines`` is known."""

PAIRED = 500
"""Largest number of peptides of a set that are compared with each other."""


class _Sample(NamedTuple):
    """Random samples of the sequences of a set.

    ``chosen`` has at most ``num_control`` sequences, for metrics that depend on the size of a set,
    and ``compared`` at most `PAIRED` of them, for pairwise metrics. ``generator`` drew both; it
    also draws the shuffles of the metric ``order``.
    """

    chosen: list[str]
    compared: list[str]
    generator: np.random.Generator


def _sample(peptides: PeptideSet) -> _Sample:
    generator = peptides.generator("measure")

    def draw(sequences: list[str], most: int) -> list[str]:
        rows = generator.permutation(len(sequences))[:most]
        return [sequences[row] for row in np.sort(rows)]

    chosen = draw(peptides.sequences, peptides.settings.num_control)
    return _Sample(chosen, draw(chosen, PAIRED), generator)


def _similarities(peptides: PeptideSet) -> np.ndarray | Unavailable:
    """Return the normalised Levenshtein similarity (0–1) of each pair of the sampled peptides.

    The result is ``(peptides, peptides)`` float32 with 0 on its diagonal. It is `Unavailable` for
    fewer than two peptides.
    """
    compared = peptides.once(_sample).compared
    if len(compared) < 2:
        return Unavailable("a single peptide cannot be compared with another")
    similarity = cdist(
        compared, compared, scorer=Levenshtein.normalized_similarity, dtype=np.float32
    )
    np.fill_diagonal(similarity, 0)
    return similarity


def _near_duplicates(peptides: PeptideSet) -> Value:
    similarity = peptides.once(_similarities)
    if isinstance(similarity, Unavailable):
        return similarity
    threshold = peptides.settings.novelty_threshold - ROUNDING
    return float((similarity.max(axis=1) >= threshold).mean())


def _mean_similarity(similarity: np.ndarray) -> float:
    count = len(similarity)
    return float(similarity.sum(dtype=np.float64) / (count * (count - 1)))


def _of_nearest(summary: Callable[[np.ndarray, float], np.floating]) -> Callable:
    """Return a metric function: ``summary`` of the similarities to the nearest training peptides.

    ``summary`` gets the similarities (0–1), ``(peptides,)``, and the one at or above which a
    peptide is a copy. A peptide that the model or its starting weights were trained on has 1.
    """

    def compute(peptides: PeptideSet) -> Value:
        similarity = peptides.features.column("similarity", peptides.sequences)
        if np.isnan(similarity).any():
            return Unavailable("there is no training peptide")
        seen = peptides.features.column("seen", peptides.sequences)
        similarity = np.where(seen.astype(bool), 1.0, similarity)
        return float(summary(similarity, peptides.settings.novelty_threshold))

    return compute


def _kmer_distance(k: int) -> Callable[[PeptideSet], Value]:
    def compute(peptides: PeptideSet) -> Value:
        if peptides.reference is None:
            return NO_REFERENCE
        frequencies = kmer_frequencies(peptides.once(_sample).chosen, k)
        real = peptides.reference.kmers[k]
        if not (frequencies.any() and real.any()):
            return Unavailable(f"no peptide has {k} residues")
        return float(jensenshannon(frequencies, real))

    return compute


def _even_cysteines(peptides: PeptideSet) -> Value:
    numbers = np.array([sequence.count("C") for sequence in peptides.sequences])
    several = numbers[numbers >= 2]
    if len(several) < FEWEST_WITH_CYSTEINES:
        return Unavailable(
            f"only {len(several)} have two or more cysteines, {FEWEST_WITH_CYSTEINES} wanted"
        )
    return float((several % 2 == 0).mean())


def _order(peptides: PeptideSet) -> Value:
    if peptides.reference is None:
        return NO_REFERENCE
    sample = peptides.once(_sample)
    return float(order_scores(sample.chosen, peptides.reference.chain, sample.generator).mean())


def _property(peptides: PeptideSet, key: str) -> np.ndarray:
    if key == "length":
        return np.array([len(sequence) for sequence in peptides.sequences], dtype=np.float64)
    return peptides.features.column(key, peptides.sequences)


def _deviation(key: str) -> Callable[[PeptideSet], Value]:
    def compute(peptides: PeptideSet) -> Value:
        values = _property(peptides, key)
        if len(values) < 2:
            return Unavailable("one peptide has no spread")
        return float(values.std(ddof=1))

    return compute


def _distance(key: str) -> Callable[[PeptideSet], Value]:
    def compute(peptides: PeptideSet) -> Value:
        if peptides.reference is None:
            return NO_REFERENCE
        real = peptides.reference.properties[key].to_numpy(dtype=np.float64)
        unit = 1.0 if key == "length" else float(deviation(real))
        if unit == 0:
            return Unavailable("the training peptides do not differ in it")
        return float(wasserstein_distance(_property(peptides, key), real)) / unit

    return compute


_NEAREST = "normalised Levenshtein similarity to the most similar training peptide"
_KMERS = (
    "Jensen–Shannon distance (natural logarithm, 0 to 0.83) between the k-mer frequencies of the "
    "set and of the training peptides with the label"
)

_DIVERSITY = (
    Metric(
        "count", "Diversity", "Peptides", "–", "", "Valid peptides of the set.",
        lambda peptides: float(len(peptides.sequences)), in_story=False, of_empty=True,
    ),
    Metric(
        "validity", "Diversity", "Valid: 20 residues, allowed length (share)", "1", "share",
        "Designs of the 20 standard residues within data.min_length and data.max_length.",
        lambda peptides: peptides.valid_share, in_story=False, of_empty=True,
    ),
    Metric(
        "uniqueness", "Diversity", "Unique (share)", "1", "share",
        "Distinct sequences, as a share of all.",
        lambda peptides: len(set(peptides.sequences)) / len(peptides.sequences),
    ),
    Metric(
        "near_duplicates", "Diversity", "With a near-copy in the set (share)", "as held-out",
        "share", "Peptides of at most 500 whose similarity to another one reaches the threshold of "
        "copies (evaluation.novelty_threshold).", _near_duplicates,
    ),
    Metric(
        "mean_similarity", "Diversity", "Mean similarity within the set", "as held-out", "0–1",
        "Normalised Levenshtein similarity, mean over the pairs of at most 500 peptides.",
        function_of(_similarities, _mean_similarity), in_story=False,
    ),
    Metric(
        "top_residue_share", "Diversity", "Most frequent amino acid (share)", "as held-out",
        "share", "Share of the most frequent amino acid among all residues of the set.",
        lambda peptides: float(composition(peptides.sequences).max()), in_story=False,
    ),
    Metric(
        "low_complexity", "Diversity", "Over half one amino acid (share)", "as held-out", "share",
        "Peptides of which one amino acid makes up more than half.",
        lambda peptides: float((largest_shares(peptides.sequences) > 0.5).mean()), in_story=False,
    ),
    Metric(
        "even_cysteines", "Diversity", "Even number of cysteines, where two or more (share)",
        "as held-out", "share", "Peptides with an even number of cysteines, as disulfides need it, "
        f"of those with at least two; of at least {FEWEST_WITH_CYSTEINES}.", _even_cysteines,
        in_story=False,
    ),
)  # fmt: skip

_NOVELTY = (
    Metric(
        "copies", "Novelty", "Copies: nearest training peptide ≥ threshold (share)", "near 0",
        "share", f"Peptides whose {_NEAREST} is at least evaluation.novelty_threshold.",
        _of_nearest(lambda values, threshold: (values >= threshold - ROUNDING).mean()),
    ),
    Metric(
        "exact_copies", "Novelty", "Exact copies of training peptides (share)", "0", "share",
        "Peptides that are a training peptide, of the starting model (training.init) too.",
        _of_nearest(lambda values, _: (values >= 1 - ROUNDING).mean()), in_story=False,
    ),
    Metric(
        "nearest_q05", "Novelty", "Nearest training peptide: 5 % quantile", "as held-out", "0–1",
        f"5 % quantile of the {_NEAREST}.",
        _of_nearest(lambda values, _: np.quantile(values, 0.05)), in_story=False,
    ),
    Metric(
        "nearest_q50", "Novelty", "Nearest training peptide: median", "as held-out", "0–1",
        f"Median of the {_NEAREST}.", _of_nearest(lambda values, _: np.quantile(values, 0.5)),
    ),
    Metric(
        "nearest_q95", "Novelty", "Nearest training peptide: 95 % quantile", "below threshold",
        "0–1", f"95 % quantile of the {_NEAREST}.",
        _of_nearest(lambda values, _: np.quantile(values, 0.95)), in_story=False,
    ),
)  # fmt: skip

_LIKENESS = (
    *(
        Metric(
            f"js{k}", "Likeness to real", f"{k}-mer Jensen–Shannon distance", "low, as held-out",
            "0–0.83", f"{_KMERS}, k = {k}.", _kmer_distance(k),
        )
        for k in KMERS
    ),
    Metric(
        "order", "Likeness to real", "Order: likelier than own shuffles (share)", "as held-out",
        "share", "Mean share of a peptide's 20 shuffles that an order-2 Markov chain of the "
        "training peptides with the label finds less likely than the peptide; 0.5 is chance.",
        _order,
    ),
)  # fmt: skip

_STORY_PROPERTIES = ("length", "charge", "hydrophobicity", "moment")


def _property_metrics(key: str, group: str, title: str, unit: str) -> tuple[Metric, ...]:
    """Return three metrics of a property: mean, standard deviation and distance to the reference.

    ``key`` is ``length`` or a key of `DESCRIPTORS`.
    """
    is_length = key == "length"
    suffix = f" ({unit})" if is_length else ""
    name = title[:1].lower() + title[1:]
    return (
        Metric(
            f"{key}_mean", group, f"{title}, mean{suffix}", "as held-out", unit,
            f"Mean of the {name}.", lambda peptides: float(_property(peptides, key).mean()),
            in_story=key in _STORY_PROPERTIES,
        ),
        Metric(
            f"{key}_sd", group, f"{title}, standard deviation{suffix}", "as held-out", unit,
            f"Standard deviation of the {name}.", _deviation(key), in_story=False,
        ),
        Metric(
            f"{key}_distance", group,
            f"{title}, distance to real{suffix}" if is_length else f"{title}, distance (sd)",
            "low, as held-out" if is_length else "low", unit if is_length else "sd",
            f"Wasserstein distance of the {name} to that of the training peptides with the label"
            f"{'' if is_length else ', in their standard deviations'}.",
            _distance(key), in_story=False,
        ),
    )  # fmt: skip


METRICS: tuple[Metric, ...] = (
    *_DIVERSITY,
    *_NOVELTY,
    *_LIKENESS,
    *_property_metrics("length", "Length", "Length", "residues"),
    *(
        metric
        for key, (title, unit) in DESCRIPTORS.items()
        for metric in _property_metrics(key, "Properties", title, unit)
    ),
)
