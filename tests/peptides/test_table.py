"""Cleaning: what is kept, merged and rejected, with every row accounted for."""

import pandas as pd
import pytest

from peptides.conftest import clean_tables
from structdiff.config import Data
from structdiff.peptides.table import Peptides, read_peptides, write_peptides
from structdiff.system.errors import UserError

GOOD = "GIGKFLHSAK"


def one(clean_text, sequence: str, **settings: object) -> tuple[list[str], list[str]]:
    """Clean one sequence beside a good one: the kept sequences, the reasons."""
    text = f'id,sequence\na,"{sequence}"\ngood,{GOOD}\n'
    cleaned = clean_text(text, **settings)
    return cleaned.frame["sequence"].tolist()[:-1], cleaned.rejected["reason"].tolist()


@pytest.mark.parametrize(
    ("raw", "clean"),
    [("kwklfkki", "KWKLFKKI"), (" KWKL FKKI\t", "KWKLFKKI"), ("KWKL\nFKKI", "KWKLFKKI")],
)
def test_case_and_white_space(clean_text, raw, clean):
    assert one(clean_text, raw) == ([clean], [])


@pytest.mark.parametrize("letter", "BZUOXJ*-.1ßıſ")
def test_other_residues_are_rejected_by_name(clean_text, letter):
    kept, reasons = one(clean_text, f"KWKLF{letter}KKI")
    assert (kept, reasons) == ([], [f"not one of the 20 standard residues: {letter}"])


@pytest.mark.parametrize("character", ["\u200b", "\ufeff", "\u00ad", "\u00a0", "\u2009"])
def test_what_word_processors_put_into_a_sequence_is_dropped(clean_text, character):
    assert one(clean_text, f"KWKLF{character}KKI") == (["KWKLFKKI"], [])


def test_a_stop_sign_at_the_end_is_dropped_and_counted(clean_text):
    cleaned = clean_text("id,sequence\na,KWKLFKKI*\nb,GIGKF**\nc,FFHHIFRG\n")
    assert cleaned.frame["sequence"].tolist() == ["KWKLFKKI", "GIGKF", "FFHHIFRG"]
    assert cleaned.stops == 2


def test_lower_case_inside_upper_case_is_a_d_residue(clean_text):
    assert one(clean_text, "KWKkLFri") == (
        [],
        [
            "lower case, which means D or modified residues: i, k, r; to read them as usual ones, "
            "set data.nonstandard to map and data.residue_map to {i: I, k: K, r: R}"
        ],
    )
    settings = {"nonstandard": "map", "residue_map": {"i": "I", "k": "K", "r": "R"}}
    assert one(clean_text, "KWKkLFri", **settings) == (["KWKKLFRI"], [])
    assert one(clean_text, "kwkklfri") == (["KWKKLFRI"], [])


@pytest.mark.parametrize(("others", "count"), [("FFHHIFRG", 2), ("ffhhifrg", 0)])
def test_sequences_in_lower_case_among_others_are_counted(clean_text, others, count):
    rows = f"a,kwklfkki\nb,KWKLF{'' if count else 'x'}\nc,gigkf\nd,{others}\ne\n"
    assert clean_text(f"id,sequence\n{rows}").lower == count


def test_other_residues_may_be_mapped(clean_text):
    assert one(clean_text, "KWKLFUOBZ", nonstandard="map") == (["KWKLFCKNQ"], [])
    assert one(clean_text, "kwklfu*", nonstandard="map", residue_map={"u": "S", "*": ""}) == (
        ["KWKLFS"],
        [],
    )
    _, reasons = one(clean_text, "KWKLFX", nonstandard="map")
    assert reasons == [
        "not one of the 20 standard residues: X, which data.residue_map does not replace"
    ]


@pytest.mark.parametrize(
    ("sequence", "reason"),
    [
        ("", "the sequence is empty"),
        ("  ", "the sequence is empty"),
        ("KWKL", "length 4, below data.min_length 5"),
        ("K" * 51, "length 51, above data.max_length 50"),
    ],
)
def test_length(clean_text, sequence, reason):
    assert one(clean_text, sequence) == ([], [reason])


def test_the_length_window_is_inclusive(clean_text):
    assert one(clean_text, "KWKLF") == (["KWKLF"], [])
    assert one(clean_text, "K" * 50) == (["K" * 50], [])
    assert one(clean_text, "KWK", min_length=3, max_length=10) == (["KWK"], [])


@pytest.mark.parametrize("letter", "Kk-")
def test_very_long_sequences_cost_nothing(clean_text, letter):
    kept, reasons = one(clean_text, letter * 300_000)
    assert (kept, reasons) == ([], ["length 300000, above data.max_length 50"])


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "the id is empty (data.id_column: null numbers the peptides)"),
        ("x" * 201, "the id has 201 characters, more than 200"),
        ('"a\tb"', "the id holds a character that cannot be printed"),
    ],
)
def test_ids_that_cannot_be_used(clean_text, name, reason):
    cleaned = clean_text(f"id,sequence\n{name},KWKLFKKI\ngood,{GOOD}\n")
    assert cleaned.rejected["reason"].tolist() == [reason]
    assert cleaned.frame["id"].tolist() == ["good"]


def test_duplicates_merge_and_unite_their_labels(clean_text):
    text = "id,sequence,x,y\na,GIGKFLHSAK,1,0\nb,KWKLFKKI,0,0\nc,gigkflhsak,0,1\nb,KWKLFKKI,0,1\n"
    cleaned = clean_text(text, label_columns=["x", "y"])
    assert cleaned.frame.to_dict("list") == {
        "id": ["a", "b"],
        "sequence": ["GIGKFLHSAK", "KWKLFKKI"],
        "x": [True, False],
        "y": [True, True],
    }
    assert cleaned.merged.drop(columns="file").to_numpy().tolist() == [[4, "c", "a"], [5, "b", "b"]]


def test_contradictory_rows_are_counted_and_two_are_named(clean_text):
    """The peptide counted as having the label in silence."""
    text = "id,sequence,x,y\na,GIGKFLHSAK,1,1\nb,KWKLFKKI,0,\nc,GIGKFLHSAK,0,\nd,KWKLFKKI,,1\n"
    cleaned = clean_text(text, label_columns=["x", "y"])
    [[label, warning]] = cleaned.contradictions.to_numpy().tolist()
    assert label == "x"
    assert warning.startswith("1 peptides have it in one row and lack it in another")
    assert "line 2 (id a)" in warning and "line 4 (id c)" in warning


@pytest.mark.parametrize(("unlisted", "count"), [("absent", 0), ("unknown", 1)])
def test_a_label_that_one_of_two_lists_leaves_out_is_no_contradiction(clean_text, unlisted, count):
    """Databases list a peptide once for each label; only ``not x`` contradicts ``x``."""
    other = "y" if unlisted == "absent" else "y;not x"
    text = f"id,sequence,labels\na,GIGKFLHSAK,x\nb,GIGKFLHSAK,{other}\n"
    cleaned = clean_text(text, label_column="labels", label_separator=";", unlisted_is=unlisted)
    assert cleaned.contradictions["label"].tolist() == ["x"] * count


def test_one_id_with_two_sequences_is_refused_with_both_lines(clean_text):
    text = "id,sequence\na,GIGKFLHSAK\nb,KWKLFKKI\na,FFHHIFRG\n"
    with pytest.raises(UserError, match=r"csv, line 2 \(id a\) and .*csv, line 4 \(id a\)"):
        clean_text(text)


def test_an_id_whose_other_sequence_is_rejected_is_no_clash(clean_text):
    assert len(clean_text("id,sequence\na,GIGKFLHSAK\na,XXXXXXXX\n").frame) == 1


def test_ids_made_from_the_sequences(clean_text):
    first = clean_text("sequence\nGIGKFLHSAK\nKWKLFKKI\nGIGKFLHSAK\n", id_column=None)
    second = clean_text("sequence\nKWKLFKKI\n", id_column=None)
    assert first.frame["id"].is_unique
    assert first.frame["id"].tolist()[1] == second.frame["id"].tolist()[0]
    assert len(first.merged) == 1


def test_every_row_is_kept_merged_or_rejected(clean_text):
    text = "id,sequence\na,GIGKFLHSAK\nb,XXXXX\nc,GIGKFLHSAK\nd\ne,KW\nf,KWKLFKKI,1\n\ng,KWKLFKKI\n"
    cleaned = clean_text(text)
    assert cleaned.rows == 7 == len(cleaned.frame) + len(cleaned.merged) + len(cleaned.rejected)
    assert cleaned.rejected[["line", "id"]].to_numpy().tolist() == [
        [3, "b"],
        [5, "d"],
        [6, "e"],
        [7, "f"],
    ]
    assert cleaned.rejected["file"].str.endswith("table.csv").all()


def test_nothing_left_says_why(clean_text):
    with pytest.raises(
        UserError, match=r"(?s)none of the 3 peptides.*2 × such as line 2: length 3, "
    ):
        clean_text("id,sequence\na,KWK\nb,KK\nc,XXXXXX\n")


def test_a_sequence_in_two_tables_is_refused(read):
    train = read("id,sequence\na,GIGKFLHSAK\nb,KWKLFKKI\n", "train.csv")
    val = read("id,sequence\nc,FFHHIFRG\nd,kwklfkki\n", "val.csv")
    with pytest.raises(
        UserError,
        match=r"overlap in 1 row;.*\n.*train\.csv, line 3 \(id b\) and .*val\.csv, line 3",
    ):
        clean_tables([train, val], Data())


def test_tables_are_told_apart_and_share_labels(read):
    train = read("id,sequence,k\na,GIGKFLHSAK,x\n", "train.csv", label_column="k")
    val = read("id,sequence,k\nb,KWKLFKKI,y\n", "val.csv", label_column="k")
    cleaned = clean_tables([train, val], Data(label_column="k"))
    assert cleaned.table.tolist() == [0, 1]
    assert cleaned.labels == ["x", "y"]
    assert cleaned.frame[["x", "y"]].to_numpy().tolist() == [[True, False], [False, True]]


def make_peptides() -> Peptides:
    frame = pd.DataFrame(
        {
            "id": ["a", "b"],
            "sequence": ["GIGKF", "KWKLF"],
            "z label": [True, False],
            "amp": [True, True],
            "cluster": ["c1", "c2"],
            "split": ["train", "val"],
        }
    )
    return Peptides(frame, ["z label", "amp"])


def test_peptides_come_back_as_they_were_written(tmp_path):
    written = make_peptides()
    write_peptides(written, tmp_path / "peptides.parquet")
    read = read_peptides(tmp_path / "peptides.parquet")
    assert read.labels == ["z label", "amp"]
    pd.testing.assert_frame_equal(read.frame, written.frame)


def test_files_that_are_no_peptides_are_refused(tmp_path):
    path = tmp_path / "peptides.parquet"
    with pytest.raises(UserError, match=r"no such file; give the peptides\.parquet"):
        read_peptides(path)
    make_peptides().frame.to_parquet(path)
    with pytest.raises(UserError, match="not a table of split peptides"):
        read_peptides(path)
    write_peptides(make_peptides(), path)
    damaged = bytearray(path.read_bytes())
    damaged[40] ^= 1
    for content in (bytes(damaged), bytes(damaged)[:-20]):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"peptides\.parquet: cannot be read .*If this is the"):
            read_peptides(path)


DBAASP = """ID,NAME,N TERMINUS,SEQUENCE,C TERMINUS
1,one,,FLPLIGRVLSGIL,AMD
2,two,,GIGKFLHSAKKFG,
3,three,ACT,RRWQWRLLK,AMD
4,four,C16,KKLLKKLLKKLL,AMD
5,one again,,GIGKFLHSAKKFG,AMD
6,six,,Ac-KWKLFKKIG-NH2,
"""


def test_the_ends_of_an_export_are_kept(clean_text, tmp_path):
    columns = {"id_column": "ID", "sequence_column": "SEQUENCE"}
    cleaned = clean_text(DBAASP, **columns, label_columns=["amidated"])
    assert cleaned.frame["sequence"].tolist()[-1] == "KWKLFKKIG"
    assert cleaned.labels == ["amidated"]
    assert cleaned.frame["amidated"].tolist() == [True, True, True, True]  # one row of two is
    assert cleaned.frame["acetylated"].tolist() == [False, False, True, True]
    assert cleaned.rejected["reason"].tolist() == [
        "N TERMINUS 'C16': only acetylation of the N-terminus can be represented"
    ]
    frame = cleaned.frame.assign(cluster="c", split="train")
    write_peptides(Peptides(frame, cleaned.labels), tmp_path / "peptides.parquet")
    again = read_peptides(tmp_path / "peptides.parquet")
    pd.testing.assert_frame_equal(again.frame[frame.columns], frame, check_dtype=False)
    unlabelled = clean_text(DBAASP, **columns)
    assert unlabelled.labels == []
    assert unlabelled.frame["amidated"].all()


def test_a_mark_of_an_end_is_the_label_next_to_a_column_of_it(clean_text):
    """The peptide would be free, and of an unknown label."""
    cells = "a,GIGKFLHSAK-NH2,\nb,KWKLFKKIG,1\nc,FFHHIFRG,0\nd,RRWQWRLLK,\n"
    cleaned = clean_text(f"id,sequence,amidated\n{cells}", label_columns=["amidated"])
    assert cleaned.labels == ["amidated"]
    assert cleaned.frame["amidated"].astype(object).where(
        cleaned.frame["amidated"].notna(), None
    ).tolist() == [True, True, False, None]


def test_a_number_is_not_made_from_the_ends(clean_text):
    number = {"end": {"column": "amidated", "unit": "1"}}
    with pytest.raises(UserError, match=r"no column 'amidated' \(data.property_columns\)"):
        clean_text("id,sequence\na,GIGKFLHSAK-NH2\n", property_columns=number)


def test_ends_in_a_fasta(clean_text):
    text = ">a amidated=1\nGIGKFLHSAK\n>b\nKWKLFKKIG-NH2\n>c amidated=0\nFFHHIFRG\n"
    cleaned = clean_text(text, name="table.fasta", label_columns=["amidated"])
    assert cleaned.frame["amidated"].tolist() == [True, True, False]


def test_free_peptides_have_no_columns_of_ends(clean_text):
    cleaned = clean_text("id,sequence,C TERMINUS\na,GIGKFLHSAK,\nb,KWKLFKKIG,OH\n")
    assert list(cleaned.frame) == ["id", "sequence"]
    with pytest.raises(UserError, match=r"no column 'amidated' .* no peptide has such an end"):
        clean_text("id,sequence\na,GIGKFLHSAK\n", label_columns=["amidated"])
