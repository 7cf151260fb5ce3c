"""A pre-norm transformer block: rotary positions, query–key norm, adaLN-zero modulation.

Rotary position embedding: Su et al., RoFormer, 2021. Query–key normalisation: Henry et al., 2020.
adaLN-zero: Peebles & Xie, DiT, 2023; the modulation is computed once and shared by all blocks,
each adding a learned offset, as in PixArt-α (Chen et al., 2023).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["Block", "modulate", "rotary_table"]


def rotary_table(length: int, width: int, device: torch.device | None = None) -> Tensor:
    """Return cosines and sines ``(2, length, width / 2)`` of the rotary angles, base 10,000."""
    frequency = 10_000.0 ** (-torch.arange(0, width, 2, device=device, dtype=torch.float32) / width)
    angle = torch.arange(length, device=device, dtype=torch.float32)[:, None] * frequency
    return torch.stack([angle.cos(), angle.sin()])


def _rotate(x: Tensor, table: Tensor) -> Tensor:
    """Rotate pairs of channels of ``(batch, heads, length, width)`` by the angle of a position."""
    cos, sin = table.to(x.dtype)
    a, b = x.chunk(2, dim=-1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], dim=-1)


def modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """Scale and shift ``(batch, length, width)`` by ``(batch, 1, width)`` each."""
    return x * (1 + scale) + shift


class Block(nn.Module):
    """Self-attention and a feed-forward layer, each modulated and gated by the condition.

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
        self.qkv = nn.Linear(width, 3 * width)
        self.query_norm = nn.RMSNorm(width // heads)
        self.key_norm = nn.RMSNorm(width // heads)
        self.attention_out = nn.Linear(width, width)
        self.mlp_norm = nn.LayerNorm(width, elementwise_affine=False)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(approximate="tanh"), nn.Linear(4 * width, width)
        )
        self.modulation_offset = nn.Parameter(torch.zeros(6, width))

    def forward(self, x: Tensor, modulation: Tensor, table: Tensor, attend: Tensor) -> Tensor:
        """Return the next hidden state, ``(batch, length, width)``.

        Parameters
        ----------
        x
            Hidden state, ``(batch, length, width)``.
        modulation
            Shift, scale and gate of attention, then of the feed-forward, ``(batch, 6, width)``.
        table
            The `rotary_table` for the width of a head.
        attend
            True where a residue may be attended to, ``(batch, 1, 1, length)`` bool.
        """
        shift1, scale1, gate1, shift2, scale2, gate2 = (
            (modulation + self.modulation_offset).unsqueeze(2).unbind(1)
        )
        x = x + gate1 * self._attention(
            modulate(self.attention_norm(x), shift1, scale1), table, attend
        )
        return x + gate2 * self.mlp(modulate(self.mlp_norm(x), shift2, scale2))

    def _attention(self, x: Tensor, table: Tensor, attend: Tensor) -> Tensor:
        query, key, value = (
            self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        )
        query = _rotate(self.query_norm(query), table)
        key = _rotate(self.key_norm(key), table)
        out = functional.scaled_dot_product_attention(query, key, value, attn_mask=attend)
        return self.attention_out(out.transpose(1, 2).flatten(2))
