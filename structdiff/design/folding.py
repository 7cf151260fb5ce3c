"""Folding with the trained model: the backbone of a given sequence.

``fold(release, sequences, sampling, draws=4)`` yields a `Fold` for each. A sampler draws another
backbone from other noise; where several draws agree, the model knows the fold. Of ``draws``
backbones the medoid is kept, and ``agreement`` says how much the others confirm each residue.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from structdiff.design.sampling import DEFAULT, Sampling, batches, own_number
from structdiff.diffusion import sample
from structdiff.geometry import lddt
from structdiff.release import Release
from structdiff.sequence import encode

__all__ = ["Fold", "fold"]


@dataclass(frozen=True)
class Fold:
    """The backbone of a peptide.

    Attributes
    ----------
    number
        Position of the peptide among those given.
    sequence
        One-letter codes.
    backbone
        N, Cα, C, O in Å, ``(length, 4, 3)`` float32.
    agreement
        Mean Cα-lDDT of the other draws against this one, ``(length,)`` in 0–1; None of one draw.
    """

    number: int
    sequence: str
    backbone: np.ndarray
    agreement: np.ndarray | None


def fold(
    release: Release,
    sequences: Sequence[str],
    sampling: Sampling = DEFAULT,
    *,
    draws: int = 1,
) -> Iterator[Fold]:
    """Yield the backbone of each sequence, shortest first.

    It depends on the sequence, the settings and the seed, not on what is folded beside it. Labels
    have no part in it, nor has the temperature.

    Parameters
    ----------
    release
        The model.
    sequences
        Of the 20 standard residues.
    sampling
        How to draw.
    draws
        Backbones drawn for each, of which the one is kept that is most like the others.
    """
    lengths = np.array([len(sequence) for sequence in sequences], dtype=np.int64)
    index = np.array([own_number(sequence) for sequence in sequences], dtype=np.int64)
    for rows, inside in batches(lengths):
        mask = torch.from_numpy(inside).to(release.device)
        codes = np.zeros(inside.shape, dtype=np.int64)
        codes[inside] = encode("".join(sequences[row] for row in rows))
        tokens = torch.from_numpy(codes).to(release.device)
        drawn = [
            _backbones(release, tokens, mask, index[rows], sampling, sampling.seed + draw)
            for draw in range(draws)
        ]
        backbones, agreement = drawn[0], [None] * len(rows)
        if draws > 1:
            backbones, agreement = _medoid(torch.stack(drawn, dim=1), mask)
            agreement = [
                own[of] for own, of in zip(agreement.float().cpu().numpy(), inside, strict=True)
            ]
        for row, backbone, of, own in zip(
            rows, backbones.cpu().numpy(), inside, agreement, strict=True
        ):
            yield Fold(int(row), sequences[row], backbone[of], own)


def _backbones(
    release: Release,
    tokens: Tensor,
    mask: Tensor,
    index: np.ndarray,
    sampling: Sampling,
    seed: int,
) -> Tensor:
    """Draw a backbone of each peptide, ``(batch, length, 4, 3)`` in Å."""
    labels = torch.zeros(len(tokens), len(release.labels), dtype=torch.int64, device=tokens.device)
    return sample(
        release.model,
        release.process,
        mask=mask,
        index=index,
        labels=labels,
        seed=seed,
        num_steps=sampling.num_steps,
        tokens=tokens,
    ).backbone


def _medoid(drawn: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Return the most typical of some backbones and how much the others confirm its residues.

    Parameters
    ----------
    drawn
        ``(batch, draws, length, 4, 3)`` in Å.
    mask
        True at residues, ``(batch, length)``.

    Returns
    -------
    Tensor, Tensor
        ``(batch, length, 4, 3)`` and ``(batch, length)``.
    """
    # Pads are put where no residue is near, and have no say in the mean.
    ca = drawn[..., 1, :].masked_fill(~mask[:, None, :, None], torch.inf)
    draws = ca.shape[1]
    # (batch, draws, length): what the other draws score with each draw as their reference.
    confirmed = torch.stack(
        [
            sum(lddt(ca[:, other], ca[:, one]) for other in range(draws) if other != one)
            for one in range(draws)
        ],
        dim=1,
    ) / (draws - 1)
    confirmed = confirmed.nan_to_num(1.0)  # a single residue has nothing to disagree on
    best = confirmed.mean(-1).argmax(1)
    batch = torch.arange(len(drawn), device=drawn.device)
    return drawn[batch, best], confirmed[batch, best]
