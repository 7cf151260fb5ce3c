"""Designs of a command get the columns of known peptides, and their scores stand by controls."""

import pytest

from structdiff.evaluation.design_table import complete_designs, read_known
from structdiff.pretrained import PRETRAINED
from structdiff.system.errors import UserError
from structdiff.system.files import read_tsv


def test_the_table_gets_the_nearest_known_peptide_and_keeps_its_cells(tmp_path):
    (tmp_path / "known.csv").write_text(
        "id,sequence\nmagainin,GIGKFLHSAKKFGKAFVGEIMNS\nodd,KKXBB\nhelix,KLAKLAKKLAKLAK\n"
    )
    known = read_known(tmp_path / "known.csv")
    assert list(known.values()) == ["magainin", "helix"]
    table = "id\tsequence\tlabel\tcharge\nd_1\tKLAKLAKKLAKL\tamp\t+1.50\nd_2\tGIGKFLHSAKK\tnone\t\n"
    (tmp_path / "designs.tsv").write_text(table)
    complete_designs(tmp_path, known, PRETRAINED)
    first, second = read_tsv(tmp_path / "designs.tsv")
    assert (first["id"], first["charge"], second["charge"]) == ("d_1", "+1.50", "")
    assert (first["nearest_known"], second["nearest_known"]) == ("helix", "magainin")
    assert second["nearest_sequence"] == "GIGKFLHSAKKFGKAFVGEIMNS"
    assert float(first["nearest_identity"]) == pytest.approx(12 / 14, abs=1e-3)
    scores = {row.pop("column"): row for row in read_tsv(tmp_path / "controls.tsv")}
    assert list(scores["log_likelihood"]) == [
        *("amp", "amp, shuffled", "none", "none, shuffled", "known peptides")
    ]
    moment = scores["hydrophobic_moment"]
    assert float(moment["amp"]) > float(moment["amp, shuffled"])
    before = (tmp_path / "designs.tsv").read_bytes()
    complete_designs(tmp_path, known, PRETRAINED)
    assert (tmp_path / "designs.tsv").read_bytes() == before


def test_known_peptides_are_those_of_modlamp_unless_a_table_is_given(tmp_path):
    assert len(read_known(None)) > 2000
    with pytest.raises(UserError, match="no such file"):
        read_known(tmp_path / "absent.csv")


def test_known_peptides_that_cannot_be_compared_are_told(tmp_path, capsys):
    path = tmp_path / "known.csv"
    path.write_text("id,sequence\nhelix,KLAKLAK\nodd,KKXBB\n")
    assert list(read_known(path)) == ["KLAKLAK"]
    assert "1 of 2 peptides left out: odd (position 3: 'X' is" in capsys.readouterr().err
    path.write_text("id,sequence\nodd,KKXBB\n")
    with pytest.raises(
        UserError, match=r"known\.csv \(--reference\): has no peptide .*: odd \(pos"
    ):
        read_known(path)
