"""How well a model knows the residues of given peptides, with and without their backbones.

``score(release, sequences, backbones)`` hides every residue and asks the model for all of them at
once, from the backbone (inverse folding); without backbones, from the length alone. Both answer for
the same positions, so that what the structure tells is the difference. One pass, the same for every
sequence process; what noise it takes is the sequence's own.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from structdiff.diffusion import SamplingNoise
from structdiff.generation.batching import batches, sequence_seed
from structdiff.model import Condition, no_estimate
from structdiff.pretrained import TrainedModel
from structdiff.protein.residues import encode

__all__ = ["Score", "perplexity", "recovery", "score"]


@dataclass(frozen=True)
class Score:
    """What a model makes of one peptide's residues.

    Attributes
    ----------
    number
        Position of the peptide among those given.
    log_probability
        Natural logarithm of the probability of each true residue, ``(length,)``.
    recovered
        Whether it is the likeliest one, ``(length,)`` bool.
    """

    number: int
    log_probability: np.ndarray
    recovered: np.ndarray


def recovery(scores: Sequence[Score]) -> float:
    """Return the share of residues that are the likeliest ones."""
    return float(np.concatenate([one.recovered for one in scores]).mean())


def perplexity(scores: Sequence[Score]) -> float:
    """Return the exponential of the mean negative log-probability of a residue; 20 is chance."""
    return float(np.exp(-np.concatenate([one.log_probability for one in scores]).mean()))


@torch.no_grad()
def score(
    release: TrainedModel,
    sequences: Sequence[str],
    backbones: Sequence[np.ndarray] | None = None,
) -> Iterator[Score]:
    """Yield the score of each peptide, shortest first.

    Parameters
    ----------
    release
        The model.
    sequences
        The true residues.
    backbones
        The peptides' backbones, each ``(length, 4, 3)`` in Å; None scores without structure.
    """
    process, device = release.process, release.device
    lengths = np.array([len(sequence) for sequence in sequences], dtype=np.int64)
    index = np.array([sequence_seed(sequence) for sequence in sequences], dtype=np.int64)
    for rows, inside in batches(lengths):
        count, width = inside.shape
        codes = np.zeros(inside.shape, dtype=np.int64)
        codes[inside] = encode("".join(sequences[row] for row in rows))
        tokens, mask = torch.from_numpy(codes).to(device), torch.from_numpy(inside).to(device)
        noise = SamplingNoise(0, index[rows], width, device)
        hidden = process.sequence.prior(noise.sequence(0))
        structure = torch.zeros(count, width, process.structure.width, device=device)
        structure_level = torch.full((count,), float(backbones is None), device=device)
        if backbones is not None:
            shapes = np.zeros((count, width, 4, 3), dtype=np.float32)
            shapes[inside] = np.concatenate([backbones[row] for row in rows])
            structure = process.structure.encode(torch.from_numpy(shapes).to(device), mask)
        condition = Condition.unspecified(len(release.labels)).to(device).expand(count)
        logits, _, _ = release.model(
            hidden,
            structure,
            mask,
            torch.ones(count, device=device),
            structure_level,
            condition,
            *no_estimate(structure),
        )
        known = logits.log_softmax(-1).gather(-1, tokens[..., None])[..., 0].cpu().numpy()
        right = (logits.argmax(-1) == tokens).cpu().numpy()
        for row, of, log_probability, recovered in zip(rows, inside, known, right, strict=True):
            yield Score(int(row), log_probability[of], recovered[of])
