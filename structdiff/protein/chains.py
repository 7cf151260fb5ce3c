"""Extract peptide chains from the atoms of a structure file: separate, check and complete them.

A chain ends at a TER record, where the name of the chain changes, and where the residue numbers
start again without a bond to the residue before. A chain is rejected with a reason if
it has a modified residue, an incomplete backbone, missing residues (the next residue is too far
away for a bond), a repeated or unknown atom, impossible bond lengths, or mostly D residues (by the
Cβ, or by φ if the file has only the backbone).

Names of terminal atoms differ between programs. The first O of the last residue may be named O,
OT1, OC1 or O1; if the residue has none, it is placed by ideal bond geometry. The second O (OXT,
OT2, OC2, O2), the N of an amide (NT, NXT), hydrogens and the caps ACE, NME and NH2 are left out.
Selenomethionine and the protonation variants of force fields count as their standard residue.

A pLDDT table of an mmCIF file is used first. Otherwise B-factors are read as pLDDT, if the file
does not mention an experiment and the values are within 0–100 (or 0–1, then scaled) and not all
equal. If B-factors differ within a residue, the file must also call itself a prediction; then the
value of Cα is used.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from structdiff.protein.caps import place_atom
from structdiff.protein.residues import THREE_LETTER, encode
from structdiff.protein.structure import HEAVY_ATOMS, Structure, atom_starts

__all__ = ["Atoms", "Chain", "check_geometry", "check_phi", "take_apart"]

_VARIANTS = {
    **dict.fromkeys(("HSD", "HSE", "HSP", "HID", "HIE", "HIP"), "H"),
    **dict.fromkeys(("CYX", "CYM"), "C"),
    "ASH": "D",
    "GLH": "E",
    "LYN": "K",
    "ARN": "R",
    "MSE": "M",
}
_LETTER = {**{name: letter for letter, name in THREE_LETTER.items()}, **_VARIANTS}
_ROW = {aa: {name: i for i, name in enumerate(names)} for aa, names in HEAVY_ATOMS.items()}
_ROW["M"]["SE"] = _ROW["M"]["SD"]
_ROW["I"]["CD"] = _ROW["I"]["CD1"]
_BACKBONE = ("N", "CA", "C", "O")
_CAPS = frozenset({"ACE", "NME", "NMA", "NAC", "CT3"})
_LAST_O = frozenset({"OT1", "OC1", "O1", "O'", "OT"})
_LEFT_OUT = frozenset({"OXT", "OT2", "OC2", "O2", "O''", "NT", "NXT"})

BONDS = {
    "N–Cα": (1.2, 1.8),
    "Cα–C": (1.2, 1.9),
    "C–O": (1.0, 1.6),
    "C–N": (0.5, 2.5),
    "Cα–Cα": (2.0, 5.0),
}
"""Allowed bond lengths, Å; ESMFold's chains have C–N bonds from 0.58 and Cα–Cα from 2.25 Å."""
PREDICTED = {"C–N": (0.5, 8.0), "Cα–Cα": (2.0, 10.0)}
"""Allowed bond lengths in predictions, Å. A predictor writes every residue, so that a long bond is
not a gap. Of 3,354 chains of ESMFold, two have a C–N bond above 2.5 Å: 3.4 and 7.4 Å."""
NANOMETRES = (0.1, 0.2)
"""Range of the median N–Cα bond length (about 0.146) in a file whose unit is nm instead of Å."""

FEWEST_CBETA, MOST_MIRRORED = 3, 0.5
"""Fewest residues with Cβ for a check of handedness; largest share of them that may be D."""
FEWEST_PHI, MOST_POSITIVE = 5, 2 / 3
"""Fewest φ angles for a check of a backbone without Cβ; largest share of them that may be positive.
About 9 % of φ are positive in experimental chains, and at most 60 % in windows of 6 residues."""

_CO, _CA_C_O = 1.229, math.radians(120.1)


@dataclass(frozen=True, eq=False)
class Atoms:
    """The atoms of the first model of a file.

    Attributes
    ----------
    name, residue, chain, insertion, alternative
        Name of the atom, name of its residue, name of its chain, insertion code and code of the
        alternative location, as text, each ``(atoms,)``; empty where there is none.
    number
        Number of the residue, ``(atoms,)`` int.
    segment
        Number of TER records before the atom (PDB), or index of its ``label_asym_id`` (mmCIF),
        ``(atoms,)`` int. A chain lies within one segment.
    hetero
        Whether the record of the atom is HETATM, as for atoms outside of polymers, ``(atoms,)``
        bool.
    coordinates
        Positions in Å, ``(atoms, 3)``.
    occupancy
        Occupancies, 0 where there is none, ``(atoms,)``.
    b_factor
        B-factors, NaN where there is none, ``(atoms,)``.
    plddt
        pLDDT from a separate table of the file, 0–100 or NaN, ``(atoms,)``; None if there is none.
    left_out
        Parts of the file that are not read, such as further models, as text for messages.
    is_experimental, is_predicted
        Whether the file says that the structure is from an experiment, or from a prediction.
    varies_within_residues
        Whether B-factors that differ within a residue may be pLDDT values.
    """

    name: np.ndarray
    residue: np.ndarray
    chain: np.ndarray
    insertion: np.ndarray
    alternative: np.ndarray
    number: np.ndarray
    segment: np.ndarray
    hetero: np.ndarray
    coordinates: np.ndarray
    occupancy: np.ndarray
    b_factor: np.ndarray
    plddt: np.ndarray | None
    left_out: tuple[str, ...]
    is_experimental: bool
    is_predicted: bool
    varies_within_residues: bool


@dataclass(frozen=True)
class Chain:
    """A usable chain of a structure file.

    Attributes
    ----------
    name
        Name in the file (``A.2`` for a second chain named A), or the number of the protein chain if
        the file gives no name.
    structure
        Residues and heavy atoms, with the pLDDT if the file has it.
    residues
        Name and number of each residue in the file, such as ``GLN 9``.
    notes
        Remarks for the user: an O atom that was placed, and where the pLDDT is from.
    """

    name: str
    structure: Structure
    residues: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass
class _Residue:
    """A residue of the file, before it is checked.

    Attributes
    ----------
    letter
        One-letter code; None if the residue is not one of the standard 20.
    name, number, insertion
        Name, number and insertion code in the file.
    rows
        Row in `Atoms` of each atom of the residue, by the atom's name.
    twice
        Name of an atom that the residue has twice; empty if none.
    """

    letter: str | None
    name: str
    number: int
    insertion: str
    rows: dict[str, int]
    twice: str

    def __str__(self) -> str:
        return f"{self.name} {self.number}{self.insertion}"


def take_apart(atoms: Atoms) -> tuple[list[Chain], list[str]]:
    """Return the usable chains of a file, and a text for all else: what was left out and why."""
    chains: list[Chain] = []
    ignored = list(atoms.left_out)
    found = _chains(atoms)
    protein = [(name, residues) for name, is_ligand, residues in found if not is_ligand]
    others = dict.fromkeys(name for name, _, _ in found)
    ignored += [f"chain '{n}': no protein" for n in others if n not in dict(protein)]
    seen: dict[str, int] = {}
    for number, (identifier, residues) in enumerate(protein, start=1):
        name = identifier or str(number)
        seen[name] = seen.get(name, 0) + 1
        name = f"{name}.{seen[name]}" if seen[name] > 1 else name
        try:
            chains.append(_chain(name, residues, atoms))
        except ValueError as error:
            ignored.append(f"chain '{name}': {error}")
    return chains, ignored


def _chains(atoms: Atoms) -> list[tuple[str, bool, list[_Residue]]]:
    """Return the name of each chain, whether it is water or a ligand, and its residues."""
    parts: dict[tuple[str, int], list[int]] = {}
    for row, key in enumerate(zip(atoms.chain.tolist(), atoms.segment.tolist(), strict=True)):
        parts.setdefault(key, []).append(row)
    found = []
    for (identifier, _), rows in parts.items():
        residues = _residues(atoms, rows)
        # A single residue with only HETATM records is an amino acid that is a ligand.
        is_ligand = len(residues) <= bool(atoms.hetero[rows].all())
        pieces: list[list[_Residue]] = [[]]
        for residue in residues:
            if pieces[-1] and _starts_again(atoms, pieces[-1][-1], residue):
                pieces.append([])
            pieces[-1].append(residue)
        found += [(identifier, is_ligand, piece) for piece in pieces]
    return found


def _residues(atoms: Atoms, rows: list[int]) -> list[_Residue]:
    """Return the residues of some rows of `Atoms`, without hydrogens, caps, water and ligands."""
    groups: list[tuple[tuple[int, str], str, list[int]]] = []
    for row in rows:
        key = (int(atoms.number[row]), str(atoms.insertion[row]))
        name = str(atoms.residue[row])
        if not groups or groups[-1][0] != key or (
            groups[-1][1] != name and not atoms.alternative[row]
        ):  # fmt: skip
            groups.append((key, name, []))
        groups[-1][2].append(row)
    residues = []
    for (number, insertion), name, members in groups:
        named, twice = _one_location(atoms, members)
        if named:
            name = str(atoms.residue[next(iter(named.values()))])
        letter = _LETTER.get(name)
        # A modified residue must not be lost if its backbone is incomplete.
        is_residue = "CA" in named and bool({"N", "C"} & set(named)) and name not in _CAPS
        if letter is None and not is_residue:
            continue
        residues.append(_Residue(letter, name, number, insertion, named, twice))
    return residues


def _one_location(atoms: Atoms, rows: list[int]) -> tuple[dict[str, int], str]:
    """Return the row of each atom of a residue by name, without hydrogens, and a repeated name.

    Among alternative locations, the one of a standard residue with the whole backbone and the
    largest occupancy is taken; if several are equal, the one whose code is first in the alphabet.
    The atoms without a code belong to every location, or are a location of their own if atoms with
    a code have the same names.
    """
    locations: dict[str, dict[str, int]] = {"": {}}
    twice: dict[str, str] = {}
    for row in rows:
        atom = str(atoms.name[row])
        if atom.lstrip("0123456789")[:1] not in ("H", "D"):
            code = str(atoms.alternative[row])
            named = locations.setdefault(code, {})
            twice |= {code: atom} if atom in named else {}
            named.setdefault(atom, row)
    common = locations.pop("")
    shared = [row for name, row in common.items() if any(name in n for n in locations.values())]
    choices = {code: (common | named, [*named.values()]) for code, named in locations.items()}
    if shared or not choices:
        choices[""] = common, shared

    def order(code: str) -> tuple[bool, bool, float, str]:
        named, own = choices[code]
        is_standard = any(atoms.residue[row] in _LETTER for row in own)
        has_gap = not named.keys() >= set(_BACKBONE)
        return not is_standard, has_gap, -atoms.occupancy[own].max(initial=0), code

    best = min(choices, key=order)
    return choices[best][0], twice.get(best) or twice.get("", "")


def _starts_again(atoms: Atoms, last: _Residue, residue: _Residue) -> bool:
    """Return whether ``residue``, the next in the file after ``last``, starts a new chain.

    A new chain starts where the number does not increase and no bond joins the two residues. An
    equal number with another insertion code counts as an increase.
    """
    is_inserted = residue.number == last.number and residue.insertion != last.insertion
    if residue.number > last.number or is_inserted:
        return False
    if "C" not in last.rows or "N" not in residue.rows:
        return True
    bond = atoms.coordinates[last.rows["C"]] - atoms.coordinates[residue.rows["N"]]
    return not np.linalg.norm(bond) <= BONDS["C–N"][1]


def _chain(name: str, residues: list[_Residue], atoms: Atoms) -> Chain:
    """Return residues as a checked and completed chain.

    Raises
    ------
    ValueError
        If the chain cannot be used; the message has the reason.
    """
    notes = []
    for residue in residues:
        if residue.letter is None:
            raise ValueError(f"residue {residue.name} is not one of the standard 20")
        if residue.twice:
            raise ValueError(f"{residue} has its atom {residue.twice} twice")
    letters = "".join(str(residue.letter) for residue in residues)
    starts = atom_starts(encode(letters))
    positions = np.full((starts[-1], 3), np.nan, dtype=np.float32)
    for residue, letter, start in zip(residues, letters, starts[:-1].tolist(), strict=True):
        for atom, row in _named(residue, is_last=residue is residues[-1]).items():
            if atom not in _ROW[letter]:
                raise ValueError(f"{residue} has an atom '{atom}'")
            if not np.isfinite(atoms.coordinates[row]).all():
                raise ValueError(f"a coordinate of {residue} is not a finite number")
            positions[start + _ROW[letter][atom]] = atoms.coordinates[row]
    backbone = positions[starts[:-1, None] + np.arange(4)]
    absent = np.asarray(np.isnan(backbone).any(axis=2))
    if absent[-1, 3] and not absent[-1, :3].any():
        positions[starts[-2] + 3] = backbone[-1, 3] = _last_oxygen(backbone)
        absent[-1, 3] = False
        notes.append("the last O, which the file lacks, was placed")
    for r, atom in np.argwhere(absent):
        raise ValueError(f"{residues[r]} lacks its {_BACKBONE[atom]} atom")
    plddt, origin = _plddt(residues, atoms)
    check_geometry(
        backbone.astype(np.float64),
        [str(residue) for residue in residues],
        np.array([residue.number for residue in residues]),
        is_predicted=atoms.is_predicted or plddt is not None,
    )
    beta = positions[starts[:-1] + [4 if letter != "G" else 0 for letter in letters]]
    _check_handedness(letters, backbone, beta)
    return Chain(
        name, Structure(letters, positions, plddt), tuple(map(str, residues)), (*notes, origin)
    )


def _named(residue: _Residue, *, is_last: bool) -> dict[str, int]:
    """Return the row in `Atoms` of each atom of a residue, by the atom's standard name.

    The second O of the last residue, or the N of its amide, is left out.
    """
    named = dict(residue.rows)
    if is_last and "O" not in named:
        for name in sorted(_LAST_O.intersection(named)):
            named["O"] = named.pop(name)
            break
    return {
        name: row
        for name, row in named.items()
        if not (name == "OXT" or (is_last and name in _LEFT_OUT | _LAST_O))
    }


def _last_oxygen(backbone: np.ndarray) -> np.ndarray:
    """Return a position in Å for the O of the last residue, ``(3,)``.

    The ψ of the last residue is taken to be the ψ of the residue before it, or −47° if there is
    only one residue.
    """
    n, ca, c = backbone[-1, :3].astype(np.float64)
    psi = math.radians(-47.0)
    if len(backbone) > 1:
        before = backbone[-2].astype(np.float64)
        psi = _dihedral(before[0], before[1], before[2], n)
    return place_atom(n, ca, c, _CO, _CA_C_O, psi + math.pi)


def _dihedral(a: np.ndarray, b: np.ndarray, c: np.ndarray, d: np.ndarray) -> float:
    """Return the signed dihedral angle of four points, in radians."""
    u, v, w = b - a, c - b, d - c
    n1, n2 = np.cross(u, v), np.cross(v, w)
    return math.atan2(np.linalg.norm(v) * float(u @ n2), float(n1 @ n2))


def check_geometry(
    backbone: np.ndarray, residues: Sequence[str], numbers: np.ndarray, *, is_predicted: bool
) -> None:
    """Raise `ValueError` if a backbone has a gap or an impossible bond.

    Parameters
    ----------
    backbone
        N, Cα, C and O of each residue, ``(length, 4, 3)`` in Å.
    residues
        Name of each residue, for the message.
    numbers
        Number of each residue, ``(length,)``. A long bond between two residues counts as a gap if
        numbers are missing between them.
    is_predicted
        Whether a predictor wrote the backbone; see `PREDICTED`.
    """
    n, ca, c, o = backbone.transpose(1, 0, 2)
    lengths = {
        "N–Cα": np.linalg.norm(ca - n, axis=1),
        "Cα–C": np.linalg.norm(c - ca, axis=1),
        "C–O": np.linalg.norm(o - c, axis=1),
        "C–N": np.linalg.norm(n[1:] - c[:-1], axis=1),
        "Cα–Cα": np.linalg.norm(ca[1:] - ca[:-1], axis=1),
    }
    if np.ptp(backbone.reshape(-1, 3), axis=0).max() < 0.01:
        raise ValueError("all atoms are at one point")
    low, high = NANOMETRES
    if low < np.median(lengths["N–Cα"]) < high:
        raise ValueError(
            f"its N–Cα bonds are {np.median(lengths['N–Cα']):.3f} long: the unit seems to be nm; "
            "multiply the coordinates by 10"
        )
    gaps = np.flatnonzero((np.diff(numbers) > 1) & (lengths["C–N"] > BONDS["C–N"][1]))
    if len(gaps):
        first, second = residues[gaps[0]], residues[gaps[0] + 1]
        raise ValueError(f"residues are missing between {first} and {second}")
    for bond, (low, high) in {**BONDS, **(PREDICTED if is_predicted else {})}.items():
        wrong = np.flatnonzero((lengths[bond] < low) | (lengths[bond] > high))
        if not len(wrong):
            continue
        length, row = lengths[bond][wrong[0]], int(wrong[0])
        pair = bond in ("C–N", "Cα–Cα")
        place = (
            f"between {residues[row]} and {residues[row + 1]}" if pair else f"of {residues[row]}"
        )
        hint = (
            ": residues are missing, or a TER record between two chains"
            if pair and length > high
            else ""
        )
        raise ValueError(f"{bond} {place} is {length:.2f} Å (from {low} to {high} Å){hint}")


def _check_handedness(letters: str, backbone: np.ndarray, beta: np.ndarray) -> None:
    """Raise `ValueError` if a chain is a mirror image: if most of its residues are D by their Cβ.

    ``letters`` is the sequence. ``backbone`` ``(length, 4, 3)`` and the positions of Cβ, ``beta``
    ``(length, 3)``, are in Å. The values of ``beta`` for glycine are not used. A chain with too few
    Cβ is checked by `check_phi`.
    """
    n, ca, c, _ = backbone.transpose(1, 0, 2)
    volume = (np.cross(n - ca, c - ca) * (beta - ca)).sum(axis=1)
    volume = volume[np.isfinite(volume) & (np.array(list(letters)) != "G")]
    if len(volume) >= FEWEST_CBETA and (volume < 0).mean() > MOST_MIRRORED:
        raise ValueError(
            f"{(volume < 0).sum()} of {len(volume)} residues are D amino acids by their Cβ: a "
            "mirror image, or named wrongly"
        )
    if len(volume) < FEWEST_CBETA:
        check_phi(backbone.astype(np.float64), letters)


def check_phi(backbone: np.ndarray, letters: str = "") -> None:
    """Raise `ValueError` if a backbone is a mirror image: if most of its φ angles are positive.

    ``backbone`` is ``(length, 4, 3)`` in Å. ``letters`` is the sequence, if it is known: the angles
    of glycine are then not used.
    """
    n, ca, c, _ = backbone.transpose(1, 0, 2)
    phi = [
        _dihedral(c[r - 1], n[r], ca[r], c[r])
        for r in range(1, len(backbone))
        if letters[r : r + 1] != "G"
    ]
    positive = sum(angle > 0 for angle in phi)
    if len(phi) >= FEWEST_PHI and positive > MOST_POSITIVE * len(phi):
        raise ValueError(
            f"{positive} of {len(phi)} φ angles are positive, as those of D residues: a mirror "
            "image; negate one coordinate of each atom"
        )


def _plddt(residues: list[_Residue], atoms: Atoms) -> tuple[np.ndarray | None, str]:
    """Return the pLDDT of a chain, ``(length,)`` in 0–100 or None, and its source."""
    at_ca = np.array([residue.rows["CA"] for residue in residues])
    if atoms.plddt is not None and np.isfinite(atoms.plddt[at_ca]).all():
        return atoms.plddt[at_ca], "pLDDT of the file's own table"
    b_factor = atoms.b_factor
    if atoms.is_experimental:
        return None, "no pLDDT: the file tells of an experiment"
    rows = np.array([row for residue in residues for row in residue.rows.values()])
    values = b_factor[rows]
    if not np.isfinite(values).all():
        return None, "no pLDDT: no B-factors"
    low, high = values.min(), values.max()
    if low < 0 or high > 100 or low == high:
        return None, "no pLDDT: the B-factors are all alike or beyond 0–100"
    owner = np.repeat(at_ca, [len(residue.rows) for residue in residues])
    # Two decimals are written, so that equal values may differ by one in the last place.
    varies = bool((np.abs(values - b_factor[owner]) > 0.011).any())
    if varies and not atoms.varies_within_residues:
        return None, "no pLDDT: the B-factors differ within residues, as those of experiments do"
    scale = 100.0 if high <= 1 else 1.0
    origin = "pLDDT of the B-factors" + (" at Cα" if varies else "")
    return b_factor[at_ca] * scale, origin + (", which are 0–1" if scale > 1 else "")
