"""Denoisers for a sampler: the network with guidance, self-conditioning and a temperature.

A denoiser is called with noisy peptides and their noise levels, as in k-diffusion, so that samplers
do not depend on conditions. `Guided` calls the network. `SelfConditioned` calls `Guided` with the
prediction of the previous step. `Paired` favours even numbers of cysteines. `Tempered` divides the
logits of another denoiser by a temperature. ``denoiser(model, mask, condition, …)`` combines them.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from structdiff.diffusion.given import State
from structdiff.diffusion.schedule import Levels
from structdiff.model import Condition, Denoiser, Prediction, no_estimate

__all__ = [
    "Denoise",
    "Guided",
    "Paired",
    "SelfConditioned",
    "Tempered",
    "denoiser",
    "equalise_norms",
]

GUIDED_ABOVE = 0.7
"""A single label has guidance while the sequence's noise level is at least this share of the first
one: in 10 of 32 steps."""

RENEWAL = 0.09
"""Change of the sequence's noise level at which guidance is computed again: three of 32 steps."""

PAIRING = 0.5
"""Strength of the guidance towards an even number of cysteines. With it, an even number is about as
frequent among designs as among training peptides."""

Denoise = Callable[[State, Levels], Prediction]
"""Type of a denoiser: a function of noisy peptides and their noise levels that returns a
`Prediction` of the clean peptides."""


def denoiser(
    model: Denoiser,
    mask: Tensor,
    condition: Condition,
    guidance_scale: float = 1.0,
    temperature: float = 1.0,
    property_scale: float = 1.0,
) -> Denoise:
    """Return the denoiser of a batch, for one run of a sampler.

    Parameters
    ----------
    model
        The network, in evaluation mode.
    mask
        True at residues, ``(batch, length)``, on the model's device.
    condition
        The requested condition of each peptide.
    guidance_scale
        Guidance scale of the labels. If one label is requested, 1 means no guidance.
    temperature
        Divides the logits of the residues.
    property_scale
        Guidance scale of the properties; 1 means no guidance.
    """
    guided = Guided(model, mask, condition, guidance_scale, property_scale)
    return Tempered(Paired(SelfConditioned(guided), model, mask), temperature)


class _Added(NamedTuple):
    """Guidance terms of an earlier step, to be added to the prediction for ``condition``.

    ``level`` is the sequence's noise level of that step. ``logits`` and ``structure`` are the
    guided prediction minus the prediction for ``condition``.
    """

    level: float
    condition: Condition
    logits: Tensor
    structure: Tensor


class Guided:
    """Denoiser with classifier-free guidance towards the requested labels and properties.

    Ho & Salimans (2022) guide away from *unspecified* labels. This class guides away from *absent*
    labels, because many peptides with an unspecified label have that label.

    One or two labels have a guidance term each: the prediction with only this label in the
    requested state, minus the prediction with all requested labels in the opposite state. All terms
    of a peptide are rescaled to the same norm, because otherwise the label with the largest term
    would dominate. This norm is the largest norm of a term × the number of requested labels (wanted
    or unwanted) × the scale.

    Three or more labels share one term, because the sum of so many leads far from real peptides:
    the prediction with all of them in the requested state, minus that with all in the opposite
    state. It is multiplied by the scale and, if there are wanted labels, by 1 + the number of
    unwanted labels.

    All properties share one term: the prediction with the properties minus the prediction with all
    properties *unspecified*. Both predictions have the wanted labels, because most measured values
    are of peptides with these labels.

    If a peptide also has wanted labels, an unwanted label has a term that does not depend on the
    scale: the prediction with the label *absent* minus that with the label *present*. Both
    predictions have the wanted labels, because peptides that are known to lack an unwanted label
    often lack the wanted labels too (most peptides that are known not to be haemolytic are not
    antimicrobial).

    If no peptide of the batch requests more than one label or a property that has guidance, there
    is guidance only at high noise levels of the sequence, down to `GUIDED_ABOVE` times the first
    level (Kynkäänniemi et al., Applying guidance in a limited interval, 2024). Guidance at lower
    levels changes the composition of the designs, but does not make the order of their residues
    more like that of peptides with the label.

    Guidance needs a call of the network for each condition, but its terms change slowly. They are
    therefore used again until the noise level of the sequence has changed by `RENEWAL` (similar to
    Dinh et al., Compress Guidance, 2024).

    Parameters
    ----------
    model
        The network, a `structdiff.model.Denoiser` in evaluation mode.
    mask
        True at residues, ``(batch, length)``, on the model's device.
    condition
        The requested condition of each peptide.
    scale
        Guidance scale of the labels. If one label is requested, 1 means no guidance.
    property_scale
        Guidance scale of the properties; 1 means no guidance.
    """

    def __init__(
        self,
        model: nn.Module,
        mask: Tensor,
        condition: Condition,
        scale: float,
        property_scale: float = 1.0,
    ):
        self.model, self.mask, self.condition = model, mask, condition
        self.scale, self.property_scale = scale, property_scale
        self._moves_values = property_scale != 1.0 and condition.asks_values()
        is_single = not self._moves_values and int(condition.num_requests().max()) == 1
        self._guided_above = GUIDED_ABOVE if is_single else 0.0
        self._first: float | None = None
        self._added: _Added | None = None

    def __call__(self, state: State, levels: Levels, estimate: tuple[Tensor, Tensor]) -> Prediction:
        """Return the guided prediction.

        ``estimate`` is the self-conditioning input: residue probabilities ``(batch, length, 20)``
        and structure features ``(batch, length, structure width)``.
        """
        full = [torch.full((len(self.mask),), t, device=self.mask.device) for t in levels]

        def ask(condition: Condition) -> Prediction:
            given = levels.structure == 0
            return self.model(*state, self.mask, *full, condition, *estimate, given=given)

        if self._first is None:
            self._first = levels.sequence
        if levels.sequence < self._guided_above * self._first:
            return ask(self.condition)
        added = self._added
        if added is not None and abs(added.level - levels.sequence) < RENEWAL:
            near = ask(added.condition)
            return Prediction(near.logits + added.logits, near.structure + added.structure, None)
        scale, property_scale = self.scale, self.property_scale
        wanted, asked = self.condition.wanted(), self.condition.num_requests()
        most = asked.max()
        if not self._moves_values and (most == 0 or (scale == 1.0 and most == 1)):
            return ask(self.condition)
        labels = wanted.without_values() if self._moves_values else wanted
        condition = labels.opposite()
        base = near = ask(condition)
        logits, structure = base.logits, base.structure
        if most > 0:
            requests, peptides = zip(*labels.requests(), strict=True)
            terms = torch.stack(peptides)
            where = (terms[..., None] & self.mask)[..., None]
            count = terms.sum(0) + asked - wanted.num_requests()
            single = [ask(request) for request in requests]
            if len(single) == 1:
                condition, near = requests[0], single[0]

            def guided(base: Tensor, each: list[Tensor]) -> Tensor:
                return base + scale * equalise_norms((torch.stack(each) - base) * where, count)

            logits = guided(logits, [prediction.logits for prediction in single])
            structure = guided(structure, [prediction.structure for prediction in single])
        if self._moves_values:
            # With at most one term, the prediction without property values was computed above.
            free = base if most == 0 else single[0] if len(single) == 1 else ask(labels)
            condition, near = wanted, ask(wanted)
            logits = logits + property_scale * (near.logits - free.logits)
            structure = structure + property_scale * (near.structure - free.structure)
        for absent, present, who in self.condition.unwanted():
            lacking, having = ask(absent), ask(present)
            there = (who[:, None] & self.mask)[..., None]
            logits = logits + there * (lacking.logits - having.logits)
            structure = structure + there * (lacking.structure - having.structure)
        self._added = _Added(
            levels.sequence, condition, logits - near.logits, structure - near.structure
        )
        return Prediction(logits, structure, None)


def equalise_norms(pulls: Tensor, count: Tensor) -> Tensor:
    """Rescale the guidance terms of each peptide to equal norms, and return their sum.

    The new norm is the largest norm of a term of the peptide × ``count``. The result is
    ``(batch, length, width)``.

    Parameters
    ----------
    pulls
        The terms, ``(terms, batch, length, width)``; a term of norm 0 stays 0.
    count
        The factor of each peptide, ``(batch,)``.
    """
    norms = pulls.flatten(2).norm(dim=-1)
    pulling = norms > 0
    factors = torch.where(pulling, count * norms.amax(0) / norms, 0.0)
    return (pulls * factors[..., None, None]).sum(0)


class SelfConditioned:
    """Denoiser whose network also reads its prediction of the previous step (Chen et al., 2022)."""

    def __init__(self, denoise: Guided):
        self.denoise = denoise
        self.estimate: tuple[Tensor, Tensor] | None = None

    def __call__(self, state: State, levels: Levels) -> Prediction:
        """Return the prediction, and keep it for the next step."""
        prediction = self.denoise(state, levels, self.estimate or no_estimate(state.structure))
        self.estimate = (prediction.logits.softmax(-1), prediction.structure)
        return prediction


class Paired:
    """Denoiser that favours an even number of cysteines, as disulfides need.

    It adds to the logits `PAIRING` times the part of the cysteine table by which odd and even
    numbers differ. Without it, an even number is rarer among designs than among real peptides.

    Parameters
    ----------
    denoise
        The denoiser to change.
    model
        The network of the denoiser.
    mask
        True at residues, ``(batch, length)``.
    """

    def __init__(self, denoise: Denoise, model: Denoiser, mask: Tensor):
        self.denoise, self.model, self.mask = denoise, model, mask

    def __call__(self, state: State, levels: Levels) -> Prediction:
        """Return the prediction of ``denoise`` with the logits of cysteine changed."""
        prediction = self.denoise(state, levels)
        level = torch.full((len(self.mask),), levels.sequence, device=self.mask.device)
        pairing = self.model.cysteines_out.pairing(state.sequence, self.mask, level)
        return prediction._replace(logits=prediction.logits + PAIRING * pairing)


class Tempered:
    """Denoiser whose logits are divided by a temperature."""

    def __init__(self, denoise: Denoise, temperature: float):
        self.denoise, self.temperature = denoise, temperature

    def __call__(self, state: State, levels: Levels) -> Prediction:
        """Return the prediction."""
        prediction = self.denoise(state, levels)
        return prediction._replace(logits=prediction.logits / self.temperature)
