"""Design tasks: functions that draw sequences (and backbones) from a trained model.

``codesign(model, lengths, entry, sampling)``, ``infill(model, template, count, …)``,
``analogues(model, sequence, strength, count, …)`` and ``inverse_fold(model, backbone, count, …)``
yield one `Design` after another. ``entry`` is a label query (`structdiff.peptides.query`). The
random numbers of a design depend on the seed, the entry and the number of the design, not on the
other designs of its batch. `codesign` draws a design again if it is identical to a training peptide
of the model.
"""

import zlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from structdiff.diffusion import (
    SAMPLERS,
    Given,
    SamplingNoise,
    Steered,
    close_disulfides,
    denoiser,
    given,
    sample,
)
from structdiff.generation.batching import compute_batches
from structdiff.generation.folding import fold
from structdiff.generation.request import (
    OPEN,
    check_bounds,
    check_lengths,
    check_template,
    condition,
    draw_targets,
    read_query,
    residue_bounds,
    steering,
    warn_unreachable,
)
from structdiff.peptides.seen import SeenPeptides
from structdiff.pretrained import TrainedModel
from structdiff.protein.residues import decode, encode
from structdiff.settings import DEFAULT, Sampling
from structdiff.system.errors import UserError

__all__ = ["Design", "analogues", "codesign", "infill", "inverse_fold"]

REDRAWS = 4
"""Largest number of times that a design is drawn again because it is a training peptide."""

UNSTEERED_STRENGTH = 4.0
"""Strength of the guidance towards properties, relative to the guidance towards labels.

It applies if any requested property is not steered. The guidance scale for properties is then
1 + this number × (``guidance_scale`` − 1).
"""

_NUMBERS = 1 << 40
"""Largest number of designs in a set. The n-th redraw of a design uses the random numbers that
belong to its number plus n × `_NUMBERS`."""


@dataclass(frozen=True, eq=False)
class Design:
    """A designed peptide.

    Attributes
    ----------
    number
        Number of the design in its set; with seed and entry, it determines the random numbers.
    sequence
        One-letter codes.
    backbone
        N, Cα, C, O in Å, ``(length, 4, 3)`` float32; None if only the sequence was asked for.
    asked
        Requested value of each property by its name, in its unit.
    redraws
        How often the design was drawn again because it was a training peptide.
    """

    number: int
    sequence: str
    backbone: np.ndarray | None
    asked: Mapping[str, float] = field(default_factory=dict)
    redraws: int = 0


Begin = Callable[..., Given]
"""Function of `structdiff.diffusion.given` that makes the start of sampling a batch. `_draw` calls
it with the process, the mask, the noise and the number of steps. All further arguments are arrays
of one peptide, which `_draw` repeats for every peptide of the batch."""


def codesign(
    model: TrainedModel,
    lengths: Sequence[int] | np.ndarray,
    entry: str = "none",
    sampling: Sampling = DEFAULT,
    *,
    sequence_only: bool = False,
    skip: Collection[int] = (),
) -> Iterator[Design]:
    """Yield a design of each length, with sequence and backbone drawn together, shortest first.

    Backbones with two cysteines that can be bonded are then fitted to disulfides
    (`structdiff.diffusion.close_disulfides`).

    If the model has hashes of its training peptides, a design that is identical to one of them is
    drawn again, up to `REDRAWS` times.

    Parameters
    ----------
    model
        The trained model.
    lengths
        Residues of each design, ``(designs,)``; a design's index here is its number.
    entry
        The label query.
    sampling
        Settings of the sampler.
    sequence_only
        Whether to draw sequences without backbones.
    skip
        Numbers of designs that are not needed, because they were drawn before. A batch of only
        such designs is left out; all designs of other batches are yielded. The division into
        batches, and therefore the designs, do not depend on ``skip``.

    Raises
    ------
    UserError
        If the query cannot be read or fulfilled (see `structdiff.generation.request.read_query`), a
        length is outside the length range of the query, the bounds on residues cannot be read, or
        the sampler is unknown.
    """
    begin = given.sequence_only if sequence_only else given.codesign
    lengths = np.asarray(lengths, dtype=np.int64)
    return _draw(model, lengths, entry, sampling, begin, skip, avoid=model.seen)


def infill(
    model: TrainedModel,
    template: str,
    count: int,
    entry: str = "none",
    sampling: Sampling = DEFAULT,
    *,
    sequence_only: bool = False,
    skip: Collection[int] = (),
) -> Iterator[Design]:
    """Yield ``count`` designs that keep every residue of a template such as ``GIGK????FLHS``.

    Parameters
    ----------
    model, entry, sampling, sequence_only, skip
        As in `codesign`.
    template
        One-letter codes of the residues to keep, and ``?`` for each residue to design.
    count
        Number of designs.

    Raises
    ------
    UserError
        If a letter of the template is neither a residue nor ``?``, there is no ``?``, or the kept
        residues exceed the bounds in ``sampling``; also for the reasons that `codesign` names.
    """
    begin = given.sequence_only if sequence_only else given.codesign
    residues = _template(template)
    lengths = np.full(count, len(template))
    return _draw(model, lengths, entry, sampling, begin, skip, residues)


def analogues(
    model: TrainedModel,
    sequence: str,
    strength: float,
    count: int,
    entry: str = "none",
    sampling: Sampling = DEFAULT,
    *,
    keep: np.ndarray | None = None,
    backbone: np.ndarray | None = None,
    first: int = 0,
    skip: Collection[int] = (),
) -> Iterator[Design]:
    """Yield ``count`` peptides that resemble a given one.

    The peptide and its backbone are noised to the level ``strength`` and denoised again: 0 returns
    them, 1 keeps only the length. With masked diffusion, ``strength`` is the share of the residues
    that are drawn again.

    Parameters
    ----------
    model, entry, sampling, skip
        As in `codesign`.
    sequence
        The given peptide.
    strength
        Noise level, 0–1.
    count
        Number of analogues.
    keep
        Which residues must stay, ``(length,)`` bool; None lets all of them change.
    backbone
        The peptide's backbone ``(length, 4, 3)`` in Å; None to fold the peptide with the model.
    first
        Number of the first analogue.

    Raises
    ------
    UserError
        If the strength is not in 0–1, or fixed residues exceed the bounds on residues; also for the
        reasons that `codesign` names.
    """
    if not 0 <= strength <= 1:
        raise UserError(
            f"the strength {strength} is outside of 0 (the peptide itself) to 1 (a free design)"
        )
    if len(model.process.grid(sampling.num_steps, strength)) == 1:  # no step, so nothing changes
        check_bounds(sequence, residue_bounds(sampling))
    if backbone is None:
        backbone = next(fold(model, [sequence])).backbone
    tokens = _encode(sequence)
    fixed = np.zeros(len(sequence), dtype=bool) if keep is None else keep
    begin = partial(given.partial_diffusion, strength=strength)
    lengths = np.full(count, len(sequence))
    residues, backbone = (tokens, fixed), np.asarray(backbone, dtype=np.float32)
    return _draw(
        model,
        lengths,
        entry,
        sampling,
        begin,
        skip,
        residues,
        first,
        tokens=tokens,
        backbone=backbone,
    )


def inverse_fold(
    model: TrainedModel,
    backbone: np.ndarray,
    count: int,
    entry: str = "none",
    sampling: Sampling = DEFAULT,
    *,
    template: str | None = None,
    skip: Collection[int] = (),
) -> Iterator[Design]:
    """Yield ``count`` sequences for a given backbone.

    Parameters
    ----------
    model, entry, sampling, skip
        As in `codesign`.
    backbone
        N, Cα, C, O in Å, ``(length, 4, 3)``.
    count
        Number of designs.
    template
        Residues to keep, and ``?`` at all other positions, with the length of the backbone. None
        keeps no residue.

    Raises
    ------
    UserError
        If template and backbone differ in length; also for the reasons that `infill` names.
    """
    residues = None if template is None else _template(template)
    if template is not None and len(template) != len(backbone):
        raise UserError(
            f"the template {template} has {len(template)} residues, the backbone {len(backbone)}"
        )
    lengths, begin = np.full(count, len(backbone)), given.inverse_folding
    backbone = np.asarray(backbone, dtype=np.float32)
    designs = _draw(model, lengths, entry, sampling, begin, skip, residues, backbone=backbone)
    return (replace(design, backbone=backbone) for design in designs)


def _template(template: str) -> tuple[np.ndarray, np.ndarray]:
    """Return residue indices (arbitrary at ``?``), and which are fixed, both ``(length,)``."""
    check_template(template)
    return _encode(template.replace(OPEN, "A")), np.array(list(template)) != OPEN


def _encode(sequence: str) -> np.ndarray:
    return encode(sequence).astype(np.int64)


def _draw(
    model: TrainedModel,
    lengths: np.ndarray,
    entry: str,
    sampling: Sampling,
    begin: Begin,
    skip: Collection[int],
    residues: tuple[np.ndarray, np.ndarray] | None = None,
    first: int = 0,
    avoid: SeenPeptides | None = None,
    **start: np.ndarray,
) -> Iterator[Design]:
    """Yield a design of each length, from the start of sampling that ``begin`` makes.

    Parameters
    ----------
    model, lengths, entry, sampling, skip
        As in `codesign`.
    begin
        Function that makes the start of sampling; see `Begin`.
    residues
        Residue indices of a peptide, and which of them are fixed, each ``(length,)``; None fixes no
        residue.
    first
        Number of the first design.
    avoid
        Peptides that no design should equal: a design that is one of them is drawn again, at most
        `REDRAWS` times. None avoids none.
    start
        Further arguments of ``begin``: arrays of one peptide, by name.

    Raises
    ------
    UserError
        If fixed residues exceed the bounds on residues; also for the reasons that `codesign` names.
    """
    asked = condition(entry, model.conditions)
    query = read_query(entry, model.conditions)
    check_lengths(entry, query, lengths)
    targets = draw_targets(entry, model.conditions, first + len(lengths), sampling.seed)
    if targets:
        asked = asked.with_values(targets, model.conditions)
    asked = asked.to(model.device)
    seed = (sampling.seed * 1_000_003 + zlib.crc32(entry.encode())) & 0xFFFFFFFF
    constraints = residue_bounds(sampling)
    fixed = "" if residues is None else decode(residues[0][residues[1]])
    check_bounds(fixed, constraints)
    if first == 0:  # later calls draw more analogues for the same request
        warn_unreachable(entry, query.ends, targets, lengths, constraints, fixed)
    if sampling.sampler not in SAMPLERS:
        raise UserError(
            f"there is no sampler '{sampling.sampler}'; there are: {', '.join(SAMPLERS)}"
        )

    def of_all(array: np.ndarray, mask: Tensor) -> Tensor:
        """Pad the array of one peptide, and repeat it for every peptide of the batch."""
        tensor = torch.as_tensor(array, device=model.device)
        padded = tensor.new_zeros(mask.shape[1], *array.shape[1:])
        padded[: len(array)] = tensor
        return padded.expand(len(mask), *padded.shape)

    def draw_batch(rows: np.ndarray, inside: np.ndarray) -> list[Design]:
        designs = draw_once(rows, inside)
        if avoid is None:
            return designs
        for redraws in range(1, REDRAWS + 1):
            copies = np.flatnonzero(avoid.includes([design.sequence for design in designs]))
            if not len(copies):
                break
            again = draw_once(rows[copies], inside[copies], redraws)
            for place, design in zip(copies, again, strict=True):
                designs[place] = design
        return designs

    def draw_once(rows: np.ndarray, inside: np.ndarray, redraws: int = 0) -> list[Design]:
        numbers = rows + first
        mask = torch.from_numpy(inside).to(model.device)
        noise = SamplingNoise(seed, numbers + redraws * _NUMBERS, mask.shape[1], model.device)
        arrays = {name: of_all(array, mask) for name, array in start.items()}
        num_steps = model.process.sequence.useful_steps(sampling.num_steps, mask.shape[1])
        known = begin(model.process, mask, noise, num_steps, **arrays)
        if residues is not None:
            known = known.with_residues(*(of_all(array, mask) for array in residues))
        asked_for = {name: target[numbers] for name, target in targets.items()}
        steers = steering(query.ends, asked_for, inside.sum(1), model.device)
        # Properties that are not steered change by guidance only, which is therefore stronger.
        strength = UNSTEERED_STRENGTH if len(steers) < len(targets) else 1.0
        denoise = denoiser(
            model.network,
            mask,
            asked.take(torch.from_numpy(numbers)) if targets else asked.expand(len(mask)),
            sampling.guidance_scale,
            sampling.temperature,
            property_scale=1.0 + strength * (sampling.guidance_scale - 1.0),
        )
        if steers:
            denoise = Steered(denoise, model.process, known, steers)
        samples = sample(denoise, model.process, known, noise, sampling.sampler, constraints)
        backbone = samples.backbone
        if backbone is not None and len(known.levels) > 1:  # without a step, nothing is drawn
            backbone = close_disulfides(
                model.network, model.process, samples.tokens, backbone, mask
            )
        tokens = samples.tokens.cpu().numpy()
        backbones = None if backbone is None else backbone.cpu().numpy()
        return [
            Design(
                number,
                decode(tokens[row, inside[row]]),
                None if backbones is None else backbones[row, inside[row]],
                {name: float(target[number]) for name, target in targets.items()},
                redraws,
            )
            for row, number in enumerate(numbers.tolist())
        ]

    return compute_batches(draw_batch, lengths, model.device, [number - first for number in skip])
