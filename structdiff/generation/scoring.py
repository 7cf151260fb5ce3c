"""Log-probabilities of the residues of given peptides, from the backbone or the other residues.

``score(model, sequences, backbones)`` hides all residues and predicts them at once from the
backbone (inverse folding) or, without backbones, from the length only. The log-probability with the
backbone minus the one without it is the information from the structure. Scoring takes one pass of
the network. The noise depends only on the sequence.

``log_likelihoods(model, sequences)`` predicts each half of the residues from the other half,
without a backbone. A high value means that the model finds the peptide likely.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from structdiff.diffusion import SamplingNoise
from structdiff.generation.batching import compute_batches, sequence_seed
from structdiff.model import no_estimate
from structdiff.pretrained import TrainedModel
from structdiff.protein.residues import encode

__all__ = ["Score", "log_likelihoods", "perplexity", "recovery", "score"]

TURNS = 2
"""Number of passes of the network in `log_likelihoods`; each pass hides every second residue."""


@dataclass(frozen=True, eq=False)
class Score:
    """Log-probabilities of the residues of one peptide.

    Attributes
    ----------
    number
        Index of the peptide in the given sequences, from 0.
    log_probability
        Natural logarithm of the probability of each true residue, ``(length,)``.
    recovered
        Whether the true residue is the most probable one, ``(length,)`` bool.
    """

    number: int
    log_probability: np.ndarray
    recovered: np.ndarray


def recovery(scores: Sequence[Score]) -> float:
    """Return the share of residues for which the true residue is the most probable one."""
    return float(np.concatenate([score.recovered for score in scores]).mean())


def perplexity(scores: Sequence[Score]) -> float:
    """Return the perplexity, exp(− mean log-probability of a residue): 1 is best, 20 is uniform."""
    return float(np.exp(-np.concatenate([score.log_probability for score in scores]).mean()))


def score(
    model: TrainedModel,
    sequences: Sequence[str],
    backbones: Sequence[np.ndarray] | None = None,
) -> Iterator[Score]:
    """Yield the `Score` of each peptide, shortest peptide first.

    Parameters
    ----------
    model
        The trained model.
    sequences
        The true sequences, of the 20 standard residues.
    backbones
        Backbone of each peptide, ``(length, 4, 3)`` in Å; None predicts from the length only.
    """
    process, device = model.process, model.device

    @torch.no_grad()
    def score_batch(rows: np.ndarray, inside: np.ndarray) -> list[Score]:
        count, width = inside.shape
        tokens, mask, hidden = _inputs(model, [sequences[row] for row in rows], inside)
        structure = torch.zeros(count, width, process.structure.width, device=device)
        structure_level = torch.full((count,), float(backbones is None), device=device)
        if backbones is not None:
            padded = np.zeros((count, width, 4, 3), dtype=np.float32)
            padded[inside] = np.concatenate([backbones[row] for row in rows])
            structure = process.structure.encode(torch.from_numpy(padded).to(device), mask)
        condition = model.network.unconditional(count)
        logits, _, _ = model.network(
            hidden,
            structure,
            mask,
            torch.ones(count, device=device),
            structure_level,
            condition,
            *no_estimate(structure),
        )
        log_probability = _of_residues(logits, tokens)
        recovered = logits.argmax(-1) == tokens
        values = (x.cpu().numpy() for x in (log_probability, recovered))
        return [
            Score(int(row), *(x[residues] for x in arrays))
            for row, residues, *arrays in zip(rows, inside, *values, strict=True)
        ]

    yield from compute_batches(score_batch, _lengths(sequences), device)


def log_likelihoods(
    model: TrainedModel, sequences: Sequence[str], skip: Collection[int] = ()
) -> np.ndarray:
    """Return the mean log-probability of each peptide's residues, ``(peptides,)`` in nats.

    The residues at odd positions are predicted from those at even positions, and vice versa,
    without a backbone and without labels: a pseudo-log-likelihood (Wang & Cho, 2019).

    Parameters
    ----------
    model
        The trained model.
    sequences
        Sequences of the 20 standard residues.
    skip
        Positions of peptides whose values are not needed. A batch of only such peptides is not
        computed: its values are NaN, and its sequences are not read, except for their lengths.
    """
    process, device = model.process, model.device

    @torch.no_grad()
    def sum_batch(rows: np.ndarray, inside: np.ndarray) -> list[tuple[int, float]]:
        count, width = inside.shape
        tokens, mask, unknown = _inputs(model, [sequences[row] for row in rows], inside)
        known = process.sequence.encode(tokens)
        total = torch.zeros(count, dtype=torch.float64, device=device)
        structure = torch.zeros(count, width, process.structure.width, device=device)
        for turn in range(TURNS):
            hidden = torch.arange(width, device=device) % TURNS == turn
            logits, _, _ = model.network(
                torch.where(hidden[:, None], unknown, known),
                structure,
                mask,
                torch.full((count,), 1 / TURNS, device=device),
                torch.ones(count, device=device),
                model.network.unconditional(count),
                *no_estimate(structure),
            )
            total += (_of_residues(logits, tokens) * (hidden & mask)).sum(1).double()
        return list(zip(rows.tolist(), total.tolist(), strict=True))

    lengths = _lengths(sequences)
    totals = np.full(len(sequences), np.nan)
    for row, total in compute_batches(sum_batch, lengths, device, skip):
        totals[row] = total
    return totals / np.maximum(lengths, 1)


def _lengths(sequences: Sequence[str]) -> np.ndarray:
    return np.array([len(sequence) for sequence in sequences], dtype=np.int64)


def _inputs(
    model: TrainedModel, sequences: Sequence[str], inside: np.ndarray
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the tensors with which a batch is scored: tokens, mask, features of pure noise.

    The tokens are the indices of the true residues, ``(batch, width)`` int64. The mask is
    ``inside`` as a tensor: true at residues, false at pads, ``(batch, width)``. The features are
    the network's input if all residues are hidden, ``(batch, width, features)``; their noise
    depends only on the sequence.
    """
    codes = np.zeros(inside.shape, dtype=np.int64)
    codes[inside] = encode("".join(sequences))
    seeds = np.array([sequence_seed(sequence) for sequence in sequences], dtype=np.int64)
    noise = SamplingNoise(0, seeds, inside.shape[1], model.device)
    tokens, mask = (torch.from_numpy(array).to(model.device) for array in (codes, inside))
    return tokens, mask, model.process.sequence.prior(noise.sequence(0))


def _of_residues(logits: Tensor, tokens: Tensor) -> Tensor:
    """Return the log-probability of each true residue (its index is in ``tokens``).

    ``logits`` is ``(batch, width, 20)``; ``tokens`` and the result are ``(batch, width)``.
    """
    return logits.log_softmax(-1).gather(-1, tokens[..., None])[..., 0]
