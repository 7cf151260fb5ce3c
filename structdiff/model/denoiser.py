"""The denoiser: noisy sequence and noisy backbone in, estimates of the clean ones out.

One network does every task because sequence and structure each come with their own noise level:
folding is a clean sequence with a noisy backbone, inverse folding the reverse, and so on. What the
noisy inputs are made of is the business of `structdiff.diffusion`; here they are feature vectors.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from structdiff.model.transformer import Block, modulate, rotary_table

__all__ = [
    "ABSENT",
    "DISTANCE_BINS",
    "PRESENT",
    "PRESETS",
    "UNSPECIFIED",
    "Denoiser",
    "ModelSpec",
    "Prediction",
    "spec",
]

RESIDUES = 20
STRUCTURE_WIDTH = 9
DISTANCE_BINS = 48
"""Classes of a distance between two residues; `structdiff.diffusion` says which."""
_PAIR_WIDTH = 64
_FURTHEST = 64
"""Residues along the chain from which on pairs are told apart no more."""
UNSPECIFIED, ABSENT, PRESENT = range(3)
"""States of a label."""
LABEL_STATES = 3
_NEIGHBOURS = ((-2, -1), (-1, 1), (1, 2))
_TABLE_GAIN = 10.0
"""An entry of a table is seldom seen, and so has to learn faster than a weight."""
_SHAPES = 4096
"""Shapes that are compiled before the compiler gives up; more than any run has."""


@dataclass(frozen=True)
class ModelSpec:
    """What a `Denoiser` is built from.

    Attributes
    ----------
    width, depth, heads
        Channels of a residue, blocks, attention heads.
    num_labels
        Labels that a peptide can bear.
    sequence_width
        Features of a noisy residue, as the sequence process makes them.
    """

    width: int
    depth: int
    heads: int
    num_labels: int
    sequence_width: int


PRESETS: dict[str, Callable[[int, int], ModelSpec]] = {
    "tiny": lambda labels, sequence: ModelSpec(128, 4, 4, labels, sequence),
    "small": lambda labels, sequence: ModelSpec(192, 6, 6, labels, sequence),
    "base": lambda labels, sequence: ModelSpec(384, 9, 6, labels, sequence),
    "large": lambda labels, sequence: ModelSpec(768, 17, 12, labels, sequence),
}
"""From about 1 M to about 125 M parameters."""


def spec(preset: str, num_labels: int, sequence_width: int) -> ModelSpec:
    """Return the `ModelSpec` of a preset."""
    return PRESETS[preset](num_labels, sequence_width)


def sinusoid(x: Tensor, width: int, longest: float = 10_000.0) -> Tensor:
    """Return sines and cosines ``(..., width)`` of ``x`` (Vaswani et al., 2017)."""
    half = width // 2
    exponent = torch.arange(half, device=x.device, dtype=torch.float32) / half
    angle = x.float()[..., None] * torch.exp(-math.log(longest) * exponent)
    return torch.cat([angle.cos(), angle.sin()], dim=-1)


class Prediction(NamedTuple):
    """What a `Denoiser` makes of noisy peptides, float32.

    Attributes
    ----------
    logits
        Of the clean residues, ``(batch, length, 20)``.
    structure
        The clean structure features, ``(batch, length, 9)``.
    distances
        Logits of the distance between each two residues, ``(batch, length, length,
        DISTANCE_BINS)``, symmetric; None unless asked for.
    """

    logits: Tensor
    structure: Tensor
    distances: Tensor | None


class MotifTables(nn.Module):
    """Logits of a residue from each two of its four neighbours along the chain, a table a pair.

    The frequencies of short motifs take a network long to learn, and it would learn them with the
    peptides that they are from. Two before, one on each side and two behind are looked up.

    Parameters
    ----------
    width
        Features of a noisy residue.
    """

    def __init__(self, width: int):
        super().__init__()
        self.tables = nn.ModuleList(
            nn.Linear(width * width, RESIDUES, bias=False) for _ in _NEIGHBOURS
        )

    def forward(self, sequence: Tensor, mask: Tensor) -> Tensor:
        """Return ``(batch, length, 20)`` of noisy residues ``(batch, length, width)``."""
        unit = functional.normalize(sequence, dim=-1) * mask[..., None]
        reach = max(abs(place) for pair in _NEIGHBOURS for place in pair)
        padded = functional.pad(unit, (0, 0, reach, reach))

        def beside(place: int) -> Tensor:
            return padded[:, reach + place : reach + place + sequence.shape[1]]

        return _TABLE_GAIN * sum(
            table((beside(left)[..., :, None] * beside(right)[..., None, :]).flatten(2))
            for table, (left, right) in zip(self.tables, _NEIGHBOURS, strict=True)
        )


class DistogramHead(nn.Module):
    """Logits of the distances between residues, from what is known of each.

    Parameters
    ----------
    width
        Channels of a residue.
    """

    def __init__(self, width: int):
        super().__init__()
        self.left = nn.Linear(width, _PAIR_WIDTH)
        self.right = nn.Linear(width, _PAIR_WIDTH)
        self.separation = nn.Embedding(2 * _FURTHEST + 1, _PAIR_WIDTH)
        self.hidden = nn.Linear(_PAIR_WIDTH, _PAIR_WIDTH)
        self.out = nn.Linear(_PAIR_WIDTH, DISTANCE_BINS)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(batch, length, length, DISTANCE_BINS)`` of ``(batch, length, width)``."""
        left, right = self.left(x)[:, :, None], self.right(x)[:, None]
        place = torch.arange(x.shape[1], device=x.device)
        apart = (place - place[:, None]).clamp(-_FURTHEST, _FURTHEST) + _FURTHEST
        pairs = left * right + left + right + self.separation(apart)
        logits = self.out(pairs + functional.gelu(self.hidden(pairs)))
        return (logits + logits.transpose(1, 2)) / 2


class Denoiser(nn.Module):
    """Estimate the clean sequence and the clean backbone from noisy ones.

    Parameters
    ----------
    spec
        Sizes.

    Attributes
    ----------
    checkpointing
        Recompute activations in the backward pass, for models that do not fit otherwise.
    """

    def __init__(self, spec: ModelSpec):
        super().__init__()
        self.spec = spec
        self.checkpointing = False
        width = spec.width
        self.sequence_in = nn.Linear(spec.sequence_width + RESIDUES, width)
        self.structure_in = nn.Linear(2 * STRUCTURE_WIDTH, width)
        self.position_in = nn.Linear(4 * 32, width)
        self.level_in = nn.Sequential(nn.Linear(2 * 128, width), nn.SiLU(), nn.Linear(width, width))
        self.length_in = nn.Linear(64, width)
        self.label_in = nn.Embedding(LABEL_STATES * max(spec.num_labels, 1), width)
        self.modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 6 * width))
        self.blocks = nn.ModuleList(Block(width, spec.heads) for _ in range(spec.depth))
        self.out_norm = nn.LayerNorm(width, elementwise_affine=False)
        self.out_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 2 * width))
        self.sequence_out = nn.Linear(width, RESIDUES)
        self.neighbours_out = MotifTables(spec.sequence_width)
        self.structure_out = nn.Linear(width, STRUCTURE_WIDTH)
        self.distances_out = DistogramHead(width)
        self._initialise()

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        nn.init.normal_(self.label_in.weight, std=0.02)
        # Blocks begin as the identity, outputs at zero (adaLN-zero).
        for linear in (
            self.modulation[-1],
            self.out_modulation[-1],
            self.sequence_out,
            self.structure_out,
            self.distances_out.out,
            *self.neighbours_out.tables,
        ):
            nn.init.zeros_(linear.weight)

    def compile_blocks(self) -> None:
        """Compile the blocks, anew for each shape of a batch: few shapes, but each exact.

        A kernel for any shape would depend on which shape came first, and so on when a run was
        resumed. All blocks share what is compiled.
        """
        import torch._dynamo

        torch._dynamo.config.recompile_limit = _SHAPES
        torch._dynamo.config.accumulated_recompile_limit = _SHAPES
        for block in self.blocks:
            block.compile(dynamic=False)

    def forward(
        self,
        sequence: Tensor,
        structure: Tensor,
        mask: Tensor,
        sequence_level: Tensor,
        structure_level: Tensor,
        labels: Tensor,
        sequence_estimate: Tensor,
        structure_estimate: Tensor,
        *,
        distances: bool = False,
    ) -> Prediction:
        """Return what the network makes of noisy peptides.

        Parameters
        ----------
        sequence
            Noisy residues, ``(batch, length, spec.sequence_width)``.
        structure
            Noisy structure features, ``(batch, length, 9)``. Pure noise, which says nothing, is
            not looked at: they are scaled by one minus their noise level.
        mask
            True at residues, false at pads, ``(batch, length)``.
        sequence_level, structure_level
            Noise levels in 0–1, ``(batch,)``.
        labels
            0 unspecified, 1 absent, 2 present, ``(batch, num_labels)``.
        sequence_estimate, structure_estimate
            Self-conditioning (Chen et al., Analog Bits, 2022): an earlier estimate of the residues'
            probabilities ``(batch, length, 20)`` and of the structure ``(batch, length, 9)``;
            zeros where there is none.
        distances
            Whether to estimate the distances as well.
        """
        structure = structure * (1 - structure_level)[:, None, None]
        x = (
            self.sequence_in(torch.cat([sequence, sequence_estimate], dim=-1))
            + self.structure_in(torch.cat([structure, structure_estimate], dim=-1))
            + self.position_in(_positions(mask))
        )
        condition = self._condition(mask, sequence_level, structure_level, labels)
        modulation = self.modulation(condition).unflatten(-1, (6, -1))
        table = rotary_table(mask.shape[1], self.spec.width // self.spec.heads, x.device)
        attend = mask[:, None, None, :]
        for block in self.blocks:
            if self.checkpointing and torch.is_grad_enabled():
                x = checkpoint(block, x, modulation, table, attend, use_reentrant=False)
            else:
                x = block(x, modulation, table, attend)
        shift, scale = self.out_modulation(condition)[:, None].chunk(2, dim=-1)
        x = modulate(self.out_norm(x), shift, scale)
        return Prediction(
            self.sequence_out(x).float() + self.neighbours_out(sequence, mask).float(),
            self.structure_out(x).float(),
            self.distances_out(x).float() if distances else None,
        )

    def _condition(
        self, mask: Tensor, sequence_level: Tensor, structure_level: Tensor, labels: Tensor
    ) -> Tensor:
        """Return the condition ``(batch, width)``: noise levels, length and labels."""
        levels = [sinusoid(1000 * level, 128) for level in (sequence_level, structure_level)]
        condition = self.level_in(torch.cat(levels, dim=-1))
        condition = condition + self.length_in(sinusoid(mask.sum(1), 64))
        if self.spec.num_labels:
            first = LABEL_STATES * torch.arange(self.spec.num_labels, device=labels.device)
            condition = condition + self.label_in(first + labels).sum(1)
        return condition


def _positions(mask: Tensor) -> Tensor:
    """Return features ``(batch, length, 128)`` of each residue's distance from both termini."""
    from_start = torch.arange(mask.shape[1], device=mask.device).expand_as(mask)
    from_end = mask.sum(1, keepdim=True) - 1 - from_start
    return torch.cat([sinusoid(from_start, 64), sinusoid(from_end, 64)], dim=-1)
