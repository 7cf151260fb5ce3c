"""The tasks that end in new sequences.

``codesign(release, lengths, entry, sampling)``, ``infill(release, template, count, …)``,
``analogues(release, sequence, strength, count, …)`` and ``inverse_fold(release, backbone, count,
…)`` each yield `Design` after `Design`. An entry is a label, several joined by ``+`` (all are asked
for at once), or ``none``. With the seed, a design's number decides it, whatever is drawn beside it.
"""

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from structdiff.diffusion import sample
from structdiff.generation.batching import DEFAULT, Sampling, batches
from structdiff.generation.folding import fold
from structdiff.generation.request import OPEN, check_template, label_states
from structdiff.pretrained import TrainedModel
from structdiff.protein.residues import decode, encode
from structdiff.system.errors import UserError

__all__ = ["Design", "Sampling", "analogues", "codesign", "infill", "inverse_fold"]


@dataclass(frozen=True)
class Design:
    """A designed peptide.

    Attributes
    ----------
    number
        Its number among those asked for: with the seed and the entry, it decides the design.
    sequence
        One-letter codes.
    backbone
        N, Cα, C, O in Å, ``(length, 4, 3)`` float32; None where only the sequence was asked for.
    """

    number: int
    sequence: str
    backbone: np.ndarray | None


def codesign(
    release: TrainedModel,
    lengths: Sequence[int] | np.ndarray,
    entry: str = "none",
    sampling: Sampling = DEFAULT,
    *,
    sequence_only: bool = False,
) -> Iterator[Design]:
    """Yield a design, sequence and backbone drawn together, for each length, shortest first.

    Parameters
    ----------
    release
        The model.
    lengths
        Residues of each design, ``(designs,)``; the position is the design's number.
    entry
        The labels to ask for.
    sampling
        How to draw.
    sequence_only
        Draw no backbone.
    """
    lengths = np.asarray(lengths, dtype=np.int64)
    return _draw(release, lengths, entry, sampling, sequence_only=sequence_only)


def infill(
    release: TrainedModel,
    template: str,
    count: int,
    entry: str = "none",
    sampling: Sampling = DEFAULT,
    *,
    sequence_only: bool = False,
) -> Iterator[Design]:
    """Yield ``count`` designs that keep every residue of a template such as ``GIGK????FLHS``.

    Raises
    ------
    UserError
        If the template holds anything but the 20 residues and ``?``.
    """
    check_template(template)
    letters = np.array(list(template))
    fixed = letters != OPEN
    tokens = encode(template.replace(OPEN, "A"))
    lengths = np.full(count, len(template))
    return _draw(
        release, lengths, entry, sampling, tokens=tokens, fixed=fixed, sequence_only=sequence_only
    )


def analogues(
    release: TrainedModel,
    sequence: str,
    strength: float,
    count: int,
    entry: str = "none",
    sampling: Sampling = DEFAULT,
    *,
    keep: np.ndarray | None = None,
    backbone: np.ndarray | None = None,
) -> Iterator[Design]:
    """Yield ``count`` peptides that resemble a given one.

    The peptide and its backbone are noised to the level ``strength`` and denoised again: at 0 they
    come back, at 1 nothing of them is left but the length. With masked diffusion, ``strength`` is
    the share of the residues that are drawn anew.

    Parameters
    ----------
    release
        The model.
    sequence
        The peptide.
    strength
        0–1.
    count
        Analogues.
    entry
        The labels to ask for.
    sampling
        How to draw.
    keep
        Which residues must stay, ``(length,)`` bool.
    backbone
        Its backbone ``(length, 4, 3)`` in Å; if None, the model folds it.

    Raises
    ------
    UserError
        If the strength is out of bounds.
    """
    if not 0 <= strength <= 1:
        raise UserError(
            f"the strength {strength} is outside of 0 (the peptide itself) to 1 (a free design)"
        )
    if backbone is None:
        (origin,) = fold(release, [sequence])
        backbone = origin.backbone
    lengths = np.full(count, len(sequence))
    return _draw(
        release,
        lengths,
        entry,
        sampling,
        tokens=encode(sequence),
        fixed=np.zeros(len(sequence), dtype=bool) if keep is None else keep,
        backbone=backbone,
        strength=strength,
    )


def inverse_fold(
    release: TrainedModel,
    backbone: np.ndarray,
    count: int,
    entry: str = "none",
    sampling: Sampling = DEFAULT,
    *,
    template: str | None = None,
) -> Iterator[Design]:
    """Yield ``count`` sequences for a given backbone.

    Parameters
    ----------
    release
        The model.
    backbone
        N, Cα, C, O in Å, ``(length, 4, 3)``.
    count
        Designs.
    entry
        The labels to ask for.
    sampling
        How to draw.
    template
        Residues to keep, ``?`` elsewhere; its length is the backbone's.
    """
    lengths = np.full(count, len(backbone))
    if template is None:
        return _draw(release, lengths, entry, sampling, backbone=backbone)
    check_template(template)
    if len(template) != len(backbone):
        raise UserError(
            f"the template {template} has {len(template)} residues, the backbone {len(backbone)}"
        )
    fixed = np.array(list(template)) != OPEN
    tokens = encode(template.replace(OPEN, "A"))
    return _draw(release, lengths, entry, sampling, tokens=tokens, fixed=fixed, backbone=backbone)


def _draw(
    release: TrainedModel,
    lengths: np.ndarray,
    entry: str,
    sampling: Sampling,
    *,
    tokens: np.ndarray | None = None,
    fixed: np.ndarray | None = None,
    backbone: np.ndarray | None = None,
    strength: float | None = None,
    sequence_only: bool = False,
) -> Iterator[Design]:
    """Yield a design of each length; what is given of one peptide is given of all."""
    states = torch.from_numpy(label_states(entry, release.labels)).to(release.device)
    seed = (sampling.seed * 1_000_003 + zlib.crc32(entry.encode())) & 0xFFFFFFFF

    def given(array: np.ndarray | None, mask: Tensor, dtype: torch.dtype) -> Tensor | None:
        if array is None:
            return None
        padded = torch.zeros(mask.shape[1], *array.shape[1:], dtype=dtype, device=release.device)
        padded[: len(array)] = torch.as_tensor(array, device=release.device)
        return padded.expand(len(mask), *padded.shape)

    def designs() -> Iterator[Design]:
        for numbers, inside in batches(lengths):
            mask = torch.from_numpy(inside).to(release.device)
            drawn = sample(
                release.model,
                release.process,
                mask=mask,
                index=numbers,
                labels=states.expand(len(mask), -1),
                seed=seed,
                num_steps=sampling.num_steps,
                guidance_scale=sampling.guidance_scale,
                temperature=sampling.temperature,
                tokens=given(tokens, mask, torch.int64),
                fixed=given(fixed, mask, torch.bool),
                backbone=given(backbone, mask, torch.float32),
                strength=strength,
                sequence_only=sequence_only,
            )
            tokens_drawn = drawn.tokens.cpu().numpy()
            backbones = None if sequence_only else drawn.backbone.cpu().numpy()
            for place, number in enumerate(numbers.tolist()):
                own = inside[place]
                shape = None if backbones is None else backbones[place, own]
                yield Design(number, decode(tokens_drawn[place, own]), shape)

    return designs()
