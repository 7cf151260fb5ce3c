"""Adaptation of a trained model to a few peptides, with a result that is not worse than the start.

A training that starts from a model (``training.init``) has three parts:

1. ``fit_output(network, …)`` fits the composition and the temperature of the residues: a bias of
   20 numbers and a scale of the logits. The fit is kept if it lowers the validation loss.
2. During the first steps (a share `FEW_UNTIL` of all steps), only a few weights are trained: the
   embeddings of labels and properties, the output layers of residues and structure, and in each
   block the query and key norms and the offset of the modulation.
3. Then all weights are trained.

In parts 2 and 3, the weight decay pulls the trained weights towards the starting weights instead of
zero (L2-SP, Li et al., ICML 2018). The averaged weights, which are validated and released, are a
moving average of `StartingPoint.between`: the weighted mean, in each step, of the starting weights
and the trained weights. The starting weights are validated as epoch 0, which is selected if no
later epoch is better.
"""

from itertools import chain, count, islice
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from structdiff.diffusion import step_uniform
from structdiff.model import Condition, Denoiser, Prediction
from structdiff.training.dataloader import BatchLoader

if TYPE_CHECKING:
    from structdiff.config import Training
    from structdiff.training.validation import LossComputer

__all__ = ["FEW_UNTIL", "StartingPoint", "fit_output"]

FEW_UNTIL = 0.2
"""Share of all steps, 0–1, after which part 2 of the training ends. Until then, only a few weights
are trained."""

KEPT = 0.75
"""Share of the current weights, 0–1, in the weighted mean with the starting weights that enters the
averaged weights."""

FIT_STEPS, FIT_LR = 60, 0.05
"""Number of Adam steps of `fit_output`, and their initial learning rate."""

_FEW = ("label_in", "property_in", "sequence_out", "structure_out", "backbone_out.out")
_FEW_PARTS = ("modulation_offset", "query_norm", "key_norm")


def fit_output(
    network: Denoiser,
    loss_computer: "LossComputer",
    loader: BatchLoader,
    training: "Training",
) -> None:
    """Fit a bias and a scale of the residues' logits to the training peptides.

    The residue losses of `FIT_STEPS` global batches are minimised. The layers that produce the
    logits are then multiplied by the scale, and the fitted bias is added to the bias of
    ``sequence_out``.

    Parameters
    ----------
    network
        The network; changed in place.
    loss_computer
        Computes the losses.
    loader
        Loader of the training set's micro-batches.
    training
        Section ``training`` of the configuration.
    """
    data, world, seed = loader.data, loader.world, training.seed
    size = len(network.sequence_out.bias)
    adjustment = torch.zeros(size + 1, device=world.device, requires_grad=True)
    optimizer = torch.optim.Adam([adjustment], lr=FIT_LR)

    def adjusted(*inputs: Tensor | Condition, **options: bool) -> Prediction:
        with torch.no_grad():
            prediction = network(*inputs, **options)
        logits = prediction.logits * adjustment[size].exp() + adjustment[:size]
        return prediction._replace(logits=logits)

    epochs = (
        data.global_batches("train", training.effective_batch, seed, epoch) for epoch in count()
    )
    plan = islice(chain.from_iterable(epochs), FIT_STEPS)
    for step, rows, micro_batches in loader.stream(enumerate(plan), seed):
        adjustment.grad = torch.zeros_like(adjustment)
        residues = int(data.lengths[rows].sum())
        for micro in micro_batches:
            sequence, _ = loss_computer(
                adjusted,
                micro,
                conditioned=step_uniform(seed, step) < training.self_conditioning,
                label_dropout=training.label_dropout,
            )
            (sequence.sum() / residues).backward()
        world.sum(adjustment.grad)
        optimizer.param_groups[0]["lr"] = FIT_LR * (1 - step / FIT_STEPS)
        optimizer.step()
    with torch.no_grad():
        scale, bias = adjustment[size].exp(), adjustment[:size]
        tables = (*network.neighbours_out.tables, network.cysteines_out.table)
        for layer in (network.sequence_out, network.backbone_out.out, *tables):
            layer.weight.mul_(scale)
        network.backbone_out.out.bias.mul_(scale)
        network.sequence_out.bias.mul_(scale).add_(bias)


class StartingPoint:
    """Copy of a network's starting weights.

    `pull` moves the network's weights towards the starting weights. `between` returns a weighted
    mean of the network's weights and the starting weights.

    Parameters
    ----------
    network
        The network. Its current weights are copied as the starting weights; `pull` changes it in
        place.
    """

    def __init__(self, network: nn.Module):
        named = dict(network.named_parameters())
        few = {
            name
            for name in named
            if name.startswith(_FEW) or any(part in name for part in _FEW_PARTS)
        }
        self._names = [*(name for name in named if name not in few), *few]
        self._places = [self._names.index(name) for name in named]
        self._rest = len(named) - len(few)
        self._weights: list[Tensor] = [named[name] for name in self._names]
        self._start = [weight.detach().clone() for weight in self._weights]

    def update(self) -> None:
        """Replace the starting weights by a copy of the network's current weights."""
        torch._foreach_copy_(self._start, [weight.detach() for weight in self._weights])

    @torch.no_grad()
    def pull(self, strength: float, few: bool) -> None:
        """Move the network's weights towards the starting weights.

        Parameters
        ----------
        strength
            How far to move, as a share of the distance, 0–1; 1 restores the starting weights.
        few
            Whether only a few weights are trained (part 2 of the training). If so, all other
            weights are restored, whatever ``strength`` is.
        """
        rest = self._rest
        torch._foreach_lerp_(self._weights[rest:], self._start[rest:], strength)
        if few:
            torch._foreach_copy_(self._weights[:rest], self._start[:rest])
        else:
            torch._foreach_lerp_(self._weights[:rest], self._start[:rest], strength)

    @torch.no_grad()
    def between(self) -> list[Tensor]:
        """Return a weighted mean of the current weights (share `KEPT`) and the starting weights.

        The tensors are in the order of the network's parameters. On peptides that are unlike the
        training peptides, such a mean can be better than the current and the starting weights
        (Wortsman et al., Robust fine-tuning of zero-shot models, CVPR 2022).
        """
        means = torch._foreach_lerp(self._start, self._weights, KEPT)
        return [means[place] for place in self._places]

    def state_dict(self) -> dict[str, Tensor]:
        """Return the starting weights, by the name of the parameter."""
        return dict(zip(self._names, self._start, strict=True))

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore starting weights that `state_dict` returned."""
        torch._foreach_copy_(self._start, [state[name] for name in self._names])
