"""Metrics of a set of sequences, the same for designs and for every control.

``Reference.of(training)`` is what a set is compared with: the *training* peptides that bear the
label. The held-out column therefore shows what real peptides score that no model has seen. Then
``measure(sequences, reference, features, …)``, where `Features` holds what is computed once for
every distinct sequence: its nearest training peptide and its descriptors.

Definitions
-----------
k-mer distance
    Jensen–Shannon distance (the square root of the divergence, natural logarithm, as scipy's
    `jensenshannon` by default: 0 to 0.83) between the k-mer frequencies of the set and of the
    reference. It falls as a set grows, so only sets of equal size compare.
order
    Mean share of a peptide's shuffles (`SHUFFLES` of each) that an order-2 Markov chain of the
    reference finds less likely than the peptide: 0.5 where the order of the residues means
    nothing, whatever the size or the composition of the set. K-mer distances cannot tell that:
    unseen real peptides of other families score no better by them than their own shuffles.
nearest training neighbour
    Normalised Levenshtein similarity to the most similar of *all* training peptides.
property distance
    Wasserstein distance to the reference, in standard deviations of the reference.

The instability index is left out: it does not separate real from random peptides.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from rapidfuzz.distance import Levenshtein
from rapidfuzz.process import cdist
from scipy.spatial.distance import jensenshannon
from scipy.stats import wasserstein_distance

from structdiff.evaluation.markov import MarkovChain, flatten, shuffle
from structdiff.evaluation.metric import Metric, Unavailable, Value
from structdiff.peptides.split import nearest_neighbour
from structdiff.protein.residues import AMINO_ACIDS

__all__ = [
    "DESCRIPTORS",
    "METRICS",
    "Features",
    "Reference",
    "composition",
    "describe",
    "is_valid",
    "kmer_frequencies",
    "measure",
    "order_scores",
]

ROUNDING = 1e-6
"""Similarities are float32: a neighbour at exactly the threshold counts."""

KMERS = (1, 2, 3)
SHUFFLES = 20
PAIRED = 500
"""Peptides of a set that are compared with each other, at most."""

DESCRIPTORS = {
    "charge": "Net charge at pH 7.4 (free C-terminus)",
    "hydrophobicity": "Hydrophobicity (mean, Eisenberg scale)",
    "moment": "Hydrophobic moment (Eisenberg scale, 100°)",
    "isoelectric_point": "Isoelectric point (pH)",
    "aliphatic_index": "Aliphatic index",
    "boman_index": "Boman index (kcal/mol)",
    "aromaticity": "Aromaticity (share of F, W, Y)",
}
"""What modlAMP computes of each peptide."""

_NO_REFERENCE = Unavailable("no training peptide bears the label")


def _metrics() -> tuple[Metric, ...]:
    rows = [
        ("count", "Diversity", "Peptides", "–"),
        ("validity", "Diversity", "Valid: 20 residues, allowed length (share)", "1"),
        ("uniqueness", "Diversity", "Unique (share)", "1"),
        ("near_duplicates", "Diversity", "With a near-copy in the set (share)", "as held-out"),
        ("mean_similarity", "Diversity", "Mean similarity within the set", "as held-out"),
        ("top_residue_share", "Diversity", "Most frequent amino acid (share)", "as held-out"),
        ("low_complexity", "Diversity", "Over half one amino acid (share)", "as held-out"),
        ("copies", "Novelty", "Copies: nearest training peptide ≥ threshold (share)", "near 0"),
        ("exact_copies", "Novelty", "Exact copies of training peptides (share)", "0"),
        ("nearest_q05", "Novelty", "Nearest training peptide: 5 % quantile", "as held-out"),
        ("nearest_q50", "Novelty", "Nearest training peptide: median", "as held-out"),
        ("nearest_q95", "Novelty", "Nearest training peptide: 95 % quantile", "below threshold"),
        ("js1", "Likeness to real", "1-mer Jensen–Shannon distance", "low, as held-out"),
        ("js2", "Likeness to real", "2-mer Jensen–Shannon distance", "low, as held-out"),
        ("js3", "Likeness to real", "3-mer Jensen–Shannon distance", "low, as held-out"),
        ("order", "Likeness to real", "Order: likelier than own shuffles (share)", "as held-out"),
        ("length_mean", "Length", "Length, mean (residues)", "as held-out"),
        ("length_sd", "Length", "Length, standard deviation (residues)", "as held-out"),
        ("length_distance", "Length", "Length, distance to real (residues)", "low, as held-out"),
    ]
    for key, title in DESCRIPTORS.items():
        rows.append((f"{key}_mean", "Properties", f"{title}, mean", "as held-out"))
        rows.append((f"{key}_sd", "Properties", f"{title}, standard deviation", "as held-out"))
        rows.append((f"{key}_distance", "Properties", f"{title}, distance (sd)", "low"))
    return tuple(Metric(*row) for row in rows)


METRICS = _metrics()


def is_valid(sequence: str, min_length: int, max_length: int) -> bool:
    """Return whether a sequence has standard residues only and an allowed length."""
    return min_length <= len(sequence) <= max_length and not set(sequence) - set(AMINO_ACIDS)


def kmer_frequencies(sequences: list[str], k: int) -> np.ndarray:
    """Return the share of each k-mer among all of some sequences, ``(20 ** k,)``; 0 if none."""
    codes, offsets = flatten(sequences)
    count = max(len(codes) - k + 1, 0)
    number = sum(codes[i : i + count].astype(np.int64) * 20 ** (k - 1 - i) for i in range(k))
    end = np.repeat(offsets[1:], np.diff(offsets))[:count]
    within = np.arange(count) + k <= end
    frequencies = np.bincount(number[within], minlength=20**k).astype(np.float64)
    return frequencies / max(frequencies.sum(), 1.0)


def composition(sequences: list[str]) -> np.ndarray:
    """Return the share of each amino acid, ``(20,)``."""
    return kmer_frequencies(sequences, 1)


def describe(sequences: list[str]) -> pd.DataFrame:
    """Return modlAMP's descriptors, one column for each of `DESCRIPTORS`, by sequence."""
    from modlamp.descriptors import GlobalDescriptor, PeptideDescriptor

    if not sequences:
        return pd.DataFrame(columns=list(DESCRIPTORS), dtype=float)
    plain, scaled = GlobalDescriptor(sequences), PeptideDescriptor(sequences, "Eisenberg")
    compute = {
        "charge": lambda: plain.calculate_charge(ph=7.4, amide=False),
        "hydrophobicity": scaled.calculate_global,
        "moment": lambda: scaled.calculate_moment(angle=100),
        "isoelectric_point": lambda: plain.isoelectric_point(amide=False),
        "aliphatic_index": plain.aliphatic_index,
        "boman_index": plain.boman_index,
        "aromaticity": plain.aromaticity,
    }
    columns = {}
    for key in DESCRIPTORS:
        compute[key]()
        source = scaled if key in ("hydrophobicity", "moment") else plain
        columns[key] = np.asarray(source.descriptor, dtype=np.float64).reshape(-1)
    return pd.DataFrame(columns, index=pd.Index(sequences, name="sequence"))


@dataclass(frozen=True)
class Features:
    """What is known of each distinct sequence.

    Attributes
    ----------
    frame
        By sequence: ``similarity`` to and ``neighbour`` (row) of the nearest training peptide, NaN
        and -1 where there is no training peptide; the columns of `DESCRIPTORS`.
    """

    frame: pd.DataFrame

    @classmethod
    def of(cls, sequences: list[str], training: list[str]) -> "Features":
        """Compute them for the distinct ones of some sequences, of standard residues."""
        distinct = list(dict.fromkeys(sequences))
        frame = describe(distinct)
        if training and distinct:
            neighbour, similarity = nearest_neighbour(distinct, training)
        else:
            neighbour, similarity = np.full(len(distinct), -1), np.full(len(distinct), np.nan)
        frame["neighbour"], frame["similarity"] = neighbour, similarity.astype(np.float64)
        return cls(frame)

    def column(self, name: str, sequences: list[str]) -> np.ndarray:
        """Return one feature of each sequence, ``(sequences,)``."""
        return self.frame[name].loc[sequences].to_numpy()

    def descriptors(self, sequences: list[str]) -> pd.DataFrame:
        """Return the columns of `DESCRIPTORS`, one row for each sequence."""
        return self.frame[list(DESCRIPTORS)].loc[sequences]


@dataclass(frozen=True)
class Reference:
    """The training peptides that bear the label, ready to be compared with.

    Attributes
    ----------
    sequences
        All of them.
    kmers
        Frequencies of the k-mers, by k.
    chain
        An order-2 Markov chain of them.
    properties
        Columns of `DESCRIPTORS`, and ``length``: one row for each of at most so many peptides as
        were asked for.
    """

    sequences: list[str]
    kmers: dict[int, np.ndarray]
    chain: MarkovChain
    properties: pd.DataFrame

    @classmethod
    def of(cls, sequences: list[str], described: list[str]) -> "Reference":
        """Prepare the reference; ``described`` are those whose descriptors are computed."""
        properties = describe(described).assign(length=[len(s) for s in described])
        kmers = {k: kmer_frequencies(sequences, k) for k in KMERS}
        return cls(sequences, kmers, MarkovChain.fit(sequences), properties)


def order_scores(
    sequences: list[str], chain: MarkovChain, generator: np.random.Generator
) -> np.ndarray:
    """Return the share of each peptide's shuffles that the chain finds less likely than it."""
    codes, offsets = flatten(sequences)
    own = chain.log_likelihood(codes, offsets)
    beaten = np.zeros(len(sequences))
    for _ in range(SHUFFLES):
        other = chain.log_likelihood(shuffle(codes, offsets, generator), offsets)
        tie = np.isclose(own, other, rtol=0, atol=1e-9)
        beaten += np.where(tie, 0.5, own > other)
    return beaten / SHUFFLES


def measure(
    sequences: list[str],
    reference: Reference | None,
    features: Features,
    generator: np.random.Generator,
    *,
    novelty_threshold: float,
    limit: int,
    valid_share: float = 1.0,
) -> dict[str, Value]:
    """Return every metric of a set.

    Parameters
    ----------
    sequences
        The set, valid ones only.
    reference
        What it is compared with, None if no training peptide bears the label.
    features
        Of at least these sequences.
    generator
        Chooses and shuffles.
    novelty_threshold
        Similarity to a training peptide at or above which a peptide is a copy.
    limit
        Metrics that depend on the size of the set take at most so many of it.
    valid_share
        Share of the set as it was before the invalid ones were removed.

    Returns
    -------
    dict[str, float | Unavailable]
        In the order of `METRICS`.
    """
    values: dict[str, Value] = {"count": float(len(sequences)), "validity": valid_share}
    if not sequences:
        return {m.key: values.get(m.key, Unavailable("no valid peptide")) for m in METRICS}
    order = generator.permutation(len(sequences))[:limit]
    chosen = [sequences[row] for row in np.sort(order)]
    lengths = np.array([len(sequence) for sequence in sequences], dtype=np.float64)
    values |= _diversity(sequences, chosen, novelty_threshold, generator)
    values |= _novelty(features.column("similarity", sequences), novelty_threshold)
    values |= _likeness(chosen, reference, generator)
    values |= _spread("length", lengths, reference, in_deviations=False)
    for key in DESCRIPTORS:
        values |= _spread(key, features.column(key, sequences), reference)
    return {metric.key: values[metric.key] for metric in METRICS}


def _diversity(
    sequences: list[str], chosen: list[str], threshold: float, generator: np.random.Generator
) -> dict[str, Value]:
    codes, offsets = flatten(sequences)
    owner = np.repeat(np.arange(len(sequences)), np.diff(offsets))
    counts = np.zeros((len(sequences), 20))
    np.add.at(counts, (owner, codes), 1)
    largest = counts.max(axis=1) / counts.sum(axis=1)
    values: dict[str, Value] = {
        "uniqueness": len(set(sequences)) / len(sequences),
        "top_residue_share": float(composition(sequences).max()),
        "low_complexity": float((largest > 0.5).mean()),
    }
    if len(chosen) < 2:
        alone = Unavailable("one peptide has none to be compared with")
        return values | {"near_duplicates": alone, "mean_similarity": alone}
    some = [chosen[row] for row in np.sort(generator.permutation(len(chosen))[:PAIRED])]
    similarity = cdist(some, some, scorer=Levenshtein.normalized_similarity, dtype=np.float32)
    np.fill_diagonal(similarity, 0)
    pairs = len(some) * (len(some) - 1)
    nearest = similarity.max(axis=1)
    values["near_duplicates"] = float((nearest >= threshold - ROUNDING).mean())
    values["mean_similarity"] = float(similarity.sum(dtype=np.float64) / pairs)
    return values


def _novelty(similarity: np.ndarray, threshold: float) -> dict[str, Value]:
    if np.isnan(similarity).any():
        keys = ("copies", "exact_copies", "nearest_q05", "nearest_q50", "nearest_q95")
        return dict.fromkeys(keys, Unavailable("there is no training peptide"))
    low, middle, high = np.quantile(similarity, (0.05, 0.5, 0.95)).tolist()
    return {
        "copies": float((similarity >= threshold - ROUNDING).mean()),
        "exact_copies": float((similarity >= 1 - ROUNDING).mean()),
        "nearest_q05": low,
        "nearest_q50": middle,
        "nearest_q95": high,
    }


def _likeness(
    chosen: list[str], reference: Reference | None, generator: np.random.Generator
) -> dict[str, Value]:
    if reference is None:
        return dict.fromkeys(("js1", "js2", "js3", "order"), _NO_REFERENCE)
    values: dict[str, Value] = {}
    for k in KMERS:
        own, real = kmer_frequencies(chosen, k), reference.kmers[k]
        if own.any() and real.any():
            values[f"js{k}"] = float(jensenshannon(own, real))
        else:
            values[f"js{k}"] = Unavailable(f"no peptide has {k} residues")
    values["order"] = float(order_scores(chosen, reference.chain, generator).mean())
    return values


def _spread(
    key: str, values: np.ndarray, reference: Reference | None, in_deviations: bool = True
) -> dict[str, Value]:
    """Return mean, standard deviation and distance to the reference of one property."""
    result: dict[str, Value] = {f"{key}_mean": float(values.mean())}
    few = Unavailable("one peptide has no spread")
    result[f"{key}_sd"] = float(values.std(ddof=1)) if len(values) > 1 else few
    if reference is None:
        return result | {f"{key}_distance": _NO_REFERENCE}
    real = reference.properties[key].to_numpy(dtype=np.float64)
    unit = float(real.std()) if in_deviations else 1.0
    if unit == 0:
        return result | {
            f"{key}_distance": Unavailable("the training peptides do not differ in it")
        }
    return result | {f"{key}_distance": float(wasserstein_distance(values, real)) / unit}
