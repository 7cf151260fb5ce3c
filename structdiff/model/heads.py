"""Output heads of the denoiser: logits of the residues, and of the distances between them.

Three heads compute logits that the denoiser adds to its own logits of the residues: `MotifTables`
from a residue's neighbours along the chain, `CysteineTable` from the number of cysteines in the
peptide, and `BackboneHead` from a given backbone. `DistogramHead` computes logits of the Cα
distance of each pair of residues.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from structdiff.model.transformer import Linear
from structdiff.protein.residues import AMINO_ACIDS

__all__ = [
    "CYSTEINE",
    "DISTANCE_BINS",
    "RESIDUES",
    "BackboneHead",
    "CysteineTable",
    "DistogramHead",
    "MotifTables",
]

RESIDUES = len(AMINO_ACIDS)
CYSTEINE = AMINO_ACIDS.index("C")
DISTANCE_BINS = 48
"""Number of distance classes; `structdiff.diffusion.distogram` defines them."""

_NEIGHBOURS = ((-2, -1), (-1, 1), (1, 2))
_TABLE_GAIN = 10.0
"""Factor of the tables' entries. An entry is rarely used, so that it has to change faster in
training than a weight."""

_BACKBONE_WIDTH = 128
_WINDOWS = (9, 5, 5)
"""Number of residues that each layer of the backbone head reads. All layers together read a residue
and the 8 on each side."""

_COUNTED_CYSTEINES = 10
"""Largest number of cysteines that the cysteine table distinguishes."""

_HIDDEN_CLASSES = 7
"""Number of classes of hidden residues in the cysteine table: at most 1, 2, 3–4, 5–8, 9–16, 17–32,
more."""

_PAIR_WIDTH = 64
_FURTHEST = 64
"""Largest separation along the chain, in residues, in the distogram head; larger separations count
as this one."""


class MotifTables(nn.Module):
    """Logits of a residue from pairs of its neighbours along the chain, one table for each pair.

    The pairs are the two residues before, the two neighbours, and the two residues after. Without
    tables, a network learns the frequencies of short motifs slowly, and memorises peptides
    meanwhile.

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


class CysteineTable(nn.Module):
    """Logit of cysteine from the numbers of cysteines and of hidden residues in the peptide.

    Cysteines form pairs: if one residue is hidden and the number of known cysteines is odd, the
    hidden residue is probably a cysteine. Without the table, the network learns this slowly, and
    memorises peptides meanwhile.
    """

    def __init__(self):
        super().__init__()
        self.table = Linear((_COUNTED_CYSTEINES + 1) * _HIDDEN_CLASSES, 1, bias=False)

    def forward(self, sequence: Tensor, mask: Tensor, sequence_level: Tensor) -> Tensor:
        """Return logits ``(batch, 1, 20)``, the same for all positions; only cysteine's is not 0.

        Parameters
        ----------
        sequence
            Noisy residues, ``(batch, length, width)``. A position counts as the amino acid with
            the largest feature, or as hidden if the largest feature is the mask's (index 20).
        mask
            True at residues, ``(batch, length)``.
        sequence_level
            Noise level of the residues, ``(batch,)``. If the features have no mask (width 20), this
            level is taken as the share of hidden residues.
        """
        return self._logits(self.table.weight, sequence, mask, sequence_level)

    def pairing(self, sequence: Tensor, mask: Tensor, sequence_level: Tensor) -> Tensor:
        """Return the part of `forward` by which odd and even numbers of cysteines differ.

        It is the entry of the table minus a weighted mean: half of this entry, and a quarter each
        of the entries for one cysteine more and one fewer. It is 0 for no cysteine, and for ten or
        more. Parameters and result are those of `forward`.
        """
        entries = self.table.weight.view(_COUNTED_CYSTEINES + 1, _HIDDEN_CLASSES)
        part = torch.zeros_like(entries)
        part[1:-1] = (2 * entries[1:-1] - entries[:-2] - entries[2:]) / 4
        return self._logits(part.view(1, -1), sequence, mask, sequence_level)

    def _logits(
        self, entries: Tensor, sequence: Tensor, mask: Tensor, sequence_level: Tensor
    ) -> Tensor:
        """Return the logits of a table with the given entries, ``(1, counts × hidden classes)``."""
        residues = sequence.argmax(-1)
        count = ((residues == CYSTEINE) & mask).sum(1).clamp(max=_COUNTED_CYSTEINES)
        if sequence.shape[-1] > RESIDUES:
            hidden = ((residues >= RESIDUES) & mask).sum(1)
        else:
            hidden = (sequence_level * mask.sum(1)).round()
        kind = hidden.clamp(min=1).log2().ceil().long().clamp(max=_HIDDEN_CLASSES - 1)
        entry = functional.one_hot(count * _HIDDEN_CLASSES + kind, entries.shape[1])
        logit = functional.linear(entry.to(sequence.dtype), entries.to(sequence.dtype))
        return functional.pad((_TABLE_GAIN * logit)[..., None], (CYSTEINE, RESIDUES - CYSTEINE - 1))


class BackboneHead(nn.Module):
    """Logits of the residues from a given backbone, by convolutions along the chain.

    Only this head reads a given backbone: a whole network would memorise which training peptide has
    the backbone. The head sees a residue and the 8 residues on each side.

    Parameters
    ----------
    inputs
        Number of features of a residue's backbone that the network reads.
    """

    def __init__(self, inputs: int):
        super().__init__()
        widths = (inputs + 2, _BACKBONE_WIDTH, _BACKBONE_WIDTH)
        self.layers = nn.ModuleList(
            Linear(window * width, _BACKBONE_WIDTH)
            for window, width in zip(_WINDOWS, widths, strict=True)
        )
        self.out = Linear(_BACKBONE_WIDTH, RESIDUES)

    def forward(self, structure: Tensor, mask: Tensor, sequence_level: Tensor) -> Tensor:
        """Return logits ``(batch, length, 20)``.

        Parameters
        ----------
        structure
            Features of the backbone, ``(batch, length, inputs)``.
        mask
            True at residues, ``(batch, length)``.
        sequence_level
            Noise level of the residues, 0–1, ``(batch,)``.
        """
        inside = mask[..., None].to(structure.dtype)
        level = sequence_level[:, None, None].to(structure.dtype).expand_as(inside)
        x = torch.cat([structure, level, torch.ones_like(inside)], dim=-1) * inside
        for layer, window in zip(self.layers, _WINDOWS, strict=True):
            reach = window // 2
            windows = functional.pad(x, (0, 0, reach, reach)).unfold(1, window, 1).flatten(2)
            update = functional.gelu(layer(windows)) * inside
            x = update if layer is self.layers[0] else x + update
        return self.out(x)


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
        """Return logits ``(batch, length, length, DISTANCE_BINS)``, float32 and symmetric.

        ``x`` are the hidden states, ``(batch, length, width)``.
        """
        left, right = self.left(x)[:, :, None], self.right(x)[:, None]
        position = torch.arange(x.shape[1], device=x.device)
        separation = (position - position[:, None]).clamp(-_FURTHEST, _FURTHEST) + _FURTHEST
        pairs = left * right + left + right + self.separation(separation).to(x.dtype)
        logits = self.out(pairs + functional.gelu(self.hidden(pairs)))
        return ((logits + logits.transpose(1, 2)) / 2).float()
