"""Structures from and to PDB and mmCIF.

``read_structures(data, name)`` returns every usable peptide chain of a file and says what it left
out; ``write_pdb(path, sequence, backbone, plddt)``, ``format_pdb(structure)`` and
``write_mmcif(path, structure)`` write the other way, with the pLDDT in the B-factor column.

What is read: the first model, each protein chain by itself, the first alternative location, heavy
atoms only (no hydrogen, no terminal OXT). Selenomethionine and the protonation variants of force
fields count as their standard residue. A chain with another modified residue, a gap, or an
incomplete backbone is left out with its reason.

The B-factor column is taken for a pLDDT only where it plausibly is one: the file says nothing of
an experiment (EXPDTA, CRYST1, ``_exptl``); the values lie within 0–100 (or 0–1, then scaled), are
not all the same, and are constant within every residue, or the file bears the PARENT record of
ESMFold's and OpenFold's own writers, which give a value for each atom (then that of Cα counts).
Otherwise the pLDDT is None: a temperature factor is no confidence.
"""

import gzip
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from structdiff.protein.residues import THREE_LETTER
from structdiff.protein.structure import HEAVY_ATOMS, Structure, from_backbone

if TYPE_CHECKING:
    from biotite.structure import AtomArray

__all__ = [
    "SUFFIXES",
    "Contents",
    "format_pdb",
    "read_structures",
    "write_mmcif",
    "write_pdb",
]

SUFFIXES = (".pdb", ".ent", ".cif", ".mmcif")
"""Endings of the files that are read, each also with ``.gz`` behind it."""

_ONE_LETTER = {name: letter for letter, name in THREE_LETTER.items()}
_VARIANTS = {
    **dict.fromkeys(("HSD", "HSE", "HSP", "HID", "HIE", "HIP"), "H"),
    **dict.fromkeys(("CYX", "CYM"), "C"),
    "ASH": "D",
    "GLH": "E",
    "LYN": "K",
    "MSE": "M",
}
_LETTER = {**_ONE_LETTER, **_VARIANTS}
_ROW = {aa: {name: i for i, name in enumerate(names)} for aa, names in HEAVY_ATOMS.items()}
_ROW["M"]["SE"] = _ROW["M"]["SD"]
_ROW["I"]["CD"] = _ROW["I"]["CD1"]
for _rows in _ROW.values():
    _rows["OT1"] = _rows["O"]
_TERMINAL = frozenset({"OXT", "OT2"})
_BACKBONE = ("N", "CA", "C", "O")

LONGEST_BOND = 2.5
"""Å; a C–N distance above it, where residue numbers jump, is a gap in the chain."""


@dataclass(frozen=True)
class Contents:
    """What a file holds.

    Attributes
    ----------
    structures
        One for each usable chain.
    ignored
        What was left out and why, in words.
    """

    structures: list[Structure]
    ignored: list[str]


def read_structures(data: bytes | Path, name: str | None = None) -> Contents:
    """Read the peptide chains of a PDB or mmCIF file.

    Parameters
    ----------
    data
        The file's bytes, or its path.
    name
        The file's name, whose ending tells the format; by default that of the path.

    Returns
    -------
    Contents
        The chains and what was left out.

    Raises
    ------
    ValueError
        If the file is damaged or holds no protein chain; the message says what is wrong with it.
    """
    if isinstance(data, Path):
        name = name or data.name
        data = data.read_bytes()
    suffix = Path(name).suffix.lower()
    try:
        if suffix == ".gz":
            suffix = Path(name).with_suffix("").suffix.lower()
            data = gzip.decompress(data)
        text = data.decode("utf-8")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise ValueError(f"cannot be read as text: {error}") from None
    if suffix not in SUFFIXES:
        raise ValueError(f"is no structure file (these end in {', '.join(SUFFIXES)}, or .gz)")
    if not text.strip():
        raise ValueError("is empty")
    parse = _parse_pdb if suffix in (".pdb", ".ent") else _parse_mmcif
    try:
        atoms, models, marks = parse(text)
    except Exception as error:  # a parser may fail in any way on a damaged file
        raise ValueError(f"cannot be parsed: {type(error).__name__}: {error}") from None
    return _contents(atoms, models, marks)


@dataclass(frozen=True)
class _Marks:
    """What a file says of its origin."""

    experimental: bool
    atom_plddt: bool


def _parse_pdb(text: str) -> tuple["AtomArray", int, _Marks]:
    from biotite.structure.io.pdb import PDBFile

    file = PDBFile.read(io.StringIO(text))
    models = file.get_model_count()
    atoms = file.get_structure(model=1, extra_fields=["b_factor"])
    lines = text.splitlines()
    experimental = any(
        (line.startswith("EXPDTA") and "THEORETICAL" not in line) or line.startswith("CRYST1")
        for line in lines
    )
    return atoms, models, _Marks(experimental, any(line.startswith("PARENT") for line in lines))


def _parse_mmcif(text: str) -> tuple["AtomArray", int, _Marks]:
    from biotite.structure.io.pdbx import CIFFile, get_model_count, get_structure

    file = CIFFile.read(io.StringIO(text))
    atoms = get_structure(file, model=1, extra_fields=["b_factor"])
    experimental = "exptl" in file.block and "method" in file.block["exptl"]
    return atoms, get_model_count(file), _Marks(experimental, atom_plddt=False)


def _contents(atoms: "AtomArray", models: int, marks: _Marks) -> Contents:
    """Take the parsed atoms of the first model apart into chains."""
    structures, ignored = [], []
    if models > 1:
        ignored.append(f"models 2 to {models}")
    heavy = ~np.isin(atoms.element, ("H", "D"))
    atoms = atoms[heavy]
    standard = np.isin(atoms.res_name, list(_LETTER))
    for chain in dict.fromkeys(atoms.chain_id.tolist()):
        of_chain = atoms.chain_id == chain
        modified = sorted(
            {
                str(res_name)
                for res_name in np.unique(atoms.res_name[of_chain & ~standard])
                if _is_residue(atoms[of_chain & (atoms.res_name == res_name)])
            }
        )
        if not (of_chain & standard).any():
            ignored.append(f"chain {chain!r}: no protein")
        elif modified:
            ignored.append(f"chain {chain!r}: residue {modified[0]} is not one of the standard 20")
        else:
            try:
                structures.append(_chain(atoms[of_chain & standard], marks))
            except ValueError as error:
                ignored.append(f"chain {chain!r}: {error}")
    if not structures:
        raise ValueError(
            "holds no usable protein chain: " + ("; ".join(ignored) if ignored else "no atoms")
        )
    return Contents(structures, ignored)


def _is_residue(atoms: "AtomArray") -> bool:
    """Whether a non-standard compound is part of the chain, rather than a ligand or a cap."""
    return set(_BACKBONE[:3]) <= set(atoms.atom_name.tolist())


def _chain(atoms: "AtomArray", marks: _Marks) -> Structure:
    """Return one chain as a structure."""
    from biotite.structure import get_residue_starts

    starts = get_residue_starts(atoms, add_exclusive_stop=True)
    first, counts = starts[:-1], np.diff(starts)
    letters = [_LETTER[name] for name in atoms.res_name[first].tolist()]
    numbers = atoms.res_id[first]
    sizes = [len(HEAVY_ATOMS[letter]) for letter in letters]
    row_of_residue = np.concatenate([[0], np.cumsum(sizes)])
    positions = np.full((row_of_residue[-1], 3), np.nan, dtype=np.float32)
    plddt_rows = np.full(len(letters), np.nan, dtype=np.float32)

    residue = np.repeat(np.arange(len(letters)), counts)
    rows, kept = [], []
    names = atoms.atom_name.tolist()
    for i, (r, name) in enumerate(zip(residue.tolist(), names, strict=True)):
        row = _ROW[letters[r]].get(name)
        if row is None:
            if name in _TERMINAL:
                continue
            raise ValueError(f"{THREE_LETTER[letters[r]]} {numbers[r]} has an atom {name!r}")
        rows.append(row_of_residue[r] + row)
        kept.append(i)
    if len(set(rows)) < len(rows):
        raise ValueError("an atom stands twice in one residue")
    coordinates = atoms.coord[kept]
    if not np.isfinite(coordinates).all():
        raise ValueError("a coordinate is no finite number")
    positions[rows] = coordinates

    backbone = positions[row_of_residue[:-1, None] + np.arange(4)]
    absent = np.argwhere(np.isnan(backbone).any(axis=2))
    if len(absent):
        r, atom = absent[0]
        raise ValueError(
            f"{THREE_LETTER[letters[r]]} {numbers[r]} lacks its {_BACKBONE[atom]} atom"
        )
    bonds = np.linalg.norm(backbone[1:, 0] - backbone[:-1, 2], axis=1)
    gaps = np.flatnonzero((np.diff(numbers) > 1) & (bonds > LONGEST_BOND))
    if len(gaps):
        raise ValueError(f"residues are missing between {numbers[gaps[0]]} and "
                         f"{numbers[gaps[0] + 1]}")  # fmt: skip
    is_ca = np.array(names) == "CA"
    plddt_rows[residue[is_ca]] = atoms.b_factor[is_ca]
    return Structure(
        "".join(letters), positions, _plddt(atoms.b_factor, residue, plddt_rows, marks)
    )


def _plddt(
    b_factor: np.ndarray, residue: np.ndarray, at_ca: np.ndarray, marks: _Marks
) -> np.ndarray | None:
    """Return the B-factors as pLDDT, or None where they are something else."""
    if marks.experimental or not np.isfinite(b_factor).all():
        return None
    low, high = b_factor.min(), b_factor.max()
    if low < 0 or high > 100 or low == high:
        return None
    # Two decimals are written, so that equal values may differ by one in the last place.
    if not marks.atom_plddt and (np.abs(b_factor - at_ca[residue]) > 0.011).any():
        return None
    return at_ca * 100 if high <= 1 else at_ca


def format_pdb(structure: Structure) -> str:
    """Return a structure as PDB text: one chain A, present atoms only, B-factor = pLDDT (or 0).

    Raises
    ------
    ValueError
        If it is too large for the format (9,999 residues, coordinates up to 9,999 Å).
    """
    present = structure.present
    residues, names = structure.residue_of_atom[present], np.array(structure.atom_names)[present]
    coordinates = structure.positions[present]
    if len(structure.sequence) > 9999 or (
        len(coordinates) and (coordinates.max() > 9999 or coordinates.min() < -999)
    ):
        raise ValueError("too large for the PDB format: write it as mmCIF")
    b_factor = np.zeros(len(residues)) if structure.plddt is None else structure.plddt[residues]
    three = [THREE_LETTER[letter] for letter in structure.sequence]
    rows = zip(
        names.tolist(), residues.tolist(), *coordinates.T.tolist(), b_factor.tolist(), strict=True
    )
    lines = [
        f"ATOM  {i:5d}  {name:<3} {three[r]} A{r + 1:4d}    "
        f"{x:8.3f}{y:8.3f}{z:8.3f}  1.00{b:6.2f}          {name[0]:>2}  \n"
        for i, (name, r, x, y, z, b) in enumerate(rows, start=1)
    ]
    last = len(three)
    lines.append(f"TER   {len(lines) + 1:5d}      {three[-1]} A{last:4d}\nEND\n")
    return "".join(lines)


def write_pdb(
    path: Path, sequence: str, backbone: np.ndarray, plddt: Sequence[float] | None = None
) -> None:
    """Write a backbone ``(length, 4, 3)`` in Å as a PDB file, B-factor = pLDDT (0–100, or 0).

    Raises
    ------
    ValueError
        If the shapes do not fit, or the peptide is too large for the format.
    """
    plddt = None if plddt is None else np.asarray(plddt)
    Path(path).write_text(format_pdb(from_backbone(sequence, backbone, plddt)))


def write_mmcif(path: Path, structure: Structure, name: str = "peptide") -> None:
    """Write a structure as mmCIF: one chain A, present atoms only, B-factor = pLDDT (or 0)."""
    from biotite.structure import AtomArray
    from biotite.structure.io.pdbx import CIFFile, set_structure

    present = structure.present
    residues = structure.residue_of_atom[present]
    names = np.array(structure.atom_names)[present]
    atoms = AtomArray(len(residues))
    atoms.coord = structure.positions[present]
    atoms.chain_id[:] = "A"
    atoms.res_id = residues + 1
    atoms.res_name = np.array([THREE_LETTER[letter] for letter in structure.sequence])[residues]
    atoms.atom_name = names
    atoms.element = np.array([atom[0] for atom in names.tolist()])
    atoms.set_annotation(
        "b_factor",
        np.zeros(len(residues)) if structure.plddt is None else structure.plddt[residues],
    )
    file = CIFFile()
    set_structure(file, atoms, data_block=name)
    file.write(Path(path))
