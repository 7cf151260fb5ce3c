"""Internal coordinates and the rebuilt chain are inverses, with the handedness of L-residues."""

import math

import numpy as np
import pytest
import torch

from structdiff.protein.geometry import (
    ANGLES,
    BOND_LENGTHS,
    beta_carbons,
    clash_penalty,
    dihedral,
    internal_coordinates,
    lddt,
    rebuild,
    rmsd,
)

HELIX = torch.tensor([-57.8, -47.0, 180.0]).deg2rad()


def random_chain(length: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    turn = torch.rand(4, length, 3, generator=generator, dtype=torch.float64)
    bend = torch.randn(4, length, 3, generator=generator, dtype=torch.float64)
    return (turn - 0.5) * 2 * math.pi, torch.tensor(ANGLES, dtype=torch.float64) + 0.1 * bend


def turned(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return (a - b + math.pi).remainder(2 * math.pi) - math.pi


@pytest.mark.parametrize("length", [1, 2, 3, 17, 50])
def test_internal_coordinates_invert_rebuild(length):
    torsions, angles = random_chain(length)
    found_torsions, found_angles = internal_coordinates(rebuild(torsions, angles))
    difference = turned(found_torsions, torsions)
    assert difference[:, 1:, 0].abs().sum() < 1e-8  # φ
    assert difference[..., 1].abs().max() < 1e-8  # ψ, the last from the O atom
    assert difference[:, :-1, 2].abs().sum() < 1e-8  # ω
    assert (found_angles - angles)[..., 0].abs().max() < 1e-8
    assert (found_angles - angles)[:, :-1].abs().sum() < 1e-8


def test_bond_lengths_are_the_tabled_ones():
    n, ca, c, o = rebuild(*random_chain(20)).unbind(-2)
    for name, bond in {
        "N-CA": ca - n,
        "CA-C": c - ca,
        "C-O": o - c,
        "C-N": n[:, 1:] - c[:, :-1],
    }.items():
        lengths = torch.linalg.vector_norm(bond, dim=-1)
        assert torch.allclose(lengths, torch.full_like(lengths, BOND_LENGTHS[name]))


def test_alpha_helix_is_right_handed_and_rises_1_5_angstrom():
    backbone = rebuild(HELIX.expand(1, 30, 3), torch.tensor(ANGLES).expand(1, 30, 3))[0]
    ca = backbone[:, 1]
    assert math.degrees(dihedral(*ca[:4])) == pytest.approx(50, abs=2)
    rise = torch.linalg.vector_norm(ca[18:] - ca[:-18], dim=-1) / 18
    assert rise.mean() == pytest.approx(1.5, abs=0.1)


def test_pads_do_not_leak_into_the_last_residue():
    backbone = rebuild(*random_chain(12))
    padded = torch.cat([backbone, torch.zeros(4, 5, 4, 3, dtype=backbone.dtype)], dim=1)
    mask = torch.arange(17).expand(4, 17) < 12
    for plain, with_pads in zip(
        internal_coordinates(backbone), internal_coordinates(padded, mask), strict=True
    ):
        assert torch.equal(plain, with_pads[:, :12])


def test_rebuild_has_finite_gradients():
    torsions, angles = (x.requires_grad_() for x in random_chain(50))
    rebuild(torsions, angles).square().sum().backward()
    assert torch.isfinite(torsions.grad).all()
    assert torch.isfinite(angles.grad).all()


def random_chains(seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    torsions = (torch.rand(6, 15, 3, generator=generator) - 0.5) * 2 * math.pi
    return rebuild(torsions, torch.tensor(ANGLES).expand(6, 15, 3))[..., 1, :]


def test_rmsd_and_lddt_are_those_of_biotite():
    from biotite import structure

    a, b = random_chains(0), random_chains(1)
    fitted = [structure.superimpose(x.numpy(), y.numpy())[0] for x, y in zip(b, a, strict=True)]
    expected = [structure.rmsd(x.numpy(), y) for x, y in zip(b, fitted, strict=True)]
    assert rmsd(a, b).tolist() == pytest.approx(expected, abs=1e-3)
    for x, y, found in zip(a, b, lddt(a, b), strict=True):
        atoms = [structure.AtomArray(15) for _ in range(2)]
        for array, coordinates in zip(atoms, (y, x), strict=True):
            array.coord = coordinates.numpy()
            array.res_id = np.arange(15)
            array.atom_name[:] = "CA"
        each = structure.lddt(*atoms, aggregation="residue")
        assert found.tolist() == pytest.approx(each.tolist(), abs=1e-3)


def test_a_rigid_motion_fits_and_a_mirror_image_does_not():
    chain = random_chains(2)
    turn = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(0))).Q
    turn = turn * torch.linalg.det(turn)
    moved = chain @ turn.T + 7
    assert rmsd(moved, chain).max() < 1e-3
    assert (lddt(moved, chain) == 1).all()
    assert rmsd(chain * torch.tensor([1, 1, -1]), chain).min() > 1
    assert lddt(chain[:, :1], chain[:, :1]).isnan().all()


def test_clash_penalty_counts_what_is_too_close_but_not_neighbours_or_pads():
    ca = torch.tensor([[0.0, 0, 0], [3.8, 0, 0], [3.8, 3.8, 0], [0, 3.0, 0], [0, 0, 0], [0, 0, 0]])
    mask = torch.tensor([True, True, True, True, False, False])
    found = clash_penalty(ca[None], mask[None], 4.0)[0]
    # Residues 0 and 3 are 3 Å apart; 1 and 3, 0 and 2 are far; pads lie on residue 0.
    assert found.tolist() == pytest.approx([1.0, 0, 0, 1.0, 0, 0], abs=1e-4)


def test_beta_carbons_are_those_of_an_l_residue():
    backbone = rebuild(torch.zeros(1, 2, 3) - 1, torch.tensor(ANGLES).expand(1, 2, 3))
    n, ca, c, _ = backbone.unbind(-2)
    bond = beta_carbons(backbone) - ca
    assert torch.allclose(bond.norm(dim=-1), torch.tensor(1.53), atol=0.02)
    # Seen from the hydrogen, CO, R and N are clockwise.
    assert ((torch.linalg.cross(n - ca, c - ca) * bond).sum(-1) > 0).all()
