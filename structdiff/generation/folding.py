"""Folding with the trained model: the backbone of a given sequence.

``fold(model, sequences)`` yields a `Fold` for each sequence: the predicted backbone, and the
confidence of each residue. Folding is deterministic: a sequence has one fold.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from structdiff import diffusion
from structdiff.generation.batching import compute_batches
from structdiff.pretrained import TrainedModel
from structdiff.protein.residues import encode

__all__ = ["Fold", "fold"]


@dataclass(frozen=True, eq=False)
class Fold:
    """Predicted backbone of a peptide, with its confidence.

    Attributes
    ----------
    number
        Index of the peptide in the given sequences, from 0.
    sequence
        One-letter codes.
    backbone
        N, Cα, C, O in Å, ``(length, 4, 3)`` float32.
    confidence
        The Cα-lDDT that the model expects of each residue, ``(length,)`` float32 in 0–1.
    """

    number: int
    sequence: str
    backbone: np.ndarray
    confidence: np.ndarray


def fold(
    model: TrainedModel, sequences: Sequence[str], *, skip: Collection[int] = ()
) -> Iterator[Fold]:
    """Yield the predicted backbone of each sequence as a `Fold`, shortest sequence first.

    A fold depends neither on labels nor on the other sequences of the batch.

    Parameters
    ----------
    model
        The trained model.
    sequences
        Sequences of the 20 standard residues.
    skip
        Indices of sequences whose folds are not needed. A batch of only such sequences is left
        out; the folds of all other batches are yielded in full.
    """
    lengths = np.array([len(sequence) for sequence in sequences], dtype=np.int64)

    def fold_batch(rows: np.ndarray, inside: np.ndarray) -> list[Fold]:
        codes = np.zeros(inside.shape, dtype=np.int64)
        codes[inside] = encode("".join(sequences[row] for row in rows))
        folded = diffusion.fold(
            model.network,
            model.process,
            torch.from_numpy(codes).to(model.device),
            torch.from_numpy(inside).to(model.device),
        )
        backbones, confidence = folded.backbone.cpu().numpy(), folded.confidence.cpu().numpy()
        return [
            Fold(number, sequences[number], backbones[i, residues], confidence[i, residues])
            for i, (number, residues) in enumerate(zip(rows.tolist(), inside, strict=True))
        ]

    yield from compute_batches(fold_batch, lengths, model.device, skip)
