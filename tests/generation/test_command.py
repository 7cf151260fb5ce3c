"""``structdiff design``: each task from the command line to its files, and each refusal."""

import csv
import os
import signal

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from structdiff.cli import app
from structdiff.generation.command import _read_chains
from structdiff.generation.output import read_samples
from structdiff.protein.geometry import ANGLES, rebuild
from structdiff.protein.io import read_structures, write_mmcif, write_pdb
from structdiff.protein.structure import from_backbone
from structdiff.system.errors import UserError
from structdiff.system.files import read_tsv

pytestmark = pytest.mark.xdist_group("design")


@pytest.fixture
def run(model, tmp_path):
    """Run the command; return the rows of its table and the folder."""

    def run(task, *options, output="out"):
        arguments = ["design", task, "--model", model, "--output-dir", tmp_path / output, *options]
        arguments += [] if task == "fold" else ["--num-steps", "6"]
        result = CliRunner().invoke(app, list(map(str, arguments)), catch_exceptions=False)
        assert result.exit_code == 0, result.output
        with (tmp_path / output / "designs.tsv").open() as file:
            return list(csv.DictReader(file, delimiter="\t")), tmp_path / output, result.output

    return run


def check_files(rows, folder):
    """Assert that FASTA and PDB files hold what the table says."""
    (fasta,) = folder.glob("*.fasta")
    lines = fasta.read_text().splitlines()
    headers = [f">{row['id']} label={row['label']}" for row in rows]
    if "mutations" in rows[0]:
        changes = [row["mutations"].replace(" ", ",") for row in rows]
        headers = [f"{h} mutations={c}" for h, c in zip(headers, changes, strict=True)]
    assert lines[::2] == headers
    assert lines[1::2] == [row["sequence"] for row in rows]
    samples = read_samples(folder)
    assert samples["id"].tolist() == [row["id"] for row in rows]
    for row in rows:
        (structure,) = read_structures(folder / row["pdb"]).structures
        assert structure.sequence == row["sequence"]
        assert len(row["sequence"]) == int(row["length"])
        backbone = samples.set_index("id").loc[row["id"], "backbone"].reshape(-1, 4, 3)
        assert np.abs(structure.backbone - backbone).max() < 2e-3


def test_free_design(run):
    rows, folder, _ = run("free", "--label", "helical+acidic", "--number", 12, "--length", "11-13")
    assert len(rows) == 12
    assert {int(row["length"]) for row in rows} == {12}  # what the training peptides had in 11-13
    assert rows[0]["id"] == "helical+acidic_00"
    check_files(rows, folder)
    again, _, _ = run(
        "free", "--label", "helical+acidic", "--number", 3, "--length", "12", output="again"
    )
    assert [row["sequence"] for row in again] == [row["sequence"] for row in rows[:3]]


def test_bounds_on_residues(run):
    options = ("free", "--number", 30, "--length", "12", "--forbid", "E,M", "--at-most", "K=1")
    rows, _, _ = run(*options)
    assert all(row["sequence"].count("K") <= 1 for row in rows)
    assert not any(letter in row["sequence"] for row in rows for letter in "EM")
    with pytest.raises(UserError, match="'W' is not a residue and a number, as W=1"):
        run("free", "--number", 1, "--at-most", "W", output="other")


def test_sequences_alone(run):
    rows, folder, _ = run("free", "--number", 5, "--sequence-only")
    assert [row["pdb"] for row in rows] == [""] * 5
    assert not (folder / "pdb").exists()


def test_a_template(run):
    rows, folder, _ = run("infill", "gigk????flhs", "--number", 4)
    assert all(r["sequence"][:4] == "GIGK" and r["sequence"][8:] == "FLHS" for r in rows)
    check_files(rows, folder)


def test_the_ends_and_the_stop_sign_of_a_template(run):
    """They are read as those of every sequence; the designs have the ends."""
    rows, folder, _ = run("infill", "Ac-GIGK????FLHS*-NH2", "--number", 2)
    assert [(row["template"], row["amidated"]) for row in rows] == [("GIGK????FLHS", "1")] * 2
    assert "acetylated=1 amidated=1" in (folder / "infilled.fasta").read_text()
    assert "NH2 A  13" in (folder / rows[0]["pdb"]).read_text()


def test_analogues(run):
    options = ("analogues", "AELKMQRAELKM", "--strength", 0.5, "--number", 10)
    rows, folder, _ = run(*options, "--keep", "1-4,12")
    assert all(r["sequence"][:4] == "AELK" and r["sequence"][11] == "M" for r in rows)
    assert len({row["sequence"] for row in rows} - {"AELKMQRAELKM"}) == 10
    for row in rows:
        same = np.mean([a == b for a, b in zip(row["sequence"], row["origin"], strict=True)])
        assert float(row["identity"]) == pytest.approx(same, abs=1e-3)
    check_files(rows, folder)


def test_mutations_without_a_strength(run):
    options = ("analogues", "AELKMQRAELKM", "--mutations", "2..3", "--number", 20)
    rows, folder, _ = run(*options)
    assert len((folder / "scan.tsv").read_text().splitlines()) == 1 + 12 * 19
    assert (folder / "analogue_scan.svg").exists()
    html = (folder / "index.html").read_text()
    assert rows[0]["mutations"] in html and 'src="data:image/png' in html
    assert "Analogues of AELKMQRAELKM" in html and "show in 3D" in html
    changes = [sum(a != b for a, b in zip(r["sequence"], r["origin"], strict=True)) for r in rows]
    assert set(changes) == {2, 3}
    for row, count in zip(rows, changes, strict=True):
        sequence = list(row["origin"])
        for change in row["mutations"].split():
            assert sequence[int(change[1:-1]) - 1] == change[0]
            sequence[int(change[1:-1]) - 1] = change[-1]
        assert "".join(sequence) == row["sequence"]
        assert int(row["mutation_count"]) == count
    assert len({row["sequence"] for row in rows}) == 20


def test_inverse_folding(run, make_peptides, tmp_path):
    _, backbone, _ = make_peptides(1, 5)
    write_pdb(tmp_path / "given.pdb", "AELKVIYFGPND", backbone[0].numpy())
    rows, folder, output = run("inverse-fold", tmp_path / "given.pdb", "--number", 4)
    assert [row["id"] for row in rows] == [f"given_{i}" for i in range(4)]
    check_files(rows, folder)
    (own,) = read_structures(folder / rows[0]["pdb"]).structures
    assert np.abs(own.backbone - backbone[0].numpy()).max() < 2e-3
    assert "the file's own sequence AELKVIYFGPND: recovery" in output
    assert "of the file" not in output
    lines = (tmp_path / "given.pdb").read_text().splitlines(keepends=True)
    shifted = [f"{x[:22]}{int(x[22:26]) + 4:4d}{x[26:]}" for x in lines if x.startswith("ATOM")]
    (tmp_path / "shifted.pdb").write_text("".join(shifted))
    options = ("--keep", "5-8,12", "--number", 2)
    rows, _, output = run("inverse-fold", tmp_path / "shifted.pdb", *options, output="kept")
    assert "shifted: --keep 5-8,12 keeps VAL 9 … PHE 12, ASP 16 of the file" in output
    assert {row["template"] for row in rows} == {"????VIYF???D"}
    with pytest.raises(UserError, match="--keep 1-12: keeps all residues of given"):
        run("inverse-fold", tmp_path / "given.pdb", "--keep", "1-12", output="all")


def test_a_backbone_beyond_the_pdb_format_is_moved(run, make_peptides, tmp_path):
    """Writing the designs ended in a traceback after they were drawn."""
    backbone = make_peptides(1, 5)[1][0].numpy()
    sequence = "AELKVIYFGPND"
    write_mmcif(tmp_path / "far.cif", from_backbone(sequence, backbone - 5000.0))
    rows, folder, output = run("inverse-fold", tmp_path / "far.cif", "--number", 2)
    assert "far.cif, chain A: its coordinates are beyond" in output
    (structure,) = read_structures(folder / rows[0]["pdb"]).structures
    moved = structure.backbone - backbone
    assert np.ptp(moved, axis=(0, 1)).max() < 5e-3 and np.abs(structure.backbone).max() < 100


def test_a_chain_that_is_too_long_does_not_stop_the_others(run, tmp_path):
    def atoms(sequence, chain):
        torsions = torch.deg2rad(torch.tensor([-63.0, -42.0, 180.0])).expand(1, len(sequence), 3)
        bends = torch.tensor(ANGLES).expand(1, len(sequence), 3)
        path = tmp_path / f"{chain}.pdb"
        write_pdb(path, sequence, rebuild(torsions, bends)[0].numpy())
        lines = path.read_text().splitlines()
        return [line[:21] + chain + line[22:] for line in lines if line.startswith("ATOM")]

    peptide = "AELKMQRAELKM"
    content = [*atoms(10 * peptide, "A"), "TER", *atoms(peptide, "B"), "TER", "END", ""]
    (tmp_path / "complex.pdb").write_text("\n".join(content))
    _, folder, output = run("inverse-fold", tmp_path / "complex.pdb", "--number", 2)
    assert "complex.pdb, chain A: 120 residues are far beyond" in output
    assert "chains A (120 residues), B (12 residues); --chain NAME takes one" in output
    samples = read_samples(folder)
    assert samples["id"].tolist() == ["complex_2_0", "complex_2_1"]
    assert set(samples["origin"]) == {peptide}
    notes = [row["note"] for row in read_tsv(folder / "summary.tsv")]
    assert notes[0].startswith("complex.pdb, chain A: 120") and notes[1] == "chain B"
    with pytest.raises(UserError, match=r"nothing can be designed: .*chain A: 120 residues"):
        run("inverse-fold", tmp_path / "complex.pdb", "--chain", "A", output="other")
    one, _, _ = run("inverse-fold", tmp_path / "complex.pdb", "--chain", "B", output="B")
    assert len(one) == 100


def test_chains_that_are_left_out_or_the_same_are_told(make_peptides, tmp_path, capsys):
    path = tmp_path / "x.pdb"
    write_pdb(path, "AELKVIYFGPND", make_peptides(1, 5)[1][0].numpy())
    first = [line for line in path.read_text().splitlines() if line.startswith("ATOM")]
    second = [line.replace(" A ", " B ") for line in first]
    broken = [line.replace(" A ", " C ") for line in first if line[12:26] != " CA  GLU A   2"]
    model = [*first, "TER", *second, "TER", *broken, "ENDMDL"]
    path.write_text("\n".join(["MODEL        1", *model, "MODEL        2", *model, ""]))
    assert [chain.name for chain in _read_chains(path, None)] == ["A", "B"]
    assert "the chains A, B have the same sequence" in capsys.readouterr().err
    assert [chain.name for chain in _read_chains(path, "A")] == ["A"]
    assert capsys.readouterr().err.endswith("left out: model 2\n")
    with pytest.raises(UserError, match=r"chain 'C': GLU 2 lacks its CA atom; its usable .* A"):
        _read_chains(path, "C")
    with pytest.raises(UserError, match=r"has no chain 'X'; its usable chains: A \(12 residues"):
        _read_chains(path, "X")
    with pytest.raises(UserError, match="is a folder"):
        _read_chains(tmp_path, None)


def test_folding_a_table_and_a_sequence(run, tmp_path):
    (tmp_path / "some.fasta").write_text(">a/b one\nAELKMQ RAELKM*\n>c\nviyftwviyf\n")
    rows, folder, _ = run("fold", tmp_path / "some.fasta")
    assert [(r["id"], r["sequence"]) for r in rows] == [
        ("a_b", "AELKMQRAELKM"),
        ("c", "VIYFTWVIYF"),
    ]
    check_files(rows, folder)
    for row in rows:
        (structure,) = read_structures(folder / row["pdb"]).structures
        assert 0 < float(row["confidence"]) <= 1
        assert structure.plddt.mean() == pytest.approx(100 * float(row["confidence"]), abs=0.06)
    one, _, _ = run("fold", "AELKMQRAELKM", output="one")
    alone, together = float(one[0]["confidence"]), float(rows[0]["confidence"])
    assert alone == pytest.approx(together, abs=1e-4)  # batches of other sizes round differently
    own = {"id": "folded", "pdb": "pdb/folded.pdb", "confidence": one[0]["confidence"]}
    assert one == [{**rows[0], **own}]


def test_a_file_is_read_whatever_the_length_of_its_path(run, tmp_path):
    folder = tmp_path / ("a" * 150) / ("b" * 150)
    folder.mkdir(parents=True)
    (folder / "two.fasta").write_text(">one\nAELKMQRAELKM\n>two\nVIYFTWVIYFTW\n")
    rows, _, _ = run("fold", folder / "two.fasta")
    assert [row["id"] for row in rows] == ["one", "two"]
    rows, _, _ = run("fold", "AELK" * 3, output="sequence")
    assert [row["id"] for row in rows] == ["folded"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["free", "--label", "antiviral"], r"'antiviral', which this model was not trained with"),
        (["free", "--length", "100"], r"100 residues are far beyond"),
        (["infill", "GIGK??X"], r"'X' at position 7"),
        (["infill", "GIGk????FLHS"], r"'k' at position 4 .* lower case means a D"),
        (["analogues", "GIGKFL", "--strength", "2"], r"strength 2\.0 is outside of 0"),
        (["analogues", "GIGKFL", "--strength", "0"], r"strength 0 gives only the peptide itself"),
        (["analogues", "GIGKFL"], r"need a strength, a range of mutations, or both"),
        (["analogues", "GIGKFL", "--mutations", "1..7"], r"1 to 6 residues may change"),
        (["inverse-fold", "absent.pdb"], r"absent\.pdb: no such file"),
        (["fold", "absent.fasta"], r"absent\.fasta \(fold\): no such file"),
        (["fold", "absent/fasta"], r"absent/fasta \(fold\): no such file"),
        (["fold", "GIGKB"], r"'B' at position 5"),
        (
            ["fold", "peptides"],
            r"design fold: 'peptides' is neither a file nor a sequence in upper",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(run, options, message):
    with pytest.raises(UserError, match=message):
        run(*options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--template", "GI??", "--fold", "GIGK"], r"--template and --fold are different tasks"),
        (["--analogues-of", "GIGKFL"], r"design analogues` needs --strength"),
        (["--template", "GI??", "--strength", "0.5"], r"design infill` has no --strength"),
        (["--fold", "GIGK", "--seed", "1"], r"design fold` has no --seed"),
        (["--length", "9", "free"], r"put the options after it"),
    ],
)
def test_the_former_form_refuses_what_has_no_meaning(tmp_path, options, message):
    with pytest.raises(UserError, match=message):
        CliRunner().invoke(
            app, ["design", "--output-dir", str(tmp_path), *options], catch_exceptions=False
        )


@pytest.mark.parametrize(
    ("former", "task", "options"),
    [
        ([], "free", ["--length", "9", "--number", "3"]),
        (["--template", "GIG???"], "infill", ["--number", "3"]),
        (["--analogues-of", "AELKMQRA"], "analogues", ["--strength", "0.5", "--number", "3"]),
        (["--fold", "AELKMQRA"], "fold", []),
    ],
)
def test_the_former_form_gives_the_same_and_names_the_new_one(
    run, model, tmp_path, former, task, options
):
    rows, _, _ = run(task, *former[1:], *options, output="new")
    steps = [] if task == "fold" else ["--num-steps", "6"]
    folder = tmp_path / "former"
    arguments = ["design", "--model", model, "--output-dir", folder, *former, *options, *steps]
    result = CliRunner().invoke(app, list(map(str, arguments)), catch_exceptions=False)
    assert f"structdiff design {task} …" in result.stderr
    assert read_samples(folder)["sequence"].tolist() == [row["sequence"] for row in rows]


def test_bad_files_are_refused_by_their_line(run, tmp_path):
    (tmp_path / "bad.pdb").write_text("nothing of the kind\n")
    with pytest.raises(UserError, match=r"bad\.pdb: .*no"):
        run("inverse-fold", tmp_path / "bad.pdb")
    (tmp_path / "bad.fasta").write_text(">a\nGIGK\n>b\nGIXK\n")
    with pytest.raises(UserError, match=r"bad\.fasta, line 3: GIXK: 'X' at position 3"):
        run("fold", tmp_path / "bad.fasta")
    (tmp_path / "twice.fasta").write_text(">a\nGIGKFLGIGKFL\n>a\nGIGKFLGIGKFI\n")
    with pytest.raises(UserError, match=r"line 3: the id 'a' is in line 1 too"):
        run("fold", tmp_path / "twice.fasta")


@pytest.mark.parametrize(
    ("task", "last_step"),
    [
        ("free", "structdiff.evaluation.design_table.mean_scores"),
        ("analogues", "structdiff.generation.command.write_scans"),
        ("analogues", "structdiff.report.sets.write_scan"),
    ],
)
def test_an_interruption_of_the_last_step_is_made_good_by_the_same_command(
    run, tmp_path, monkeypatch, task, last_step
):
    request = [task, *(["AELKMQRAELKM", "--strength", 0.5] if task == "analogues" else [])]
    request += ["--number", 2]
    _, whole, _ = run(*request, output="whole")
    with monkeypatch.context() as patch, pytest.raises(AssertionError):
        patch.setattr(last_step, lambda *_: os.kill(os.getpid(), signal.SIGTERM))
        run(*request)
    assert (tmp_path / "out" / ".drawn.jsonl").exists()
    _, resumed, _ = run(*request)
    names = sorted(path.name for path in whole.iterdir())
    assert names == sorted(path.name for path in resumed.iterdir())
    for name in ("designs.tsv", "controls.tsv"):
        assert (whole / name).read_bytes() == (resumed / name).read_bytes()
