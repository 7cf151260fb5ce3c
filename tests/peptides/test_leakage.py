"""The leakage report counts what stands in the neighbours' table."""

import numpy as np
import pandas as pd
import pytest

from structdiff.peptides import leakage, similarity, split
from structdiff.peptides.leakage import find_neighbours, plot_leakage, report_leakage
from structdiff.protein.residues import AMINO_ACIDS

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


@pytest.fixture
def many():
    """Peptides by chance; every fourth held-out one is a training peptide with one residue more."""
    rng = np.random.default_rng(0)
    rows = rng.integers(0, 20, (1200, 14))
    sequences = ["".join(AMINO_ACIDS[code] for code in row) for row in rows]
    sequences[800::4] = [sequence + "W" for sequence in sequences[:100]]
    names = ["train"] * 800 + ["val"] * 200 + ["test"] * 200
    ids = [f"p{number}" for number in range(len(sequences))]
    return pd.DataFrame({"id": ids, "sequence": sequences, "split": names})


def test_of_many_held_out_peptides_all_near_neighbours_are_found_and_a_sample_of_the_others(
    many, monkeypatch, tmp_path
):
    whole = find_neighbours(many)
    exact = report_leakage(whole)
    monkeypatch.setattr(split, "FEW_PAIRS", 0)
    monkeypatch.setattr(similarity, "FEW_PAIRS", 0)
    pd.testing.assert_frame_equal(find_neighbours(many), whole)

    monkeypatch.setattr(leakage, "MOST_PAIRS", 0)
    monkeypatch.setattr(split, "SMALLEST_SAMPLE", 120)
    some = find_neighbours(many)
    known = some["similarity"].notna()
    is_near = whole["similarity"] >= 0.7 - 1e-6
    assert is_near.sum() == 100
    assert known[is_near].all()
    assert known.sum() == 100 + 120
    pd.testing.assert_frame_equal(some[known], whole[known])
    assert some.loc[~known, "neighbour_id"].isna().all()

    report = report_leakage(some)
    assert report["sample"].tolist()[2] == 120
    for threshold in (0.7, 0.8, 0.9, 1.0):
        assert report[f"share_ge_{threshold}"].tolist() == exact[f"share_ge_{threshold}"].tolist()
    for column in ("median", "share_ge_0.5", "share_ge_0.6"):
        assert report[column].tolist() == pytest.approx(exact[column].tolist(), abs=0.1)
    plot_leakage(some, 0.7, tmp_path / "leakage")


@pytest.mark.filterwarnings("error")
def test_a_near_neighbour_is_the_maximum_of_a_set_that_the_sample_misses(tmp_path):
    similarity = np.array([0.9, np.nan, np.nan, 0.1], dtype=np.float32)
    for names, largest in (
        (["val", "val", "test", "test"], 0.9),
        (["test", "val", "val", "test"], None),
    ):
        neighbours = pd.DataFrame({"split": names, "similarity": similarity, "sequence": "GIGKF"})
        report = report_leakage(neighbours).set_index("set")
        assert report.loc["val", "max"] == pytest.approx(largest or np.nan, nan_ok=True)
        assert np.isnan(report.loc["val", "median"])
        plot_leakage(neighbours, 0.7, tmp_path / "leakage")


def test_a_peptide_moves_in_or_out_of_the_sample_only_by_its_hash(many, monkeypatch):
    monkeypatch.setattr(leakage, "MOST_PAIRS", 0)
    monkeypatch.setattr(split, "SMALLEST_SAMPLE", 50)
    compared = find_neighbours(many).dropna()["id"]
    shuffled = many.sample(frac=1, random_state=1)
    assert set(find_neighbours(shuffled).dropna()["id"]) == set(compared)
