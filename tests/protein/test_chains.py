"""Chains as the programs of the field write them, and as they come out damaged."""

import math

import numpy as np
import pytest
import torch

from structdiff.protein.geometry import ANGLES, rebuild
from structdiff.protein.io import format_pdb, read_structures
from structdiff.protein.structure import Structure, from_backbone

SEQUENCE = "AMSCH"


@pytest.fixture
def structure(simulate):
    return simulate(SEQUENCE)


def read(text, name="x.pdb"):
    return read_structures(text if isinstance(text, bytes) else text.encode(), name)


def sequences(text, name="x.pdb"):
    return [chain.structure.sequence for chain in read(text, name).chains]


def atom_lines(structure, chain="A", first=1, b_factor=None):
    """Return the ATOM lines of a structure, its residues numbered from ``first``."""
    lines = []
    for line in format_pdb(structure).splitlines():
        if line.startswith("ATOM"):
            number = int(line[22:26]) + first - 1
            b = line[60:66] if b_factor is None else f"{b_factor(line):6.2f}"
            lines.append(f"{line[:21]}{chain}{number:4d}{line[26:60]}{b}{line[66:]}")
    return lines


def text(*lines):
    return "\n".join([*lines, "END", ""])


def moved(structure, by):
    return Structure(structure.sequence, structure.positions + by, structure.plddt)


def renamed(lines, changes, residue=None):
    """Return lines with some atoms called otherwise, of one residue or of all."""
    changed = []
    for line in lines:
        name = line[12:16].strip()
        if name in changes and residue in (None, int(line[22:26])):
            line = f"{line[:12]} {changes[name]:<3}{line[16:]}"
        changed.append(line)
    return changed


def extra(lines, name, element):
    """Return lines with one more atom in the last residue."""
    return [*lines, f"{lines[-1][:12]} {name:<3}{lines[-1][16:76]} {element}  "]


def refusal(lines, name="x.pdb"):
    with pytest.raises(ValueError, match="no usable protein chain") as caught:
        read(text(*lines), name)
    return str(caught.value)


# Where a chain ends.


@pytest.mark.parametrize("chain", ["A", " "])
@pytest.mark.parametrize("first", [1, len(SEQUENCE) + 1])
@pytest.mark.parametrize("end", ["TER", None])
def test_two_chains_of_one_name_are_two(structure, chain, first, end):
    second = atom_lines(moved(structure, 20.0), chain, first)
    lines = [*atom_lines(structure, chain), *([end] if end else []), *second]
    if first > 1 and end is None:  # nothing but the distance tells them apart
        assert "C–N between HIS 5 and ALA 6 is" in refusal(lines)
        return
    contents = read(text(*lines))
    assert [item.structure.sequence for item in contents.chains] == [SEQUENCE, SEQUENCE]
    names = ["1", "2"] if chain == " " else ["A", "A.2"]
    assert [item.name for item in contents.chains] == names


def test_a_chain_goes_on_where_numbers_restart_within_it(structure):
    lines = atom_lines(structure)
    shifted = [
        f"{x[:22]}{int(x[22:26]) + (90 if int(x[22:26]) < 3 else 0):4d}{x[26:]}" for x in lines
    ]
    assert sequences(text(*shifted)) == [SEQUENCE]


def test_insertion_codes_alternatives_and_two_residues_in_one_place(structure):
    lines = atom_lines(structure)
    inserted = [f"{x[:22]}   2A{x[27:]}" if x[22:26] == "   3" else x for x in lines]
    assert sequences(text(*inserted)) == [SEQUENCE]
    both = [
        alternative
        for x in lines
        for alternative in (
            [f"{x[:16]}A{x[17:]}", f"{x[:16]}BTHR{x[20:]}"] if x[22:26] == "   3" else [x]
        )
    ]
    assert sequences(text(*both)) == [SEQUENCE]


def alternatives(lines, codes, occupancies=("1.00",), names="*"):
    """Return lines whose atoms called ``names`` in residue 3 have several alternative locations.

    The second one is moved by 0.1 Å, the third by 0.2 Å.
    """
    changed = []
    for line in lines:
        if line[22:26] != "   3" or (names != "*" and line[12:16].strip() not in names):
            changed.append(line)
            continue
        for number, (code, occupancy) in enumerate(zip(codes, occupancies, strict=True)):
            x = float(line[30:38]) + 0.1 * number
            changed.append(
                f"{line[:16]}{code}{line[17:30]}{x:8.3f}{line[38:54]}  {occupancy}{line[60:]}"
            )
    return changed


@pytest.mark.parametrize(
    ("codes", "occupancies", "names", "by"),
    [
        ("AB", ("0.40", "0.60"), "*", 0.1),
        ("BA", ("0.50", "0.50"), "*", 0.1),
        (" B", ("0.60", "0.40"), ("CA", "CB"), 0.0),
        (" B", ("0.40", "0.60"), ("CA", "CB"), 0.1),
        ("AB", ("    ", "    "), ("N", "CA"), 0.0),
        ("AB", (" nan", "0.10"), "*", 0.1),
    ],
)
def test_the_location_with_the_largest_occupancy_is_taken(structure, codes, occupancies, names, by):
    (chain,) = read(text(*alternatives(atom_lines(structure), codes, occupancies, names))).chains
    moved_by = chain.structure.positions - structure.positions
    assert abs(moved_by[:, 0].max() - by) < 0.002
    assert np.abs(moved_by[:, 1:]).max() < 0.002


def test_a_location_with_the_whole_backbone_is_taken(structure):
    lines = [
        f"{x[:16]}B{x[17:54]}  0.30{x[60:]}" if x[22:26] == "   3" else x
        for x in atom_lines(structure)
    ]
    row = next(i for i, x in enumerate(lines) if x[22:26] == "   3" and x[12:16].strip() == "CA")
    part = f"{lines[row][:16]}A{lines[row][17:54]}  0.70{lines[row][60:]}"
    assert sequences(text(*lines[:row], part, *lines[row:])) == [SEQUENCE]


def test_models_that_only_end_separates_are_further_models(structure):
    lines = atom_lines(structure)
    for end in ("END", "ENDMDL", "END   "):
        contents = read(text(*lines, "TER", end, *lines, end, *lines))
        assert [chain.name for chain in contents.chains] == ["A"]
        assert contents.ignored == ["models 2 to 3"]


def test_end_before_the_atoms_or_before_another_chain_begins_no_model(structure):
    lines = atom_lines(structure)
    assert sequences(text("END", *lines)) == [SEQUENCE]
    assert sequences(text("MODEL        1", "ENDMDL", *lines)) == [SEQUENCE]
    other = [f"{x[:21]}B{x[22:]}" for x in lines]
    contents = read(text(*lines, "END", *other, "END", *lines))
    assert [chain.name for chain in contents.chains] == ["A", "B"]
    assert contents.ignored == ["model 2"]


def test_a_standard_residue_is_taken_before_a_modified_one(structure):
    both = [
        alternative
        for x in atom_lines(structure)
        for alternative in (
            [f"{x[:16]}A{x[17:54]}  0.40{x[60:]}", f"{x[:16]}BSEP{x[20:54]}  0.60{x[60:]}"]
            if x[22:26] == "   3"
            else [x]
        )
    ]
    assert sequences(text(*both)) == [SEQUENCE]


def test_water_ions_and_free_amino_acids_are_not_chains(structure):
    lines = atom_lines(structure)
    water = "HETATM  900  O   HOH A 900      10.000  10.000  10.000  1.00 30.00           O  "
    ligand = [f"HETATM{x[6:22]} 800{x[26:]}" for x in lines if x[22:26] == "   1"]
    contents = read(text(*lines, "TER", *ligand, water, water.replace(" A 900", " W 900")))
    assert [chain.structure.sequence for chain in contents.chains] == [SEQUENCE]
    assert contents.ignored == ["chain 'W': no protein"]


# Names of atoms.


@pytest.mark.parametrize("first", ["OT1", "OC1", "O1"])
@pytest.mark.parametrize("second", ["OT2", "OC2", "O2", "OXT"])
def test_the_two_oxygens_of_the_end_have_many_names(structure, first, second):
    lines = extra(renamed(atom_lines(structure), {"O": first}, residue=5), second, "O")
    (chain,) = read(text(*lines)).chains
    assert chain.structure.present.all()
    assert np.abs(chain.structure.positions - structure.positions).max() < 0.001


@pytest.mark.parametrize("name", ["NT", "NXT", "OXT"])
def test_the_end_of_an_amide_or_acid_is_left_out(structure, name):
    assert sequences(text(*extra(atom_lines(structure), name, name[0]))) == [SEQUENCE]


def test_caps_are_left_out(structure):
    def cap(residue, number, names):
        return [
            f"HETATM  9{i:02d}  {name:<3} {residue} A{number:4d}    {i:8.3f}   0.000   0.000"
            f"  1.00  0.00           {name[0]}  "
            for i, name in enumerate(names)
        ]

    ace, nme, nh2 = (
        cap("ACE", 0, ["C", "O", "CH3"]), cap("NME", 6, ["N", "C"]), cap("NH2", 6, ["N"])
    )  # fmt: skip
    for end in (nme, nh2):
        assert sequences(text(*ace, *atom_lines(structure), *end)) == [SEQUENCE]


@pytest.mark.parametrize("name", ["HA", "1HB", "HG11", "2HH1", "D", "DA"])
def test_hydrogens_are_left_out_with_or_without_an_element(structure, name):
    line = atom_lines(structure)[1]
    hydrogen = f"{line[:12]}{name:<4}{line[16:66]}"
    assert sequences(text(*atom_lines(structure), hydrogen.ljust(80))) == [SEQUENCE]


def test_the_last_oxygen_is_placed(structure):
    lines = [x for x in atom_lines(structure) if not (x[12:16] == " O  " and x[22:26] == "   5")]
    (chain,) = read(text(*lines)).chains
    assert "the last O, which the file lacks, was placed" in chain.notes
    n, ca, c, o = chain.structure.backbone[-1].astype(float)
    assert np.linalg.norm(o - c) == pytest.approx(1.229, abs=0.01)
    cosine = (ca - c) @ (o - c) / np.linalg.norm(ca - c) / np.linalg.norm(o - c)
    assert np.degrees(np.arccos(cosine)) == pytest.approx(120.1, abs=0.5)
    assert np.linalg.norm(o - n) > 2.0
    for atom in ("CA", "O"):
        inner = [x for x in atom_lines(structure) if x[12:26] != f" {atom:<4}MET A   2"]
        assert f"MET 2 lacks its {atom} atom" in refusal(inner)


# Geometry.


def changed(structure, change):
    return atom_lines(Structure(structure.sequence, change(structure.positions), structure.plddt))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda x: x * 0, "all atoms are at one point"),
        (lambda x: x * 0 + 7, "all atoms are at one point"),
        (lambda x: x / 10, "the unit seems to be nm; multiply the coordinates by 10"),
        (lambda x: x * 2, "N–Cα of ALA 1 is 2.92 Å"),
        (lambda x: np.round(x / 6) * 6, "Å"),
        (lambda x: x[::-1], "Å"),
        (lambda x: np.random.default_rng(0).normal(scale=8, size=x.shape), "N–Cα of ALA 1"),
        (lambda x: np.arange(x.size).reshape(x.shape) * 5.0, "N–Cα of ALA 1"),
    ],
)
def test_what_is_not_a_protein_in_angstroms_is_refused(structure, change, reason):
    assert reason in refusal(changed(structure, change))


def test_a_coordinate_that_is_no_number_is_refused(structure):
    lines = atom_lines(structure)
    lines[1] = f"{lines[1][:30]}     nan{lines[1][38:]}"
    assert "a coordinate of ALA 1 is not a finite number" in refusal(lines)


def test_an_oxygen_far_from_its_carbon_is_refused(structure):
    lines = [
        x[:30] + "9999.0009999.0009999.000" + x[54:] if x[12:26] == " O   MET A   2" else x
        for x in atom_lines(structure)
    ]
    assert "C–O of MET 2 is 17" in refusal(lines)


def test_a_gap_is_refused_whether_or_not_the_numbers_show_it(simulate):
    whole = simulate("ACDEFGHIK")
    lines = [x for x in atom_lines(whole, b_factor=lambda _: 0) if int(x[22:26]) not in (4, 5, 6)]
    assert "residues are missing between ASP 3 and HIS 7" in refusal(lines)
    hidden = [
        f"{x[:22]}{int(x[22:26]) - (3 if int(x[22:26]) > 3 else 0):4d}{x[26:]}" for x in lines
    ]
    message = refusal(hidden)
    assert "C–N between ASP 3 and HIS 4" in message and "residues are missing" in message


def test_a_gap_among_insertion_codes_is_refused(simulate):
    """It made two chains of one."""
    lines = [
        f"{x[:22]}  52{' ABCDEFGH'[int(x[22:26]) - 1]}{x[27:]}"
        for x in atom_lines(simulate("ACDEFGHIK"), b_factor=lambda _: 0)
        if int(x[22:26]) not in (4, 5, 6)
    ]
    assert "C–N between ASP 52B and HIS 52F" in refusal(lines)


def test_a_long_bond_of_a_prediction_is_not_a_gap(simulate):
    structure = simulate("ACDEFGHIK")
    shift = np.zeros_like(structure.positions)
    bond = structure.backbone[4, 0] - structure.backbone[3, 2]
    shift[structure.residue_of_atom > 3] = 2.0 * bond / np.linalg.norm(bond)
    bent = Structure(structure.sequence, structure.positions + shift, structure.plddt)
    assert sequences(text(*atom_lines(bent))) == ["ACDEFGHIK"]
    assert "C–N between GLU 4 and PHE 5" in refusal(atom_lines(bent, b_factor=lambda _: 0))


# Confidence.


def plddt(*lines, name="x.pdb"):
    (chain,) = read(text(*lines), name).chains
    return chain.structure.plddt, chain.notes[-1]


@pytest.mark.parametrize("box", ["1.000    1.000    1.000", "0.000    0.000    0.000"])
def test_a_box_of_nothing_is_not_an_experiment(structure, box):
    line = f"CRYST1    {box}  90.00  90.00  90.00 P 1           1"
    found, note = plddt(line, *atom_lines(structure))
    assert np.abs(found - structure.plddt).max() < 0.006 and note == "pLDDT of the B-factors"
    for head in (line.replace(box, "31.000   42.000   53.000"), "EXPDTA    X-RAY DIFFRACTION"):
        found, note = plddt(head, *atom_lines(structure))
        assert found is None and "experiment" in note


@pytest.mark.parametrize(
    ("head", "is_taken"),
    [
        ("TITLE     ESMFOLD V1 PREDICTION FOR INPUT", True),
        ("REMARK   1 PREDICTED BY BOLTZ", True),
        ("PARENT N/A", True),
        ("EXPDTA    THEORETICAL MODEL", True),
        ("EXPDTA    X-RAY DIFFRACTION", False),
        ("TITLE     SAVED BY A VIEWER", False),
    ],
)
def test_values_for_each_atom_count_where_the_file_is_a_prediction(structure, head, is_taken):
    lines = atom_lines(structure, b_factor=lambda line: 40 + int(line[6:11]) % 50)
    found, note = plddt(head, *lines)
    assert (found is not None) == is_taken
    if is_taken:
        at_ca = [float(x[60:66]) for x in lines if x[12:16] == " CA "]
        assert found.tolist() == at_ca and note == "pLDDT of the B-factors at Cα"


def test_a_fraction_is_scaled_and_constants_are_no_confidence(structure):
    found, note = plddt(*atom_lines(structure, b_factor=lambda line: int(line[22:26]) / 10))
    assert np.allclose(found, [10, 20, 30, 40, 50]) and "0–1" in note
    for value in (0.0, 50.0):
        assert plddt(*atom_lines(structure, b_factor=lambda _, v=value: v))[0] is None
    assert plddt(*atom_lines(structure, b_factor=lambda line: 30.0 * int(line[22:26])))[0] is None


def mmcif(structure, head="", b_factor=None):
    lines = ["data_x", head.strip(), "loop_"]
    names = (
        "group_PDB id type_symbol label_atom_id label_alt_id label_comp_id label_asym_id "
        "label_entity_id label_seq_id pdbx_PDB_ins_code Cartn_x Cartn_y Cartn_z B_iso_or_equiv"
    )
    lines += [f"_atom_site.{name}" for name in names.split()]
    for x in atom_lines(structure):
        b = x[60:66] if b_factor is None else b_factor(x)
        lines.append(
            f"ATOM {x[6:11]} {x[76:78]} {x[12:16]} . {x[17:20]} A 1 {x[22:26]} ? "
            f"{x[30:38]} {x[38:46]} {x[46:54]} {b}"
        )
    return "\n".join([line for line in lines if line] + ["#", ""])


QUALITY = """
loop_
_ma_qa_metric.id
_ma_qa_metric.mode
_ma_qa_metric.name
_ma_qa_metric.type
1 global pLDDT pLDDT
2 local pLDDT pLDDT
#
loop_
_ma_qa_metric_local.label_asym_id
_ma_qa_metric_local.label_seq_id
_ma_qa_metric_local.metric_id
_ma_qa_metric_local.metric_value
"""


def test_mmcif_without_the_authors_numbers_and_with_its_own_table_of_quality(structure):
    (chain,) = read(mmcif(structure), "x.cif").chains
    assert chain.structure.sequence == SEQUENCE and chain.name == "A"
    assert np.abs(chain.structure.plddt - structure.plddt).max() < 0.006
    rows = "".join(f"A {number} 2 {90 - number}\n" for number in range(1, 6))
    found = read(mmcif(structure, QUALITY + rows + "#"), "x.cif").chains[0]
    assert found.structure.plddt.tolist() == [89, 88, 87, 86, 85]
    assert found.notes[-1] == "pLDDT of the file's own table"
    rows = rows.replace("A 2 2 88", "A 2 2 ?")
    found = read(mmcif(structure, QUALITY + rows + "#"), "x.cif").chains[0]
    assert np.abs(found.structure.plddt - structure.plddt).max() < 0.006  # the B-factors


def test_mmcif_of_an_experiment_has_no_plddt(structure):
    experiment = "_exptl.entry_id X\n_exptl.method 'X-RAY DIFFRACTION'\n#"
    assert read(mmcif(structure, experiment), "x.cif").structures[0].plddt is None


@pytest.mark.parametrize(
    ("head", "is_taken"),
    [
        ("_cell.length_a 1\n_cell.length_b 1.0\n_cell.length_c 0.000\n#", True),
        ("_cell.length_a ?\n_cell.length_b ?\n_cell.length_c ?\n#", True),
        ("_cell.length_a 59.062\n_cell.length_b 68.451\n_cell.length_c 30.517\n#", False),
        ("_refine.ls_d_res_high 1.5\n#", False),
        ("_reflns.d_resolution_high 1.5\n#", False),
    ],
)
def test_a_crystal_in_mmcif_is_an_experiment_as_in_pdb(structure, head, is_taken):
    """Without `exptl`, as gemmi writes it, its B-factors became pLDDT values."""
    (chain,) = read(mmcif(structure, head), "x.cif").chains
    assert (chain.structure.plddt is not None) == is_taken


@pytest.mark.parametrize(
    ("head", "is_taken"),
    [
        ("_ma_model_list.model_id 1\n#", True),
        ("_software.name Boltz-2\n#", True),
        ("_struct.title 'SAVED BY A VIEWER'\n#", False),
        ("", False),
    ],
)
def test_values_for_each_atom_in_mmcif_count_where_it_is_a_prediction(structure, head, is_taken):
    atoms = mmcif(structure, head, b_factor=lambda line: f"{40 + int(line[6:11]) % 50}.5")
    assert (read(atoms, "x.cif").structures[0].plddt is not None) == is_taken


def test_binary_cif_is_read(structure):
    import io

    from biotite.structure.io.pdb import PDBFile
    from biotite.structure.io.pdbx import BinaryCIFFile, set_structure

    atoms = PDBFile.read(io.StringIO(format_pdb(structure))).get_structure(model=1)
    file, data = BinaryCIFFile(), io.BytesIO()
    set_structure(file, atoms, data_block="x")
    file.write(data)
    assert sequences(data.getvalue(), "x.bcif") == [SEQUENCE]
    with pytest.raises(ValueError, match="is damaged or cut off: it is not a whole BinaryCIF"):
        read(data.getvalue()[:2000], "x.bcif")


def test_mmcif_with_empty_columns_of_the_authors_and_with_uncertainties(structure):
    """The authors' numbers were all 0, so that each residue was a chain."""
    whole = mmcif(structure)
    head, rows = whole.split("_atom_site.B_iso_or_equiv\n")
    head += "_atom_site.B_iso_or_equiv\n_atom_site.auth_seq_id\n_atom_site.auth_asym_id\n"
    rows = "".join(f"{row} . ?\n" for row in rows.splitlines() if row != "#")
    (chain,) = read(f"{head}{rows}#\n", "x.cif").chains
    assert (chain.structure.sequence, chain.name) == (SEQUENCE, "A")
    x = f"{structure.positions[1, 0]:.3f}"
    (chain,) = read(whole.replace(x, f"{x}(3)"), "x.cif").chains
    assert np.abs(chain.structure.positions - structure.positions).max() < 0.001
    message = "row 2 of its table atom_site: Cartn_x 'abc' is not a number"
    with pytest.raises(ValueError, match=message):
        read(whole.replace(x, "abc"), "x.cif")
    with pytest.raises(ValueError, match="row 1 of its table atom_site: no residue number"):
        read(whole.replace("_atom_site.label_seq_id", "_atom_site.other"), "x.cif")


# Files that are not quite as the format says.


@pytest.mark.parametrize("columns", [54, 60, 66])
def test_short_lines_are_read(structure, columns):
    assert sequences(text(*(line[:columns] for line in atom_lines(structure)))) == [SEQUENCE]


def test_shifted_columns_are_named_with_their_line(structure):
    lines = atom_lines(structure)
    lines[2] = lines[2][:26] + "  " + lines[2][26:]
    with pytest.raises(ValueError, match="line 3: the columns of a PDB file"):
        read(text(*lines))


def test_line_ends_and_letters_of_other_systems(structure):
    lines = ["REMARK   1 Universit\xe4t", *atom_lines(structure)]
    assert sequences(text(*lines).replace("\n", "\r\n").encode("latin-1")) == [SEQUENCE]
    assert sequences(b"\xef\xbb\xbf" + text(*lines).encode()) == [SEQUENCE]
    with pytest.raises(ValueError, match="cannot be read as text"):
        read(text(*lines).encode("utf-16"))


@pytest.mark.parametrize("residue", ["SEP", "DAL", "UNK", "SEC"])
def test_modified_residues_are_named(structure, residue):
    lines = [x.replace("SER A", f"{residue} A") for x in atom_lines(structure)]
    assert f"residue {residue} is not one of the standard 20" in refusal(lines)


def test_a_modified_residue_at_an_end_is_named_though_an_atom_is_missing(structure):
    lines = [x for x in atom_lines(structure) if not (x[12:16] == " C  " and x[22:26] == "   5")]
    lines = [f"HETATM{x[6:17]}DAL{x[20:]}" if x[22:26] == "   5" else x for x in lines]
    assert "residue DAL is not one of the standard 20" in refusal(lines)


def test_an_atom_that_is_there_twice_is_refused_for_its_chain_alone(structure):
    lines = atom_lines(structure)
    contents = read(
        text(*lines, "TER", *atom_lines(structure, "B"), lines[-1].replace(" A ", " B "))
    )
    assert [chain.name for chain in contents.chains] == ["A"]
    assert contents.ignored == ["chain 'B': HIS 5 has its atom NE2 twice"]


def test_the_content_counts_where_the_ending_is_of_another_format(structure):
    import gzip

    data = text(*atom_lines(structure))
    assert sequences(gzip.compress(data.encode()), "x.pdb") == [SEQUENCE]
    assert sequences(data, "x.cif") == [SEQUENCE]
    assert sequences(mmcif(structure), "x.pdb") == [SEQUENCE]
    assert sequences(mmcif(structure).replace("data_x", "data_empty\n#\ndata_x"), "x.cif") == [
        SEQUENCE
    ]


@pytest.mark.parametrize(
    "data",
    [
        b"<!DOCTYPE html><html>404 Not Found</html>",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
        b"ATOM\t1\tN\tALA\tA\t1\t0.0\t0.0\t0.0\n",
    ],
)
def test_what_is_not_a_structure_at_all_is_said(data):
    with pytest.raises(ValueError, match="no line begins with ATOM"):
        read(data)


def test_further_blocks_of_mmcif_are_named(structure):
    contents = read(mmcif(structure) + mmcif(structure).replace("data_x", "data_y"), "x.cif")
    assert [chain.structure.sequence for chain in contents.chains] == [SEQUENCE]
    assert contents.ignored == ["block 'data_y': only the first block with atoms is read"]


def test_mmcif_without_its_first_line_is_read(structure):
    assert sequences(mmcif(structure).removeprefix("data_x\n"), "x.cif") == [SEQUENCE]


@pytest.mark.parametrize("number", ["A000", "271A", "9fff"])  # hybrid-36, hexadecimal
def test_water_beyond_residue_9999_does_not_cost_the_chain(structure, number):
    water = f"HETATM10000  O   HOH W{number}      50.000  50.000  50.000  1.00  0.00           O"
    assert sequences(text(*atom_lines(structure), "TER", water)) == [SEQUENCE]


def test_a_mirror_image_is_refused(structure):
    lines = changed(structure, lambda x: x * np.array([1, 1, -1]))
    assert "5 of 5 residues are D amino acids by their Cβ" in refusal(lines)


def test_a_mirror_image_without_side_chains_is_refused():
    torsions = torch.tensor([-1.1, -0.73, math.pi]).expand(8, 3)
    helix = rebuild(torsions, torch.tensor(ANGLES).expand(8, 3)).numpy()
    mirrored = helix * np.array([1, 1, -1], dtype=np.float32)
    assert sequences(format_pdb(from_backbone("AMSCHGLK", helix))) == ["AMSCHGLK"]
    lines = format_pdb(from_backbone("AMSCHGLK", mirrored)).splitlines()
    assert "6 of 6 φ angles are positive" in refusal(lines)


def test_odd_but_whole_files_are_read(structure):
    lines = atom_lines(structure)
    lower = [x[:12] + x[12:20].lower() + x[20:] for x in lines]
    assert sequences(text(*lower)) == [SEQUENCE]
    assert sequences(text(*(f"HETATM{x[6:]}" for x in lines))) == [SEQUENCE]
    negative = [f"{x[:22]}{int(x[22:26]) - 3:4d}{x[26:]}" for x in lines]
    assert sequences(text(*negative)) == [SEQUENCE]
    descending = [f"{x[:22]}{6 - int(x[22:26]):4d}{x[26:]}" for x in lines]
    assert sequences(text(*descending)) == [SEQUENCE]
    order = np.random.default_rng(0).permutation(len(lines))
    shuffled = sorted((lines[i] for i in order), key=lambda x: int(x[22:26]))
    assert sequences(text(*shuffled)) == [SEQUENCE]
    segments = [f"{x[:21]} {x[22:72]}PEP{1 + (int(x[22:26]) > 3)}{x[76:]}" for x in lines]
    assert [chain.name for chain in read(text(*segments)).chains] == ["PEP1", "PEP2"]
