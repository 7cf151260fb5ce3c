"""Terminal caps of a backbone in ideal geometry: the residues ACE and NH2 of the PDB.

``cap_atoms(backbone, ends)`` places the atoms of the caps. The peptide bonds are trans, with the
bond lengths and angles of `structdiff.protein.geometry`. A backbone does not define the φ of its
first residue, so the value of an α-helix is used.
"""

import math
from typing import NamedTuple

import numpy as np

from structdiff.protein.ends import Ends

__all__ = ["CapAtom", "cap_atoms", "place_atom"]

PHI = math.radians(-57.8)
C_N, C_O, C_C = 1.336, 1.229, 1.507
C_N_CA, CA_C_N = math.radians(121.7), math.radians(117.2)
O_C_N, CH3_C_N = math.radians(122.7), math.radians(117.2)


class CapAtom(NamedTuple):
    """An atom of a cap: its name, the name of the cap (ACE or NH2), and its position ``(3,)`` in Å.

    ``offset`` is the residue number of the cap relative to the residue that the cap is bonded to:
    -1 for ACE, 1 for NH2.
    """

    name: str
    residue: str
    offset: int
    position: np.ndarray


def cap_atoms(backbone: np.ndarray, ends: Ends) -> tuple[list[CapAtom], list[CapAtom]]:
    """Return the cap atoms before and after a backbone ``(length, 4, 3)`` in Å.

    A list is empty where the end of the peptide is free.
    """
    before, after = [], []
    if ends.acetylated:
        n, ca, c = backbone[0, :3]
        carbon = place_atom(c, ca, n, C_N, C_N_CA, PHI)
        oxygen = place_atom(ca, n, carbon, C_O, O_C_N, 0.0)
        methyl = place_atom(ca, n, carbon, C_C, CH3_C_N, math.pi)
        atoms = {"C": carbon, "O": oxygen, "CH3": methyl}
        before = [CapAtom(name, "ACE", -1, xyz) for name, xyz in atoms.items()]
    if ends.amidated:
        _, ca, c, o = backbone[-1]
        after = [CapAtom("N", "NH2", 1, place_atom(o, ca, c, C_N, CA_C_N, math.pi, improper=True))]
    return before, after


def place_atom(
    a: np.ndarray,
    b: np.ndarray,
    c: np.ndarray,
    length: float,
    angle: float,
    torsion: float,
    *,
    improper: bool = False,
) -> np.ndarray:
    """Return the position ``(3,)`` of an atom d from the positions of the atoms a, b and c.

    ``length`` is the distance c–d in Å, ``angle`` the angle b–c–d and ``torsion`` the dihedral
    angle a–b–c–d, both in radians. With ``improper``, a is bonded to c instead of b, and
    ``torsion`` is the improper dihedral angle.
    """
    along = (c - b) / np.linalg.norm(c - b)
    side = a - (c if improper else b)
    side = side - side @ along * along
    side /= np.linalg.norm(side)
    normal = np.cross(along, side)
    across = math.cos(torsion) * side + math.sin(torsion) * normal
    return c + length * (-math.cos(angle) * along + math.sin(angle) * across)
