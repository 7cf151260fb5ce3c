"""Read and write structures as PDB and mmCIF files.

``read_structures(data, name)`` returns every usable peptide chain of the first model of a file, and
what was left out and why (`structdiff.protein.chains` decides what is usable). ``write_pdb(path,
sequence, backbone, plddt, ends)``, ``format_pdb(structure, ends)`` and
``write_mmcif(path, structure)`` write structures, with the pLDDT in the B-factor column.
"""

import gzip
import io
import re
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from structdiff.protein.caps import CapAtom, cap_atoms
from structdiff.protein.chains import Atoms, Chain, take_apart
from structdiff.protein.ends import FREE, Ends
from structdiff.protein.residues import THREE_LETTER
from structdiff.protein.structure import Structure, from_backbone
from structdiff.system.files import is_number

__all__ = [
    "ENDINGS",
    "MOST_BYTES",
    "Contents",
    "fits_pdb",
    "format_pdb",
    "is_structure_file",
    "read_structures",
    "write_mmcif",
    "write_pdb",
]

ENDINGS = ".pdb, .pdb1, .ent, .cif, .mmcif and .bcif, each also with .gz behind it"
"""Endings of the files that are read, for messages."""

MOST_BYTES = 200_000_000
"""Largest file that is read, in unpacked bytes; a gzip file of 200 kB can unpack to this size."""

_NAME = re.compile(r"\.(pdb\d*|ent|cif|mmcif|bcif)(\.gz)?$", re.IGNORECASE)
_GZIP = b"\x1f\x8b"
_MMCIF = re.compile(r"(\s|#.*\n)*data_")
_HEADLESS_MMCIF = re.compile(r"(\s|#.*\n)*(loop_|_\w+\.\w)")
_BEYOND_9999 = re.compile(r"[A-Z][0-9A-Z]{3}|[2-9](?!\d{3})[0-9A-F]{3}", re.IGNORECASE)
_PREDICTION = re.compile(
    r"PREDICT|THEORETICAL|PLDDT|ALPHAFOLD|COLABFOLD|ESMFOLD|OPENFOLD|OMEGAFOLD|ROSETTAFOLD|BOLTZ"
    r"|CHAI-1|PROTENIX"
)
_UNCERTAINTY = re.compile(r"\(\d+\)$")
_NO_BOX = re.compile(r"[01](\.0*)?")
_ABOUT = ("entry", "struct", "struct_keywords", "exptl", "software")

_PDB_FIELDS = (
    *("hetero", "name", "alternative", "residue", "chain", "insertion", "number", "coordinates"),
    *("occupancy", "b_factor"),
)
"""Attributes of `Atoms` that a line of a PDB file has, in the order of its columns."""


@dataclass(frozen=True)
class Contents:
    """Usable chains of a structure file, and what was left out.

    Attributes
    ----------
    chains
        The usable chains, in the file's order.
    ignored
        Chains and other content that was left out, with the reasons.
    """

    chains: list[Chain]
    ignored: list[str]

    @property
    def structures(self) -> list[Structure]:
        """The structure of each usable chain."""
        return [chain.structure for chain in self.chains]


def is_structure_file(name: str) -> bool:
    """Return whether a file name has the ending of a structure file."""
    return _NAME.search(name) is not None


def read_structures(data: bytes | Path, name: str | None = None) -> Contents:
    """Read the peptide chains of a PDB, mmCIF or BinaryCIF file.

    Parameters
    ----------
    data
        The file's bytes, or its path.
    name
        The file's name, with one of `ENDINGS`; by default the name of the path. Whether a text file
        is read as PDB or mmCIF depends on its content, not on its ending.

    Returns
    -------
    Contents
        The chains and what was left out.

    Raises
    ------
    ValueError
        If the file cannot be read, is damaged or has no usable protein chain; the message says
        why.
    """
    if isinstance(data, Path):
        name = name or data.name
        try:
            with data.open("rb") as file:
                data = file.read(MOST_BYTES + 1)
        except OSError as error:
            raise ValueError(f"cannot be read: {error.strerror}") from None
    ending = _NAME.search(name or "")
    if ending is None:
        raise ValueError(f"is not a structure file (these end in {ENDINGS})")
    if ending[2] or data[:2] == _GZIP:
        data = _unpack(data)
    if len(data) > MOST_BYTES:
        raise ValueError(f"is larger than {MOST_BYTES / 1e6:.0f} MB, the most that is read")
    if not data.strip():
        raise ValueError("is empty")
    kind = ending[1].lower()
    try:
        if kind == "bcif":
            atoms = _parse_mmcif(data, binary=True)
        elif _MMCIF.match(text := _text(data)):  # regardless of its name
            atoms = _parse_mmcif(text, binary=False)
        elif _HEADLESS_MMCIF.match(text):
            atoms = _parse_mmcif(f"data_\n{text}", binary=False)
        else:
            atoms = _parse_pdb(text)
        chains, ignored = take_apart(atoms)
    except ValueError:
        raise
    except Exception as error:  # a parser may fail in any way on a damaged file
        raise ValueError(f"cannot be parsed: {type(error).__name__}: {error}") from None
    if not chains:
        reasons = [*ignored[:3], *([f"and {len(ignored) - 3} more"] if len(ignored) > 3 else [])]
        raise ValueError("holds no usable protein chain: " + ("; ".join(reasons) or "no atoms"))
    return Contents(chains, ignored)


def _unpack(data: bytes) -> bytes:
    """Return the content of a gzip file, at most `MOST_BYTES` + 1 bytes."""
    try:
        with gzip.open(io.BytesIO(data)) as file:
            return file.read(MOST_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"is a damaged gzip file: {error}") from None


def _text(data: bytes) -> str:
    if b"\x00" in data:
        raise ValueError("cannot be read as text: it holds zero bytes")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:  # older programs write names in a remark
        return data.decode("latin-1")


def _parse_pdb(text: str) -> Atoms:
    """Return the atoms of a PDB file; columns after the coordinates may be absent."""
    lines = text.splitlines()
    rows: list[tuple] = []
    chains: set[str] = set()
    segments, segment, models, is_over = [], 0, 0, False
    for number, line in enumerate(lines, start=1):
        if line.startswith("MODEL "):
            models, is_over = models + 1, False
        elif line[:6].rstrip() in ("END", "ENDMDL"):
            is_over = bool(rows)
        elif line.startswith("TER"):
            segment += 1
        elif line.startswith(("ATOM  ", "HETATM")):
            # Some programs write END between models, and no MODEL; or between other chains.
            if is_over and (models or line[21:22] in chains):
                models = max(models, 1) + 1
            is_over = False
            if models > 1:
                continue
            chains.add(line[21:22])
            try:
                rows.append(_pdb_atom(line))
            except ValueError:
                raise ValueError(
                    f"line {number}: the columns of a PDB file are not where they belong "
                    f"({line[:60].rstrip()!r}): residue number 23–26, x y z 31–54"
                ) from None
            segments.append(segment)
    if not rows:
        raise ValueError("holds no usable protein chain: no line begins with ATOM")
    head = [line for line in lines if line.startswith(("HEADER", "TITLE", "REMARK", "EXPDTA"))]
    method = [line for line in head if line.startswith("EXPDTA")]
    box = next((line for line in lines if line.startswith("CRYST1")), "")
    is_predicted = any(line.startswith("PARENT") for line in lines) or any(
        _PREDICTION.search(line.upper()) for line in head
    )
    is_experimental = any("THEORETICAL" not in line for line in method) or _is_box(
        box[6:33].split()
    )
    columns: Any = zip(_PDB_FIELDS, map(np.array, zip(*rows, strict=True)), strict=True)
    return Atoms(
        **dict(columns),
        segment=np.array(segments),
        plddt=None,
        left_out=_further_models(models),
        is_experimental=is_experimental,
        is_predicted=is_predicted and not is_experimental,
        varies_within_residues=is_predicted,
    )


def _is_box(lengths: list[str]) -> bool:
    """Return whether the edge lengths of a unit cell, as text, can belong to a crystal.

    Lengths that are all 0 or 1 Å are a placeholder, which some programs write.
    """
    return not all(_NO_BOX.fullmatch(text) for text in lengths)


def _further_models(models: int) -> tuple[str, ...]:
    if models <= 1:
        return ()
    return ("model 2",) if models == 2 else (f"models 2 to {models}",)


def _pdb_atom(line: str) -> tuple:
    """Return the fields of an ATOM or HETATM line, in the order of `_PDB_FIELDS`.

    Raises `ValueError` if the residue number, a coordinate or the B-factor is not a number.
    """
    return (
        line.startswith("HETATM"),
        line[12:16].strip().upper(),
        line[16:17].strip(),
        # CHARMM's residue names may have four letters; the fourth, in column 21, is not read.
        line[17:20].strip().upper(),
        line[21:22].strip() or line[72:76].strip(),
        line[26:27].strip(),
        _residue_number(line[22:26]),
        [float(line[start : start + 8]) for start in (30, 38, 46)],
        _occupancy(line[54:60].strip()),
        float(line[60:66].strip() or "nan"),
    )


def _occupancy(text: str) -> float:
    """Return an occupancy as a number; 0 if the text is not a number."""
    return float(np.nan_to_num(float(text))) if is_number(text) else 0.0


def _residue_number(field: str) -> int:
    """Return the residue number in a field.

    A000 (hybrid-36) and 271A (hexadecimal) stand for numbers above 9999. The result is then above
    9999 too, but it is another number.
    """
    return int(field, 36) if _BEYOND_9999.fullmatch(field) else int(field)


def _parse_mmcif(data: Any, *, binary: bool) -> Atoms:
    """Return the atoms of an mmCIF file, or of a BinaryCIF file."""
    from biotite.structure.io.pdbx import BinaryCIFFile, CIFFile

    if binary:
        try:
            file = BinaryCIFFile.read(io.BytesIO(data))
        except Exception:  # msgpack raises errors of many types
            raise ValueError("is damaged or cut off: it is not a whole BinaryCIF file") from None
    else:
        file = CIFFile.read(io.StringIO(data))
    blocks = {name: block for name, block in file.items() if "atom_site" in block}
    if not blocks:
        raise ValueError("holds no usable protein chain: no atoms")
    block, *_ = blocks.values()
    _, *others = blocks
    further = [f"block 'data_{name}': only the first block with atoms is read" for name in others]
    site = block["atom_site"]
    count = site.row_count
    if absent := [name for name in ("Cartn_x", "Cartn_y", "Cartn_z") if name not in site]:
        raise ValueError(f"its table atom_site has no {absent[0]}")

    def column(*names: str, default: str = "") -> np.ndarray:
        """Return the text of each atom in the first of the columns ``names``.

        Where that column has no text, the text is taken from the next column. If the file has none
        of the columns, each text is ``default``.
        """
        values = np.full(count, default if not any(name in site for name in names) else "")
        for name in names:
            if name in site:
                texts = site[name].as_array(str, masked_value="")
                texts = np.where(np.isin(texts, ("?", ".")), "", texts)
                values = np.where(values == "", texts, values)
        return values

    model = column("pdbx_PDB_model_num", default="1")
    first = model == model[0]
    asym, labels = column("label_asym_id"), column("label_seq_id")
    chain = column("auth_asym_id", "label_asym_id")
    numbers = column("auth_seq_id", "label_seq_id")
    hetero = column("group_PDB", default="ATOM") == "HETATM"
    if len(unnumbered := np.flatnonzero((numbers == "") & ~hetero)):
        raise ValueError(
            f"row {unnumbered[0] + 1} of its table atom_site: no residue number, in auth_seq_id or "
            "in label_seq_id"
        )
    is_experimental = (
        any(
            not re.search("THEORETICAL|PREDICT", text.upper())
            for text in _texts(block, "exptl", "method")
        )
        or bool(_texts(block, "refine") or _texts(block, "reflns"))
        or _is_box(_texts(block, "cell", "length_a", "length_b", "length_c"))
    )
    about = " ".join(text for category in _ABOUT for text in _texts(block, category))
    is_predicted = any(name.startswith("ma_") for name in block) or bool(
        _PREDICTION.search(about.upper())
    )
    plddt = _local_plddt(block, asym, labels)
    # label_asym_id changes where a PDB file would have a TER record.
    segments = np.unique(asym, return_inverse=True)[1]
    return Atoms(
        name=np.char.strip(column("label_atom_id", "auth_atom_id"), '"')[first],
        residue=column("label_comp_id", "auth_comp_id")[first],
        chain=chain[first],
        insertion=column("pdbx_PDB_ins_code")[first],
        alternative=column("label_alt_id")[first],
        number=_numbers("atom_site", "auth_seq_id, label_seq_id", numbers[first], int, 0),
        segment=segments[first],
        hetero=hetero[first],
        coordinates=np.stack(
            [
                _numbers("atom_site", name, column(name)[first])
                for name in ("Cartn_x", "Cartn_y", "Cartn_z")
            ],
            axis=-1,
        ),
        occupancy=np.array([_occupancy(text) for text in column("occupancy")[first].tolist()]),
        b_factor=_numbers("atom_site", "B_iso_or_equiv", column("B_iso_or_equiv")[first]),
        plddt=None if plddt is None else plddt[first],
        left_out=(*_further_models(len(np.unique(model))), *further),
        is_experimental=is_experimental,
        is_predicted=plddt is not None or (is_predicted and not is_experimental),
        varies_within_residues=is_predicted,
    )


def _numbers(
    table: str, name: str, texts: np.ndarray, kind: type = float, unknown: float = np.nan
) -> np.ndarray:
    """Return a column of an mmCIF table as numbers, ``unknown`` where the text is empty.

    A standard uncertainty, as in ``-8.901(3)``, is left out.

    Raises
    ------
    ValueError
        If a text is not a number of this kind; the message names the table, the row and the column.
    """
    values = []
    for row, text in enumerate(texts.tolist(), start=1):
        try:
            values.append(kind(_UNCERTAINTY.sub("", text)) if text else unknown)
        except ValueError:
            what = "a whole number" if kind is int else "a number"
            raise ValueError(
                f"row {row} of its table {table}: {name} '{text[:60]}' is not {what}"
            ) from None
    return np.array(values)


def _texts(block: Any, category: str, *names: str) -> list[str]:
    """Return the known values of a category of mmCIF as texts, one column after the other.

    ``names`` are the names of the columns to read; without names, all columns are read.
    """
    if category not in block:
        return []
    table = block[category]
    columns = [table[name].as_array(str) for name in names or table if name in table]
    return [text for column in columns for text in column.tolist() if text not in ("?", ".", "")]


def _local_plddt(block: Any, asym: np.ndarray, labels: np.ndarray) -> np.ndarray | None:
    """Return the pLDDT of each atom's residue, ``(atoms,)``, from the table ``ma_qa_metric_local``.

    ``asym`` and ``labels`` are the ``label_asym_id`` and ``label_seq_id`` of each atom.

    The pLDDT is 0–100, and NaN for residues without a value. Values that are all at most 1 are
    multiplied by 100. The result is None if the file lacks the table, if the table has no value for
    these atoms, or if a value is outside of 0–100.
    """
    if "ma_qa_metric_local" not in block:
        return None
    table = block["ma_qa_metric_local"]
    wanted = None
    if "ma_qa_metric" in block:
        metric = block["ma_qa_metric"]
        kinds = zip(
            metric["id"].as_array(str), metric["type"].as_array(str), metric["mode"].as_array(str),
            strict=True,
        )  # fmt: skip
        wanted = {name for name, kind, mode in kinds if "pLDDT" in kind and mode == "local"}
    chains, numbers, metrics, texts = (
        table[name].as_array(str)
        for name in ("label_asym_id", "label_seq_id", "metric_id", "metric_value")
    )
    texts = np.where(np.isin(texts, ("?", ".")), "", texts)
    column = _numbers("ma_qa_metric_local", "metric_value", texts)
    values = {
        (chain, number): value
        for chain, number, metric, value in zip(chains, numbers, metrics, column, strict=True)
        if (wanted is None or metric in wanted) and np.isfinite(value)
    }
    scores = np.array(
        [values.get(key, np.nan) for key in zip(asym.tolist(), labels.tolist(), strict=True)]
    )
    known = scores[np.isfinite(scores)]
    if not len(known) or known.min() < 0 or known.max() > 100:
        return None
    return scores * 100 if known.max() <= 1 else scores


def fits_pdb(coordinates: np.ndarray) -> bool:
    """Return whether all coordinates ``(…, 3)`` fit the PDB format: −990 to 9,990 Å, or NaN."""
    return not ((coordinates > 9990) | (coordinates < -990)).any()


def format_pdb(structure: Structure, ends: Ends = FREE) -> str:
    """Return a structure as PDB text: one chain A with the atoms that are present.

    The B-factors are the pLDDT, or 0 without it. An acetyl group is the residue ACE with the number
    0; an amide is the residue NH2 after the last residue.

    Raises
    ------
    ValueError
        If there are more than 9,998 residues or 99,990 atoms, or coordinates outside −990 to 9,990
        Å.
    """
    present = structure.present
    residues, names = structure.residue_of_atom[present], np.array(structure.atom_names)[present]
    coordinates = structure.positions[present]
    if len(structure.sequence) > 9998 or len(coordinates) > 99_990 or not fits_pdb(coordinates):
        raise ValueError("too large for the PDB format: write it as mmCIF")
    scores = structure.plddt
    b_factor = np.zeros(len(structure.sequence)) if scores is None else scores
    three = [THREE_LETTER[letter] for letter in structure.sequence]
    rows = [
        ("ATOM", name, three[residue], residue, xyz)
        for name, residue, xyz in zip(names.tolist(), residues.tolist(), coordinates, strict=True)
    ]
    before, after = cap_atoms(structure.backbone.astype(np.float64), ends)
    last = len(three) - 1

    def capped(atoms: list[CapAtom], residue: int) -> list[tuple]:
        return [("HETATM", a.name, a.residue, residue + a.offset, a.position) for a in atoms]

    rows = [*capped(before, 0), *rows, *capped(after, last)]
    lines = [
        f"{record:<6}{i:5d}  {name:<3} {three_letter} A{residue + 1:4d}    "
        f"{xyz[0]:8.3f}{xyz[1]:8.3f}{xyz[2]:8.3f}  1.00{b_factor[min(max(residue, 0), last)]:6.2f}"
        f"          {name[0]:>2}  \n"
        for i, (record, name, three_letter, residue, xyz) in enumerate(rows, start=1)
    ]
    _, _, three_letter, residue, _ = rows[-1]
    lines.append(f"TER   {len(lines) + 1:5d}      {three_letter} A{residue + 1:4d}\nEND\n")
    return "".join(lines)


def write_pdb(
    path: Path,
    sequence: str,
    backbone: np.ndarray,
    plddt: npt.ArrayLike | None = None,
    ends: Ends = FREE,
) -> None:
    """Write a backbone ``(length, 4, 3)`` in Å as a PDB file (see `format_pdb`).

    ``plddt``, ``(length,)`` in 0–100, becomes the B-factors, which are 0 without it.

    Raises
    ------
    ValueError
        If the shapes do not fit, or the peptide is too large for the format.
    """
    scores = None if plddt is None else np.asarray(plddt)
    Path(path).write_text(format_pdb(from_backbone(sequence, backbone, scores), ends))


def write_mmcif(path: Path, structure: Structure, name: str = "peptide") -> None:
    """Write a structure as an mmCIF file: one chain A with the atoms that are present.

    The B-factors are the pLDDT, or 0 without it. ``name`` is the name of the data block, in which
    mmCIF allows printable ASCII only; each run of other characters becomes one ``_``.
    """
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
    set_structure(file, atoms, data_block=re.sub(r"[^!-~]+", "_", name))
    file.write(Path(path))
