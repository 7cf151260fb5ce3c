"""Optimizer and learning-rate schedule.

``make_optimizer(model, model.blocks, settings)`` returns AdamW, or Muon for the matrices of the
blocks together with AdamW for all other parameters. ``learning_rate(step, total_steps, …)`` is a
linear warm-up, then a cosine (or a constant). It depends on its arguments only, so that a resumed
run needs no state for it. The cosine ends at the configured number of epochs: a run that is
continued with more epochs follows the longer cosine from its step on, so its learning rate rises
once.
"""

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

if TYPE_CHECKING:
    from structdiff.config import Optimizer

__all__ = ["MuonAndAdamW", "learning_rate", "make_optimizer"]


def make_optimizer(
    model: nn.Module, blocks: nn.Module, settings: "Optimizer"
) -> "torch.optim.AdamW | MuonAndAdamW":
    """Return the configured optimizer, with weight decay for matrices only.

    Biases, norms and embeddings have no weight decay.

    Parameters
    ----------
    model
        The network to train.
    blocks
        The part of the network whose matrices Muon trains: not its first and last layers.
    settings
        Section ``training.optimizer`` of the configuration.
    """
    hidden = {
        id(parameter)
        for name, parameter in blocks.named_parameters()
        if settings.name == "muon" and name.endswith("weight") and parameter.ndim == 2
    }
    matrices = {id(m.weight) for m in model.modules() if isinstance(m, nn.Linear)} - hidden
    decayed = [p for p in model.parameters() if id(p) in matrices]
    others = [p for p in model.parameters() if id(p) not in matrices | hidden]
    adamw = torch.optim.AdamW(
        [
            {"params": decayed, "weight_decay": settings.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ],
        lr=settings.lr,
        betas=(settings.betas[0], settings.betas[1]),
        fused=True,
    )
    if not hidden:
        return adamw
    muon = torch.optim.Muon(
        [p for p in model.parameters() if id(p) in hidden],
        lr=settings.lr,
        weight_decay=settings.weight_decay,
        adjust_lr_fn="match_rms_adamw",
    )
    return MuonAndAdamW(muon, adamw)


class MuonAndAdamW:
    """Two optimizers that step as one.

    Muon's update is the orthogonalised momentum of a matrix (Jordan et al., 2024), scaled to the
    size of AdamW's, so that one learning rate serves both (Liu et al., Moonlight, 2025).
    """

    def __init__(self, muon: torch.optim.Muon, adamw: torch.optim.AdamW):
        self._parts = {"muon": muon, "adamw": adamw}

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """Parameter groups of both optimizers."""
        return [group for part in self._parts.values() for group in part.param_groups]

    def step(self) -> None:
        """Update all parameters."""
        for part in self._parts.values():
            part.step()

    def state_dict(self) -> dict[str, Any]:
        """Return the states of both optimizers, by name."""
        return {name: part.state_dict() for name, part in self._parts.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a state that `state_dict` returned."""
        for name, part in self._parts.items():
            part.load_state_dict(state[name])


def learning_rate(
    step: int, total_steps: int, *, name: str, peak: float, warmup_steps: int, min_lr: float
) -> float:
    """Return the learning rate of optimizer step ``step`` (the first is 0).

    Parameters
    ----------
    step, total_steps
        Index of the step, and total number of steps.
    name
        ``"cosine"`` (Loshchilov & Hutter, 2017) or ``"constant"``.
    peak
        Learning rate after the warm-up.
    warmup_steps
        Steps of linear warm-up.
    min_lr
        Learning rate of the last step, for cosine.
    """
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    if name == "constant":
        return peak
    done = (step + 1 - warmup_steps) / max(total_steps - warmup_steps, 1)
    return min_lr + (peak - min_lr) * 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))
