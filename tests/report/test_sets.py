"""Pages about sets of peptides: each peptide has its own structure, in files of any origin."""

from dataclasses import replace

import numpy as np
import pandas as pd

from structdiff.protein.io import write_pdb
from structdiff.report.gallery import Card, CardSet, find_structures, gallery
from structdiff.report.sets import _analogues, _chosen_cards, _told_apart, write_scan
from structdiff.system.plotting import new_figure, save_figure

SEQUENCE = "GIGKFLHSAK"


def cards_of(name):
    return CardSet(name, "", [SEQUENCE] * 4, [Card("d_1", SEQUENCE, "1. d_1", "10 residues", "")])


def test_an_id_in_two_files_has_the_structure_of_each_file(tmp_path):
    for number, name in enumerate(["a", "b"]):
        (tmp_path / name / "pdb").mkdir(parents=True)
        backbone = np.full((len(SEQUENCE), 4, 3), float(number))
        write_pdb(tmp_path / name / "pdb" / "d_1.pdb", SEQUENCE, backbone)
    sets = [cards_of("a"), cards_of("b")]
    sets, backbones = _told_apart(
        sets, [find_structures(tmp_path / part.name, part.cards) for part in sets]
    )
    assert [card.id for part in sets for card in part.cards] == ["d_1 (a)", "d_1 (b)"]
    assert backbones["d_1 (a)"].design != backbones["d_1 (b)"].design
    assert all(f'data-peptide="{name}"' in gallery(sets, backbones) for name in backbones)


def test_a_structure_file_of_another_program_is_shown(tmp_path):
    (tmp_path / "pdb").mkdir()
    line = "ATOM      1  CA  GLY A   1       0.000   0.000   0.000  1.00"
    text = f"REMARK par l'\u00e9quipe\n{line}\n{line}  0.00\n"
    (tmp_path / "pdb" / "d_1.pdb").write_text(text, encoding="latin-1")
    (found,) = find_structures(tmp_path, cards_of("a").cards).values()
    assert (found.design.splitlines()[1], found.fold) == (line, "")


def test_a_single_peptide_has_a_card_and_no_logo():
    one = CardSet("a", "", [SEQUENCE], cards_of("a").cards)
    assert "Sequence logo" not in gallery([one], {})
    assert "Sequence logo" in gallery([cards_of("a")], {})


def test_a_logo_without_information_is_left_out():
    """Three peptides are too few for a letter, even if they are the same."""
    assert "Sequence logo" not in gallery([replace(cards_of("a"), sequences=[SEQUENCE] * 3)], {})


def test_a_remark_is_set_against_a_verdict_only():
    assert "By itself" not in gallery([cards_of("a")], {})
    assert "By itself" in gallery([replace(cards_of("a"), verdict="ok")], {})


def test_a_scan_next_to_designs_that_are_no_analogues_is_shown(tmp_path):
    save_figure(new_figure()[0], tmp_path / "p_scan")
    (tmp_path / "scan.tsv").write_text("id\tmutation\tlog_odds\np\tG1A\t0.5\n")
    for designs in ("id\tsequence\n", "id\tsequence\nd_1\tGIGK\n"):
        (tmp_path / "designs.tsv").write_text(designs)
        write_scan(tmp_path)
        assert "Analogues" not in (tmp_path / "index.html").read_text()


def test_analogues_have_the_ends_of_their_peptide(tmp_path):
    (tmp_path / "designs.tsv").write_text(
        "id\tsequence\torigin\tmutations\tmutation_count\tamidated\tsynthesis_warnings\n"
        f"a\t{SEQUENCE}\tAIGKFLHSAK\tA1G\t1\t1\t\n"
    )
    html = _analogues(tmp_path)
    assert f">{SEQUENCE}-NH2<" in html and "Analogues of AIGKFLHSAK-NH2<" in html


def test_chosen_peptides_without_a_set_are_shown(tmp_path):
    chosen = pd.DataFrame(
        {
            "id": ["x", "y"],
            "sequence": [SEQUENCE, SEQUENCE[::-1]],
            "set": ["mine", np.nan],
            "length": 10,
            "molecular_weight": 1000.0,
            "charge": 1.0,
            "synthesis_warnings": "",
            "acetylated": [0, 1],
            "amidated": [1, 0],
        }
    )
    html = _chosen_cards(chosen, tmp_path)
    assert f">{SEQUENCE}-NH2<" in html and f">Ac-{SEQUENCE[::-1]}<" in html
    assert "1. x" in html and "2. y" in html and "no set" in html
