"""The leakage report counts what stands in the neighbours' table."""

import pandas as pd
import pytest

from structdiff.peptides.leakage import find_neighbours, plot_leakage, report_leakage

FRAME = pd.DataFrame(
    {
        "id": list("abcdef"),
        "sequence": [
            "AAAAAAAAAA",
            "KKKKKKKKKK",
            "AAAAAAAAAC",
            "AAAAAAACCC",
            "KKKKKKKKKK",
            "WWWWWW",
        ],
        "split": ["train", "train", "val", "val", "test", "val"],
    }
)


def test_every_held_out_peptide_has_its_nearest_training_peptide():
    found = find_neighbours(FRAME)
    assert found["id"].tolist() == ["c", "d", "e", "f"]
    assert found["neighbour_id"].tolist()[:3] == ["a", "a", "b"]
    assert found["neighbour_sequence"].tolist()[2] == "KKKKKKKKKK"
    assert found["similarity"].tolist() == pytest.approx([0.9, 0.7, 1.0, 0.0])


def test_the_report_has_each_set_and_both():
    report = report_leakage(find_neighbours(FRAME)).set_index("set")
    assert report.index.tolist() == ["val", "test", "val+test"]
    assert report["n"].tolist() == [3, 1, 4]
    assert report.loc["val", "median"] == pytest.approx(0.7)
    assert report.loc["val+test", "max"] == 1.0
    assert report.loc["val", "share_ge_0.7"] == pytest.approx(2 / 3)  # 0.7 itself counts
    assert report.loc["val+test", "share_ge_0.9"] == pytest.approx(2 / 4)
    assert report.loc["val+test", "share_ge_1.0"] == pytest.approx(1 / 4)


def test_without_a_test_split_there_is_one_row():
    frame = FRAME[FRAME["split"] != "test"]
    assert report_leakage(find_neighbours(frame))["set"].tolist() == ["val"]


def test_the_histogram_is_drawn(tmp_path):
    plot_leakage(find_neighbours(FRAME), 0.7, tmp_path / "leakage")
    svg = (tmp_path / "leakage.svg").read_text()
    assert svg.lstrip().startswith("<?xml")
    assert (tmp_path / "leakage.png").read_bytes().startswith(b"\x89PNG")
