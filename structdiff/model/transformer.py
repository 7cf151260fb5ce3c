"""A pre-norm transformer block: rotary positions, query–key norm, adaLN-zero modulation.

Rotary position embedding: Su et al., RoFormer, 2021. Query–key normalisation: Henry et al., 2020.
adaLN-zero: Peebles & Xie, DiT, 2023; the modulation is computed once for all blocks, and each
block adds a learned offset, as in PixArt-α (Chen et al., 2023).
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["Block", "Linear", "modulate", "rotary_table"]


class Linear(nn.Linear):
    """Linear layer that casts its weights to the type of its input, float32 or bfloat16.

    The operations between the layers then also compute in that type, and bfloat16 moves half as
    many bytes; with autocast, some of them would compute in float32.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(…, out_features)``, of the type of ``x``."""
        bias = None if self.bias is None else self.bias.to(x.dtype)
        return functional.linear(x, self.weight.to(x.dtype), bias)


def rotary_table(length: int, width: int, device: torch.device | None = None) -> Tensor:
    """Return cosines and sines of rotary position embedding, ``(2, length, width)``, base 10,000.

    Index 0 has the cosines, index 1 the sines, negated in the first half of the channels.
    """
    frequency = 10_000.0 ** (-torch.arange(0, width, 2, device=device, dtype=torch.float32) / width)
    angle = torch.arange(length, device=device, dtype=torch.float32)[:, None] * frequency
    cosine, sine = angle.cos(), angle.sin()
    return torch.stack([torch.cat([cosine, cosine], dim=-1), torch.cat([-sine, sine], dim=-1)])


def _rotate(x: Tensor, table: Tensor) -> Tensor:
    """Rotate pairs of channels of ``x`` ``(batch, length, heads, width)`` by the rotary angles.

    ``table`` is the `rotary_table`; channel i is paired with channel i + width / 2.
    """
    cosine, sine = table[:, :, None]
    swapped = x.roll(x.shape[-1] // 2, -1)
    return _multiply_add(swapped, sine, x * cosine)


def _multiply_add(x: Tensor, factor: Tensor, summand: Tensor) -> Tensor:
    """Return ``x * factor + summand``; in bfloat16, one operation, and only the sum is rounded."""
    if x.dtype == torch.float32:
        return x * factor + summand
    return torch.addcmul(summand, x, factor)


def _normalise(x: Tensor, norm: nn.RMSNorm) -> Tensor:
    """Normalise queries or keys ``(batch, length, heads, width)`` by their root mean square.

    The weights of ``norm`` are cast to the type of ``x``: with weights of another type, the
    operation is not fused.
    """
    return functional.rms_norm(x, norm.normalized_shape, norm.weight.to(x.dtype), norm.eps)


def modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """Return ``x * (1 + scale) + shift``.

    ``x`` is ``(batch, length, width)``; ``shift`` and ``scale`` are ``(batch, 1, width)``.
    """
    return _multiply_add(x, 1 + scale, shift)


class Gelu(nn.Module):
    """The tanh approximation of GELU (Hendrycks & Gimpel, 2016).

    On a CPU, outside training, it is computed as x times a sigmoid. This is the same function, but
    on a CPU ``tanh`` takes three times as long as ``sigmoid``.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return GELU of each number of ``x``; any shape."""
        if self.training or torch.is_grad_enabled() or x.device.type != "cpu":
            return functional.gelu(x, approximate="tanh")
        twice = 2 * math.sqrt(2 / math.pi)
        return (x * x).mul_(0.044715 * twice).add_(twice).mul_(x).sigmoid_().mul_(x)


class Block(nn.Module):
    """Self-attention and a feed-forward layer, each with a modulation and a gate.

    The modulation and the gate are computed from the noise levels, the length and the condition.

    Parameters
    ----------
    width
        Channels of a residue.
    heads
        Attention heads; divides ``width``.
    """

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.LayerNorm(width, elementwise_affine=False)
        self.qkv = Linear(width, 3 * width)
        self.query_norm = nn.RMSNorm(width // heads)
        self.key_norm = nn.RMSNorm(width // heads)
        self.attention_out = Linear(width, width)
        self.mlp_norm = nn.LayerNorm(width, elementwise_affine=False)
        self.mlp = nn.Sequential(Linear(width, 4 * width), Gelu(), Linear(4 * width, width))
        self.modulation_offset = nn.Parameter(torch.zeros(6, width))

    def forward(
        self, x: Tensor, modulation: Tensor, table: Tensor, attend: Tensor | None
    ) -> Tensor:
        """Return the next hidden state, ``(batch, length, width)``.

        Parameters
        ----------
        x
            Hidden state, ``(batch, length, width)``.
        modulation
            Shift, scale and gate of attention, then of the feed-forward, ``(batch, 6, width)``.
        table
            The `rotary_table` for the width of a head, of the type of ``x``.
        attend
            0 where a residue may be attended to, −∞ at pads, ``(batch, 1, 1, length)``; None if
            there are no pads.
        """
        shift1, scale1, gate1, shift2, scale2, gate2 = (
            (modulation + self.modulation_offset.to(x.dtype)).unsqueeze(2).unbind(1)
        )
        attended = self._attention(modulate(self.attention_norm(x), shift1, scale1), table, attend)
        x = _multiply_add(gate1, attended, x)
        return _multiply_add(gate2, self.mlp(modulate(self.mlp_norm(x), shift2, scale2)), x)

    def _attention(self, x: Tensor, table: Tensor, attend: Tensor | None) -> Tensor:
        query, key, value = self.qkv(x).unflatten(-1, (3, self.heads, -1)).unbind(2)
        query = _rotate(_normalise(query, self.query_norm), table)
        key = _rotate(_normalise(key, self.key_norm), table)
        # Views, not copies: residues stay before heads in memory, so that neither the result nor a
        # gradient is copied.
        query, key, value = (part.transpose(1, 2) for part in (query, key, value))
        out = functional.scaled_dot_product_attention(query, key, value, attn_mask=attend)
        return self.attention_out(out.transpose(1, 2).flatten(2))
