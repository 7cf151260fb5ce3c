"""Metrics of the backbones of a set, the same for designs and for held-out structures.

`METRICS` has each metric with its definition and function.

Definitions
-----------
valid steps and bonds
    A step from one Cα to the next is valid if it is 3.8 ± 0.15 Å (a trans peptide bond), and a C–N
    bond if it is 1.33 ± 0.1 Å.
clash
    Two Cα of a chain that are not neighbours along the chain and are closer than 3.0 Å.
helix
    Two or more helical Cα quadruplets of the same hand that start at successive residues, so that a
    helix has at least five residues. A quadruplet is the Cα of residues i to i+3. It is helical if
    its first and last Cα are 5.3 ± 0.5 Å apart and its dihedral angle is 50 ± 20° (right-handed) or
    −50 ± 20° (left-handed), as in P-SEA (Labesse et al., CABIOS 13, 291, 1997).
helical turn
    A helical quadruplet that is part of a helix.
Ramachandran distance
    Jensen–Shannon distance (natural logarithm, 0 to 0.83) between the φ/ψ histograms of the set and
    of the training structures that have the labels, in bins of 30°.

The chirality of a residue cannot be computed from its backbone atoms alone. A mirror image is
recognised by left-handed helices and by positive φ at residues other than glycine.
"""

from collections.abc import Callable
from operator import attrgetter

import numpy as np
import torch
from scipy.spatial.distance import jensenshannon

from structdiff.evaluation.backbone_geometry import CA_STEP, Geometry, blank, where_defined, within
from structdiff.evaluation.metric import Metric
from structdiff.evaluation.peptide_set import PeptideSet, function_of
from structdiff.evaluation.value import Unavailable, Value
from structdiff.protein.geometry import beta_carbons

__all__ = ["METRICS", "ca_step_valid", "clashes", "cn_valid", "disulfides", "right_handed"]

CN_BOND = (1.23, 1.43)
MIN_QUADRUPLETS = 50
"""Smallest number of helical turns for which the share of right-handed ones is given."""

DISULFIDE = 5.0
"""Largest Cβ–Cβ distance at which two cysteines count as a pair, Å."""
MIN_CYSTEINES = 20

_TITLES = {
    "n_ca": "N–Cα bond (Å)",
    "ca_c": "Cα–C bond (Å)",
    "c_n": "C–N bond (Å)",
    "angle_n_ca_c": "N–Cα–C angle (°)",
    "angle_ca_c_n": "Cα–C–N angle (°)",
    "angle_c_n_ca": "C–N–Cα angle (°)",
}


def ca_step_valid(geometry: Geometry) -> Value:
    """Return the share of Cα–Cα steps within 3.8 ± 0.15 Å."""
    return _share(within(geometry.lengths["ca_ca"], CA_STEP))


def cn_valid(geometry: Geometry) -> Value:
    """Return the share of C–N bonds within 1.33 ± 0.1 Å."""
    return _share(within(geometry.lengths["c_n"], CN_BOND))


def clashes(geometry: Geometry) -> Value:
    """Return the share of chains with a clash: two Cα, not neighbours, closer than 3.0 Å."""
    return float(geometry.clashes.mean())


def right_handed(geometry: Geometry) -> Value:
    """Return the share of helical turns that are right-handed.

    The result is `Unavailable` for fewer than `MIN_QUADRUPLETS` helical turns.
    """
    right, left = int((geometry.turns > 0).sum()), int((geometry.turns < 0).sum())
    if right + left < MIN_QUADRUPLETS:
        return Unavailable(f"only {right + left} helical turns, {MIN_QUADRUPLETS} wanted")
    return right / (right + left)


def disulfides(geometry: Geometry) -> Value:
    """Return the share of cysteines that are close enough to another cysteine for a disulfide.

    A cysteine counts if the Cβ of another cysteine of its chain is at most `DISULFIDE` away from
    its Cβ. Only chains with two or more cysteines are considered. The result is `Unavailable` if
    these chains have fewer than `MIN_CYSTEINES` cysteines.
    """
    letters = np.frombuffer("".join(geometry.chains.sequences).encode(), np.uint8)
    rows = np.flatnonzero(letters == ord("C"))
    chain = np.searchsorted(geometry.chains.offsets, rows, side="right")
    beta = beta_carbons(torch.from_numpy(geometry.chains.positions[rows]).double()).numpy()
    known, near = 0, 0
    for number in np.unique(chain):
        own = beta[chain == number]
        if len(own) > 1:
            apart = np.linalg.norm(own[:, None] - own, axis=-1) + np.diag(np.full(len(own), np.inf))
            known, near = known + len(own), near + int((apart.min(1) <= DISULFIDE).sum())
    if known < MIN_CYSTEINES:
        return Unavailable(f"only {known} cysteines are not alone, {MIN_CYSTEINES} wanted")
    return near / known


def _left(geometry: Geometry) -> np.ndarray:
    return geometry.phi > 0


def _alpha(geometry: Geometry) -> np.ndarray:
    return ~_left(geometry) & (geometry.psi > -100) & (geometry.psi < 50)


def _share_of(region: Callable[[Geometry], np.ndarray]) -> Callable[[PeptideSet], Value]:
    """Return a metric function: the share of the residues with φ and ψ that are in a region.

    ``region`` returns whether each residue is in the region, ``(residues,)`` bool.
    """
    return _of_backbones(lambda g: _share(where_defined(region(g), g.phi + g.psi)))


def _positive_phi(geometry: Geometry) -> Value:
    glycine = np.frombuffer("".join(geometry.chains.sequences).encode(), np.uint8) == ord("G")
    return _share(blank(where_defined(_left(geometry), geometry.phi), glycine))


def _ramachandran_distance(peptides: PeptideSet) -> Value:
    geometry, reference = peptides.geometry, peptides.reference_geometry
    if isinstance(geometry, Unavailable):
        return geometry
    if isinstance(reference, Unavailable):
        return reference
    if not (geometry.histogram.any() and reference.histogram.any()):
        return Unavailable("no residue has both φ and ψ")
    return float(jensenshannon(geometry.histogram.reshape(-1), reference.histogram.reshape(-1)))


def _of_backbones(function: Callable[[Geometry], Value]) -> Callable[[PeptideSet], Value]:
    """Return a metric function that applies ``function`` to the geometry of a peptide set."""
    return function_of(attrgetter("geometry"), function)


def _summaries(
    key: str, group: str, title: str, unit: str, values: Callable[[Geometry], np.ndarray]
) -> tuple[Metric, ...]:
    """Return two metrics: the mean and the standard deviation of ``values(geometry)``.

    ``values`` returns a value for each residue or each chain; NaN values are left out.
    """
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
        "is measured.", _of_backbones(lambda g: float(len(g.chains))), in_story=False,
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
        "disulfides", "Backbone", "Cysteines with another within Cβ–Cβ 5 Å (share)", "as held-out",
        "share", "Of the cysteines of chains with two or more; Cβ placed from N, Cα, C (Dauparas "
        f"et al., Science 378, 49, 2022); of at least {MIN_CYSTEINES}. In disulfides the distance "
        "is 3.4 to 4.5 Å. Backbones of this model's designs are fitted to disulfides.",
        _of_backbones(disulfides), in_story=False,
    ),
    Metric(
        "trans", "Backbone", "Trans peptide bonds, |ω| > 150° (share)", "as held-out", "share",
        "Peptide bonds with |ω| > 150°.",
        _of_backbones(lambda g: _share(where_defined(np.abs(g.omega) > 150, g.omega))),
        in_story=False,
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
        "set and of the training structures with the label.", _ramachandran_distance,
        in_story=False,
    ),
    Metric(
        "alpha", "Fold", "φ/ψ in the α region (share)", "as held-out", "share",
        "Residues with φ ≤ 0° and −100° < ψ < 50°.", _share_of(_alpha), in_story=False,
    ),
    Metric(
        "beta", "Fold", "φ/ψ in the β and PPII region (share)", "as held-out", "share",
        "Residues with φ ≤ 0° outside the α region.", _share_of(lambda g: ~_left(g) & ~_alpha(g)),
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


_TOO_SHORT = Unavailable("the chains are too short for it")


def _share(values: np.ndarray) -> Value:
    """Return the mean of all values that are not NaN; `Unavailable` if there are none."""
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if len(defined) else _TOO_SHORT


def _deviation(values: np.ndarray) -> Value:
    """Return the standard deviation of all values that are not NaN.

    The result is `Unavailable` for fewer than two such values.
    """
    defined = values[~np.isnan(values)]
    if len(defined) == 1:
        return Unavailable("one value has no spread")
    return float(defined.std(ddof=1)) if len(defined) else _TOO_SHORT
