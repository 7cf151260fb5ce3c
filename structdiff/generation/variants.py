"""Analogues of a peptide that are all different from it and from each other.

``distinct_analogues(model, sequence, strength, count, …)`` draws candidates with
`structdiff.generation.tasks.analogues` until there are enough analogues. It leaves out the peptide
itself, repeats, and candidates with too few or too many mutations. The n-th analogue does not
depend on ``count``.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from numbers import Real

import numpy as np

from structdiff.generation.folding import fold
from structdiff.generation.tasks import Design, analogues
from structdiff.pretrained import TrainedModel
from structdiff.settings import DEFAULT, Sampling
from structdiff.system.errors import UserError, counted, warn

__all__ = ["Analogue", "distinct_analogues", "strength_of"]

FRUITLESS = 1000
"""Drawing ends after at least this many candidates in a row without a new analogue."""


@dataclass(frozen=True, eq=False)
class Analogue(Design):
    """An analogue of a peptide: a `Design` with its number among the candidates.

    Attributes
    ----------
    candidate
        Number of the analogue among all candidates that were drawn, from 0. It determines the
        random numbers, instead of ``number``.
    """

    candidate: int = 0


def strength_of(
    strength: float | None,
    mutations: tuple[int, int] | None,
    length: int,
    keep: np.ndarray | None = None,
) -> float:
    """Return the noise level with which analogues are drawn, from a strength or from mutations.

    Parameters
    ----------
    strength
        The requested noise level, which is returned unchanged. If it is None, the noise level is
        the largest number of mutations divided by the number of residues that may change.
    mutations
        Smallest and largest number of mutations; None for any number.
    length
        Length of the peptide, in residues.
    keep
        Which residues stay, ``(length,)`` bool; None lets all of them change.

    Raises
    ------
    UserError
        If ``strength`` and ``mutations`` are both None, the strength is 0 or not a number, no
        residue may change, or the numbers of mutations are not between 1 and the number of residues
        that may change.
    """
    free = length if keep is None else int(np.count_nonzero(~keep))
    if not free:
        raise UserError("all residues stay, so that there are no analogues; let some change")
    if mutations is not None and not 1 <= mutations[0] <= mutations[1] <= free:
        raise UserError(
            f"{mutations[0]} to {mutations[1]} mutations: 1 to {free} residues may change"
        )
    if strength is None:
        if mutations is None:
            raise UserError("analogues need a strength, a range of mutations, or both")
        return mutations[1] / free
    if not isinstance(strength, Real):
        raise UserError(f"the strength {strength!r} is not a number; give one above 0, up to 1")
    if strength == 0:
        raise UserError("the strength 0 gives only the peptide itself; give more, up to 1")
    return strength


def _check_changes(sequence: str, sampling: Sampling, most: int) -> None:
    """Raise `UserError` if an analogue of a peptide cannot satisfy the bounds on residues.

    At most ``most`` residues of the peptide may change.
    """
    excess = {
        letter: sequence.count(letter) - bound
        for letter, bound in sampling.residue_limits().items()
        if sequence.count(letter) > bound
    }
    if sum(excess.values()) > most:
        too_many = ", ".join(f"{number} {letter}" for letter, number in excess.items())
        raise UserError(
            f"{sequence}: has {too_many} more than a design may have, but at most "
            f"{counted(most, 'residue')} may change; allow more mutations, or lift the bound"
        )


def distinct_analogues(
    model: TrainedModel,
    sequence: str,
    strength: float,
    count: int,
    entry: str = "none",
    sampling: Sampling = DEFAULT,
    *,
    mutations: tuple[int, int] | None = None,
    keep: np.ndarray | None = None,
    drawn: Mapping[int, str] | None = None,
) -> Iterator[Analogue]:
    """Yield ``count`` distinct analogues of a peptide, without the peptide itself.

    After at least `FRUITLESS` candidates in a row without a new analogue, drawing stops, and a
    warning is printed.

    Parameters
    ----------
    model, sequence, strength, entry, sampling, keep
        As in `structdiff.generation.tasks.analogues`.
    count
        Number of analogues, those in ``drawn`` included.
    mutations
        Smallest and largest number of residues that differ from the peptide; None for any number.
    drawn
        Sequences of the analogues that an interrupted command has drawn, by `Analogue.candidate`.
        They are not yielded again.

    Raises
    ------
    UserError
        If no analogue is found; also for the reasons that `structdiff.generation.tasks.analogues`
        names.
    """
    fewest, most = mutations or (1, len(sequence))
    _check_changes(sequence, sampling, most)
    accepted = dict(drawn or {})
    known = {sequence, *accepted.values()}
    drawn_until = max(accepted, default=-1) + 1
    backbone = next(fold(model, [sequence])).backbone
    start, size = 0, count
    # The end of a draw depends only on the candidates before it, so that a resumed command has
    # the same batches.
    while len(accepted) < count and start - max(accepted, default=-1) <= FRUITLESS:
        end = start + size
        if drawn_until < end:
            candidates = analogues(
                model,
                sequence,
                strength,
                size,
                entry,
                sampling,
                keep=keep,
                backbone=backbone,
                first=start,
                skip=range(start, drawn_until),
            )
            for design in candidates:
                changed = sum(a != b for a, b in zip(design.sequence, sequence, strict=True))
                if (
                    design.number < drawn_until
                    or design.sequence in known
                    or not fewest <= changed <= most
                ):
                    continue
                known.add(design.sequence)
                accepted[design.number] = design.sequence
                yield Analogue(
                    len(accepted) - 1,
                    design.sequence,
                    design.backbone,
                    design.asked,
                    candidate=design.number,
                )
                if len(accepted) == count:
                    return
        start = end
        so_far = sum(number < end for number in accepted)
        size = min(-(-(count - so_far) * end // max(so_far, 1)), FRUITLESS)
    if not accepted and count:
        raise UserError(
            f"no analogue of {sequence} with {fewest} to {most} mutations in {start:,} draws; give "
            "another strength or other mutations"
        )
    if len(accepted) < count:
        warn(
            f"{len(accepted):,} of {count:,} analogues of {sequence}: "
            f"{FRUITLESS:,} draws more gave no other one; another strength or other mutations may"
        )
