"""Backbone geometry of a set of chains, the same for designs and for the structures trained on.

``geometry = Geometry.of(chains)`` measures every residue and chain at once; `METRICS` are the
metrics, each with its definition and function. Chains are flat arrays: all residues one after
another (``positions``), and where each chain starts (``offsets``).

Definitions
-----------
bonds, steps
    A Cα–Cα step is valid within 3.8 ± 0.15 Å (a trans peptide), a C–N bond within 1.33 ± 0.1 Å.
clash
    Two Cα of a chain, not neighbours along it, closer than 3.0 Å.
helix
    Cα quadruplets i … i+3 whose first and last Cα are 5.3 ± 0.5 Å apart and whose dihedral angle is
    within 50 ± 20° (right-handed; left-handed: −50°), two or more in a row, that is at least five
    residues (the values of P-SEA: Labesse et al., CABIOS 13, 291, 1997).
Ramachandran distance
    Jensen–Shannon distance (natural logarithm) between the φ/ψ histograms, 30° bins.

Backbone atoms alone do not show the chirality of a residue; a left-handed helix and positive φ of
residues other than glycine are where a mirror image shows.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from scipy.spatial.distance import jensenshannon

from structdiff.evaluation.metric import Metric, Unavailable, Value
from structdiff.evaluation.peptide_set import PeptideSet
from structdiff.protein.geometry import dihedral, internal_coordinates

__all__ = ["METRICS", "Chains", "Geometry", "ca_step_valid", "clashes", "cn_valid", "right_handed"]

CA_STEP = (3.65, 3.95)
CN_BOND = (1.23, 1.43)
CLASH = 3.0
BLOCK_PAIRS = 2**23
MIN_QUADRUPLETS = 50
"""Helical Cα quadruplets below which no handedness is given."""

_TITLES = {
    "n_ca": "N–Cα bond (Å)",
    "ca_c": "Cα–C bond (Å)",
    "c_n": "C–N bond (Å)",
    "angle_n_ca_c": "N–Cα–C angle (°)",
    "angle_ca_c_n": "Cα–C–N angle (°)",
    "angle_c_n_ca": "C–N–Cα angle (°)",
}


@dataclass(frozen=True)
class Chains:
    """Backbones, flat.

    Attributes
    ----------
    sequences
        One-letter codes of each chain.
    offsets
        Where each chain starts among the residues, ``(chains + 1,)`` int64.
    positions
        N, Cα, C, O in Å, ``(residues, 4, 3)`` float32.
    """

    sequences: list[str]
    offsets: np.ndarray
    positions: np.ndarray

    def __len__(self) -> int:
        return len(self.sequences)

    @classmethod
    def join(cls, sequences: list[str], backbones: list[np.ndarray]) -> "Chains":
        """Join backbones, each ``(length, 4, 3)``."""
        offsets = np.zeros(len(sequences) + 1, dtype=np.int64)
        np.cumsum([len(sequence) for sequence in sequences], out=offsets[1:])
        empty = [np.zeros((0, 4, 3), dtype=np.float32)]
        return cls(sequences, offsets, np.concatenate(empty + backbones).astype(np.float32))

    def take(self, rows: np.ndarray) -> "Chains":
        """Return some of the chains."""
        starts, lengths = self.offsets[rows], np.diff(self.offsets)[rows]
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        residues = np.arange(offsets[-1]) + np.repeat(starts - offsets[:-1], lengths)
        return Chains([self.sequences[row] for row in rows], offsets, self.positions[residues])


@dataclass(frozen=True)
class Geometry:
    """Torsions, bonds and angles of each residue and chain; NaN where one is not defined.

    Attributes
    ----------
    chains
        The chains.
    phi, psi, omega
        Torsions in degrees, ``(residues,)``; NaN at the ends where a neighbour is missing.
    lengths
        Bond lengths and Cα–Cα steps in Å, by name: ``n_ca``, ``ca_c``, ``c_n``, ``ca_ca``; the
        last two to the next residue.
    angles
        Bond angles in degrees, by name, as `METRICS`.
    quadruplet
        +1 where a right-handed helical Cα quadruplet starts, −1 left-handed, 0 none.
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
        """Measure chains; all together are one long chain whose joints are masked."""
        positions = torch.from_numpy(np.ascontiguousarray(chains.positions, dtype=np.float32))
        first, last = _positions(chains.offsets) == 0, _from_end(chains.offsets) == 0
        torsions, bends = internal_coordinates(positions)
        phi, psi, omega = np.degrees(torsions.numpy()).T
        bends = np.degrees(bends.numpy()).T
        n, ca, c = positions.numpy()[:, :3].transpose(1, 0, 2)
        lengths = {
            "n_ca": _norm(ca - n),
            "ca_c": _norm(c - ca),
            "c_n": _blank(_norm(_ahead(n, 1) - c), last),
            "ca_ca": _blank(_norm(_ahead(ca, 1) - ca), last),
        }
        names = ("angle_n_ca_c", "angle_ca_c_n", "angle_c_n_ca")
        masks = (np.zeros_like(last), last, last)
        return cls(
            chains,
            phi=_blank(phi, first),
            psi=_blank(psi, last),
            omega=_blank(omega, last),
            lengths=lengths,
            angles={k: _blank(a, m) for k, a, m in zip(names, bends, masks, strict=True)},
            quadruplet=_quadruplets(positions[:, 1], chains.offsets),
        )

    @cached_property
    def clashes(self) -> np.ndarray:
        """Which chains have a clash, ``(chains,)`` bool."""
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
        """Radius of gyration of the Cα atoms, ``(chains,)`` in Å."""
        ca, offsets = self.chains.positions[:, 1].astype(np.float64), self.chains.offsets
        count = np.diff(offsets)
        centre = np.add.reduceat(ca, offsets[:-1]) / count[:, None]
        square = ((ca - np.repeat(centre, count, axis=0)) ** 2).sum(-1)
        return np.sqrt(np.add.reduceat(square, offsets[:-1]) / count)

    @cached_property
    def turns(self) -> np.ndarray:
        """``quadruplet`` without isolated ones: +1, −1 or 0, ``(residues,)``."""
        before, after = _ahead(self.quadruplet, -1), _ahead(self.quadruplet, 1)
        joined = (before == self.quadruplet) | (after == self.quadruplet)
        return np.where(joined, self.quadruplet, 0)

    @cached_property
    def helical(self) -> np.ndarray:
        """Which residues are in a right-handed helix, ``(residues,)`` bool."""
        right = self.turns > 0
        covered = right.copy()
        for shift in (1, 2, 3):
            covered[shift:] |= right[: len(right) - shift]
        return covered

    @cached_property
    def valid_steps(self) -> np.ndarray:
        """Share of each chain's Cα–Cα steps that are valid, ``(chains,)``; NaN of one residue."""
        valid = _within(self.lengths["ca_ca"], CA_STEP)
        steps = np.diff(self.chains.offsets) - 1
        total = np.add.reduceat(np.nan_to_num(valid), self.chains.offsets[:-1])
        return np.where(steps > 0, total / np.maximum(steps, 1), np.nan)

    @cached_property
    def histogram(self) -> np.ndarray:
        """Counts of φ (rows) and ψ (columns) in 30° bins from −180°, ``(12, 12)``."""
        both = ~np.isnan(self.phi) & ~np.isnan(self.psi)
        edges = np.linspace(-180, 180, 13)
        return np.histogram2d(self.phi[both], self.psi[both], bins=(edges, edges))[0]


def ca_step_valid(geometry: Geometry) -> Value:
    """Return the share of Cα–Cα steps within 3.8 ± 0.15 Å."""
    return _share(_within(geometry.lengths["ca_ca"], CA_STEP))


def cn_valid(geometry: Geometry) -> Value:
    """Return the share of C–N bonds within 1.33 ± 0.1 Å."""
    return _share(_within(geometry.lengths["c_n"], CN_BOND))


def clashes(geometry: Geometry) -> Value:
    """Return the share of chains with two Cα, not neighbours, closer than 3.0 Å."""
    return float(geometry.clashes.mean())


def right_handed(geometry: Geometry) -> Value:
    """Return the share of right-handed ones among helical turns."""
    right, left = int((geometry.turns > 0).sum()), int((geometry.turns < 0).sum())
    if right + left < MIN_QUADRUPLETS:
        return Unavailable(f"only {right + left} helical turns, {MIN_QUADRUPLETS} wanted")
    return right / (right + left)


def _region(name: str) -> Callable[[Geometry], Value]:
    """Return the metric of the share of residues in a region of φ and ψ."""

    def compute(geometry: Geometry) -> Value:
        left = geometry.phi > 0
        alpha = ~left & (geometry.psi > -100) & (geometry.psi < 50)
        inside = alpha if name == "alpha" else ~left & ~alpha
        return _share(_where(inside, geometry.phi + geometry.psi))

    return compute


def _positive_phi(geometry: Geometry) -> Value:
    glycine = np.frombuffer("".join(geometry.chains.sequences).encode(), np.uint8) == ord("G")
    return _share(_blank(_where(geometry.phi > 0, geometry.phi), glycine))


def _ramachandran(geometry: Geometry, reference: Geometry | Unavailable) -> Value:
    if isinstance(reference, Unavailable):
        return reference
    if not (geometry.histogram.any() and reference.histogram.any()):
        return Unavailable("no residue has both φ and ψ")
    return float(jensenshannon(geometry.histogram.reshape(-1), reference.histogram.reshape(-1)))


def _of_backbones(function: Callable[[Geometry], Value]) -> Callable[[PeptideSet], Value]:
    """Return the metric of a set, given a function of its geometry."""

    def compute(peptides: PeptideSet) -> Value:
        if isinstance(peptides.geometry, Unavailable):
            return peptides.geometry
        if function is not _count and not len(peptides.geometry.chains):
            return Unavailable("there is no backbone")
        return function(peptides.geometry)

    return compute


def _count(geometry: Geometry) -> Value:
    return float(len(geometry.chains))


def _compare_torsions(peptides: PeptideSet) -> Value:
    reference = peptides.reference_geometry
    return _of_backbones(lambda geometry: _ramachandran(geometry, reference))(peptides)


def _summaries(
    key: str, group: str, title: str, unit: str, values: Callable[[Geometry], np.ndarray]
) -> tuple[Metric, ...]:
    """Return the mean and the standard deviation of what is measured of residues or chains."""
    name = title.removesuffix(f" ({unit})")
    return (
        Metric(
            f"{key}_mean", group, f"{title}, mean", "as held-out", unit, f"Mean of the {name}.",
            _of_backbones(lambda geometry: _share(values(geometry))), in_story=False,
        ),
        Metric(
            f"{key}_sd", group, f"{title}, standard deviation", "as held-out", unit,
            f"Standard deviation of the {name}.",
            _of_backbones(lambda geometry: _deviation(values(geometry))), in_story=False,
        ),
    )  # fmt: skip


def _measured(key: str) -> Callable[[Geometry], np.ndarray]:
    return lambda geometry: (geometry.angles if key in geometry.angles else geometry.lengths)[key]


METRICS: tuple[Metric, ...] = (
    Metric(
        "chains", "Backbone", "Backbones measured", "–", "", "Peptides of the set whose backbone "
        "is measured.", _of_backbones(_count), in_story=False,
    ),
    Metric(
        "ca_step_valid", "Backbone", "Cα–Cα steps within 3.8 ± 0.15 Å (share)", "1", "share",
        "Steps from one Cα to the next within 3.8 ± 0.15 Å, that is, trans peptides.",
        _of_backbones(ca_step_valid),
    ),
    Metric(
        "cn_valid", "Backbone", "C–N bonds within 1.33 ± 0.1 Å (share)", "1", "share",
        "Peptide bonds C–N within 1.33 ± 0.1 Å.", _of_backbones(cn_valid), in_story=False,
    ),
    Metric(
        "clashes", "Backbone", "Chains with Cα closer than 3.0 Å (share)", "0", "share",
        "Chains with two Cα that are not neighbours, closer than 3.0 Å.", _of_backbones(clashes),
    ),
    Metric(
        "trans", "Backbone", "Trans peptide bonds, |ω| > 150° (share)", "as held-out", "share",
        "Peptide bonds with |ω| > 150°.",
        _of_backbones(lambda g: _share(_where(np.abs(g.omega) > 150, g.omega))), in_story=False,
    ),
    *(
        metric
        for key, title in _TITLES.items()
        for metric in _summaries(
            key, "Bonds and angles", title, "°" if key.startswith("angle") else "Å", _measured(key)
        )
    ),
    Metric(
        "ramachandran_js", "Fold", "φ/ψ Jensen–Shannon distance", "low, as held-out", "0–0.83",
        "Jensen–Shannon distance (natural logarithm) between the φ/ψ histograms, 30° bins, of the "
        "set and of the training structures with the label.", _compare_torsions, in_story=False,
    ),
    Metric(
        "alpha", "Fold", "φ/ψ in the α region (share)", "as held-out", "share",
        "Residues with φ ≤ 0° and −100° < ψ < 50°.", _of_backbones(_region("alpha")),
        in_story=False,
    ),
    Metric(
        "beta", "Fold", "φ/ψ in the β and PPII region (share)", "as held-out", "share",
        "Residues with φ ≤ 0° outside the α region.", _of_backbones(_region("beta")),
        in_story=False,
    ),
    Metric(
        "positive_phi", "Fold", "φ > 0, without glycine (share)", "as held-out", "share",
        "Residues other than glycine with φ > 0°: a mirror image has many.",
        _of_backbones(_positive_phi), in_story=False,
    ),
    Metric(
        "helix", "Fold", "Residues in right-handed helices (share)", "as held-out", "share",
        "Residues in runs of right-handed helical Cα quadruplets (P-SEA: Labesse et al., CABIOS "
        "13, 291, 1997).", _of_backbones(lambda g: float(g.helical.mean())),
    ),
    Metric(
        "right_handed", "Fold", "Right-handed among helical turns (share)", "1", "share",
        "Helical Cα quadruplets that are right-handed; of at least 50.",
        _of_backbones(right_handed), in_story=False,
    ),
    *_summaries("radius", "Fold", "Radius of gyration (Å)", "Å", lambda g: g.radius),
)  # fmt: skip


def _quadruplets(ca: torch.Tensor, offsets: np.ndarray) -> np.ndarray:
    a, b, c, d = ca, ca.roll(-1, 0), ca.roll(-2, 0), ca.roll(-3, 0)
    angle = torch.rad2deg(dihedral(a, b, c, d)).numpy()
    span = (d - a).norm(dim=-1).numpy()
    inside = _from_end(offsets) >= 3
    helical = inside & (np.abs(np.abs(angle) - 50) <= 20) & (np.abs(span - 5.3) <= 0.5)
    return np.where(helical, np.sign(angle), 0).astype(np.int8)


def _positions(offsets: np.ndarray) -> np.ndarray:
    """Return each residue's position in its chain, from 0."""
    return np.arange(offsets[-1]) - np.repeat(offsets[:-1], np.diff(offsets))


def _from_end(offsets: np.ndarray) -> np.ndarray:
    """Return how many residues follow each one in its chain."""
    return np.repeat(offsets[1:], np.diff(offsets)) - 1 - np.arange(offsets[-1])


def _ahead(values: np.ndarray, steps: int) -> np.ndarray:
    return np.roll(values, -steps, axis=0)


def _norm(vectors: np.ndarray) -> np.ndarray:
    return np.sqrt((vectors.astype(np.float64) ** 2).sum(-1))


def _blank(values: np.ndarray, where: np.ndarray) -> np.ndarray:
    return np.where(where, np.nan, values)


def _where(condition: np.ndarray, measured: np.ndarray) -> np.ndarray:
    """Return a condition as 1 and 0, NaN where the measured value is NaN."""
    return _blank(condition.astype(np.float64), np.isnan(measured))


def _within(values: np.ndarray, bounds: tuple[float, float]) -> np.ndarray:
    return _where((values >= bounds[0]) & (values <= bounds[1]), values)


def _defined(values: np.ndarray) -> np.ndarray:
    return values[~np.isnan(values)]


_TOO_SHORT = Unavailable("the chains are too short for it")


def _share(values: np.ndarray) -> Value:
    defined = _defined(values)
    return float(defined.mean()) if len(defined) else _TOO_SHORT


def _deviation(values: np.ndarray) -> Value:
    defined = _defined(values)
    if not len(defined):
        return _TOO_SHORT
    return (
        float(defined.std(ddof=1)) if len(defined) > 1 else Unavailable("one value has no spread")
    )
