"""Measured numbers and descriptors of the peptides: read, averaged, computed and kept."""

import numpy as np
import pandas as pd
import pytest

from peptides.conftest import make_config, peptides, write_csv
from structdiff.config import parse
from structdiff.peptides.properties import check_properties
from structdiff.peptides.stage import run
from structdiff.peptides.table import read_peptides
from structdiff.protein.descriptors import net_charge
from structdiff.protein.ends import Ends
from structdiff.system.errors import UserError

MIC = {"mic": {"column": "MIC", "unit": "uM", "scale": "log10"}}


def test_numbers_are_read_and_repeated_measurements_averaged_on_their_scale(clean_text):
    text = "id,sequence,MIC\na,GIGKF,1\nb,GIGKF,100\nc,KWKLF,\nd,FFHHI, 2.5e0 \ne,FFHHI,NA\n"
    logarithmic = clean_text(text, property_columns=MIC)
    assert logarithmic.properties == {"mic": ("uM", "log10")}
    assert logarithmic.frame["mic"].to_numpy() == pytest.approx([10, np.nan, 2.5], nan_ok=True)
    linear = clean_text(text, property_columns={"mic": {"column": "MIC"}})
    assert linear.frame["mic"].to_numpy() == pytest.approx([50.5, np.nan, 2.5], nan_ok=True)


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        (">128", r"table\.csv, line 2: '>128' is not a number .*: mic\); give a number such as"),
        ("0", "line 2: '0' is not above 0, as scale log10 needs"),
        ("inf", "line 2: 'inf' is not finite"),
        ("1_000", "line 2: '1_000' is not a number"),
        ("1e39", "line 2: '1e39' is not finite, or too large"),
        ("1e-50", "line 2: '1e-50' is too near to 0"),
    ],
)
def test_a_cell_that_is_no_number_is_named(clean_text, cell, message):
    with pytest.raises(UserError, match=message):
        clean_text(f"id,sequence,MIC\na,GIGKF,{cell}\nb,KWKLF,1\n", property_columns=MIC)


def test_all_cells_that_are_no_numbers_are_counted(clean_text):
    text = "id,sequence,MIC\na,GIGKF,1\nb,KWKLF,<8\nc,FFHHI,0\nd,GIGKL,\n"
    with pytest.raises(UserError, match=r"line 3: '<8' is.*\n2 rows have such cells: '<8', '0'$"):
        clean_text(text, property_columns=MIC)


def test_a_missing_column_and_names_that_clash(clean_text):
    with pytest.raises(UserError, match=r"no column 'MIC' \(data\.property_columns\)"):
        clean_text("id,sequence\na,GIGKF\n", property_columns=MIC)
    for name in ("amp", "charge"):
        data = {"path": "x.csv", "label_columns": ["amp"], "property_columns": {name: MIC["mic"]}}
        with pytest.raises(UserError, match=f"'{name}' is the name of a label or of a descriptor"):
            parse({"data": data})
    text = "id,sequence,MIC\na,GIGKF,1\nb,KWKLF,2\n"
    with pytest.raises(UserError, match="'amidated' is the name of another column"):
        clean_text(text, property_columns={"amidated": MIC["mic"]})
    text = "id,sequence,charge\na,GIGKF,1\nb,KWKLF,0\n"
    charge = {"charge": {"column": "charge", "unit": "e"}}
    for columns in ({"label_columns": ["charge"]}, {"property_columns": charge}):
        with pytest.raises(UserError, match="'charge' is the name of a label or a property too"):
            clean_text(text, **columns, descriptors=["charge"])


@pytest.mark.parametrize(
    "header",
    ["MIC (µg/mL)", "MIC [ug/ml]", "MIC (mg/L) ", "MIC (nmol/L)", "MIC_50_nM ", "MIC, µg/ml"],
)
def test_a_header_with_another_unit_is_refused(header):
    column = {**MIC["mic"], "column": header}
    with pytest.raises(UserError, match=r"property_columns\.mic: the column .* but unit is uM;"):
        parse({"data": {"path": "x.csv", "property_columns": {"mic": column}}})
    for unit in (header.strip()[5:-1], "", "arbitrary"):
        data = {"path": "x.csv", "property_columns": {"mic": {**column, "unit": unit}}}
        assert parse({"data": data}).data.property_columns["mic"].unit == unit


def test_numbers_in_fasta_and_next_to_a_list_of_labels(clean_text):
    text = ">a kind=x;y MIC=4\nGIGKF\n>b\nKWKLF\n"
    cleaned = clean_text(text, "t.fasta", label_column="kind", property_columns=MIC)
    assert cleaned.labels == ["x", "y"]
    assert cleaned.frame["mic"].to_numpy() == pytest.approx([4, np.nan], nan_ok=True)


def test_descriptors_are_computed_with_the_ends(clean_text):
    text = "id,sequence\na,GIGKF-NH2\nb,KWKLF\n"
    cleaned = clean_text(text, descriptors=["charge", "isoelectric_point"])
    assert cleaned.properties["charge"] == ("e", "linear")
    expected = [net_charge("GIGKF", ends=Ends(amidated=True)), net_charge("KWKLF")]
    assert cleaned.frame["charge"].to_numpy() == pytest.approx(expected)


def test_the_stage_keeps_them_with_their_units(tmp_path, capsys):
    rows = [f"p{i},{s},{'' if i % 3 else i + 1}" for i, s in enumerate(peptides(90))]
    table = write_csv(tmp_path / "t.csv", rows, "id,sequence,MIC")
    config = make_config(path=str(table), property_columns=MIC, descriptors=["charge"])
    run(config, tmp_path / "out")
    found = read_peptides(tmp_path / "out" / "peptides.parquet")
    assert found.properties == {"mic": ["uM", "log10"], "charge": ["e", "linear"]}
    assert found.frame["mic"].notna().sum() == 30
    assert "property: mic of 30 peptides, 1 to 88 uM (log10)" in capsys.readouterr().out


def test_a_property_that_cannot_be_learnt_is_told():
    frame = pd.DataFrame({"split": ["train"] * 30, "few": [1.0, 2.0] + [np.nan] * 28, "one": 3.0})
    warnings = check_properties(frame, {"few": ("", "linear")})
    assert "only 2 training peptides have a value" in warnings["warning"][0]
    with pytest.raises(UserError, match="'one' has 1 different values among the training"):
        check_properties(frame, {"one": ("", "linear")})
