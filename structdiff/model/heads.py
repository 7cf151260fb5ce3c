"""Two output heads of the network: motif tables (residues) and distogram (residue pairs)."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from structdiff.model.transformer import Linear
from structdiff.protein.residues import AMINO_ACIDS

__all__ = ["CYSTEINE", "DISTANCE_BINS", "RESIDUES", "DistogramHead", "MotifTables"]

RESIDUES = len(AMINO_ACIDS)
CYSTEINE = AMINO_ACIDS.index("C")
DISTANCE_BINS = 48
"""Number of distance classes; `structdiff.diffusion.distogram` defines them."""

_NEIGHBOURS = ((-2, -1), (-1, 1), (1, 2))
_TABLE_GAIN = 10.0
"""Factor of the tables: an entry is rarely used, so it has to learn faster than a weight."""

_PAIR_WIDTH = 64
_FURTHEST = 64
"""Separation along the chain above which pairs are not distinguished."""


class MotifTables(nn.Module):
    """Logits of a residue from pairs of its neighbours along the chain, one table for each pair.

    The pairs are the two residues before, the one on each side, and the two after. Without tables,
    a network learns the frequencies of short motifs slowly, and memorises peptides meanwhile.

    Parameters
    ----------
    width
        Number of features of a noisy residue.
    """

    def __init__(self, width: int):
        super().__init__()
        self.tables = nn.ModuleList(
            Linear(width * width, RESIDUES, bias=False) for _ in _NEIGHBOURS
        )

    def forward(self, sequence: Tensor, mask: Tensor) -> Tensor:
        """Return logits ``(batch, length, 20)`` from noisy residues ``(batch, length, width)``."""
        unit = functional.normalize(sequence, dim=-1) * mask[..., None]
        reach = max(abs(offset) for pair in _NEIGHBOURS for offset in pair)
        padded = functional.pad(unit, (0, 0, reach, reach))

        def neighbour(offset: int) -> Tensor:
            return padded[:, reach + offset : reach + offset + sequence.shape[1]]

        return _TABLE_GAIN * sum(
            table((neighbour(left)[..., :, None] * neighbour(right)[..., None, :]).flatten(2))
            for table, (left, right) in zip(self.tables, _NEIGHBOURS, strict=True)
        )


class DistogramHead(nn.Module):
    """Logits of the Cα distances between residues, from their hidden states.

    Parameters
    ----------
    width
        Channels of a residue.
    """

    def __init__(self, width: int):
        super().__init__()
        self.left = Linear(width, _PAIR_WIDTH)
        self.right = Linear(width, _PAIR_WIDTH)
        self.separation = nn.Embedding(2 * _FURTHEST + 1, _PAIR_WIDTH)
        self.hidden = Linear(_PAIR_WIDTH, _PAIR_WIDTH)
        self.out = Linear(_PAIR_WIDTH, DISTANCE_BINS)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits ``(batch, length, length, DISTANCE_BINS)``, float32, from hidden states."""
        left, right = self.left(x)[:, :, None], self.right(x)[:, None]
        position = torch.arange(x.shape[1], device=x.device)
        separation = (position - position[:, None]).clamp(-_FURTHEST, _FURTHEST) + _FURTHEST
        pairs = left * right + left + right + self.separation(separation).to(x.dtype)
        logits = self.out(pairs + functional.gelu(self.hidden(pairs)))
        return ((logits + logits.transpose(1, 2)) / 2).float()
