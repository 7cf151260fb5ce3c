"""Backbone geometry in torch: internal coordinates, rebuilding a chain, comparing two chains.

A backbone is a tensor ``(..., length, 4, 3)`` of N, Cα, C and O positions in Å. Its internal
coordinates are ``torsions`` ``(..., length, 3)`` — φ, ψ, ω in radians — and ``angles``
``(..., length, 3)`` — N–Cα–C, Cα–C–N(+1), C–N(+1)–Cα(+1) in radians. The ω and the last two angles
of a residue belong to the peptide bond between this residue and the next one. ``rebuild`` inverts
``internal_coordinates`` up to a rigid motion, with bond lengths fixed at the values of Engh & Huber
(International Tables for Crystallography F, 18.3, 2001). ``rmsd`` and ``lddt`` compare a model with
a reference.
"""

import math

import torch
from torch import Tensor

__all__ = [
    "ANGLES",
    "BOND_LENGTHS",
    "LDDT_CUTOFF",
    "LDDT_LIMITS",
    "beta_carbons",
    "clash_penalty",
    "dihedral",
    "distances",
    "internal_coordinates",
    "lddt",
    "pair_mask",
    "rebuild",
    "rmsd",
]

BOND_LENGTHS = {"N-CA": 1.459, "CA-C": 1.525, "C-N": 1.336, "C-O": 1.229}
"""Ideal bond lengths, Å."""

ANGLES = (math.radians(111.0), math.radians(117.2), math.radians(121.7))
"""Mean N–Cα–C, Cα–C–N and C–N–Cα angles, radians."""

LDDT_LIMITS = (0.5, 1.0, 2.0, 4.0)
"""Tolerances of a distance in lDDT, Å; each counts for a quarter."""

LDDT_CUTOFF = 15.0
"""Largest distance that lDDT considers, Å."""

_CA_C_O = math.radians(120.1)

_CB_FROM = (-0.58273431, 0.56802827, -0.54067466)
"""Weights of (Cα−N)×(C−Cα), Cα−N and C−Cα: their weighted sum is the vector from Cα to Cβ."""


def dihedral(a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
    """Return the signed dihedral angle of four points ``(..., 3)``, in radians (IUPAC sign)."""
    u, v, w = b - a, c - b, d - c
    n1, n2 = torch.linalg.cross(u, v), torch.linalg.cross(v, w)
    y = (torch.linalg.vector_norm(v, dim=-1, keepdim=True) * u * n2).sum(-1)
    return torch.atan2(y, (n1 * n2).sum(-1))


def _angle(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """Return the angle at ``b`` between ``a`` and ``c``, points ``(..., 3)``, in radians."""
    u, v = a - b, c - b
    cross = torch.linalg.vector_norm(torch.linalg.cross(u, v), dim=-1)
    return torch.atan2(cross, (u * v).sum(-1))


def internal_coordinates(backbone: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return torsions and bond angles, in radians, of a backbone ``(..., length, 4, 3)``.

    Both are ``(..., length, 3)``: φ, ψ, ω, and the angles of `ANGLES`. ``mask`` ``(..., length)``
    is true at residues, false at padding after them. Undefined torsions (first φ, last ω) are π;
    undefined angles (last two of the last residue) are as in `ANGLES`. The O atom gives the last ψ.
    """
    n, ca, c, o = backbone.unbind(-2)
    if mask is None:
        mask = torch.ones(n.shape[:-1], dtype=torch.bool, device=n.device)
    follows = torch.zeros_like(mask)
    follows[..., :-1] = mask[..., 1:]
    next_n, next_ca, previous_c = n.roll(-1, -2), ca.roll(-1, -2), c.roll(1, -2)
    phi = dihedral(previous_c, n, ca, c)
    phi[..., 0] = math.pi
    psi = torch.where(follows, dihedral(n, ca, c, next_n), dihedral(n, ca, c, -o + 2 * c))
    omega = torch.where(follows, dihedral(ca, c, next_n, next_ca), math.pi)
    angles = [
        _angle(n, ca, c),
        torch.where(follows, _angle(ca, c, next_n), ANGLES[1]),
        torch.where(follows, _angle(c, next_n, next_ca), ANGLES[2]),
    ]
    return torch.stack([phi, psi, omega], dim=-1), torch.stack(angles, dim=-1)


def _bond_frame(torsion: Tensor, angle: Tensor) -> Tensor:
    """Return the rotation ``(..., 3, 3)`` from the frame of a bond to the frame of the next bond.

    The x axis of a frame runs along its bond. ``angle`` is the angle between the two bonds, and
    ``torsion`` is the dihedral angle about the first bond, both in radians. The rotation is about x
    by ``torsion``, then about z by π − ``angle``.
    """
    ct, st = torsion.cos(), torsion.sin()
    ca, sa = -angle.cos(), angle.sin()
    zero = torch.zeros_like(ct)
    rows = (ca, -sa, zero, ct * sa, ct * ca, -st, st * sa, st * ca, ct)
    return torch.stack(rows, dim=-1).unflatten(-1, (3, 3))


def rebuild(torsions: Tensor, angles: Tensor) -> Tensor:
    """Return the backbone, ``(..., length, 4, 3)`` in Å, from values of `internal_coordinates`.

    The first Cα is at the origin. The frame of a residue is the product of the rigid motions of all
    residues up to it. All frames are computed in log2(length) rounds of batched matrix products,
    instead of residue by residue.
    """
    length = torsions.shape[-2]
    phi, psi, omega = torsions.unbind(-1)
    # Frame C(i) to N(i+1), CA(i+1), C(i+1); the first φ and the last ω do not affect the shape.
    to_n = _bond_frame(psi[..., :-1], angles[..., :-1, 1])
    to_ca = to_n @ _bond_frame(omega[..., :-1], angles[..., :-1, 2])
    to_c = to_ca @ _bond_frame(phi[..., 1:], angles[..., 1:, 0])
    step_n = BOND_LENGTHS["C-N"] * to_n[..., 0]
    step_ca = step_n + BOND_LENGTHS["N-CA"] * to_ca[..., 0]
    step_c = step_ca + BOND_LENGTHS["CA-C"] * to_c[..., 0]

    # The frame of residue 0 sits on its C atom, x along CA→C, with N in the xy plane.
    identity = torch.eye(3, dtype=psi.dtype, device=psi.device).expand(*psi.shape[:-1], 1, 3, 3)
    rotation = torch.cat([identity, to_c], dim=-3)
    origin = torch.zeros_like(torsions[..., :1, :])
    position = torch.cat([origin, step_c], dim=-2)
    reach = 1
    while reach < length:
        moved = (rotation[..., :-reach, :, :] @ position[..., reach:, :, None]).squeeze(-1)
        position = torch.cat([position[..., :reach, :], position[..., :-reach, :] + moved], dim=-2)
        rotation = torch.cat(
            [
                rotation[..., :reach, :, :],
                rotation[..., :-reach, :, :] @ rotation[..., reach:, :, :],
            ],
            dim=-3,
        )
        reach *= 2

    def place(step: Tensor) -> Tensor:
        return position[..., :-1, :] + (rotation[..., :-1, :, :] @ step[..., None]).squeeze(-1)

    first = angles[..., :1, 0]
    first_ca = torch.zeros_like(origin)
    first_ca[..., 0] = -BOND_LENGTHS["CA-C"]
    # At torsion 0 (cis), a bond bends from x towards +y. N, which defines torsion 0, is at +y too.
    first_n = first_ca + BOND_LENGTHS["N-CA"] * torch.stack(
        [first.cos(), first.sin(), torch.zeros_like(first)], dim=-1
    )
    n = torch.cat([first_n, place(step_n)], dim=-2)
    ca = torch.cat([first_ca, place(step_ca)], dim=-2)
    to_o = _bond_frame(psi + math.pi, torch.full_like(psi, _CA_C_O))
    o = position + BOND_LENGTHS["C-O"] * (rotation @ to_o[..., :1]).squeeze(-1)
    backbone = torch.stack([n, ca, position, o], dim=-2)
    return backbone - backbone[..., :1, 1:2, :]


def rmsd(mobile: Tensor, target: Tensor) -> Tensor:
    """Return the root mean square deviation ``(...,)`` in Å after the best superposition.

    The superposition has no reflection, so that a mirror image does not fit (Kabsch, Acta Cryst.
    A32, 922, 1976). Computed in float64.

    Parameters
    ----------
    mobile, target
        Positions of the same atoms, ``(..., atoms, 3)`` in Å.
    """
    a, b = (x.double() - x.double().mean(-2, keepdim=True) for x in (mobile, target))
    covariance = a.transpose(-1, -2) @ b
    u, singular, vt = torch.linalg.svd(covariance)
    # A negative determinant means a reflection: the smallest singular value is then subtracted.
    singular = torch.cat(
        [singular[..., :2], singular[..., 2:] * torch.linalg.det(u @ vt).sign()[..., None]], dim=-1
    )
    square = (a.square() + b.square()).sum((-1, -2)) - 2 * singular.sum(-1)
    return (square / mobile.shape[-2]).clamp(min=0).sqrt()


def lddt(model: Tensor, reference: Tensor) -> Tensor:
    """Return the local distance difference test of each atom, ``(..., atoms)`` in 0–1.

    lDDT considers the distances from an atom to other atoms that are below 15 Å in the reference.
    It is the share of these distances that the model reproduces within a tolerance, averaged over
    the tolerances 0.5, 1, 2 and 4 Å (Mariani et al., Bioinformatics 29, 2722, 2013). It needs no
    superposition. It is NaN for an atom without another atom within 15 Å in the reference.

    Parameters
    ----------
    model, reference
        Positions of the same atoms, one for each residue, ``(..., atoms, 3)`` in Å.
    """
    distance, true = (torch.cdist(x.double(), x.double()) for x in (model, reference))
    others = ~torch.eye(true.shape[-1], dtype=torch.bool, device=true.device)
    pairs = (true < LDDT_CUTOFF) & others
    difference = (distance - true).abs()
    kept = sum((difference < limit).double() for limit in LDDT_LIMITS) / len(LDDT_LIMITS)
    return (kept * pairs).sum(-1) / pairs.sum(-1)


def beta_carbons(backbone: Tensor) -> Tensor:
    """Return ideal Cβ positions, ``(..., length, 3)`` in Å; glycine gets one as well.

    ``backbone`` has N, Cα, C, O in Å, ``(..., length, 4, 3)``. The weights are those of ProteinMPNN
    (Dauparas et al., Science 378, 49, 2022).
    """
    n, ca, c, _ = backbone.unbind(-2)
    first, second = ca - n, c - ca
    normal, along, on = _CB_FROM
    return ca + normal * torch.linalg.cross(first, second) + along * first + on * second


def clash_penalty(ca: Tensor, mask: Tensor, apart: float) -> Tensor:
    """Return the sum of each residue's overlaps with others, ``(..., length)`` in Å.

    Two residues overlap by ``apart`` minus their distance, if this is positive.
    Neighbours along the chain are not counted. Differentiable.

    Parameters
    ----------
    ca
        Cα positions, ``(..., length, 3)`` in Å.
    mask
        True at residues, ``(..., length)``.
    apart
        Smallest distance without a penalty, Å.
    """
    return ((apart - distances(ca)).clamp(min=0) * pair_mask(mask, 2)).sum(-1)


def distances(x: Tensor) -> Tensor:
    """Return the distances ``(..., length, length)`` between points ``(..., length, 3)``.

    1e-6 is added to the squares, so that the gradient is finite at distance zero.
    """
    return (x[..., :, None, :] - x[..., None, :, :]).square().sum(-1).add(1e-6).sqrt()


def pair_mask(mask: Tensor, separation: int) -> Tensor:
    """Return which pairs of residues are far enough apart in the chain, ``(..., length, length)``.

    Parameters
    ----------
    mask
        True at residues, ``(..., length)``.
    separation
        Smallest separation in residues; 0 includes a residue with itself.
    """
    position = torch.arange(mask.shape[-1], device=mask.device)
    far = (position[:, None] - position).abs() >= separation
    return mask[..., :, None] & mask[..., None, :] & far
