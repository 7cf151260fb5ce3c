"""PDB and mmCIF, written and read back by biotite and by us; what is left out, and why."""

import numpy as np
import pytest
from biotite.structure import angle, dihedral, distance, get_residues
from biotite.structure.io.pdb import PDBFile
from biotite.structure.io.pdbx import CIFFile, get_structure

from structdiff.protein.ends import Ends
from structdiff.protein.io import format_pdb, read_structures, write_mmcif, write_pdb
from structdiff.protein.residues import THREE_LETTER
from structdiff.protein.structure import Structure, from_backbone

ALL = "ACDEFGHIKLMNPQRSTVWY"


def by_biotite(path):
    if path.suffix == ".pdb":
        return PDBFile.read(path).get_structure(model=1, extra_fields=["b_factor"])
    return get_structure(CIFFile.read(path), model=1, extra_fields=["b_factor"])


def written(structure, path):
    if path.suffix == ".pdb":
        path.write_text(format_pdb(structure))
    else:
        write_mmcif(path, structure)
    return path


@pytest.mark.parametrize("suffix", [".pdb", ".cif"])
def test_biotite_reads_back_positions_sequence_and_plddt(tmp_path, peptides, simulate, suffix):
    for sequence in [ALL, *peptides(20, seed=6)]:
        structure = simulate(sequence)
        atoms = by_biotite(written(structure, tmp_path / f"x{suffix}"))
        assert np.abs(atoms.coord - structure.positions).max() <= 0.001
        assert get_residues(atoms)[1].tolist() == [THREE_LETTER[letter] for letter in sequence]
        assert atoms.atom_name.tolist() == structure.atom_names
        assert atoms.element.tolist() == [name[0] for name in structure.atom_names]
        plddt = structure.plddt[structure.residue_of_atom]
        assert np.abs(atoms.b_factor - plddt).max() < 0.006


@pytest.mark.parametrize("suffix", [".pdb", ".cif"])
def test_our_reader_reads_our_files(tmp_path, simulate, suffix):
    expected = simulate(ALL)
    (found,) = read_structures(written(expected, tmp_path / f"x{suffix}")).structures
    assert found.sequence == ALL
    assert np.abs(found.positions - expected.positions).max() <= 0.001
    assert np.abs(found.plddt - expected.plddt).max() < 0.006


def test_a_data_block_has_an_ascii_name(tmp_path, simulate):
    write_mmcif(tmp_path / "x.cif", simulate("ACD"), "pépé ß_1")
    assert (tmp_path / "x.cif").read_text().splitlines()[0] == "data_p_p__1"


@pytest.mark.parametrize("suffix", [".pdb", ".cif"])
def test_absent_atoms_are_not_written(tmp_path, suffix):
    backbone = np.random.default_rng(0).normal(size=(4, 4, 3)) * 5
    atoms = by_biotite(written(from_backbone("ACWG", backbone), tmp_path / f"x{suffix}"))
    assert np.abs(atoms.coord - backbone.reshape(-1, 3)).max() <= 0.001
    assert (atoms.b_factor == 0).all()


def test_a_backbone_is_written_with_its_confidence(tmp_path):
    backbone = np.random.default_rng(0).normal(size=(3, 4, 3))
    write_pdb(tmp_path / "x.pdb", "AKV", backbone, [10.0, 20.0, 30.5])
    atoms = by_biotite(tmp_path / "x.pdb")
    assert np.unique(atoms.b_factor).tolist() == [10.0, 20.0, 30.5]


def test_caps_have_ideal_geometry_and_are_read_back(tmp_path, simulate):
    structure = simulate("GACDEFK")
    path = tmp_path / "capped.pdb"
    path.write_text(format_pdb(structure, Ends(acetylated=True, amidated=True)))
    atoms = by_biotite(path)
    numbers, names = get_residues(atoms)
    assert names.tolist() == ["ACE", *(THREE_LETTER[letter] for letter in "GACDEFK"), "NH2"]
    assert numbers.tolist() == list(range(9))
    assert atoms.hetero[np.isin(atoms.res_name, ["ACE", "NH2"])].all()

    def xyz(number, name):
        return atoms.coord[(atoms.res_id == number) & (atoms.atom_name == name)][0]

    acetyl = xyz(0, "CH3"), xyz(0, "C"), xyz(1, "N"), xyz(1, "CA")
    assert abs(np.degrees(dihedral(*acetyl))) == pytest.approx(180, abs=0.2)
    assert np.degrees(dihedral(xyz(0, "C"), *(xyz(1, n) for n in ("N", "CA", "C")))) == (
        pytest.approx(-57.8, abs=0.2)
    )
    assert distance(xyz(0, "C"), xyz(1, "N")) == pytest.approx(1.336, abs=0.002)
    assert np.degrees(angle(xyz(0, "O"), xyz(0, "C"), xyz(1, "N"))) == pytest.approx(122.7, abs=0.2)
    carbon, oxygen, amine = xyz(7, "C"), xyz(7, "O"), xyz(8, "N")
    assert distance(carbon, amine) == pytest.approx(1.336, abs=0.002)
    assert np.degrees(angle(xyz(7, "CA"), carbon, amine)) == pytest.approx(117.2, abs=0.2)
    planar = dihedral(oxygen, xyz(7, "CA"), carbon, amine)
    assert abs(np.degrees(planar)) == pytest.approx(180, abs=0.2)
    (found,) = read_structures(path).structures
    assert found.sequence == "GACDEFK"
    assert np.abs(found.positions - structure.positions).max() <= 0.001


def test_a_structure_too_large_for_pdb_is_refused(simulate):
    far = Structure("G", np.full((4, 3), 20_000.0))
    with pytest.raises(ValueError, match="mmCIF"):
        format_pdb(far)
    atoms = np.zeros((9000 * 14, 3), dtype=np.float32)
    with pytest.raises(ValueError, match="too large"):  # atoms are numbered in five columns
        format_pdb(Structure("W" * 9000, atoms))


def edited(structure, *changes):
    text = format_pdb(structure)
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return text.encode()


@pytest.mark.parametrize(
    ("data", "name", "reason"),
    [
        (b"", "x.pdb", "is empty"),
        (b"not gzip", "x.pdb.gz", "is a damaged gzip file"),
        (b"data_x\nloop_\n_atom_site.id\n1\n", "x.cif", "has no Cartn_x"),
        (b"x", "x.npz", "is not a structure file"),
    ],
)
def test_a_file_that_cannot_be_read_says_why(data, name, reason):
    with pytest.raises(ValueError, match=reason):
        read_structures(data, name)


def test_selenomethionine_counts_as_methionine(simulate):
    structure = simulate("AMG")
    data = edited(
        structure,
        ("MET A", "MSE A"),
        (" SD  MSE", "SE   MSE"),
        ("           S  ", "          SE  "),
    )
    (found,) = read_structures(data, "x.pdb").structures
    assert found.sequence == "AMG" and found.present.all()


def test_further_models_are_named(simulate):
    text = format_pdb(simulate("ACDEF")).replace("END", "ENDMDL")
    models = "".join(f"MODEL {n:8d}\n{text}" for n in (1, 2))
    found = read_structures(models.encode(), "x.pdb")
    assert len(found.structures) == 1 and found.ignored == ["model 2"]
