"""Labels: any names, 0/1 columns or a list of names, and nothing else."""

import numpy as np
import pytest

from structdiff.system.errors import UserError

TABLE = "id,sequence,amp,afp\na,GIGKFLHSAK,{},0\nb,KWKLFKKIGA,0,1\n"


@pytest.mark.parametrize("one", ["1", "1.0", "true", "TRUE", " 1 "])
def test_columns_of_0_and_1(clean_text, one):
    cleaned = clean_text(TABLE.format(one), label_columns=["afp", "amp"])
    assert cleaned.labels == ["afp", "amp"]
    assert cleaned.frame[cleaned.labels].dtypes.tolist() == [np.dtype(bool)] * 2
    assert cleaned.frame[cleaned.labels].to_numpy().tolist() == [[False, True], [True, False]]


@pytest.mark.parametrize("value", ["2", "", "yes", "-1", "0.5", "nan"])
def test_any_other_value_is_refused_with_its_place(clean_text, value):
    with pytest.raises(
        UserError, match=rf"table\.csv, line 2: label column 'amp' holds '{value}'; only 0 and 1"
    ):
        clean_text(TABLE.format(value), label_columns=["amp"])


def test_a_list_of_names(clean_text):
    text = "id,sequence,kind\na,GIGKFLHSAK,amp; toxic to fungi\nb,KWKLFKKIGA,\nc,FFHHIFRGIV,amp;\n"
    cleaned = clean_text(text, label_column="kind")
    assert cleaned.labels == ["amp", "toxic to fungi"]
    assert cleaned.frame[cleaned.labels].to_numpy().tolist() == [
        [True, True],
        [False, False],
        [True, False],
    ]


def test_another_separator(clean_text):
    text = "id,sequence,kind\na,GIGKFLHSAK,amp|afp\n"
    assert clean_text(text, label_column="kind", label_separator="|").labels == ["afp", "amp"]


def test_names_of_rejected_peptides_alone_are_no_labels(clean_text):
    text = "id,sequence,kind\na,GIGKFLHSAK,amp\nb,X,rare\n"
    assert clean_text(text, label_column="kind").labels == ["amp"]


def test_no_labels_at_all(clean_text):
    cleaned = clean_text("id,sequence\na,GIGKFLHSAK\n")
    assert cleaned.labels == []
    assert list(cleaned.frame) == ["id", "sequence"]


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
        (";".join(f"name {i}" for i in range(300)), "lists 300 different labels"),
    ],
)
def test_names_that_cannot_be_used(clean_text, names, message):
    with pytest.raises(UserError, match=message):
        clean_text(f"id,sequence,kind\na,GIGKFLHSAK,{names}\n", label_column="kind")


def test_names_in_any_script(clean_text):
    rows = "id,sequence,kind\na,GIGKFLHSAK,抗菌\nb,KWKLFKKIEK,抗真菌\n"
    assert set(clean_text(rows, label_column="kind").labels) == {"抗菌", "抗真菌"}


def test_a_column_listed_twice(clean_text):
    with pytest.raises(UserError, match="list a column once"):
        clean_text(TABLE.format(1), label_columns=["amp", "amp"])
