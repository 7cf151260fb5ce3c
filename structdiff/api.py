"""Functions of ``import structdiff``: load a model, design, infill, vary, fold, score, scan, view.

The functions that design, fold and score call `structdiff.generation`; they return a list or a
single result instead of a generator. The functions that draw designs take the settings of
`Sampling` as keywords (``num_steps``, ``guidance_scale``, ``temperature``, ``seed``, ``sampler``,
``forbid``, ``at_most``). All functions raise `UserError` if a sequence, a backbone, a label, a
number or a setting cannot be used.

Examples
--------
>>> import structdiff
>>> model = structdiff.load()
>>> designs = structdiff.generate(model, 5, "antimicrobial", num_steps=10)
>>> backbone = structdiff.fold(model, "GIGKFLHSAKKFGKAFVGEIMNS").backbone
>>> known = structdiff.score(model, "GIGKFLHSAKKFGKAFVGEIMNS", backbone).log_probability
"""

from collections.abc import Mapping
from dataclasses import fields
from numbers import Integral
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from structdiff.generation.folding import Fold
from structdiff.generation.folding import fold as _fold
from structdiff.generation.request import (
    check_labels_only,
    check_length,
    check_sequence,
    check_template,
    draw_lengths,
)
from structdiff.generation.scan import Scan
from structdiff.generation.scan import scan as _scan
from structdiff.generation.scoring import Score
from structdiff.generation.scoring import score as _score
from structdiff.generation.tasks import Design, codesign
from structdiff.generation.tasks import infill as _infill
from structdiff.generation.tasks import inverse_fold as _inverse_fold
from structdiff.generation.variants import Analogue, distinct_analogues, strength_of
from structdiff.pretrained import PRETRAINED, TrainedModel, load_model
from structdiff.protein.chains import check_geometry, check_phi
from structdiff.protein.io import format_pdb
from structdiff.protein.structure import from_backbone
from structdiff.report.viewer import Backbone, View
from structdiff.settings import Sampling
from structdiff.system.errors import UserError
from structdiff.system.gpus import choose_device

__all__ = [
    "analogues",
    "fold",
    "generate",
    "infill",
    "inverse_fold",
    "load",
    "scan",
    "score",
    "view",
]


def load(path: str | PathLike = PRETRAINED, device: str | None = None) -> TrainedModel:
    """Load a trained model.

    Parameters
    ----------
    path
        ``model.safetensors``, as `structdiff select` writes it; the released model by default.
    device
        ``"cpu"``, ``"cuda"``, …; None uses a GPU if there is one.

    Raises
    ------
    UserError
        If the file is missing, damaged, or not a model of structdiff, or the device
        cannot be used.
    """
    return load_model(Path(path), device or choose_device())


def generate(
    model: TrainedModel,
    count: int,
    label: str = "none",
    *,
    length: int | tuple[int, int] | None = None,
    **sampling: Any,
) -> list[Design]:
    """Return ``count`` designed peptides with their backbones, shortest first.

    Parameters
    ----------
    model
        The model, as `load` returns it.
    count
        Number of designs.
    label
        The label query, such as ``antimicrobial + not hemolytic + charge 4..7``, or ``none``.
    length
        Number of residues, or the smallest and the largest number. None draws from the lengths of
        the training peptides that have the labels.
    sampling
        Settings of `structdiff.settings.Sampling`.

    Examples
    --------
    >>> designs = structdiff.generate(model, 4, "none", length=(8, 10), num_steps=5, seed=1)
    >>> all(8 <= len(design.sequence) <= 10 for design in designs)
    True
    >>> again = structdiff.generate(model, 4, "none", length=(8, 10), num_steps=5, seed=1)
    >>> [design.sequence for design in designs] == [design.sequence for design in again]
    True
    """
    settings = _settings(count, sampling)
    lengths = draw_lengths(model, label, count, settings.seed, _as_range("length", length))
    return list(codesign(model, lengths, label, settings))


def infill(
    model: TrainedModel, template: str, count: int, label: str = "none", **sampling: Any
) -> list[Design]:
    """Return ``count`` designs that keep every residue of a template and fill its ``?``.

    Parameters
    ----------
    model
        The model, as `load` returns it.
    template
        One-letter codes, and ``?`` for each residue that the model designs.
    count
        Number of designs.
    label
        The label query, or ``none``.
    sampling
        Settings of `structdiff.settings.Sampling`.

    Examples
    --------
    >>> [design] = structdiff.infill(model, "GIGK????FLHS", 1, num_steps=5)
    >>> design.sequence[:4], design.sequence[8:]
    ('GIGK', 'FLHS')
    """
    settings = _settings(count, sampling)
    check_template(template)
    check_length(model, len(template))
    return list(_infill(model, template, count, label, settings))


def analogues(
    model: TrainedModel,
    sequence: str,
    strength: float | None,
    count: int,
    label: str = "none",
    *,
    mutations: int | tuple[int, int] | None = None,
    **sampling: Any,
) -> list[Analogue]:
    """Return distinct analogues of a peptide, other than the peptide itself.

    Parameters
    ----------
    model
        The model, as `load` returns it.
    sequence
        The given peptide, one-letter codes.
    strength
        Share of the residues that are drawn again; 1 keeps only the length. If it is None, the
        share is the largest number of ``mutations``, divided by the length.
    count
        Number of analogues. If fewer are found, a warning is printed.
    label
        The label query, or ``none``.
    mutations
        Number of residues that differ from the peptide, or the smallest and the largest number;
        None for any number.
    sampling
        Settings of `structdiff.settings.Sampling`.

    Examples
    --------
    >>> designs = structdiff.analogues(
    ...     model, "KWKLFKKIGAVLKVL", None, 3, mutations=(1, 4), num_steps=5
    ... )
    >>> [sum(a != b for a, b in zip("KWKLFKKIGAVLKVL", d.sequence)) in range(1, 5) for d in designs]
    [True, True, True]
    """
    settings = _settings(count, sampling)
    _check_peptide(model, sequence)
    changes = _as_range("mutations", mutations)
    noise = strength_of(strength, changes, len(sequence))
    return list(
        distinct_analogues(model, sequence, noise, count, label, settings, mutations=changes)
    )


def inverse_fold(
    model: TrainedModel, backbone: ArrayLike, count: int, label: str = "none", **sampling: Any
) -> list[Design]:
    """Return ``count`` designs with the given backbone: sequences that should fold into it.

    Parameters
    ----------
    model
        The model, as `load` returns it.
    backbone
        N, Cα, C and O of each residue, ``(length, 4, 3)`` in Å.
    count
        Number of designs.
    label
        The label query, or ``none``.
    sampling
        Settings of `structdiff.settings.Sampling`.

    Examples
    --------
    >>> backbone = structdiff.fold(model, "KWKLFKKIGAVLKVL").backbone
    >>> [design] = structdiff.inverse_fold(model, backbone, 1, num_steps=5)
    >>> len(design.sequence)
    15
    """
    settings = _settings(count, sampling)
    given = _as_backbone(backbone)
    check_length(model, len(given))
    return list(_inverse_fold(model, given, count, label, settings))


def fold(model: TrainedModel, sequence: str) -> Fold:
    """Return the backbone of a sequence of the 20 standard residues, with its confidence.

    The fold is fitted to the model's own inverse folding: the `score` of a sequence on its fold is
    high even if the fold is wrong.

    Parameters
    ----------
    model
        The model, as `load` returns it.
    sequence
        One-letter codes.

    Examples
    --------
    >>> fold = structdiff.fold(model, "GIGKFLHSAKKFG")
    >>> fold.backbone.shape, fold.confidence.shape
    ((13, 4, 3), (13,))
    """
    _check_peptide(model, sequence)
    [result] = _fold(model, [sequence])
    return result


def score(model: TrainedModel, sequence: str, backbone: ArrayLike | None = None) -> Score:
    """Return the log-probability of each residue of a peptide, given its backbone or its length.

    Parameters
    ----------
    model
        The model, as `load` returns it.
    sequence
        One-letter codes.
    backbone
        N, Cα, C and O of each residue, ``(length, 4, 3)`` in Å; None predicts from the length only.

    Examples
    --------
    >>> score = structdiff.score(model, "GIGKFLHSAKKFG")
    >>> bool((score.log_probability < 0).all())
    True
    """
    _check_peptide(model, sequence)
    given = None if backbone is None else [_as_backbone(backbone, sequence)]
    [result] = _score(model, [sequence], given)
    return result


def scan(model: TrainedModel, sequence: str, label: str = "none") -> Scan:
    """Return a mutational scan: the log-probability of each residue at each position of a peptide.

    Parameters
    ----------
    model
        The model, as `load` returns it.
    sequence
        One-letter codes.
    label
        A query of labels only, without properties and lengths, or ``none``.

    Examples
    --------
    >>> scan = structdiff.scan(model, "GIGKFLHSAKKFG")
    >>> scan.log_odds.shape
    (13, 20)
    """
    _check_peptide(model, sequence)
    check_labels_only(label, model.conditions)
    return _scan(model, sequence, label)


def view(peptides: Mapping[str, Design | Fold]) -> View:
    """Return a 3D view of the backbones of peptides.

    A notebook shows the view if it is the last expression of a cell.

    Parameters
    ----------
    peptides
        Designs or folds, by the names that the view shows. The view can also colour a fold by its
        confidence.

    Raises
    ------
    UserError
        If ``peptides`` is not a mapping from names, or one of them has no backbone.

    Examples
    --------
    >>> view = structdiff.view({"magainin": structdiff.fold(model, "GIGKFLHSAKKFG")})
    >>> list(view.backbones)
    ['magainin']
    """
    if not isinstance(peptides, Mapping):
        raise UserError("give the peptides by name, such as {'magainin 2': fold}")
    backbones = {}
    for name, peptide in peptides.items():
        backbone = getattr(peptide, "backbone", None)
        if backbone is None:
            raise UserError(f"{name}: give a design or a fold that has a backbone")
        pdb = format_pdb(from_backbone(peptide.sequence, backbone))
        folded = ""
        if isinstance(peptide, Fold):
            confidence = 100 * peptide.confidence
            folded = format_pdb(from_backbone(peptide.sequence, backbone, confidence))
        backbones[str(name)] = Backbone(peptide.sequence, pdb, folded)
    return View(backbones)


def _as_range(name: str, value: int | tuple[int, int] | None) -> tuple[int, int] | None:
    """Return the smallest and the largest number that an argument allows; None stays None.

    A single number is both. `UserError` is raised if the argument is neither a whole number nor a
    pair of whole numbers; ``name`` is the argument's name, for the message.
    """
    if value is None:
        return None
    ends = tuple(value) if isinstance(value, (tuple, list)) else (value, value)
    if len(ends) != 2 or not all(_is_whole(end) for end in ends):
        raise UserError(f"{name} {value!r}: give a whole number, or two of them, such as (10, 25)")
    return ends


def _is_whole(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def _settings(count: int, sampling: dict[str, Any]) -> Sampling:
    """Return the settings of the sampler from the keywords ``sampling``.

    `UserError` is raised if a setting is unknown or cannot be used, or if the number of designs
    ``count`` is not a whole number from 0.
    """
    if not _is_whole(count) or count < 0:
        raise UserError(f"{count!r} designs: give the number of designs to draw")
    names = [field.name for field in fields(Sampling)]
    for name in sampling:
        if name not in names:
            raise UserError(
                f"'{name}' is not a setting of the sampler; the settings are {', '.join(names)}"
            )
    return Sampling(**sampling)


def _check_peptide(model: TrainedModel, sequence: str) -> None:
    """Raise `UserError` if `check_sequence` or `check_length` rejects a sequence.

    A warning is printed if all training peptides of the model are longer than the sequence, or all
    are shorter.
    """
    check_sequence(sequence)
    check_length(model, len(sequence))


def _as_backbone(backbone: ArrayLike, sequence: str = "") -> np.ndarray:
    """Return a copy of a backbone as an array, ``(length, 4, 3)`` float32 in Å.

    ``sequence`` is the sequence of the backbone; if it is empty, any number of residues but 0 is
    allowed. `UserError` is raised if the backbone has another shape, a value that is not finite, or
    an impossible bond, or is a mirror image. Bonds are impossible if, for example, the backbone is
    in nm or has other atoms.
    """
    each = f"each of {len(sequence)} residues" if sequence else "each residue"
    wanted = f"give finite N, Cα, C and O of {each}, in Å"
    try:
        array = np.array(backbone, dtype=np.float32)
    except (TypeError, ValueError, RuntimeError) as error:  # RuntimeError: a tensor with a gradient
        raise UserError(f"backbone: {wanted}; it is not an array of numbers: {error}") from None
    residues = (len(sequence),) if sequence else array.shape[:1]
    if array.shape != (*residues, 4, 3) or not array.size or not np.isfinite(array).all():
        raise UserError(f"backbone of shape {array.shape}: {wanted}")
    numbers = np.arange(1, len(array) + 1)
    names = [f"residue {number}" for number in numbers]
    try:
        check_geometry(array.astype(np.float64), names, numbers, is_predicted=True)
    except ValueError as error:
        raise UserError(f"backbone: {error}; {wanted}") from None
    try:
        check_phi(array.astype(np.float64), sequence)
    except ValueError as error:
        raise UserError(f"backbone: {error}") from None
    return array
