"""Mutational scan: what is probable at a position, given the rest, and the files of it."""

import csv

import numpy as np
import pytest
from typer.testing import CliRunner

from structdiff.cli import app
from structdiff.generation.scan import scan
from structdiff.generation.scoring import score
from structdiff.protein.residues import AMINO_ACIDS, encode
from structdiff.system.errors import UserError

pytestmark = pytest.mark.xdist_group("design")

HELIX = "AELKMQR"
"""Residues of the helical peptides that the model was trained on."""


def test_the_rest_of_a_peptide_tells_its_residues(trained_model, held_out):
    sequences = held_out[0][:20]
    scans = [scan(trained_model, sequence) for sequence in sequences]
    within = np.concatenate(
        [s.log_probability[np.arange(12), encode(s.sequence).astype(int)] for s in scans]
    )
    alone = np.concatenate([s.log_probability for s in score(trained_model, sequences)])
    assert within.mean() > alone.mean() + 0.3
    for result in scans:
        assert np.exp(result.log_probability).sum(1) == pytest.approx(1, abs=1e-5)


def test_a_position_does_not_depend_on_its_own_residue(trained_model):
    parent, mutant = scan(trained_model, "AELKMQRAELKM"), scan(trained_model, "AELKWQRAELKM")
    np.testing.assert_allclose(parent.log_probability[4], mutant.log_probability[4], atol=1e-5)
    helical = [AMINO_ACIDS.index(letter) for letter in HELIX]
    others = [code for code in range(20) if code not in helical]
    assert parent.log_odds[:, helical].mean() > parent.log_odds[:, others].mean() + 2
    assert mutant.log_odds[4, AMINO_ACIDS.index("M")] > 1
    assert (parent.log_odds[np.arange(12), encode("AELKMQRAELKM").astype(int)] == 0).all()


def test_the_command_writes_each_substitution(model, tmp_path):
    fasta, folder = tmp_path / "some.fasta", tmp_path / "out"
    fasta.write_text(">first\nAELKMQ\n>second\nVIYFTW\n")
    arguments = ["design", "scan", str(fasta), "--model", str(model), "--output-dir", str(folder)]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    with (folder / "scan.tsv").open() as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert len(rows) == 2 * 6 * 19
    html = (folder / "index.html").read_text()
    assert html.count("<figure>") == 2 and "first: log-likelihood" in html
    first = rows[0]
    assert (first["id"], first["mutation"], first["position"]) == ("first", "A1C", "1")
    assert float(first["probability"]) < 1 and float(first["log_odds"]) != 0
    for name in ("first", "second"):
        assert "</svg>" in (folder / f"{name}_scan.svg").read_text()
        assert (folder / f"{name}_scan.png").stat().st_size > 1000


@pytest.mark.parametrize("name", ["index.html", "scan.tsv", "scan_scan.svg"])
def test_only_earlier_scans_are_replaced(model, tmp_path, name):
    """A page or a table of the user, or the scan next to analogues, stays."""

    def run(folder):
        arguments = ["design", "scan", "AELK", "--model", model, "--output-dir", folder]
        CliRunner().invoke(app, list(map(str, arguments)), catch_exceptions=False)

    scanned = tmp_path / "scanned"
    run(scanned)
    run(scanned)
    designed = tmp_path / "designed"
    designed.mkdir()
    for folder in (scanned, designed):
        (folder / "designs.json").touch()
    (tmp_path / name).write_text("mine")
    reasons = {tmp_path: "in a folder without earlier scans"}
    for folder in (tmp_path, scanned, designed):
        with pytest.raises(UserError, match=reasons.get(folder, "is a folder of designs")):
            run(folder)
    assert (tmp_path / name).read_text() == "mine"
