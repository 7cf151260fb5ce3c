"""The stage as a whole: its files, its accounts, what a second run keeps, and real data."""

import json

import pandas as pd
import pyarrow.parquet as pq
import pytest

from peptides.conftest import make_config, mutants, peptides, write_csv
from structdiff.config import parse
from structdiff.peptides.seen import SeenPeptides
from structdiff.peptides.stage import run
from structdiff.peptides.table import read_peptides
from structdiff.system.errors import UserError

FILES = {
    "peptides.parquet",
    "rejected.tsv",
    "merged.tsv",
    "summary.tsv",
    "labels.tsv",
    "split_report.tsv",
    "warnings.tsv",
    "neighbours.parquet",
    "leakage.svg",
    "leakage.png",
    "assignment.parquet",
}


def rows(sequences: list[str], prefix: str = "p") -> list[str]:
    return [f"{prefix}{number},{sequence}" for number, sequence in enumerate(sequences)]


def splits(folder) -> dict[str, str]:
    frame = read_peptides(folder / "peptides.parquet").frame
    return dict(zip(frame["sequence"], frame["split"], strict=True))


@pytest.fixture
def table(tmp_path):
    """A table with a label, relatives, a duplicate and a rejected row."""
    parents = peptides(60)
    sequences = list(dict.fromkeys([*parents, *mutants(parents, 60, 2)]))
    lines = [f"{row},{number % 2}" for number, row in enumerate(rows(sequences))]
    lines += [f"again,{sequences[0].lower()},1", "bad,GIGKX,0"]
    return write_csv(tmp_path / "table.csv", lines, "id,sequence,amp")


def test_it_writes_its_files_and_says_what_happened(table, tmp_path, capsys):
    config = make_config(path=str(table), label_columns=["amp"])
    run(config, tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == FILES
    found = read_peptides(tmp_path / "out" / "peptides.parquet")
    assert found.labels == ["amp"]
    assert list(found.frame) == ["id", "sequence", "amp", "cluster", "split"]
    assert set(found.frame["split"]) == {"train", "val", "test"}
    count = len(found.frame)

    summary = pd.read_csv(tmp_path / "out" / "summary.tsv", sep="\t").set_index(["group", "name"])
    number = summary["count"].to_dict()
    assert number["rows", "read"] == count + 2
    assert number["rows", "kept"] == count
    assert number["rows", "merged"] == number["rows", "rejected"] == 1
    assert number["label", "amp"] == found.frame["amp"].sum()
    assert sum(number["split", name] for name in ("train", "val", "test")) == count
    assert number["cluster", "clusters"] == found.frame["cluster"].nunique()

    rejected = pd.read_csv(tmp_path / "out" / "rejected.tsv", sep="\t")
    assert list(rejected) == ["line", "id", "reason", "file"]
    assert rejected[["line", "id"]].to_numpy().tolist() == [[count + 3, "bad"]]

    output = capsys.readouterr().out
    assert f"{count + 2} rows = {count} kept + 1 merged + 1 rejected" in output
    assert "leakage:  val+test" in output


def test_many_labels_print_no_warning(tmp_path, recwarn):
    labels = [f"label {number}" for number in range(110)]
    lines = [f"p{n},{s}-NH2,{','.join('01'[n % 2] * 110)}" for n, s in enumerate(peptides(60))]
    table = write_csv(tmp_path / "table.csv", lines, f"id,sequence,{','.join(labels)}")
    run(make_config(path=str(table), label_columns=labels, descriptors=["charge"]), tmp_path)
    read_peptides(tmp_path / "peptides.parquet").frame.assign(known=True)
    assert [str(warning.message) for warning in recwarn] == []


def test_no_held_out_peptide_has_a_training_relative(table, tmp_path):
    run(make_config(path=str(table)), tmp_path / "out")
    neighbours = pd.read_parquet(tmp_path / "out" / "neighbours.parquet")
    frame = read_peptides(tmp_path / "out" / "peptides.parquet").frame
    assert neighbours["id"].tolist() == frame["id"][frame["split"] != "train"].tolist()
    assert neighbours["similarity"].max() < 0.7 - 1e-6
    report = pd.read_csv(tmp_path / "out" / "split_report.tsv", sep="\t")
    assert (report["share_ge_0.7"] == 0).all()


def test_a_second_run_gives_the_same_files(table, tmp_path):
    config = make_config(path=str(table))
    run(config, tmp_path / "one")
    run(config, tmp_path / "two")
    run(config, tmp_path / "two")
    for name in FILES:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_a_grown_table_keeps_the_split_of_the_folder(table, tmp_path, capsys):
    config = make_config(path=str(table))
    run(config, tmp_path / "out")
    before = splits(tmp_path / "out")
    held_out = [s for s, split in before.items() if split != "train"]
    analogues = [s for s in mutants(held_out, 40, 1, seed=5) if s not in before]
    with table.open("a") as file:
        file.writelines(f"{row},0\n" for row in rows(analogues, "new"))
    run(config, tmp_path / "out")
    after = splits(tmp_path / "out")
    assert {s: after[s] for s in before} == before
    assert f"{len(before)} peptides keep the split" in capsys.readouterr().out

    changed = make_config({"seed": 1}, path=str(table))
    run(changed, tmp_path / "out")
    run(changed, tmp_path / "fresh")
    assert splits(tmp_path / "out") == splits(tmp_path / "fresh")


def test_what_the_starting_model_has_seen_is_in_train(table, tmp_path, capsys):
    config = make_config(path=str(table))
    run(config, tmp_path / "out")
    before = splits(tmp_path / "out")
    held_out = [s for s, split in before.items() if split != "train"]
    seen = SeenPeptides.of(held_out[:3])
    run(config, tmp_path / "out", seen)
    frame = read_peptides(tmp_path / "out" / "peptides.parquet").frame
    known = seen.includes(frame["sequence"])
    assert known.sum() == 3
    clusters = frame["cluster"].isin(frame["cluster"][known])
    assert (frame["split"][clusters] == "train").all()
    summary = pd.read_csv(tmp_path / "out" / "summary.tsv", sep="\t").set_index("name")
    assert summary.loc["seen by the starting model", "count"] == 3
    report = pd.read_csv(tmp_path / "out" / "split_report.tsv", sep="\t")
    assert report["seen"].tolist() == [0] * len(report)
    assert report["seen_pieces"].between(0, 1).all()
    printed = capsys.readouterr().out
    assert "has seen 3 of the peptides; they are in train" in printed
    kept = len(before.items() & splits(tmp_path / "out").items())
    assert kept < len(before) and f" {kept} peptides keep the split" in printed
    run(config, tmp_path / "other", seen)
    for folder in ("out", "other"):  # what the start has seen does not outlast it
        run(config, tmp_path / folder)
        assert splits(tmp_path / folder) == before


@pytest.mark.parametrize("method", ["cluster", "random"])
def test_a_table_that_the_starting_model_has_seen_cannot_be_validated(method, table, tmp_path):
    config = make_config({"method": method}, path=str(table))
    run(config, tmp_path / "out")
    seen = SeenPeptides.of(splits(tmp_path / "out"))
    with pytest.raises(UserError, match=r"the val split is empty .*the starting model has seen"):
        run(config, tmp_path / "out", seen)


def test_peptides_of_a_predefined_split_stay_and_are_counted(tmp_path, capsys):
    sequences = peptides(40)
    write_csv(tmp_path / "train.csv", rows(sequences[:30], "t"))
    write_csv(tmp_path / "val.csv", rows(sequences[30:], "v"))
    paths = {f"{name}_path": str(tmp_path / f"{name}.csv") for name in ("train", "val")}
    config = make_config({"method": "predefined"}, **paths)
    run(config, tmp_path / "out", SeenPeptides.of(sequences[28:32]))
    report = pd.read_csv(tmp_path / "out" / "split_report.tsv", sep="\t")
    assert report["seen"].tolist() == [2]
    assert list(splits(tmp_path / "out").values()) == ["train"] * 30 + ["val"] * 10
    assert "has seen 4 of the peptides, 2 of them held out" in capsys.readouterr().out


def test_a_damaged_record_is_named(table, tmp_path):
    config = make_config(path=str(table))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "assignment.parquet").write_text("damaged")
    with pytest.raises(UserError, match=r"assignment\.parquet.*remove the file to split again"):
        run(config, tmp_path / "out")


def test_a_limit_takes_peptides_and_leaves_their_split(table, tmp_path):
    run(make_config(path=str(table)), tmp_path / "all")
    run(make_config(path=str(table), limit=40), tmp_path / "some")
    run(make_config(path=str(table), limit=60), tmp_path / "more")
    whole, some, more = (splits(tmp_path / name) for name in ("all", "some", "more"))
    assert len(some) == 40
    assert some.items() <= more.items() <= whole.items()


@pytest.mark.parametrize("method", ["random", "predefined"])
def test_other_methods(method, tmp_path):
    sequences = peptides(120)
    parts = {"train": sequences[:80], "val": sequences[80:100], "test": sequences[100:]}
    for name, part in parts.items():
        write_csv(tmp_path / f"{name}.csv", rows(part, name))
    write_csv(tmp_path / "all.csv", rows(sequences))
    if method == "predefined":
        paths = {f"{name}_path": str(tmp_path / f"{name}.csv") for name in parts}
    else:
        paths = {"path": str(tmp_path / "all.csv")}
    run(make_config({"method": method}, **paths), tmp_path / "out")
    found = read_peptides(tmp_path / "out" / "peptides.parquet").frame
    assert found["cluster"].is_unique
    assert "assignment.parquet" not in {path.name for path in (tmp_path / "out").iterdir()}
    if method == "predefined":
        assert found["split"].tolist() == ["train"] * 80 + ["val"] * 20 + ["test"] * 20
    else:
        assert set(found["split"]) == {"train", "val", "test"}


@pytest.mark.parametrize(
    ("split", "data", "message"),
    [
        ({"val_fraction": 0.0}, {}, r"the val split is empty .*raise split\.val_fraction \(0\)"),
        ({"threshold": 0.0}, {}, r"val split is empty .*1 clusters.*raise split\.threshold"),
        ({}, {"limit": 2}, r"raise data\.limit \(2\)"),
    ],
    ids=["fraction", "threshold", "limit"],
)
def test_an_empty_split_says_what_to_change(table, tmp_path, split, data, message):
    with pytest.raises(UserError, match=message):
        run(make_config(split, path=str(table), **data), tmp_path / "out")
    assert not (tmp_path / "out" / "peptides.parquet").exists()


def test_the_account_of_the_rows_comes_before_any_later_fault(tmp_path, capsys):
    sequences = peptides(30)
    lines = [f"p{n},{s}{'-OMe' if n % 2 else ''},1" for n, s in enumerate(sequences)]
    table = write_csv(tmp_path / "table.csv", lines, "id,sequence,amp")
    config = make_config({"val_fraction": 0.0}, path=str(table), label_columns=["amp"])
    run(make_config(path=str(table), label_columns=["amp"]), tmp_path / "out")
    with pytest.raises(UserError, match=r"the val split is empty"):
        run(config, tmp_path / "out")
    names = {path.name for path in (tmp_path / "out").iterdir()}  # none of the other split
    assert names == {"assignment.parquet", "merged.tsv", "rejected.tsv", "summary.tsv"}
    rejected = pd.read_csv(tmp_path / "out" / "rejected.tsv", sep="\t")
    assert rejected["line"].tolist() == list(range(3, 33, 2))
    summary = pd.read_csv(tmp_path / "out" / "summary.tsv", sep="\t")
    assert summary["count"].tolist() == [30, 15, 0, 15]
    output = capsys.readouterr().out
    assert "30 rows = 15 kept + 0 merged + 15 rejected" in output
    assert "15 × such as line 3: not one of the 20 standard residues: -, O" in output


def test_what_cannot_be_learnt_or_designed_is_told_at_the_split(tmp_path, capsys):
    sequences = peptides(200)
    lines = [f"p{n},{s},{n % 2},0,{int(n == 0)}" for n, s in enumerate(sequences)]
    table = write_csv(tmp_path / "table.csv", lines, "id,sequence,amp,never,rare")
    labels = ["amp", "never", "rare"]
    config = parse(
        {
            "data": {"path": str(table), "label_columns": labels},
            "generation": {"labels": ["amp", "never", "amp+rare", "anp"], "min_length": 20},
        }
    )
    run(config, tmp_path / "out")
    warnings = pd.read_csv(tmp_path / "out" / "warnings.tsv", sep="\t")
    assert warnings["label"].tolist() == ["never", "rare"]
    output = capsys.readouterr().out
    assert "label 'never': no peptide has it" in output
    assert "'never' cannot be designed: no training peptide has the label 'never'" in output
    assert "the table has no label 'anp' (generation.labels); did you mean 'amp'?" in output

    nothing = config.model_copy(
        update={"generation": config.generation.model_copy(update={"labels": ["never", "anp"]})}
    )
    with pytest.raises(UserError, match=r"(?s)nothing could be designed.*'never'.*'anp'"):
        run(nothing, tmp_path / "out")


def test_labels_travel_in_the_schema(table, tmp_path):
    run(make_config(path=str(table), label_columns=["amp"]), tmp_path / "out")
    schema = pq.read_schema(tmp_path / "out" / "peptides.parquet")
    assert json.loads(schema.metadata[b"structdiff.labels"]) == ["amp"]
    assert [str(kind) for kind in schema.types] == ["string", "string", "bool", "string", "string"]


def test_real_peptides(shared_data, tmp_path):
    labels = ["antimicrobial", "antifungal", "antiviral"]
    run(make_config(path=str(shared_data / "peptides.csv"), label_columns=labels), tmp_path)
    frame = read_peptides(tmp_path / "peptides.parquet").frame
    assert len(frame) == 20_864
    share = frame["split"].value_counts(normalize=True)
    assert 0.05 < share["val"] < 0.12
    assert 0.05 < share["test"] < 0.12
    assert pd.read_parquet(tmp_path / "neighbours.parquet")["similarity"].max() < 0.7 - 1e-6
