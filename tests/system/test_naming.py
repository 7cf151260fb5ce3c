"""File names: short enough, distinct, and the same as before for what was a name already."""

import unicodedata

import pytest

from structdiff.system.naming import LONGEST_NAME, file_name, file_names


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("antimicrobial", "antimicrobial"),
        ("amp+afp", "amp+afp"),
        ("gram neg", "gram_neg"),
        ("a/b\\c:d*?", "a_b_c_d_"),
        ("抗菌肽", "抗菌肽"),
        ("e\u0301", "é"),
        (".hidden", "_.hidden"),
        ("-rf", "_-rf"),
        ("con", "_con"),
        ("COM1.x", "_COM1.x"),
        ("ends. ", "ends._"),
        ("dots..", "dots"),
        ("..", "_"),
        ("", "_"),
    ],
)
def test_a_name_for_each_text(text, name):
    assert file_name(text) == name


@pytest.mark.parametrize("text", ["x" * 500, "抗菌肽" * 60, "ж" * 201, "a/" * 300])
def test_long_texts_are_cut_in_bytes_and_stay_distinct(text, tmp_path):
    names = {file_name(text), file_name(text + "1"), file_name(text + "2")}
    assert len(names) == 3
    for name in names:
        assert len(name.encode()) <= LONGEST_NAME
        (tmp_path / f".{name}_000123.pdb.tmp-0123456789abcdef").touch()


def test_names_of_several_texts_are_distinct():
    texts = ["gram neg", "gram_neg", "gram:neg", "Gram_neg", "x" * 400, "x" * 401, "", ".", "amp"]
    names = file_names(texts)
    assert list(names) == texts
    assert len({name.casefold() for name in names.values()}) == len(texts)
    assert names["amp"] == "amp"
    assert file_names(["gram neg", "amp"])["gram neg"] == "gram_neg"
    assert file_names(["gram neg", "gram_neg"])["gram_neg"] == "gram_neg"
    assert file_names(reversed(texts)) == names


def test_names_are_composed():
    decomposed = unicodedata.normalize("NFD", "Kopplungsträger")
    assert file_name(decomposed) == "Kopplungsträger"
    assert len(set(file_names([decomposed, "Kopplungsträger"]).values())) == 2
