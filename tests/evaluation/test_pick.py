"""From designs to an order: conditions, diversity, Pareto fronts, and the written sheets."""

import json
import subprocess
import sys
import zipfile

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from biotite.sequence import ProteinSequence
from rapidfuzz.distance import Levenshtein
from typer.testing import CliRunner

from structdiff.cli import app
from structdiff.evaluation import pick as module
from structdiff.evaluation.pick import Choice, pareto_fronts, pick, select_rows
from structdiff.evaluation.reading import read_any
from structdiff.protein.descriptors import describe
from structdiff.system.errors import UserError
from structdiff.system.parquet import write_sealed


@pytest.fixture
def table():
    return pd.DataFrame(
        {
            "id": ["a", "b", "c", "d"],
            "sequence": ["KKLL", "GGGG", "KKAA", "WWWW"],
            "charge": [2.0, 0.0, 2.0, np.nan],
            "length": [4, 4, 4, 4],
            "set": ["x", "y", "x", "y"],
            "net weight": [1, 2, 3, 4],
            "note": [np.nan] * 4,
        }
    )


@pytest.fixture
def source(tmp_path, make_sequences):
    path = tmp_path / "designs.csv"
    sequences = make_sequences(80, 5)
    rows = {"id": [f"d{n}" for n in range(82)], "sequence": [*sequences, sequences[0], "KKXLL"]}
    pd.DataFrame(rows).to_csv(path, index=False)
    return path


@pytest.mark.parametrize(
    ("where", "ids"),
    [
        ("charge > 1", "ac"),
        ("charge != 2", "b"),
        ("not charge > 1", "b"),
        ("not charge > 1 or set == 'y'", "bd"),
        ("`net weight` >= 2", "bcd"),
        ("0 <= charge < 2", "b"),
        ("charge * 2 - 1 >= 3 and set == 'x'", "ac"),
        ("set == 'y' or 'AA' in sequence", "bcd"),
        ("id in ['a', 'd']", "ad"),
        ("'KK' not in sequence", "bd"),
        ("-charge <= -2", "ac"),
        ("note == 'bad' or set == 'x'", "ac"),  # a column without values has no kind
    ],
)
def test_conditions(table, where, ids):
    assert "".join(table.loc[select_rows(table, where), "id"]) == ids


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("__import__('os').system('true')", "is not allowed"),
        ("charge.values", "is not allowed"),
        ("(lambda: 1)()", "is not allowed"),
        ("[c for c in sequence]", "is not allowed"),
        ("size > 3", "no column 'size', but id, sequence, charge, length, set"),
        ("`net size` > 3", "no column 'net size', but id"),
        ("net weight > 3", "a column whose name has spaces in backquotes"),
        ("charge >", "is not a condition"),
        ("charge + 1", "is not true or false"),
        ("charge and set == 'x'", "'charge' is not true or false"),
        ("set > 3", "text with a number"),
        ("id != 3", "text with a number"),
        ("`net weight` == 'x'", r"text with a number \(`net weight` == 'x'\)"),
        ("charge != 'x'", "text with a number"),
        ("length == '4'", "text with a number"),
        ("id not in [1, 2]", "text with a number"),
        ("'2' in charge", "text with a number"),
        ("1 / 0 > charge", "cannot be computed"),
        ("charge ** 2 > 1", "is not allowed"),
        ("charge == [2, 0]", "is not allowed"),
        ("[1, 2, 3, 4] < charge", "is not allowed"),
    ],
)
def test_nothing_else_is_evaluated(table, where, message):
    with pytest.raises(UserError, match=message):
        select_rows(table, where)


@pytest.mark.parametrize(
    ("where", "ids"),
    [
        ("length / charge > 1", "ac"),
        ("not length / charge < 1", "ac"),
        ("charge / 0 > 1 or set == 'y'", "bd"),
        ("charge / (length - 4) != 1", ""),
        ("`net weight` / (length - 4) > 1", ""),
    ],
)
def test_a_division_by_zero_is_a_missing_value(table, where, ids, capsys):
    assert "".join(table.loc[select_rows(table, where), "id"]) == ids
    printed = capsys.readouterr().err
    assert "divides by zero in" in printed
    assert "quoted" not in printed


def test_pareto_fronts_by_definition():
    values = np.random.default_rng(0).integers(0, 6, (60, 3)).astype(float)
    fronts = pareto_fronts(values)
    left = np.ones(60, dtype=bool)
    for number in range(1, fronts.max() + 1):
        dominated = [
            any((values[left] >= row).all(1) & (values[left] > row).any(1)) for row in values
        ]
        expected = left & ~np.array(dominated)
        assert (expected == (fronts == number)).all()
        left &= ~expected
    assert not left.any()


def test_an_order_of_twelve_diverse_peptides(source, tmp_path):
    picked = pick(Choice(source, 12, "charge > 1", 0.5), tmp_path / "order.xlsx", "the call")
    sequences = picked.table["sequence"].tolist()
    assert len(sequences) == 12
    for i, sequence in enumerate(sequences):
        assert all(Levenshtein.normalized_similarity(sequence, s) < 0.5 for s in sequences[:i])
    sheet = pd.read_excel(tmp_path / "order.xlsx", sheet_name="order")
    assert sheet["sequence (N to C)"].tolist() == sequences
    masses = [ProteinSequence(s).get_molecular_weight() for s in sequences]
    assert sheet["molecular weight (Da)"].tolist() == pytest.approx(masses, abs=0.01)
    assert sheet["purity (%)"].isna().all()
    call = pd.read_excel(tmp_path / "order.xlsx", sheet_name="call")["call"].tolist()
    assert call[0] == "the call"
    assert "82 peptides read" in call[1] and "80 distinct ones" in call[2]
    fasta = (tmp_path / "order.fasta").read_text().split()
    assert fasta[1::2] == sequences
    assert (tmp_path / "order.txt").read_text().startswith("the call\n")


def test_a_neutral_peptide_has_no_minus_sign_in_the_order(tmp_path):
    (tmp_path / "neutral.csv").write_text("id,sequence\na,GVLDLLKGAAGDALGGAASKVLQQL\n")
    order = tmp_path / "order.csv"
    pick(Choice(tmp_path / "neutral.csv", 1), order, "pick")
    assert ",-0.0," not in order.read_text() and ",0.0," in order.read_text()


def test_it_is_repeatable(source, tmp_path):
    first, second = (
        pick(Choice(source, 5, pareto=("charge", "-length")), tmp_path / name / "o.csv", "call")
        for name in ("one", "two")
    )
    assert first.table.equals(second.table)
    assert first.table["pareto_front"].is_monotonic_increasing
    assert (tmp_path / "one/o.csv").read_bytes() == (tmp_path / "two/o.csv").read_bytes()
    for name in ("one", "two"):
        pick(Choice(source, 5), tmp_path / name / "o.xlsx", "call")
    one, two = (tmp_path / name / "o.xlsx" for name in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()
    with zipfile.ZipFile(one) as book:
        assert {entry.date_time for entry in book.infolist()} == {(2000, 1, 1, 0, 0, 0)}
        assert book.read("docProps/core.xml").count(b"2000-01-01T00:00:00Z") == 2
    means = pd.read_excel(one, sheet_name="controls", index_col="column")
    assert list(means) == ["chosen", "chosen, shuffled", "all that were read"]
    moment = means.loc["hydrophobic_moment"]
    assert moment["chosen"] > moment["chosen, shuffled"]


def test_columns_of_another_table_are_joined(source, tmp_path):
    other = tmp_path / "assay.csv"
    pd.DataFrame({"id": ["d3", "d4"], "mic": [8, 64]}).to_csv(other, index=False)
    picked = pick(Choice(source, 5, "mic < 10", join=other), tmp_path / "o.csv", "call")
    assert picked.table["id"].tolist() == ["d3"]
    assert "only 1 of the 5 asked for" in picked.notes[-1]
    assert f"2 of them have a row in {other}" in picked.notes
    pd.DataFrame({"ID": ["d3"], "mic": [8]}).to_csv(other, index=False)
    assert pick(Choice(source, 1, "mic == 8", join=other), tmp_path / "o.csv", "call").notes
    pd.DataFrame({"id": ["none"], "mic": [8]}).to_csv(other, index=False)
    with pytest.raises(UserError, match="no id and no sequence is one of the designs'"):
        pick(Choice(source, 5, join=other), tmp_path / "o.csv", "call")


def test_a_joined_table_is_read_as_the_designs_are(tmp_path):
    """An id is a text, and a TSV has no quoting."""
    (tmp_path / "d.csv").write_text("id,sequence\n007,GIGKFLHSAK\nNA,KWKLFKKIGA\nc,KWKLFKKIGG\n")
    (tmp_path / "j.tsv").write_text('id\tnote\tmic\n007\t"odd\t3\nNA\t"\t\n')
    choice = Choice(tmp_path / "d.csv", 3, join=tmp_path / "j.tsv")
    picked = pick(choice, tmp_path / "o.csv", "call")
    assert picked.table["note"].tolist()[:2] == ['"odd', '"']
    assert f"2 of them have a row in {tmp_path / 'j.tsv'}" in picked.notes
    (tmp_path / "j.tsv").write_text("name\tmic\na\t3\n")
    with pytest.raises(
        UserError, match=r"j\.tsv: has no column 'sequence' or 'id'; the columns are"
    ):
        pick(choice, tmp_path / "o.csv", "call")


@pytest.mark.parametrize("header, dna", [("id,mic", ""), ("id,sequence,mic", f"{'GCTAAA' * 5},")])
def test_a_table_without_the_peptides_is_joined_by_ids_of_one_line(tmp_path, header, dna):
    """Its ids are read as those of the designs, and its sequences may be their DNA."""
    (tmp_path / "x.csv").write_text('id,sequence\na,KLLKLLKK\n"two\nlines",RRWWRR\n')
    (tmp_path / "y.csv").write_text(f'{header}\na,{dna}2\n"two\nlines",{dna}8\n')
    choice = Choice(tmp_path / "x.csv", 9, join=tmp_path / "y.csv")
    table = pick(choice, tmp_path / "o.csv", "call").table
    assert dict(zip(table["id"], table["mic"], strict=True)) == {"a": 2, "two lines": 8}


def test_cells_of_a_joined_table_that_are_not_numbers_are_named(source, tmp_path):
    other = tmp_path / "assay.csv"
    other.write_text("id,mic (uM),toxic\nd3,8,TRUE\nd4,?,FALSE\nd5,>128,\n")
    with pytest.raises(UserError, match=r"\(`mic \(uM\)` < 10: '>128' is text\)"):
        pick(Choice(source, 5, "`mic (uM)` < 10", join=other), tmp_path / "o.csv", "call")
    with pytest.raises(UserError, match="is not numeric: '>128' is text"):
        pick(Choice(source, 5, pareto=("mic (uM)",), join=other), tmp_path / "o.csv", "call")
    other.write_text(other.read_text().replace(">128", "512"))
    choice = Choice(source, 5, "`mic (uM)` < 10 and toxic", join=other)
    assert pick(choice, tmp_path / "o.csv", "call").table["id"].tolist() == ["d3"]


def test_words_for_unknown_stay_in_a_column_of_text(tmp_path):
    source = tmp_path / "d.csv"
    source.write_text("id,sequence,target\na,GIGKFLHSAK,unknown\nb,KWKLFKKIGA,E. coli\n")
    choice = Choice(source, 2, "target == 'unknown'")
    assert pick(choice, tmp_path / "o.csv", "call").table["id"].tolist() == ["a"]


def test_candidates_of_earlier_designs_are_refused(tmp_path):
    (tmp_path / "evaluation").mkdir()
    table = pd.DataFrame({"id": ["a"], "sequence": ["GIGKFLHSAK"], "label": ["none"]})
    samples = tmp_path / "samples.parquet"
    table.to_csv(tmp_path / "evaluation" / "candidates.tsv", sep="\t", index=False)
    write_sealed(pa.Table.from_pandas(table), samples)
    assert read_any(tmp_path)["id"].tolist() == ["a"]
    write_sealed(pa.Table.from_pandas(table.assign(sequence="KWKLFKKIGA")), samples)
    with pytest.raises(UserError, match=r"candidates\.tsv: is out of date"):
        read_any(tmp_path)


def test_designs_without_labels_are_found_by_their_set(tmp_path):
    """``none`` is a label query; next to numbers it is a missing value."""
    (tmp_path / "candidates.tsv").write_text(
        "set\tid\tsequence\tmic\nnone\ta\tGIGKFLHSAK\tNone\nnone\tb\tKWKLFKKIGA\t2\n"
    )
    picked = pick(Choice(tmp_path, 2, "set == 'none'"), tmp_path / "o" / "o.csv", "call")
    assert picked.table["id"].tolist() == ["a", "b"]
    assert picked.table["mic"].isna().tolist() == [True, False]


def test_tables_without_ids_are_joined_by_sequence(source, tmp_path):
    sequences = pd.read_csv(source)["sequence"][:9]
    for folder, table in (("a", {}), ("b", {"mic": range(9)})):
        (tmp_path / folder).mkdir()
        rows = sequences[::-1] if table else sequences
        pd.DataFrame({"sequence": rows, **table}).to_csv(tmp_path / folder / "p.csv", index=False)
    choice = Choice(tmp_path / "a" / "p.csv", 9, "mic == 0", join=tmp_path / "b" / "p.csv")
    assert pick(choice, tmp_path / "o.csv", "call").table["sequence"].tolist() == [sequences[8]]


def test_no_file_that_is_read_is_replaced(source, tmp_path):
    before = source.read_bytes()
    with pytest.raises(UserError, match=r"designs\.csv would be replaced"):
        pick(Choice(source, 5), source, "call")
    known = tmp_path / "order.fasta"
    known.write_text(">a\nGIGKF\n")
    with pytest.raises(UserError, match=r"order\.fasta would be replaced"):
        pick(Choice(source, 5, reference=known), tmp_path / "order.csv", "call")
    assert source.read_bytes() == before
    (tmp_path / "run" / "evaluation").mkdir(parents=True)
    candidates = tmp_path / "run" / "evaluation" / "candidates.tsv"
    candidates.write_text("id\tsequence\na\tGIGKF\n")
    with pytest.raises(UserError, match=r"candidates\.tsv would be replaced"):
        pick(Choice(tmp_path / "run", 5), candidates, "call")


@pytest.mark.parametrize("suffix", [".fasta", ".txt", ".html"])
def test_only_files_of_an_earlier_pick_are_replaced(source, tmp_path, suffix):
    own = (tmp_path / "order.csv").with_suffix(suffix)
    own.write_text("mine")
    with pytest.raises(UserError, match="which no earlier pick wrote"):
        pick(Choice(source, 5), tmp_path / "order.csv", "call")
    assert own.read_text() == "mine"
    own.unlink()
    for number in (5, 3):
        pick(Choice(source, number), tmp_path / "order.csv", "call")
    assert len(pd.read_csv(tmp_path / "order.csv")) == 3


def test_two_columns_of_one_meaning_are_named(tmp_path):
    (tmp_path / "x.csv").write_text("sequence,Sequence\nGIGKF,KWKLF\n")
    with pytest.raises(UserError, match="'sequence' and 'Sequence' are both the sequence"):
        read_any(tmp_path / "x.csv")


def test_a_truth_value_may_be_missing(tmp_path):
    (tmp_path / "x.csv").write_text("id,sequence,good\na,GIGKF,True\nb,KWKLF,\nc,AKKLF,False\n")
    table = read_any(tmp_path / "x.csv")
    assert table.loc[select_rows(table, "good"), "id"].tolist() == ["a"]
    assert table.loc[select_rows(table, "not good"), "id"].tolist() == ["c"]


def test_every_peptide_has_a_name_of_one_line(tmp_path):
    (tmp_path / "x.csv").write_text('id,sequence\na,KLLKLLKK\n,GIGKFLHS\n"two\nlines",RRWWRR\n')
    assert read_any(tmp_path / "x.csv")["id"].tolist() == ["a", "x_2", "two lines"]
    table = pd.DataFrame({"id": [1, 2, None], "sequence": ["KLLKLLKK", "GIGKFLHS", "RRWWRR"]})
    table.assign(good=[True, None, False]).to_parquet(tmp_path / "y.parquet")
    table = read_any(tmp_path / "y.parquet")
    assert table["id"].tolist() == ["1", "2", "y_3"]
    assert table.loc[select_rows(table, "not good"), "id"].tolist() == ["y_3"]


def test_sequences_are_read_as_in_every_command(tmp_path):
    (tmp_path / "x.csv").write_text(
        'id,sequence\na,"ALA GLY SER THR LYS"\nb,alaglyserthrlys\nc,KLLK\u200bLLKK\nd,kll\u00df\n',
        encoding="utf-8",
    )
    picked = pick(Choice(tmp_path / "x.csv", 9), tmp_path / "o.csv", "call")
    assert picked.table["sequence"].tolist() == ["KLLKLLKK"]
    assert "a (three-letter codes of residues; write one letter" in picked.notes[2]
    (tmp_path / "x.csv").write_text("sequence\n" + "ATGGCATTAGCAACATTAGCA\n" * 3)
    with pytest.raises(UserError, match="seem to be DNA"):
        read_any(tmp_path / "x.csv")


def test_a_column_with_a_micro_sign_is_found():
    table = pd.DataFrame({"\u00b5M": [3, 5]})
    assert select_rows(table, "\u00b5M > 3").tolist() == [False, True]


def test_a_rank_in_words_orders_nothing(tmp_path):
    (tmp_path / "x.csv").write_text("id,sequence,rank\na,KLLKLLKK,10\nb,RRWWRR,2\nc,GIGKF,n.d.\n")
    with pytest.raises(UserError, match="'rank', which orders the peptides, is not numeric"):
        pick(Choice(tmp_path / "x.csv", 9), tmp_path / "o.csv", "call")


DBAASP = """"ID","COMPLEXITY","NAME","N TERMINUS","SEQUENCE","C TERMINUS","SYNTHESIS TYPE"
1,"Monomer","one","","FLPLIGRVLSGIL","AMD","Ribosomal"
2,"Monomer","two","","GIGKFLHSAKKFGKAFV","","Ribosomal"
3,"Monomer","three","ACT","RRWQWRLLK","AMD","Synthetic"
4,"Monomer","four","C16","KKLLKKLLKKLL","AMD","Synthetic"
5,"Monomer","five","","rRLLRRLLRR","AMD","Synthetic"
"""


def test_the_ends_of_an_export_reach_the_order(tmp_path):
    (tmp_path / "export.csv").write_text(DBAASP)
    picked = pick(Choice(tmp_path / "export.csv", 9), tmp_path / "order.csv", "the call")
    order = pd.read_csv(tmp_path / "order.csv", index_col="name")
    assert order["C-terminus"].tolist() == ["NH2 (amide)", "OH (free)", "NH2 (amide)"]
    assert order["N-terminus"].tolist() == ["H (free)", "H (free)", "Ac (acetyl)"]
    free = describe(picked.table["sequence"].tolist())["charge"]
    gained = order["net charge (pH 7)"].to_numpy() - free
    assert gained.tolist() == pytest.approx([1, 0, 0], abs=0.02)
    assert (tmp_path / "order.fasta").read_text().startswith(">1 amidated=1\nFLPLIGRVLSGIL\n")
    again = read_any(tmp_path / "order.fasta")
    tabs = (tmp_path / "order.fasta").read_text().replace(" ", "\t")
    (tmp_path / "tabs.fasta").write_text(tabs)
    pd.testing.assert_frame_equal(read_any(tmp_path / "tabs.fasta"), again)
    assert again["amidated"].tolist() == [1, 0, 1]
    assert again["acetylated"].tolist() == [0, 0, 1]


def test_a_peptide_with_other_ends_is_another_peptide(tmp_path):
    (tmp_path / "x.csv").write_text(
        "id,sequence\nfree,GIGKFLHSAK\namide,GIGKFLHSAK-NH2\nagain,GIGKFLHSAK-OH\n"
    )
    picked = pick(Choice(tmp_path / "x.csv", 9), tmp_path / "o.csv", "call")
    assert picked.table["id"].tolist() == ["free", "amide"]
    assert picked.notes[-1] == "only 2 of the 9 asked for; there are no more"
    assert "left out, as they repeat an earlier peptide: again" in picked.notes


def test_columns_that_are_computed_replace_those_of_the_input(source, tmp_path):
    pd.read_csv(source).assign(charge=99).to_csv(tmp_path / "own.csv", index=False)
    picked = pick(Choice(tmp_path / "own.csv", 2), tmp_path / "o.csv", "call")
    assert (picked.table["charge"] < 99).all()
    assert "computed, and not taken as they were read: charge" in picked.notes


def test_the_nearest_known_peptide_is_named(source, tmp_path):
    reference = tmp_path / "known.csv"
    known = pd.read_csv(source)["sequence"][7]
    pd.DataFrame({"id": ["P1"], "sequence": [known]}).to_csv(reference, index=False)
    picked = pick(
        Choice(source, 1, "nearest_identity == 1", reference=reference), tmp_path / "o.csv", "call"
    )
    assert picked.table["sequence"].tolist() == [known]
    assert picked.table["nearest_known"].tolist() == ["P1"]


def test_mistakes_are_named(source, tmp_path):
    with pytest.raises(UserError, match=r"o\.pdf: give a name that ends in \.xlsx"):
        pick(Choice(source, 5), tmp_path / "o.pdf", "call")
    with pytest.raises(UserError, match="no peptide is left, loosen --where: 82 peptides read"):
        pick(Choice(source, 5, "length > 900"), tmp_path / "o.csv", "call")
    repeated = pd.read_csv(source).assign(id="x")
    repeated.to_csv(tmp_path / "repeated.csv", index=False)
    with pytest.raises(UserError, match="different peptides have the id 'x'"):
        pick(Choice(tmp_path / "repeated.csv", 5), tmp_path / "o.csv", "call")
    with pytest.raises(UserError, match="no column 'mic'"):
        pick(Choice(source, 5, pareto=("-mic",)), tmp_path / "o.csv", "call")
    pd.read_csv(source).assign(mic="").to_csv(tmp_path / "blank.csv", index=False)
    with pytest.raises(
        UserError, match="--pareto -mic: no peptide that is left has a value in the"
    ):
        pick(Choice(tmp_path / "blank.csv", 5, pareto=("-mic",)), tmp_path / "o.csv", "call")


def test_the_command_writes_sheet_and_page(source, tmp_path):
    options = ["pick", "--from", source, "--number", "3", "--output", tmp_path / "order.csv"]
    done = subprocess.run(
        [sys.executable, "-m", "structdiff", *map(str, options)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "3 chosen" in done.stdout
    assert len(pd.read_csv(tmp_path / "order.csv")) == 3
    page = (tmp_path / "order.html").read_text()
    assert "structdiff pick --from" in page
    assert "Average mass of the neutral peptide" in page
    assert json.dumps(str(source))[1:-1] in (tmp_path / "order.txt").read_text()


def test_one_source_only(source, tmp_path):
    options = ["pick", "--from", source, "--from", source, "--output", tmp_path / "order.csv"]
    with pytest.raises(UserError, match="--from is given 2 times"):
        CliRunner().invoke(app, list(map(str, options)), catch_exceptions=False)


@pytest.mark.parametrize("threshold", [0.2, 0.5, 0.7, 1.0])
def test_the_diverse_peptides_are_those_of_a_comparison_one_by_one(monkeypatch, threshold):
    monkeypatch.setattr(module, "NEW_COMPARED", 20)
    generator = np.random.default_rng(1)
    sequences = ["".join(generator.choice(list("AKLW"), length)) for length in range(6, 12)] * 40
    sequences = list(dict.fromkeys("".join(generator.permutation(list(s))) for s in sequences))
    chosen: list[int] = []
    for row, sequence in enumerate(sequences):
        near = (Levenshtein.normalized_similarity(sequence, sequences[i]) for i in chosen)
        if len(chosen) < 15 and max(near, default=0) < threshold - 1e-9:
            chosen.append(row)
    assert module._diverse(sequences, 15, threshold) == chosen
