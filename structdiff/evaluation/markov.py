"""Order-2 Markov chain of residues: it draws control peptides and measures the order of residues.

``MarkovChain.fit(sequences)`` fits a chain; ``sample(lengths, generator)`` draws sequences from it,
and ``log_likelihood(codes, offsets)`` scores sequences. `flatten`, `unflatten` and `shuffle` handle
sequences as flat arrays: ``codes`` has the indices (0–19) of all residues one after another, and
``offsets`` the start of each peptide, then the number of all residues.
"""

from dataclasses import dataclass

import numpy as np

from structdiff.protein.residues import AMINO_ACIDS, decode, encode, offsets_of

__all__ = ["MarkovChain", "flatten", "shuffle", "unflatten"]

START = len(AMINO_ACIDS)
"""Index (20) that stands for a missing residue before the start of a peptide."""

SMOOTHING = 20.0
"""Weight of the next shorter context when probabilities are smoothed, in observations."""


def flatten(sequences: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return sequences as flat arrays.

    Returns
    -------
    codes
        Indices of all residues, ``(residues,)`` uint8.
    offsets
        Index of the first residue of each sequence, then the number of all residues,
        ``(sequences + 1,)`` int64.
    """
    return encode("".join(sequences)), offsets_of(sequences)


def unflatten(codes: np.ndarray, offsets: np.ndarray) -> list[str]:
    """Return the sequences of flat arrays: the inverse of `flatten`."""
    joined = decode(codes)
    return [joined[a:b] for a, b in zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True)]


def shuffle(codes: np.ndarray, offsets: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Return ``codes`` with the residues of each peptide in random order, ``(residues,)``."""
    owner = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    return codes[np.lexsort((generator.random(len(codes)), owner))]


@dataclass(frozen=True)
class MarkovChain:
    """Probabilities of a residue, given the two residues before it.

    Attributes
    ----------
    probability
        Probability of each residue (third axis), given the residue two positions before it (first
        axis) and the residue just before it (second axis), ``(21, 21, 20)``; index 20 is `START`.
        It is smoothed: `SMOOTHING` observations are added to the counts, distributed as the
        probability given only the residue just before. That probability is smoothed in the same
        way with the overall composition, and the composition with the uniform distribution.
    """

    probability: np.ndarray

    @classmethod
    def fit(cls, sequences: list[str]) -> "MarkovChain":
        """Fit the chain to sequences (at least one)."""
        codes, offsets = flatten(sequences)
        before, last = _contexts(codes, offsets)
        counts = np.zeros((START + 1, START + 1, START))
        np.add.at(counts, (before, last, codes), 1)
        probability = np.full(START, 1 / START)
        for order in (counts.sum((0, 1)), counts.sum(0), counts):
            total = order.sum(-1, keepdims=True)
            probability = (order + SMOOTHING * probability) / (total + SMOOTHING)
        return cls(probability)

    def sample(self, lengths: np.ndarray, generator: np.random.Generator) -> list[str]:
        """Draw one sequence for each length; ``lengths`` is ``(sequences,)``."""
        limits = self.probability.cumsum(-1)[..., :-1]
        count, longest = len(lengths), int(max(lengths, default=0))
        drawn = np.full((count, longest + 2), START)
        for position in range(2, longest + 2):
            bounds = limits[drawn[:, position - 2], drawn[:, position - 1]]
            drawn[:, position] = (generator.random((count, 1)) > bounds).sum(-1)
        return [decode(row[2 : 2 + n]) for row, n in zip(drawn, lengths, strict=True)]

    def log_likelihood(self, codes: np.ndarray, offsets: np.ndarray) -> np.ndarray:
        """Return the log-likelihood of each peptide in nats, ``(peptides,)``.

        ``codes`` are the residue indices of all peptides, one after the other, ``(residues,)``;
        ``offsets`` ``(peptides + 1,)`` says where each peptide begins. No peptide may be empty.
        """
        before, last = _contexts(codes, offsets)
        return np.add.reduceat(np.log(self.probability[before, last, codes]), offsets[:-1])


def _contexts(codes: np.ndarray, offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the residue two positions before each residue, and the residue just before it.

    Both are indices, ``(residues,)``; `START` where the peptide has no such residue.
    """
    position = np.arange(len(codes)) - np.repeat(offsets[:-1], np.diff(offsets))
    last = np.where(position > 0, np.roll(codes, 1), START)
    before = np.where(position > 1, np.roll(codes, 2), START)
    return before, last
