"""Labels: any names, columns of 1, 0 and blank or a list of names, and nothing else."""

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from structdiff.peptides.labels import (
    count_labels,
    has_label,
    label_column,
    label_states,
    lacks_label,
)
from structdiff.peptides.table import Peptides, read_peptides, write_peptides
from structdiff.system.errors import UserError

TABLE = "id,sequence,amp,afp\na,GIGKFLHSAK,{},0\nb,KWKLFKKIGA,0,1\n"


@pytest.mark.parametrize("one", ["1", "1.0", "true", "TRUE", " 1 "])
def test_columns_of_0_and_1(clean_text, one):
    cleaned = clean_text(TABLE.format(one), label_columns=["afp", "amp"])
    assert cleaned.labels == ["afp", "amp"]
    assert cleaned.frame[cleaned.labels].dtypes.tolist() == [np.dtype(bool)] * 2
    assert cleaned.frame[cleaned.labels].to_numpy().tolist() == [[False, True], [True, False]]


@pytest.mark.parametrize("value", ["2", "yes", "-1", "0.5"])
def test_any_other_value_is_refused_with_its_place(clean_text, value):
    with pytest.raises(
        UserError, match=rf"table\.csv, line 2: label column 'amp' holds '{value}'; only 0 and 1"
    ):
        clean_text(TABLE.format(value), label_columns=["amp"])


def test_wrong_cells_are_counted_and_shown(clean_text):
    text = "id,sequence,amp\na,GIGKF,yes\nb,KWKLF,1\nc,FFHHI,no\nd,GIGKL,yes\n"
    with pytest.raises(UserError, match=r"'yes'; only.*\n3 rows have such cells: 'yes', 'no'$"):
        clean_text(text, label_columns=["amp"])


@pytest.mark.parametrize("blank", ["", " ", "NA", "nan", "?"])
def test_a_blank_is_unknown(clean_text, blank):
    cleaned = clean_text(TABLE.format(blank), label_columns=["afp", "amp"])
    assert [str(dtype) for dtype in cleaned.frame[cleaned.labels].dtypes] == ["bool", "boolean"]
    assert label_states(cleaned.frame, cleaned.labels).tolist() == [[0, -1], [1, 0]]
    assert has_label(cleaned.frame, "amp").tolist() == [False, False]
    assert lacks_label(cleaned.frame, "amp").tolist() == [False, True]


def test_labels_of_a_repeated_sequence_are_united_and_a_blank_says_nothing(clean_text):
    text = "id,sequence,amp,afp,x\na,GIGKF,,1,\nb,GIGKF,0,0,\nc,KWKLF,0,,1\n"
    cleaned = clean_text(text, label_columns=["amp", "afp", "x"])
    assert label_states(cleaned.frame, cleaned.labels).tolist() == [[0, 1, -1], [0, -1, 1]]


def test_three_states_in_other_formats(clean_text):
    content = {
        "t.tsv": "id\tsequence\tamp\na\tGIGKF\t1\nb\tKWKLF\t\nc\tFFHHI\t0\n",
        "t.fasta": ">a amp=1\nGIGKF\n>b\nKWKLF\n>c amp=0\nFFHHI\n",
    }
    frame = pd.DataFrame({"id": list("abc"), "sequence": ["GIGKF", "KWKLF", "FFHHI"]})
    for column in (pd.array([True, None, False], "boolean"), [1.0, None, 0.0]):
        content[f"t{len(content)}.parquet"] = frame.assign(amp=column).to_parquet()
    for name, data in content.items():
        cleaned = clean_text(data, name, label_columns=["amp"])
        assert label_states(cleaned.frame, ["amp"])[:, 0].tolist() == [1, -1, 0]


def test_a_0_may_mean_that_the_source_does_not_list_it(clean_text):
    text = TABLE.format(1)
    every = clean_text(text, label_columns=["amp", "afp"], unlisted_is="unknown")
    assert label_states(every.frame, every.labels).tolist() == [[1, -1], [-1, 1]]
    one = clean_text(text, label_columns=["amp", "afp"], unlisted_is={"afp": "unknown"})
    assert label_states(one.frame, one.labels).tolist() == [[1, -1], [0, 1]]
    both = "id,sequence,kind\na,GIGKF,amp;not hem\nb,KWKLF,hem\n"
    with pytest.raises(UserError, match=r"both 'hem' and 'not hem'; set data\.unlisted_is"):
        clean_text(both, label_column="kind")
    with pytest.raises(UserError, match=r"lists both 'hem' and 'Not Hem'"):
        clean_text(both.replace("not hem", "Not Hem"), label_column="kind")
    with pytest.raises(UserError, match=r"data\.unlisted_is: there is no label 'apf'"):
        clean_text(text, label_columns=["amp", "afp"], unlisted_is={"apf": "unknown"})


def test_a_list_of_names_with_known_absences(clean_text):
    text = "id,sequence,kind\na,GIGKF,amp; not toxic\nb,KWKLF,\nc,FFHHI,toxic\n"
    cleaned = clean_text(text, label_column="kind", unlisted_is="unknown")
    assert cleaned.labels == ["amp", "toxic"]
    assert label_states(cleaned.frame, cleaned.labels).tolist() == [[1, 0], [-1, -1], [-1, 1]]
    with pytest.raises(UserError, match=r"line 3.* lists both 'toxic' and 'not toxic'; remove"):
        both = text.replace("KWKLF,", "KWKLF,not toxic; toxic")
        clean_text(both, label_column="kind", unlisted_is="unknown")
    cleaned = clean_text(text.replace("not", "NOT "), label_column="kind", unlisted_is="unknown")
    assert label_states(cleaned.frame, ["amp", "toxic"]).tolist() == [[1, 0], [-1, -1], [-1, 1]]


def test_the_table_keeps_the_three_states_in_one_column_of_booleans(tmp_path):
    column = label_column(np.array([1, -1, 0]))
    frame = pd.DataFrame({"id": list("abc"), "sequence": ["GIGKF", "KWKLF", "FFHHI"]})
    frame = frame.assign(amp=column, cluster="c", split=["train", "train", "val"])
    write_peptides(Peptides(frame, ["amp"]), tmp_path / "p.parquet")
    assert str(pq.read_schema(tmp_path / "p.parquet").field("amp").type) == "bool"
    read = read_peptides(tmp_path / "p.parquet").frame
    assert label_states(read, ["amp"])[:, 0].tolist() == [1, -1, 0]
    assert count_labels(read, ["amp"]).to_numpy().tolist() == [
        ["amp", "all", 1, 1, 1],
        ["amp", "train", 1, 0, 1],
        ["amp", "val", 0, 1, 0],
        ["amp", "test", 0, 0, 0],
    ]


def test_a_list_of_names(clean_text):
    text = "id,sequence,kind\na,GIGKFLHSAK,amp; toxic to fungi\nb,KWKLFKKIGA,\nc,FFHHIFRGIV,amp;\n"
    cleaned = clean_text(text, label_column="kind")
    assert cleaned.labels == ["amp", "toxic to fungi"]
    assert cleaned.frame[cleaned.labels].to_numpy().tolist() == [
        [True, True],
        [False, False],
        [True, False],
    ]


def test_another_separator_and_names_in_any_script(clean_text):
    text = "id,sequence,kind\na,GIGKFLHSAK,抗菌|afp\n"
    cleaned = clean_text(text, label_column="kind", label_separator="|")
    assert cleaned.labels == ["afp", "抗菌"]


def test_names_of_rejected_peptides_alone_are_no_labels(clean_text):
    text = "id,sequence,kind\na,GIGKFLHSAK,amp\nb,X,rare\n"
    assert clean_text(text, label_column="kind").labels == ["amp"]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("split", "'split' cannot be the name of a label, it is reserved"),
        ("Cluster", "'Cluster' cannot be the name of a label, it is reserved"),
        ("none", "reserved"),
        ("gram+", "because it also names files"),
        ("a/b", "because it also names files"),
        ("Amp;amp", "'Amp' and 'amp' differ in nothing but case"),
        ("gram neg;gram_neg", "'gram neg' and 'gram_neg' would name the same files"),
        (";", "no peptide has a label in 'kind'"),
        ("1", "no names of labels, but 1; set data.label_columns"),
        (";".join(f"name {i}" for i in range(300)), "lists 300 different labels"),
    ],
)
def test_names_that_cannot_be_used(clean_text, names, message):
    with pytest.raises(UserError, match=message):
        clean_text(f"id,sequence,kind\na,GIGKFLHSAK,{names}\n", label_column="kind")


@pytest.mark.parametrize("unlisted", ["absent", "unknown"])
@pytest.mark.parametrize("word", ["NA", "nan", "N/A", "null", "Not determined", "not tested"])
def test_a_missing_value_is_not_the_name_of_a_label(clean_text, word, unlisted):
    text = f"id,sequence,kind\na,GIGKFLHSAK,amp\nb,KWKLFKKIEK,{word}\n"
    with pytest.raises(UserError, match=rf"csv, line 3: 'kind' holds '{word}'; .*the cell empty"):
        clean_text(text, label_column="kind", unlisted_is=unlisted)
    column = f"id,sequence,amp\na,GIGKFLHSAK,{word}\n"
    cleaned = clean_text(column, label_columns=["amp"])
    assert cleaned.frame["amp"].isna().all()


@pytest.mark.parametrize("sign", [",", "|", "#"])
def test_another_separator_between_labels_is_told_with_its_place(clean_text, sign):
    text = f"id\tsequence\tkind\na\tGIGKFLHSAK\tamp\nb\tKWKLFKKIEK\tamp{sign} afp\n"
    with pytest.raises(
        UserError, match=r"line 3: .*set data\.label_separator to '[,|#]' \(it is ';'"
    ):
        clean_text(text, "table.tsv", label_column="kind")


def test_one_letter_in_two_unicode_forms_is_one_name(clean_text):
    composed, decomposed = "activit\u00e9", "activite\u0301"
    text = f"id,sequence,{decomposed}\na,GIGKFLHSAK,1\n"
    assert clean_text(text, label_columns=[composed]).labels == [composed]
    settings = {"label_columns": [decomposed], "unlisted_is": {decomposed: "unknown"}}
    assert clean_text(text, **settings).labels == [composed]
    measured = {"mic": {"column": decomposed}}
    assert clean_text(text, property_columns=measured).frame["mic"].tolist() == [1]
    text = f"id,sequence,kind\na,GIGKFLHSAK,{composed}\nb,KWKLFKKIEK,{decomposed}\n"
    assert clean_text(text, label_column="kind").frame[composed].all()
    rows = {"id": ["a", "b"], "sequence": ["GIGKFLHSAK", "KWKLFKKIEK"]}
    data = pd.DataFrame({**rows, "kind": [composed, decomposed]}).to_parquet()
    assert clean_text(data, "t.parquet", label_column="kind").frame[composed].all()


def test_a_column_whose_name_is_no_label_can_be_renamed(clean_text):
    text = TABLE.format(1).replace("amp", "Gram+")
    with pytest.raises(UserError, match=r"'Gram\+' cannot .* as in \{new_name: \"Gram\+\"\}"):
        clean_text(text, label_columns=["Gram+"])
    assert clean_text(text, label_columns={"new_name": "Gram+"}).labels == ["new_name"]
    with pytest.raises(UserError, match=r"'a/b' cannot .* as in \{new_name: \"Gram\+\"\}"):
        clean_text(text, label_columns={"a/b": "Gram+"})
    with pytest.raises(UserError, match=r"label column 'Gram\+' holds 'x'"):
        clean_text(text.replace(",1", ",x"), label_columns={"new_name": "Gram+"})


def test_a_column_listed_twice(clean_text):
    with pytest.raises(UserError, match="list a column once"):
        clean_text(TABLE.format(1), label_columns=["amp", "amp"])
