"""Backbone geometry of chains: torsions, bonds, angles, clashes and helices.

``geometry = Geometry.of(chains)`` measures every residue and chain at once. `Chains` are flat
arrays: all residues one after another (``positions``), and the start of each chain (``offsets``).
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from structdiff.protein.geometry import dihedral, internal_coordinates
from structdiff.protein.residues import offsets_of

__all__ = ["CA_STEP", "Chains", "Geometry", "blank", "where_defined", "within"]

CA_STEP = (3.65, 3.95)
"""Limits of a valid Cα–Cα step (a trans peptide bond), Å."""

CLASH = 3.0
BLOCK_PAIRS = 2**23


@dataclass(frozen=True)
class Chains:
    """Backbones of several chains in flat arrays.

    Attributes
    ----------
    sequences
        One-letter codes of each chain.
    offsets
        Index of the first residue of each chain, then the number of all residues,
        ``(chains + 1,)`` int64.
    positions
        Positions of N, Cα, C and O in Å, ``(residues, 4, 3)`` float32.
    """

    sequences: list[str]
    offsets: np.ndarray
    positions: np.ndarray

    def __len__(self) -> int:
        return len(self.sequences)

    @classmethod
    def join(cls, sequences: list[str], backbones: list[np.ndarray]) -> "Chains":
        """Return the chains of sequences and their backbones, each ``(length, 4, 3)`` in Å."""
        empty = [np.zeros((0, 4, 3), dtype=np.float32)]
        positions = np.concatenate(empty + backbones).astype(np.float32)
        return cls(sequences, offsets_of(sequences), positions)

    def take(self, rows: np.ndarray) -> "Chains":
        """Return the chains with the given indices, in the order of ``rows``."""
        starts, lengths = self.offsets[rows], np.diff(self.offsets)[rows]
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        residues = np.arange(offsets[-1]) + np.repeat(starts - offsets[:-1], lengths)
        return Chains([self.sequences[row] for row in rows], offsets, self.positions[residues])


@dataclass(frozen=True)
class Geometry:
    """Torsions, bond lengths and angles of each residue of several chains.

    Each array is ``(residues,)``, in the order of ``chains.positions``. A value that needs a
    residue before the start or after the end of the chain is NaN.

    Attributes
    ----------
    chains
        The chains.
    phi, psi, omega
        Torsions in degrees.
    lengths
        Bond lengths and Cα–Cα steps in Å, by name: ``n_ca``, ``ca_c``, ``c_n``, ``ca_ca``; the
        last two are measured to the next residue.
    angles
        Bond angles in degrees, by name: ``angle_n_ca_c``, ``angle_ca_c_n``, ``angle_c_n_ca``; the
        last two include atoms of the next residue.
    quadruplet
        +1 if a right-handed helical Cα quadruplet (`structdiff.evaluation.structure_metrics`)
        starts at the residue, −1 if a left-handed one does, else 0.
    """

    chains: Chains
    phi: np.ndarray
    psi: np.ndarray
    omega: np.ndarray
    lengths: dict[str, np.ndarray]
    angles: dict[str, np.ndarray]
    quadruplet: np.ndarray

    @classmethod
    def of(cls, chains: Chains) -> "Geometry":
        """Return the geometry of chains.

        All chains are measured as one long chain; values that span two chains become NaN, or 0 in
        ``quadruplet``.
        """
        positions = torch.from_numpy(np.ascontiguousarray(chains.positions, dtype=np.float32))
        last = _from_end(chains.offsets) == 0
        first = np.roll(last, 1)
        torsions, bends = internal_coordinates(positions)
        phi, psi, omega = np.degrees(torsions.numpy()).T
        bends = np.degrees(bends.numpy()).T
        n, ca, c = positions.numpy()[:, :3].transpose(1, 0, 2)
        lengths = {
            "n_ca": _norm(ca - n),
            "ca_c": _norm(c - ca),
            "c_n": blank(_norm(_ahead(n, 1) - c), last),
            "ca_ca": blank(_norm(_ahead(ca, 1) - ca), last),
        }
        names = ("angle_n_ca_c", "angle_ca_c_n", "angle_c_n_ca")
        masks = (np.zeros_like(last), last, last)
        return cls(
            chains,
            phi=blank(phi, first),
            psi=blank(psi, last),
            omega=blank(omega, last),
            lengths=lengths,
            angles={k: blank(a, m) for k, a, m in zip(names, bends, masks, strict=True)},
            quadruplet=_quadruplets(positions[:, 1], chains.offsets),
        )

    @cached_property
    def clashes(self) -> np.ndarray:
        """Whether each chain has a clash, ``(chains,)`` bool.

        A clash is two Cα that are not neighbours along the chain and are closer than 3.0 Å.
        """
        lengths = np.diff(self.chains.offsets)
        clashes = np.zeros(len(lengths), dtype=bool)
        ca = torch.from_numpy(np.ascontiguousarray(self.chains.positions[:, 1]))
        for length in np.unique(lengths[lengths > 2]).tolist():
            rows = np.flatnonzero(lengths == length)
            near = torch.ones(length, length, dtype=torch.bool).triu(2)
            for part in np.array_split(rows, -(-len(rows) * length**2 // BLOCK_PAIRS)):
                residues = torch.from_numpy(self.chains.offsets[part, None] + np.arange(length))
                close = torch.cdist(ca[residues], ca[residues]) < CLASH
                clashes[part] = (close & near).any((-1, -2)).numpy()
        return clashes

    @cached_property
    def radius(self) -> np.ndarray:
        """Radii of gyration of the Cα atoms, ``(chains,)`` in Å."""
        ca, offsets = self.chains.positions[:, 1].astype(np.float64), self.chains.offsets
        count = np.diff(offsets)
        centre = np.add.reduceat(ca, offsets[:-1]) / count[:, None]
        square = ((ca - np.repeat(centre, count, axis=0)) ** 2).sum(-1)
        return np.sqrt(np.add.reduceat(square, offsets[:-1]) / count)

    @cached_property
    def turns(self) -> np.ndarray:
        """Hand of the helical turn that starts at each residue, ``(residues,)``.

        It is +1 for right-handed, −1 for left-handed and 0 if no helical turn starts there. The
        values are those of ``quadruplet``, but 0 for isolated quadruplets. A quadruplet is isolated
        if no quadruplet of the same hand starts one residue earlier or later.
        """
        before, after = _ahead(self.quadruplet, -1), _ahead(self.quadruplet, 1)
        joined = (before == self.quadruplet) | (after == self.quadruplet)
        return np.where(joined, self.quadruplet, 0)

    @cached_property
    def helical(self) -> np.ndarray:
        """Whether each residue is in a right-handed helix, ``(residues,)`` bool."""
        right = self.turns > 0
        covered = right.copy()
        for shift in (1, 2, 3):
            covered[shift:] |= right[: len(right) - shift]
        return covered

    @cached_property
    def valid_steps(self) -> np.ndarray:
        """Share of valid Cα–Cα steps of each chain, ``(chains,)``; NaN for a single residue."""
        valid = within(self.lengths["ca_ca"], CA_STEP)
        steps = np.diff(self.chains.offsets) - 1
        total = np.add.reduceat(np.nan_to_num(valid), self.chains.offsets[:-1])
        return np.where(steps > 0, total / np.maximum(steps, 1), np.nan)

    @cached_property
    def histogram(self) -> np.ndarray:
        """Number of residues by their φ (rows) and ψ (columns), ``(12, 12)``.

        The bins are 30° wide and start at −180°. Residues without φ or ψ are not counted.
        """
        both = ~np.isnan(self.phi) & ~np.isnan(self.psi)
        edges = np.linspace(-180, 180, 13)
        return np.histogram2d(self.phi[both], self.psi[both], bins=(edges, edges))[0]


def _quadruplets(ca: torch.Tensor, offsets: np.ndarray) -> np.ndarray:
    a, b, c, d = ca, ca.roll(-1, 0), ca.roll(-2, 0), ca.roll(-3, 0)
    angle = torch.rad2deg(dihedral(a, b, c, d)).numpy()
    span = (d - a).norm(dim=-1).numpy()
    inside = _from_end(offsets) >= 3
    helical = inside & (np.abs(np.abs(angle) - 50) <= 20) & (np.abs(span - 5.3) <= 0.5)
    return np.where(helical, np.sign(angle), 0).astype(np.int8)


def _from_end(offsets: np.ndarray) -> np.ndarray:
    """Return the number of residues that follow each residue in its chain."""
    return np.repeat(offsets[1:], np.diff(offsets)) - 1 - np.arange(offsets[-1])


def _ahead(values: np.ndarray, steps: int) -> np.ndarray:
    return np.roll(values, -steps, axis=0)


def _norm(vectors: np.ndarray) -> np.ndarray:
    return np.sqrt((vectors.astype(np.float64) ** 2).sum(-1))


def blank(values: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Return ``values`` with NaN wherever ``where`` (bool, of the same shape) is true."""
    return np.where(where, np.nan, values)


def where_defined(condition: np.ndarray, measured: np.ndarray) -> np.ndarray:
    """Return a condition as numbers: 1 if true, 0 if false, NaN where ``measured`` is NaN."""
    return blank(condition.astype(np.float64), np.isnan(measured))


def within(values: np.ndarray, bounds: tuple[float, float]) -> np.ndarray:
    """Return 1 where a value lies between two bounds, else 0; NaN stays NaN."""
    return where_defined((values >= bounds[0]) & (values <= bounds[1]), values)
