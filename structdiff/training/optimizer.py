"""Optimizer and learning-rate schedule.

``make_optimizer(model, model.blocks, settings, world)`` returns AdamW, or Muon for the matrices of
the blocks together with AdamW for all other parameters. ``learning_rate(step, total_steps, …)``
returns the learning rate of a step: it rises linearly in a warm-up, then follows a cosine (or stays
constant). It depends only on the arguments of this function, so that a resumed run needs no saved
state. The cosine ends with the last configured epoch. If a finished run is continued with more
epochs, its next steps follow the new, longer cosine, so that the learning rate suddenly rises.
"""

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from structdiff.training.distributed import World

if TYPE_CHECKING:
    from structdiff.config import Optimizer

__all__ = ["Muon", "MuonAndAdamW", "learning_rate", "make_optimizer"]

MOMENTUM = 0.95
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)


def make_optimizer(
    model: nn.Module, blocks: nn.Module, settings: "Optimizer", world: World
) -> "torch.optim.AdamW | MuonAndAdamW":
    """Return the configured optimizer, with weight decay for the weights of linear layers only.

    Biases, norms and embeddings have no weight decay.

    Parameters
    ----------
    model
        The network to train.
    blocks
        The part of ``model`` whose matrices Muon trains, if the optimizer is ``muon``. It must not
        have the network's first and last layers.
    settings
        Section ``training.optimizer`` of the configuration.
    world
        Processes that train together; all have the same summed gradient.
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
    muon = Muon(
        [p for p in model.parameters() if id(p) in hidden],
        lr=settings.lr,
        weight_decay=settings.weight_decay,
        world=world,
    )
    return MuonAndAdamW(muon, adamw)


class Muon(torch.optim.Optimizer):
    """Optimizer of matrices: its update is the orthogonalised momentum (Jordan et al., 2024).

    The update is scaled to the size of AdamW's updates, so that both optimizers can have the same
    learning rate (Liu et al., Moonlight, 2025). Matrices of the same shape are orthogonalised
    together: in bfloat16 on a GPU, and in their own type on a CPU, because many CPUs multiply
    bfloat16 thirty times more slowly. Each process orthogonalises a share of the matrices; the
    results are sent to all processes.

    Parameters
    ----------
    matrices
        Parameters with two dimensions.
    lr, weight_decay
        Learning rate and decoupled weight decay.
    world
        Processes that train together; all must call `step`.
    """

    def __init__(self, matrices: list[nn.Parameter], lr: float, weight_decay: float, world: World):
        super().__init__(matrices, {"lr": lr, "weight_decay": weight_decay})
        self.world = world

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Update all matrices from their gradients; ``closure`` is ignored."""
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[nn.Parameter]] = {}
            for matrix in group["params"]:
                by_shape.setdefault(matrix.shape, []).append(matrix)
            for shape, matrices in by_shape.items():
                updates = self._orthogonalise([self._momentum(each) for each in matrices])
                scale = -group["lr"] * 0.2 * math.sqrt(max(shape))
                for matrix, update in zip(matrices, updates.to(matrices[0].dtype), strict=True):
                    matrix.mul_(1 - group["lr"] * group["weight_decay"])
                    matrix.add_(update, alpha=scale)

    def _orthogonalise(self, momenta: list[Tensor]) -> Tensor:
        """Orthogonalise momenta of one shape; return ``(count, rows, columns)``."""
        share = slice(self.world.rank, None, self.world.size)
        own = orthogonalise(torch.stack(momenta)[share])
        updates = own.new_zeros(len(momenta), *own.shape[1:])
        updates[share] = own
        self.world.sum(updates)
        return updates

    def _momentum(self, matrix: nn.Parameter) -> Tensor:
        """Update a matrix's momentum with its gradient; return the Nesterov momentum."""
        assert matrix.grad is not None, "all matrices take part in the loss"
        state = self.state[matrix]
        if not state:
            state["momentum_buffer"] = torch.zeros_like(matrix)
        momentum = state["momentum_buffer"].lerp_(matrix.grad, 1 - MOMENTUM)
        return matrix.grad.lerp(momentum, MOMENTUM)


def orthogonalise(matrices: Tensor) -> Tensor:
    """Return matrices ``(count, rows, columns)`` with singular values of about 1 (0.7–1.2).

    Singular vectors stay as they are. The method is five Newton–Schulz iterations with the
    coefficients of Jordan et al. (2024). The result is bfloat16 on a GPU.
    """
    wide = matrices if matrices.device.type == "cpu" else matrices.bfloat16()
    is_tall = wide.shape[1] > wide.shape[2]
    wide = wide.mT if is_tall else wide
    wide = wide / torch.linalg.matrix_norm(wide, keepdim=True).clamp(min=1e-7)
    a, b, c = NEWTON_SCHULZ
    for _ in range(5):
        gram = wide @ wide.mT
        wide = torch.baddbmm(wide, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), wide, beta=a)
    return wide.mT if is_tall else wide


class MuonAndAdamW:
    """Muon and AdamW for different parameters, with the interface of one optimizer."""

    def __init__(self, muon: Muon, adamw: torch.optim.AdamW):
        self._parts = {"muon": muon, "adamw": adamw}

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """Parameter groups of both optimizers."""
        return [group for part in self._parts.values() for group in part.param_groups]

    def step(self) -> None:
        """Update all parameters from their gradients."""
        for part in self._parts.values():
            part.step()

    def state_dict(self) -> dict[str, Any]:
        """Return the states of both optimizers, under the keys ``muon`` and ``adamw``."""
        return {name: part.state_dict() for name, part in self._parts.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a state that `state_dict` returned."""
        for name, part in self._parts.items():
            part.load_state_dict(state[name])


def learning_rate(
    step: int, total_steps: int, *, name: str, peak: float, warmup_steps: int, min_lr: float
) -> float:
    """Return the learning rate of an optimizer step.

    Parameters
    ----------
    step, total_steps
        Index of the step, from 0, and total number of steps.
    name
        Schedule after the warm-up: ``"cosine"`` (Loshchilov & Hutter, 2017) or ``"constant"``.
    peak
        Learning rate at the end of the warm-up.
    warmup_steps
        Number of steps of the linear warm-up.
    min_lr
        Learning rate of the last step of the cosine schedule.
    """
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    if name == "constant":
        return peak
    done = (step + 1 - warmup_steps) / max(total_steps - warmup_steps, 1)
    return min_lr + (peak - min_lr) * 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))
