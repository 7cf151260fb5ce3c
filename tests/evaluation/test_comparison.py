"""Files of peptides are judged without a run, side by side; what cannot be read is named."""

import json
from pathlib import Path

import pandas as pd
import pytest

from structdiff.evaluation.columns import COLUMNS
from structdiff.evaluation.comparison import _read_reference, compare_files, set_names
from structdiff.evaluation.pick import Choice, pick
from structdiff.evaluation.reading import read_any
from structdiff.report.sets import write_comparison
from structdiff.system.errors import UserError
from structdiff.system.files import read_tsv


@pytest.fixture(scope="module")
def reference(tmp_path_factory, frame):
    """A table of real peptides with labels and without a split."""
    path = tmp_path_factory.mktemp("reference") / "real.csv"
    frame.drop(columns=["cluster", "split"]).astype(
        {"antiviral": int, "antimicrobial": int}
    ).to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def judged(tmp_path_factory, make_sequences, frame, reference):
    """Two files, a FASTA of new peptides and a TSV of copies with a column of its own."""
    folder = tmp_path_factory.mktemp("judged")
    new = make_sequences(60, 7)
    lines = [f">new{number}\n{sequence.lower()}\n" for number, sequence in enumerate(new)]
    (folder / "new.fasta").write_text("".join(lines))
    copies = frame["sequence"].head(60)
    pd.DataFrame({"Sequence": copies, "mic": range(60)}).to_csv(
        folder / "copies.tsv", sep="\t", index=False
    )
    files = [folder / "new.fasta", folder / "copies.tsv"]
    compare_files(files, reference, "antiviral", folder / "out")
    write_comparison(folder / "out", set_names(files))
    return folder / "out"


def test_files_stand_side_by_side_with_their_shuffles(judged):
    rows = {row["metric"]: row for row in read_tsv(judged / "comparison.tsv")}
    order = rows["Order: likelier than own shuffles (share)"]
    assert float(order["new"]) > float(order["new, shuffled"])
    copies = rows["Copies: nearest training peptide ≥ threshold (share)"]
    assert float(copies["copies"]) > 0.5 > float(copies["new"])
    assert float(copies["copies, held-out real"]) == 0


def test_a_quantity_has_one_value(judged):
    """The mean moment is a metric and a mean of the columns, with the same shuffles."""
    rows = {row["metric"]: row for row in read_tsv(judged / "comparison.tsv")}
    metric, mean = (
        next(row for name, row in rows.items() if name.startswith(start))
        for start in ("Hydrophobic moment (Eisenberg scale, 100°), mean", "Mean hydrophobic_moment")
    )
    for name in ("new", "new, shuffled", "new, held-out real"):
        assert float(metric[name]) == pytest.approx(float(mean[name]), abs=6e-4)
    assert float(mean["new"]) > float(mean["new, shuffled"])
    assert float(mean["copies, held-out real"]) > float(mean["copies, shuffled"])


def test_each_file_has_held_out_peptides_of_its_size(tmp_path, make_sequences, reference):
    """The size changes k-mer distances, and the order of the files must change nothing."""
    sizes = {"few": 10, "many": 40}
    for name, size in sizes.items():
        lines = [f">{n}\n{s}\n" for n, s in enumerate(make_sequences(size, 9))]
        (tmp_path / f"{name}.fasta").write_text("".join(lines))
    files = [tmp_path / f"{name}.fasta" for name in sizes]
    compare_files(files, reference, "none", tmp_path / "out")
    rows = {row["metric"]: row for row in read_tsv(tmp_path / "out" / "comparison.tsv")}
    for name, size in sizes.items():
        assert float(rows["Peptides"][f"{name}, held-out real"]) == size
    (moment,) = (row for metric, row in rows.items() if metric == "Mean hydrophobic_moment")
    assert moment["few, held-out real"] and moment["many, held-out real"]


def test_each_file_has_its_verdict(judged):
    results = json.loads((judged / "metrics.json").read_text())
    assert list(results) == ["new", "copies"]
    assert "memorising" in results["copies"]["faults"]
    assert "memorising" not in results["new"]["faults"]
    assert results["new"]["metrics"]["called"]["generated"] is not None


def test_every_peptide_has_its_columns(judged):
    rows = read_tsv(judged / "designs.tsv")
    assert [row["set"] for row in rows] == ["new"] * 60 + ["copies"] * 60
    copy = rows[60]
    assert copy["nearest_sequence"] == copy["sequence"]
    assert float(copy["nearest_identity"]) == 1
    assert float(copy["mic"]) == 0
    assert {"molecular_weight", "charge", "synthesis_warnings"} <= set(copy)


def test_copies_of_held_out_peptides_are_not_novel(tmp_path, frame, reference):
    """A copy of any real peptide is a copy, unless the reference itself says what is held out."""
    held_out = frame[frame["split"] != "train"]
    (tmp_path / "a.fasta").write_text(
        "".join(f">{n}\n{s}\n" for n, s in zip(held_out["id"], held_out["sequence"], strict=True))
    )
    frame.astype({"antiviral": int, "antimicrobial": int}).to_csv(tmp_path / "r.csv", index=False)
    (own,) = compare_files([tmp_path / "a.fasta"], tmp_path / "r.csv", "none", tmp_path / "own")
    assert own.values["exact_copies"]["generated"] == 0
    (result,) = compare_files([tmp_path / "a.fasta"], reference, "none", tmp_path / "out")
    copies = result.values["exact_copies"]
    assert (copies["generated"], copies["held_out"], copies["shuffled"]) == (1, 0, 0)
    assert result.candidates["reasons"].str.contains("not novel: 1.00").all()
    assert (result.candidates["nearest_training"] == result.candidates["id"]).all()


def test_ends_and_own_columns_reach_the_order_of_an_evaluated_file(tmp_path, reference):
    (tmp_path / "a.csv").write_text(
        "id,sequence,mic\na,Ac-KWKLFKKIGAVLKVL-NH2,4\nb,GIGKFLHSAKKFGKAF,8\n"
    )
    compare_files([tmp_path / "a.csv"], reference, "none", tmp_path / "out")
    picked = pick(Choice(tmp_path / "out", 2, "mic < 6"), tmp_path / "order.csv", "the call")
    assert picked.table["id"].tolist() == ["a"]
    (row,) = pd.read_csv(tmp_path / "order.csv").to_dict("records")
    assert (row["N-terminus"], row["C-terminus"]) == ("Ac (acetyl)", "NH2 (amide)")


def test_the_page_needs_no_other_file_and_explains_its_columns(judged):
    page = (judged / "index.html").read_text()
    assert "http" not in page.replace("http://www.w3.org", "")
    assert COLUMNS["nearest_identity"].definition in page
    assert "memorising" in page


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "id,peptide\n1,KK\n", "no column 'sequence'"),
        ("a.fasta", "KKLL\n>x\n", "line 1: text before the first '>' header"),
        ("a.pep", ">P1;x\nname\nKK*\n", "line 1: '>P1;' begins an entry of a PIR file"),
        ("a.docx", "x", "unknown format '.docx'"),
        ("a.csv", "id,sequence\n", "has no peptide"),
        ("a.parquet", "no parquet", "cannot be read"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(UserError, match=message) as error:
        read_any(path)
    assert str(path) in str(error.value)


def test_a_folder_without_designs_and_a_missing_file(tmp_path):
    with pytest.raises(UserError, match=r"has none of the files candidates\.tsv"):
        read_any(tmp_path)
    with pytest.raises(UserError, match="no such file"):
        read_any(tmp_path / "absent.fasta")


def test_a_table_is_read_as_the_split_reads_it(tmp_path):
    path = tmp_path / "t.tsv"
    ids = ["NA", "nan", "007", "1e5", '"x']
    rows = "".join(f"{name}\tKKLLKNA\t{n}.5\tTrue\n" for n, name in enumerate(ids))
    path.write_text(f"id\tSequence\tscore\tcalled\n{rows}last\tNA\t\t\n")
    table = read_any(path)
    assert table["id"].tolist() == [*ids, "last"]
    assert table["sequence"].tolist()[-1] == "NA"
    assert table["score"].tolist()[:2] == [0.5, 1.5] and table["score"].isna().tolist()[-1]
    path.write_text("id\tsequence\na\tKKLL\nb\n")
    with pytest.raises(UserError, match=r"t\.tsv, line 3: 1 field where the header has 2"):
        read_any(path)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.fasta", ">a\nGIGKFLHSAK*\n"),
        ("a.csv", "id,sequence\na,GIGKFLHSAK*\n"),
        ("a.tsv", "id\tsequence\na\tGIGKFLHSAK-NH2*\n"),
    ],
)
def test_an_asterisk_at_the_end_is_no_residue(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    assert read_any(tmp_path / name)["sequence"].tolist() == ["GIGKFLHSAK"]


def test_peptides_that_are_left_out_are_named(tmp_path, capsys, make_sequences, reference):
    bad = {"x": "GIGKXLHS", "d": "GIGkFLHS", "one": "G", "long": "G" * 60}
    good = {f"g{n}": sequence for n, sequence in enumerate(make_sequences(3, 8))}
    rows = [f"{name},{sequence},\n" for name, sequence in (bad | good).items()]
    (tmp_path / "a.csv").write_text("id,sequence,N-term\n" + "".join(rows) + "m,GIGKFLHS,Myr\n")
    compare_files([tmp_path / "a.csv"], reference, "none", tmp_path / "out")
    reasons = {row["id"]: row["reason"] for row in read_tsv(tmp_path / "out" / "rejected.tsv")}
    assert list(reasons) == [*bad, "m"]
    assert reasons["x"] == "position 5: 'X' is not one of the 20 standard residues"
    assert reasons["d"] == "position 4: 'k' is a D residue"
    assert reasons["one"] == "1 residue, where 5 to 50 are allowed"
    assert "only acetylation of the N-terminus" in reasons["m"]
    assert (
        "5 of 8 peptides left out (rejected.tsv has all): x (position 5: 'X'"
        in capsys.readouterr().err
    )
    picked = pick(Choice(tmp_path / "a.csv", 9), tmp_path / "order.csv", "call")
    assert picked.table["id"].tolist() == ["one", "long", *good]
    assert any("left out: x (position 5: 'X'" in note for note in picked.notes)


def test_a_file_without_a_valid_peptide_is_refused(tmp_path, reference):
    (tmp_path / "good.fasta").write_text(">1\nGIGKFLHSAK\n")
    (tmp_path / "bad.fasta").write_text(">1\nGIGKXX\n")
    files = [tmp_path / "good.fasta", tmp_path / "bad.fasta"]
    with pytest.raises(UserError, match=r"bad: has no peptide .*: 1 \(position 5"):
        compare_files(files, reference, "none", tmp_path / "out")
    with pytest.raises(UserError, match=r"bad\.fasta: has no peptide that can be ordered: 1 \("):
        pick(Choice(files[1], 5), tmp_path / "order.csv", "call")


@pytest.mark.parametrize("name", ["designs.json", "samples.parquet"])
def test_a_folder_of_designs_is_not_written_to(tmp_path, name):
    (tmp_path / name).touch()
    with pytest.raises(UserError, match=r"is a folder of designs .* name another folder"):
        compare_files([tmp_path / "a.fasta"], None, "none", tmp_path)


def test_an_unknown_label_is_named_with_those_of_the_reference(tmp_path, reference):
    (tmp_path / "a.fasta").write_text(">1\nGIGKFLHSAK\n")
    with pytest.raises(UserError, match=r"--label 'antivral': .*; its labels: antimicrobial"):
        compare_files([tmp_path / "a.fasta"], reference, "antivral", tmp_path / "out")


def test_the_split_of_a_reference_is_read_in_any_case(tmp_path, make_sequences):
    table = pd.DataFrame({"sequence": make_sequences(3, 1), " SPLIT": ["train", "val", "val"]})
    table.to_csv(tmp_path / "real.csv", index=False)
    real = _read_reference(tmp_path / "real.csv")
    assert real.frame["split"].tolist() == ["train", "val", "val"]
    assert not real.all_known


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (
            ["Train", "Val", "Test"],
            "the column 'split' holds 'Train' in 3 rows; write one of train",
        ),
        (["train", "train", ""], "the column 'split' is blank in 1 row;"),
        (["val", "val", "test"], "no peptide has 'train' in the column 'split'"),
    ],
)
def test_an_unknown_split_of_the_reference_is_refused(tmp_path, make_sequences, column, message):
    """With such a split nothing could be a copy, and the verdict would be ok."""
    (tmp_path / "a.fasta").write_text(">1\nGIGKFLHSAK\n")
    reference = pd.DataFrame({"sequence": make_sequences(3, 1), "split": column})
    reference.to_csv(tmp_path / "r.csv", index=False)
    with pytest.raises(UserError, match=message):
        compare_files([tmp_path / "a.fasta"], tmp_path / "r.csv", "none", tmp_path / "out")


def test_the_current_folder_has_its_own_name(tmp_path, monkeypatch):
    for name in ("ours", "theirs"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "ours")
    paths = [Path(), Path("..", "theirs")]
    assert set_names(paths) == {"ours": paths[0], "theirs": paths[1]}


def test_labels_of_repeated_sequences_are_merged_as_in_the_split(tmp_path, make_sequences):
    first, *others = make_sequences(20, 3)
    rows = [f"{first},0", *(f"{each},0" for each in others), f"{first},1", f"{others[0]},"]
    (tmp_path / "real.csv").write_text("\n".join(["sequence,amp", *rows]) + "\n")
    real = _read_reference(tmp_path / "real.csv")
    assert real.labels == ["amp"]
    assert real.frame["amp"].tolist() == [True, *[False] * 19]


@pytest.mark.parametrize("label", ["charge 4..7", "antiviral + length 10..20"])
def test_a_number_in_the_label_is_refused(tmp_path, reference, label):
    (tmp_path / "x.fasta").write_text(">a\nGIGKFLHSAK\n")
    with pytest.raises(UserError, match="chosen by labels only"):
        compare_files([tmp_path / "x.fasta"], reference, label, tmp_path / "out")
