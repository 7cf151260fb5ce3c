"""Backbone geometry of a set of chains, the same for designs and for the structures trained on.

``geometry = Geometry.of(chains)`` measures every residue and chain at once, then
``measure(geometry, reference)`` returns the metrics. Chains travel flat: all residues one after
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

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from scipy.spatial.distance import jensenshannon

from structdiff.evaluation.metric import Metric, Unavailable, Value
from structdiff.protein.geometry import dihedral, internal_coordinates

__all__ = ["METRICS", "Chains", "Geometry", "measure"]

CA_STEP = (3.65, 3.95)
CN_BOND = (1.23, 1.43)
CLASH = 3.0
BLOCK_PAIRS = 2**23
MIN_QUADRUPLETS = 50
"""Fewer helical Cα quadruplets say nothing of handedness."""

_TITLES = {
    "n_ca": "N–Cα bond (Å)",
    "ca_c": "Cα–C bond (Å)",
    "c_n": "C–N bond (Å)",
    "angle_n_ca_c": "N–Cα–C angle (°)",
    "angle_ca_c_n": "Cα–C–N angle (°)",
    "angle_c_n_ca": "C–N–Cα angle (°)",
}


def _metrics() -> tuple[Metric, ...]:
    rows = [
        ("chains", "Backbone", "Backbones measured", "–"),
        ("ca_step_valid", "Backbone", "Cα–Cα steps within 3.8 ± 0.15 Å (share)", "1"),
        ("cn_valid", "Backbone", "C–N bonds within 1.33 ± 0.1 Å (share)", "1"),
        ("clashes", "Backbone", "Chains with Cα closer than 3.0 Å (share)", "0"),
        ("trans", "Backbone", "Trans peptide bonds, |ω| > 150° (share)", "as held-out"),
    ]
    for key, title in _TITLES.items():
        rows.append((f"{key}_mean", "Bonds and angles", f"{title}, mean", "as held-out"))
        rows.append(
            (f"{key}_sd", "Bonds and angles", f"{title}, standard deviation", "as held-out")
        )
    rows += [
        ("ramachandran_js", "Fold", "φ/ψ Jensen–Shannon distance", "low, as held-out"),
        ("alpha", "Fold", "φ/ψ in the α region (share)", "as held-out"),
        ("beta", "Fold", "φ/ψ in the β and PPII region (share)", "as held-out"),
        ("positive_phi", "Fold", "φ > 0, without glycine (share)", "as held-out"),
        ("helix", "Fold", "Residues in right-handed helices (share)", "as held-out"),
        ("right_handed", "Fold", "Right-handed among helical turns (share)", "1"),
        ("radius_mean", "Fold", "Radius of gyration (Å), mean", "as held-out"),
        ("radius_sd", "Fold", "Radius of gyration (Å), standard deviation", "as held-out"),
    ]
    return tuple(Metric(*row) for row in rows)


METRICS = _metrics()


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
    """What is measured of each residue and each chain; NaN where it is not defined.

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
        place = _places(chains.offsets)
        first, last = place == 0, _from_end(chains.offsets) == 0
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
        """``quadruplet`` without what stands alone: +1, −1 or 0, ``(residues,)``."""
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


def measure(geometry: Geometry, reference: Geometry | Unavailable) -> dict[str, Value]:
    """Return every metric of some chains, in the order of `METRICS`.

    Parameters
    ----------
    geometry
        Of the chains.
    reference
        The structures trained on, which the φ/ψ distribution is compared with.
    """
    values: dict[str, Value] = {"chains": float(len(geometry.chains))}
    if not len(geometry.chains):
        return {m.key: values.get(m.key, Unavailable("there is no backbone")) for m in METRICS}
    values["ca_step_valid"] = _share(_within(geometry.lengths["ca_ca"], CA_STEP))
    values["cn_valid"] = _share(_within(geometry.lengths["c_n"], CN_BOND))
    values["clashes"] = float(geometry.clashes.mean())
    values["trans"] = _share(_where(np.abs(geometry.omega) > 150, geometry.omega))
    for key in _TITLES:
        measured = geometry.angles[key] if key in geometry.angles else geometry.lengths[key]
        values |= _mean_and_sd(key, measured)
    values |= _torsion_metrics(geometry, reference)
    values["helix"] = float(geometry.helical.mean())
    values["right_handed"] = _handedness(geometry)
    values |= _mean_and_sd("radius", geometry.radius)
    return {metric.key: values[metric.key] for metric in METRICS}


def _torsion_metrics(geometry: Geometry, reference: Geometry | Unavailable) -> dict[str, Value]:
    phi, psi = geometry.phi, geometry.psi
    both = phi + psi
    left = phi > 0
    alpha = ~left & (psi > -100) & (psi < 50)
    glycine = np.frombuffer("".join(geometry.chains.sequences).encode(), np.uint8) == ord("G")
    values: dict[str, Value] = {
        "alpha": _share(_where(alpha, both)),
        "beta": _share(_where(~left & ~alpha, both)),
        "positive_phi": _share(_blank(_where(left, phi), glycine)),
    }
    if isinstance(reference, Unavailable):
        values["ramachandran_js"] = reference
    elif not (geometry.histogram.any() and reference.histogram.any()):
        values["ramachandran_js"] = Unavailable("no residue has both φ and ψ")
    else:
        own, real = geometry.histogram.reshape(-1), reference.histogram.reshape(-1)
        values["ramachandran_js"] = float(jensenshannon(own, real))
    return values


def _handedness(geometry: Geometry) -> Value:
    right, left = int((geometry.turns > 0).sum()), int((geometry.turns < 0).sum())
    if right + left < MIN_QUADRUPLETS:
        return Unavailable(f"only {right + left} helical turns, {MIN_QUADRUPLETS} wanted")
    return right / (right + left)


def _quadruplets(ca: torch.Tensor, offsets: np.ndarray) -> np.ndarray:
    a, b, c, d = ca, ca.roll(-1, 0), ca.roll(-2, 0), ca.roll(-3, 0)
    angle = torch.rad2deg(dihedral(a, b, c, d)).numpy()
    span = (d - a).norm(dim=-1).numpy()
    inside = _from_end(offsets) >= 3
    helical = inside & (np.abs(np.abs(angle) - 50) <= 20) & (np.abs(span - 5.3) <= 0.5)
    return np.where(helical, np.sign(angle), 0).astype(np.int8)


def _places(offsets: np.ndarray) -> np.ndarray:
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
    """Return a condition as 1 and 0, NaN where what it rests on is NaN."""
    return _blank(condition.astype(np.float64), np.isnan(measured))


def _within(values: np.ndarray, bounds: tuple[float, float]) -> np.ndarray:
    return _where((values >= bounds[0]) & (values <= bounds[1]), values)


def _share(values: np.ndarray) -> Value:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else Unavailable("the chains are too short for it")


def _mean_and_sd(key: str, values: np.ndarray) -> dict[str, Value]:
    known = values[~np.isnan(values)]
    if not len(known):
        return dict.fromkeys(
            (f"{key}_mean", f"{key}_sd"), Unavailable("the chains are too short for it")
        )
    spread = float(known.std(ddof=1)) if len(known) > 1 else math.nan
    sd = Unavailable("one value has no spread") if math.isnan(spread) else spread
    return {f"{key}_mean": float(known.mean()), f"{key}_sd": sd}
