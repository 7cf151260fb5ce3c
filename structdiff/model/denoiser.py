"""The denoiser: a network that estimates the clean sequence and backbone from noisy ones.

One network does all tasks, because sequence and structure each have their own noise level. In
folding, the sequence is clean and the backbone noisy; in inverse folding, the sequence is noisy and
the backbone clean; in co-design, both are noisy. The noisy inputs are feature vectors that
`structdiff.diffusion` makes.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from structdiff.model.conditions import (
    Condition,
    ConditionEmbedding,
    ConditionSpec,
    PropertyEmbedding,
)
from structdiff.model.heads import (
    CYSTEINE,
    RESIDUES,
    BackboneHead,
    CysteineTable,
    DistogramHead,
    MotifTables,
)
from structdiff.model.transformer import Block, Linear, modulate, rotary_table

__all__ = ["PRESETS", "Denoiser", "ModelSpec", "Prediction", "no_estimate", "spec"]

_COUNT_WIDTH, _MOST_CYSTEINES = 16, 16.0
"""Number of features of a cysteine count, and the largest count up to which all counts differ in
these features."""

_CERTAINTY = 0.75
"""Factor of the logits outside training where a backbone is given. The network is trained on a few
thousand structures, and is too confident on unseen structures (temperature scaling: Guo et al.,
ICML 2017). On the validation peptides of the released model, the perplexity is within 0.03 of the
lowest."""

_SHAPES = 4096
"""Largest number of shapes that the compiler accepts; larger than the number in any run."""


@dataclass(frozen=True)
class ModelSpec:
    """Sizes of a `Denoiser`.

    Attributes
    ----------
    width, depth, heads
        Number of channels of a residue, of blocks, and of attention heads in a block.
    num_labels
        Number of labels that a peptide can have.
    sequence_width
        Number of features of a noisy residue, from the sequence process.
    structure_width
        Number of features of a residue's backbone, from the structure process.
    structure_inputs
        Number of these features that the network reads; they are the first ones.
    num_properties
        Number of properties that a peptide can have.
    """

    width: int
    depth: int
    heads: int
    num_labels: int
    sequence_width: int
    structure_width: int = 9
    structure_inputs: int = 6
    num_properties: int = 0


PRESETS: dict[str, Callable[..., ModelSpec]] = {
    "tiny": lambda *inputs: ModelSpec(128, 4, 4, *inputs),
    "small": lambda *inputs: ModelSpec(192, 6, 6, *inputs),
    "base": lambda *inputs: ModelSpec(384, 9, 6, *inputs),
    "large": lambda *inputs: ModelSpec(768, 17, 12, *inputs),
}
"""Model sizes by name, from about 1 M to about 125 M parameters."""


def spec(
    preset: str,
    conditions: ConditionSpec,
    sequence_width: int,
    structure_width: int = 9,
    structure_inputs: int = 6,
) -> ModelSpec:
    """Return the `ModelSpec` of a preset, for given conditions and feature widths.

    Parameters
    ----------
    preset
        Name of one of `PRESETS`.
    conditions
        Labels and properties of the model.
    sequence_width, structure_width, structure_inputs
        Numbers of features, as in `ModelSpec`. Of a `structdiff.diffusion.JointProcess`, they are
        ``sequence.width``, ``structure.width`` and ``structure.inputs``.
    """
    widths = (sequence_width, structure_width, structure_inputs)
    return PRESETS[preset](len(conditions.labels), *widths, len(conditions.properties))


def sinusoid(x: Tensor, width: int, longest: float = 10_000.0) -> Tensor:
    """Return the sinusoidal embedding of numbers, ``(…, width)`` (Vaswani et al., 2017).

    ``x`` are the numbers, ``(…)``. In the last axis of the result, the first half are cosines, and
    the second half sines; their periods rise from 2π to just below 2π × ``longest``.
    """
    half = width // 2
    exponent = torch.arange(half, device=x.device, dtype=torch.float32) / half
    angle = x.float()[..., None] * torch.exp(-math.log(longest) * exponent)
    return torch.cat([angle.cos(), angle.sin()], dim=-1)


class Prediction(NamedTuple):
    """Output of the network: estimates of the clean peptides, float32.

    Attributes
    ----------
    logits
        Logits of the clean residues, ``(batch, length, 20)``.
    structure
        The clean structure features, ``(batch, length, structure width)``.
    distances
        Logits of the distance between every two residues, ``(batch, length, length,
        DISTANCE_BINS)``, symmetric; None unless requested.
    """

    logits: Tensor
    structure: Tensor
    distances: Tensor | None


class Denoiser(nn.Module):
    """The network: estimates the clean sequence and backbone from noisy ones.

    Parameters
    ----------
    spec
        Sizes.

    Attributes
    ----------
    checkpointing
        Whether activations are recomputed in the backward pass, to save memory.
    dtype
        Type of the hidden state and the products: float32, or bfloat16 to save time on a GPU. The
        weights and the prediction are float32.
    """

    def __init__(self, spec: ModelSpec):
        super().__init__()
        self.spec = spec
        self.checkpointing = False
        self.dtype = torch.float32
        width = spec.width
        self.sequence_in = Linear(spec.sequence_width + RESIDUES, width)
        self.structure_in = Linear(2 * spec.structure_inputs, width)
        self.cysteines_in = Linear(3 * _COUNT_WIDTH, width)
        self.position_in = Linear(4 * 32, width)
        self.level_in = nn.Sequential(Linear(2 * 128, width), nn.SiLU(), Linear(width, width))
        self.length_in = Linear(64, width)
        self.label_in = ConditionEmbedding(spec.num_labels, width)
        if spec.num_properties:
            self.property_in = PropertyEmbedding(spec.num_properties, width)
        self.modulation = nn.Sequential(nn.SiLU(), Linear(width, 6 * width))
        self.blocks = nn.ModuleList(Block(width, spec.heads) for _ in range(spec.depth))
        self.out_norm = nn.LayerNorm(width, elementwise_affine=False)
        self.out_modulation = nn.Sequential(nn.SiLU(), Linear(width, 2 * width))
        self.sequence_out = Linear(width, RESIDUES)
        self.neighbours_out = MotifTables(spec.sequence_width)
        self.cysteines_out = CysteineTable()
        self.backbone_out = BackboneHead(spec.structure_inputs)
        self.structure_out = Linear(width, spec.structure_width)
        self.distances_out = DistogramHead(width)
        self._initialise()

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        nn.init.normal_(self.label_in.weight, std=0.02)
        # Blocks start as the identity, outputs at zero (adaLN-zero).
        for linear in (
            self.modulation[-1],
            self.out_modulation[-1],
            self.sequence_out,
            self.structure_out,
            self.backbone_out.out,
            self.distances_out.out,
            *self.neighbours_out.tables,
            self.cysteines_out.table,
        ):
            nn.init.zeros_(linear.weight)

    def compile_layers(self, backend: str | Callable = "inductor") -> None:
        """Compile the blocks and the distogram head, once for each shape of a batch.

        A kernel for all shapes would depend on the first shape, and therefore on where a run was
        resumed. All blocks share the compiled code.

        Parameters
        ----------
        backend
            As in ``torch.compile``.
        """
        import torch._dynamo

        torch._dynamo.config.recompile_limit = _SHAPES
        torch._dynamo.config.accumulated_recompile_limit = _SHAPES
        for layer in (*self.blocks, self.distances_out):
            layer.compile(backend=backend, dynamic=False, fullgraph=True)

    def forward(
        self,
        sequence: Tensor,
        structure: Tensor,
        mask: Tensor,
        sequence_level: Tensor,
        structure_level: Tensor,
        condition: Condition,
        sequence_estimate: Tensor,
        structure_estimate: Tensor,
        *,
        distances: bool = False,
        padded: bool = True,
        given: bool = True,
    ) -> Prediction:
        """Return estimates of the clean peptides.

        Parameters
        ----------
        sequence
            Noisy residues, ``(batch, length, spec.sequence_width)``.
        structure
            Noisy structure features, ``(batch, length, spec.structure_width)``. The network reads
            the first ``spec.structure_inputs`` of them, times one minus the noise level, so that
            pure noise has no effect. A backbone at noise level 0 is a given backbone: only the
            backbone head reads it, and the other parts see pure noise instead.
        mask
            True at residues, false at pads, ``(batch, length)``.
        sequence_level, structure_level
            Noise levels in 0–1, ``(batch,)``.
        condition
            Known or requested labels and properties of each peptide.
        sequence_estimate, structure_estimate
            Self-conditioning (Chen et al., Analog Bits, 2022): an earlier estimate of the residues'
            probabilities ``(batch, length, 20)`` and of the structure features; zeros
            (`no_estimate`) where there is none.
        distances
            Whether to estimate the distances as well.
        padded
            Whether there may be pads; without pads, attention needs no mask and is faster.
        given
            Whether a backbone may be at noise level 0; if not, the backbone head is not computed.
        """
        dtype = self.dtype
        read = slice(self.spec.structure_inputs)
        backbone, is_given = structure[..., read], structure_level == 0
        structure_level = torch.where(is_given, 1.0, structure_level)
        where = is_given[:, None, None]
        sequence_estimate = sequence_estimate.masked_fill(where, 0.0)
        structure_estimate = structure_estimate.masked_fill(where, 0.0)
        structure = backbone * (1 - structure_level)[:, None, None]
        x = (
            self.sequence_in(torch.cat([sequence, sequence_estimate], dim=-1).to(dtype))
            + self.structure_in(
                torch.cat([structure, structure_estimate[..., read]], dim=-1).to(dtype)
            )
            + self.cysteines_in(_cysteines(sequence, mask).to(dtype))
            + self.position_in(_positions(mask).to(dtype))
        )
        context = self._context(mask, sequence_level, structure_level, condition).to(dtype)
        modulation = self.modulation(context).unflatten(-1, (6, -1))
        table = rotary_table(mask.shape[1], self.spec.width // self.spec.heads, x.device).to(dtype)
        attend = None
        if padded:
            attend = x.new_zeros(mask.shape).masked_fill(~mask, -math.inf)[:, None, None]
        for block in self.blocks:
            if self.checkpointing and torch.is_grad_enabled():
                x = checkpoint(block, x, modulation, table, attend, use_reentrant=False)
            else:
                x = block(x, modulation, table, attend)
        shift, scale = self.out_modulation(context)[:, None].chunk(2, dim=-1)
        x = modulate(self.out_norm(x), shift, scale)
        noisy = sequence.to(dtype)
        logits = self.sequence_out(x).float() + self.neighbours_out(noisy, mask).float()
        logits = logits + self.cysteines_out(noisy, mask, sequence_level).float()
        if given:
            total = self.given_backbone(logits, backbone, mask, sequence_level)
            logits = torch.where(where, total, logits)
        return Prediction(
            logits,
            self.structure_out(x).float(),
            self.distances_out(x) if distances else None,
        )

    def given_backbone(
        self, logits: Tensor, structure: Tensor, mask: Tensor, sequence_level: Tensor
    ) -> Tensor:
        """Return logits of the residues given a backbone, ``(batch, length, 20)``.

        Outside training, they are multiplied by `_CERTAINTY`.

        Parameters
        ----------
        logits
            Logits without the backbone, ``(batch, length, 20)``. They get no gradient.
        structure
            Noise-free structure features, ``(batch, length, spec.structure_width)``; only the first
            ``spec.structure_inputs`` are read.
        mask, sequence_level
            As in `forward`.
        """
        backbone = structure[..., : self.spec.structure_inputs].to(self.dtype)
        # Where a backbone is given, only the backbone head is trained on the residues. The other
        # layers do not read the backbone, and would leave the residues to the head.
        total = logits.detach() + self.backbone_out(backbone, mask, sequence_level).float()
        return total if self.training else _CERTAINTY * total

    def unconditional(self, count: int) -> Condition:
        """Return a condition of ``count`` peptides, on the network's device, without requests."""
        device = self.label_in.weight.device
        spec = self.spec
        return Condition.unspecified(count, spec.num_labels, spec.num_properties).to(device)

    def _context(
        self, mask: Tensor, sequence_level: Tensor, structure_level: Tensor, condition: Condition
    ) -> Tensor:
        """Return the embedding of noise levels, length and condition, ``(batch, width)``."""
        levels = [sinusoid(1000 * level, 128) for level in (sequence_level, structure_level)]
        context = self.level_in(torch.cat(levels, dim=-1))
        context = context + self.length_in(sinusoid(mask.sum(1), 64))
        if self.spec.num_labels:
            context = context + self.label_in(condition)
        if self.spec.num_properties:
            context = context + self.property_in(condition)
        return context


def no_estimate(structure: Tensor) -> tuple[Tensor, Tensor]:
    """Return zeros as the sequence and structure estimates of a first call of the network.

    ``structure`` are structure features ``(batch, length, width)``. The results are zeros
    ``(batch, length, 20)`` and ``(batch, length, width)``, on the same device.
    """
    return structure.new_zeros(*structure.shape[:2], RESIDUES), torch.zeros_like(structure)


def _cysteines(sequence: Tensor, mask: Tensor) -> Tensor:
    """Return features that count cysteines, ``(batch, length, 3 * _COUNT_WIDTH)``.

    There are three counts for each residue: cysteines before the residue, cysteines from the
    residue to the end, and cysteines in the peptide. Each count is given as sines and cosines, of
    which the fastest changes its sign with each cysteine. They are needed because cysteines form
    pairs, but attention averages and cannot tell an even number from an odd number.

    ``sequence`` are noisy residues, ``(batch, length, width)``; a residue counts as cysteine if
    cysteine is its largest feature. ``mask`` ``(batch, length)`` is true at residues.
    """
    cysteine = ((sequence.argmax(-1) == CYSTEINE) & mask).long()
    before = cysteine.cumsum(1) - cysteine
    total = cysteine.sum(1, keepdim=True).expand_as(before)
    counts = torch.stack([before, total - before, total], dim=-1)
    return sinusoid(math.pi * counts, _COUNT_WIDTH, _MOST_CYSTEINES).flatten(2)


def _positions(mask: Tensor) -> Tensor:
    """Return sinusoids ``(batch, length, 128)`` of each residue's distances to both termini.

    ``mask`` ``(batch, length)`` is true at residues; a distance is in residues.
    """
    from_start = torch.arange(mask.shape[1], device=mask.device).expand_as(mask)
    from_end = mask.sum(1, keepdim=True) - 1 - from_start
    return torch.cat([sinusoid(from_start, 64), sinusoid(from_end, 64)], dim=-1)
