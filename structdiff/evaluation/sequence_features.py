"""Features of sequences: k-mers, descriptors, order of the residues, nearest training peptide.

`Features` has the nearest training peptide and the descriptors of each distinct sequence, computed
once. `Reference` has the training peptides that have the labels, with which designs are compared.
"""

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from structdiff.evaluation.markov import MarkovChain, flatten, shuffle
from structdiff.peptides.seen import SeenPeptides
from structdiff.peptides.split import nearest_neighbour
from structdiff.protein.descriptors import hydrophobic_moment, hydrophobicity
from structdiff.protein.residues import AMINO_ACIDS

__all__ = [
    "DESCRIPTORS",
    "DIPEPTIDES",
    "KMERS",
    "ROUNDING",
    "Features",
    "Reference",
    "composition",
    "describe",
    "deviation",
    "feature_table",
    "is_valid",
    "kmer_frequencies",
    "largest_shares",
    "order_scores",
]

ROUNDING = 1e-6
"""Tolerance of comparisons with a threshold, because similarities are float32."""

KMERS = (1, 2, 3)

DIPEPTIDES = slice(20, 420)
"""Columns of a `feature_table` that have the shares of the dipeptides."""

SHUFFLES = 20

DESCRIPTORS = {
    "charge": ("Net charge at pH 7.0 (free C-terminus)", "e"),
    "hydrophobicity": ("Hydrophobicity (mean, Eisenberg scale)", "Eisenberg scale"),
    "moment": ("Hydrophobic moment (Eisenberg scale, 100°)", "Eisenberg scale"),
    "isoelectric_point": ("Isoelectric point (pH)", "pH"),
    "aliphatic_index": ("Aliphatic index", "index"),
    "boman_index": ("Boman index (kcal/mol)", "kcal/mol"),
    "aromaticity": ("Aromaticity (share of F, W, Y)", "share"),
}
"""Title and unit of each descriptor of a peptide with free ends."""


def is_valid(sequence: str, min_length: int, max_length: int) -> bool:
    """Return whether a sequence has standard residues only and an allowed length."""
    return min_length <= len(sequence) <= max_length and not set(sequence) - set(AMINO_ACIDS)


def kmer_frequencies(sequences: list[str], k: int) -> np.ndarray:
    """Return the share of each k-mer among all k-mers of the sequences, ``(20 ** k,)``.

    All shares are 0 if there is no k-mer.
    """
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


def largest_shares(sequences: Iterable[str]) -> np.ndarray:
    """Return the share of the most frequent amino acid in each sequence, ``(sequences,)``."""
    return np.array([max(Counter(sequence).values()) / len(sequence) for sequence in sequences])


def deviation(values: np.ndarray) -> np.ndarray:
    """Return the standard deviation of each column of values, ``(columns,)``, or of one column.

    It is exactly 0 for values that differ only by rounding, so that it can be tested before a
    division. ``values`` are ``(peptides, columns)`` or ``(peptides,)``.
    """
    is_constant = np.ptp(values, axis=0) <= ROUNDING * np.abs(values).max(axis=0)
    return np.where(is_constant, 0.0, values.std(axis=0))


def describe(sequences: list[str]) -> pd.DataFrame:
    """Return a table of descriptors: columns `DESCRIPTORS`, a row for each sequence.

    The sequence is the index of the table. `structdiff.protein.descriptors` computes hydrophobicity
    and moment, and modlAMP computes the other descriptors.
    """
    from modlamp.descriptors import GlobalDescriptor

    if not sequences:
        return pd.DataFrame(columns=list(DESCRIPTORS), dtype=float)
    plain = GlobalDescriptor(sequences)
    compute = {
        "charge": lambda: plain.calculate_charge(ph=7.0, amide=False),
        "isoelectric_point": lambda: plain.isoelectric_point(amide=False),
        "aliphatic_index": plain.aliphatic_index,
        "boman_index": plain.boman_index,
        "aromaticity": plain.aromaticity,
    }
    columns = {
        "hydrophobicity": np.array([hydrophobicity(s) for s in sequences]),
        "moment": np.array([math.hypot(*hydrophobic_moment(s)) for s in sequences]),
    }
    for key, run in compute.items():
        run()
        columns[key] = np.asarray(plain.descriptor, dtype=np.float64).reshape(-1)
    index = pd.Index(sequences, name="sequence")
    return pd.DataFrame(columns, index=index)[list(DESCRIPTORS)]


def feature_table(sequences: list[str], described: pd.DataFrame) -> np.ndarray:
    """Return the features of sequences as one array, for classifiers and distances.

    Parameters
    ----------
    sequences
        One-letter codes.
    described
        Descriptors of the sequences, from `describe`.

    Returns
    -------
    np.ndarray
        ``(sequences, 428)`` float32. The columns are the shares of the 20 residues, the shares of
        the 400 dipeptides (`DIPEPTIDES`), the length and the descriptors.
    """
    codes, offsets = flatten(sequences)
    lengths = np.diff(offsets)
    owner = np.repeat(np.arange(len(sequences)), lengths)
    single = np.zeros((len(sequences), 20), dtype=np.float32)
    np.add.at(single, (owner, codes), 1)
    double = np.zeros((len(sequences), 400), dtype=np.float32)
    inside = owner[1:] == owner[:-1]
    pairs = codes[:-1].astype(np.int64) * 20 + codes[1:]
    np.add.at(double, (owner[1:][inside], pairs[inside]), 1)
    return np.concatenate(
        [
            single / lengths[:, None],
            double / np.maximum(lengths - 1, 1)[:, None],
            lengths[:, None].astype(np.float32),
            described.to_numpy(dtype=np.float32),
        ],
        axis=1,
    )


@dataclass(frozen=True)
class Features:
    """Nearest training peptide and descriptors of each distinct sequence.

    Attributes
    ----------
    frame
        Table indexed by sequence. ``neighbour`` is the position of the nearest training peptide in
        the list of training peptides, and ``similarity`` (0–1) the similarity to it; they are -1
        and NaN without training peptides. ``seen`` says whether the model or its starting weights
        were trained on the sequence. The other columns are the `DESCRIPTORS`.
    """

    frame: pd.DataFrame

    @classmethod
    def of(
        cls, sequences: list[str], training: list[str], seen: SeenPeptides | None = None
    ) -> "Features":
        """Compute the features of each distinct sequence.

        Parameters
        ----------
        sequences
            Sequences of the 20 standard residues; repeated ones are allowed.
        training
            Sequences of all training peptides.
        seen
            Hashes of the peptides that the model or its starting weights were trained on; None (not
            known) makes the column ``seen`` false.
        """
        distinct = list(dict.fromkeys(sequences))
        frame = describe(distinct)
        if training and distinct:
            neighbour, similarity = nearest_neighbour(distinct, training)
        else:
            neighbour, similarity = np.full(len(distinct), -1), np.full(len(distinct), np.nan)
        frame["neighbour"], frame["similarity"] = neighbour, similarity.astype(np.float64)
        frame["seen"] = False if seen is None else seen.includes(distinct)
        return cls(frame)

    def column(self, name: str, sequences: list[str]) -> np.ndarray:
        """Return the column ``name`` of ``frame`` for each of the sequences, ``(sequences,)``."""
        return self.frame[name].loc[sequences].to_numpy()

    def descriptors(self, sequences: list[str]) -> pd.DataFrame:
        """Return a table of the descriptors, as from `describe`, with a row for each sequence."""
        return self.frame[list(DESCRIPTORS)].loc[sequences]


@dataclass(frozen=True)
class Reference:
    """The training peptides that have the labels of a query, prepared for comparisons.

    Attributes
    ----------
    sequences
        Sequences of the peptides.
    kmers
        Frequencies of the k-mers, ``(20 ** k,)``, by k.
    chain
        An order-2 Markov chain fitted to the sequences.
    properties
        Table of ``length`` and the columns of `DESCRIPTORS` for a sample of the sequences, indexed
        by sequence.
    """

    sequences: list[str]
    kmers: dict[int, np.ndarray]
    chain: MarkovChain
    properties: pd.DataFrame

    @classmethod
    def of(cls, sequences: list[str], described: list[str]) -> "Reference":
        """Return the reference that consists of the training peptides ``sequences``.

        ``described`` is a sample of them; lengths and descriptors are computed only for the sample.
        """
        properties = describe(described).assign(length=[len(s) for s in described])
        kmers = {k: kmer_frequencies(sequences, k) for k in KMERS}
        return cls(sequences, kmers, MarkovChain.fit(sequences), properties)


def order_scores(
    sequences: list[str], chain: MarkovChain, generator: np.random.Generator
) -> np.ndarray:
    """Return for each peptide the share of its shuffles that are less likely, ``(peptides,)``.

    Each peptide is shuffled `SHUFFLES` times. ``chain`` gives the likelihoods of the peptide and of
    its shuffles. A shuffle that is as likely as the peptide counts as half.
    """
    codes, offsets = flatten(sequences)
    likelihood = chain.log_likelihood(codes, offsets)
    beaten = np.zeros(len(sequences))
    for _ in range(SHUFFLES):
        shuffled = chain.log_likelihood(shuffle(codes, offsets, generator), offsets)
        tie = np.isclose(likelihood, shuffled, rtol=0, atol=1e-9)
        beaten += np.where(tie, 0.5, likelihood > shuffled)
    return beaten / SHUFFLES
