"""Structure of a peptide: its heavy atoms, in a fixed order.

``Structure(sequence, positions, plddt, ptm)`` holds every heavy atom of a peptide in one array:
residue after residue, each N, CA, C, O and then the side chain in the order of `HEAVY_ATOMS` (the
order of the PDB and of AlphaFold's 14-atom tables; Jumper et al., Nature 596, 2021). The
sequence determines the atom of each row, so that atom names are not stored.
``structure.backbone`` has the four backbone atoms of each residue.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from structdiff.protein.residues import AMINO_ACIDS, encode

__all__ = [
    "ATOM14_EXISTS",
    "ATOM_COUNTS",
    "HEAVY_ATOMS",
    "Structure",
    "atom_starts",
    "from_backbone",
]

_SIDE_CHAINS = {
    "A": "CB",
    "C": "CB SG",
    "D": "CB CG OD1 OD2",
    "E": "CB CG CD OE1 OE2",
    "F": "CB CG CD1 CD2 CE1 CE2 CZ",
    "G": "",
    "H": "CB CG ND1 CD2 CE1 NE2",
    "I": "CB CG1 CG2 CD1",
    "K": "CB CG CD CE NZ",
    "L": "CB CG CD1 CD2",
    "M": "CB CG SD CE",
    "N": "CB CG OD1 ND2",
    "P": "CB CG CD",
    "Q": "CB CG CD OE1 NE2",
    "R": "CB CG CD NE CZ NH1 NH2",
    "S": "CB OG",
    "T": "CB OG1 CG2",
    "V": "CB CG1 CG2",
    "W": "CB CG CD1 CD2 NE1 CE2 CE3 CZ2 CZ3 CH2",
    "Y": "CB CG CD1 CD2 CE1 CE2 CZ OH",
}

HEAVY_ATOMS = {aa: ("N", "CA", "C", "O", *_SIDE_CHAINS[aa].split()) for aa in AMINO_ACIDS}
"""Names of the heavy atoms of each residue, in the order of `Structure.positions`."""

ATOM_COUNTS = np.array([len(HEAVY_ATOMS[aa]) for aa in AMINO_ACIDS], dtype=np.int64)
"""Number of heavy atoms of each residue, ``(20,)``, by residue index."""

ATOM14_EXISTS = np.arange(14) < ATOM_COUNTS[:, None]
"""Which of 14 slots hold an atom, ``(20, 14)`` bool: the atoms of a residue fill them in order."""


def atom_starts(codes: np.ndarray) -> np.ndarray:
    """Return the index of each residue's first atom (N), followed by the number of heavy atoms.

    Parameters
    ----------
    codes
        Residue indices ``(length,)`` of one peptide, or of several that are concatenated.

    Returns
    -------
    np.ndarray
        Indices into arrays with one row for each heavy atom, ``(length + 1,)`` int64.
    """
    starts = np.zeros(len(codes) + 1, dtype=np.int64)
    np.cumsum(ATOM_COUNTS[codes], out=starts[1:])
    return starts


@dataclass(frozen=True, eq=False)
class Structure:
    """The heavy atoms of one peptide.

    Attributes
    ----------
    sequence
        One-letter codes of the 20 standard residues.
    positions
        Positions in Å, ``(heavy atoms, 3)`` float32, in the order of `HEAVY_ATOMS`; NaN where an
        atom is absent.
    plddt
        Predicted lDDT at Cα, 0–100, ``(length,)`` float32; None where there is none.
    ptm
        Predicted TM-score of the whole structure, 0–1; None where there is none.

    Raises
    ------
    ValueError
        If the shapes do not fit the sequence.
    """

    sequence: str
    positions: np.ndarray
    plddt: np.ndarray | None = None
    ptm: float | None = None

    def __post_init__(self) -> None:
        positions = np.ascontiguousarray(self.positions, dtype=np.float32)
        expected = (int(self._starts[-1]), 3)
        if positions.shape != expected:
            raise ValueError(
                f"{self.sequence} has {expected[0]} heavy atoms, but the positions have the "
                f"shape {positions.shape}"
            )
        object.__setattr__(self, "positions", positions)
        if self.plddt is not None:
            plddt = np.ascontiguousarray(self.plddt, dtype=np.float32)
            if plddt.shape != (len(self.sequence),):
                raise ValueError(f"{plddt.shape} pLDDT values for {len(self.sequence)} residues")
            object.__setattr__(self, "plddt", plddt)

    @cached_property
    def codes(self) -> np.ndarray:
        """Residue indices, ``(length,)`` uint8."""
        return encode(self.sequence)

    @cached_property
    def _starts(self) -> np.ndarray:
        return atom_starts(self.codes)

    @property
    def backbone(self) -> np.ndarray:
        """N, Cα, C and O in Å, ``(length, 4, 3)`` float32."""
        return self.positions[self._starts[:-1, None] + np.arange(4)]

    @property
    def residue_of_atom(self) -> np.ndarray:
        """Index of the residue of each row of ``positions``, ``(heavy atoms,)`` int64."""
        return np.repeat(np.arange(len(self.sequence)), np.diff(self._starts))

    @property
    def atom_names(self) -> list[str]:
        """Name of the atom in each row of ``positions``."""
        return [name for aa in self.sequence for name in HEAVY_ATOMS[aa]]

    @property
    def present(self) -> np.ndarray:
        """Which atoms have a position, ``(heavy atoms,)`` bool."""
        return ~np.isnan(self.positions).any(axis=1)


def from_backbone(
    sequence: str, backbone: np.ndarray, plddt: np.ndarray | None = None
) -> Structure:
    """Return a structure with only the backbone ``(length, 4, 3)`` in Å; other atoms are absent.

    Raises
    ------
    ValueError
        If the backbone has another shape, or the sequence has other letters than the 20 standard
        one-letter codes.
    """
    if backbone.shape != (len(sequence), 4, 3):
        raise ValueError(
            f"a backbone of the shape {backbone.shape} for {len(sequence)} residues, instead of "
            f"({len(sequence)}, 4, 3)"
        )
    starts = atom_starts(encode(sequence))
    positions = np.full((starts[-1], 3), np.nan, dtype=np.float32)
    positions[starts[:-1, None] + np.arange(4)] = backbone
    return Structure(sequence, positions, plddt)
