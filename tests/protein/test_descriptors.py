"""Columns that people choose by, compared with other libraries."""

import numpy as np
import pytest
from biotite.sequence import ProteinSequence
from modlamp.descriptors import GlobalDescriptor, PeptideDescriptor

from structdiff.protein.descriptors import (
    COLUMNS,
    DESCRIPTORS,
    SYNTHESIS_RULES,
    describe,
    isoelectric_point,
    length_likelihood,
    residue_sum,
    synthesis_warnings,
)
from structdiff.protein.ends import FREE, Ends
from structdiff.protein.residues import encode

PEPTIDES = [
    "GIGKFLHSAKKFGKAFVGEIMNS",
    "LLGDFFRKSKEKIGKEFKRIVQRIKDFLRNLVPRTES",
    "ILPWKWPWWPWRR",
    "ACDEFGHIKLMNPQRSTVWY",
    "KKKKKKKKKK",
    "DEDEDEDE",
]


@pytest.fixture(scope="module")
def columns():
    return describe(PEPTIDES)


def test_all_columns_are_described(columns):
    assert list(columns) == list(COLUMNS)
    assert all(column.definition.endswith(".") and column.source for column in COLUMNS.values())


def test_masses_are_those_of_biotite(columns):
    expected = [ProteinSequence(s).get_molecular_weight() for s in PEPTIDES]
    assert columns["molecular_weight"] == pytest.approx(expected, abs=0.01)


def test_charges_and_isoelectric_points_are_those_of_modlamp(columns):
    modlamp = GlobalDescriptor(PEPTIDES)
    modlamp.calculate_charge(ph=7.0, amide=False)
    assert columns["charge"] == pytest.approx(modlamp.descriptor.reshape(-1), abs=0.01)
    modlamp.isoelectric_point(amide=False)
    assert columns["isoelectric_point"][:4] == pytest.approx(
        modlamp.descriptor.reshape(-1)[:4], abs=0.02
    )


def test_the_ends_count(columns):
    amidated = describe(PEPTIDES, [Ends(amidated=True)] * len(PEPTIDES))
    modlamp = GlobalDescriptor(PEPTIDES)
    modlamp.calculate_charge(ph=7.0, amide=True)
    assert amidated["charge"] == pytest.approx(modlamp.descriptor.reshape(-1), abs=0.01)
    for before, after in zip(columns["charge"], amidated["charge"], strict=True):
        assert after - before == pytest.approx(1, abs=0.01)
    modlamp.calculate_MW(amide=True)  # of −OH for −NH2, which it has as 0.95 Da less
    assert amidated["molecular_weight"] == pytest.approx(modlamp.descriptor.reshape(-1), abs=0.1)
    acetylated = describe(PEPTIDES, [Ends(acetylated=True)] * len(PEPTIDES))
    for before, after in zip(
        columns["molecular_weight"], acetylated["molecular_weight"], strict=True
    ):
        assert after - before == pytest.approx(42.037, abs=0.002)
    assert acetylated["charge"][4] == pytest.approx(columns["charge"][4] - 1, abs=0.01)
    assert isoelectric_point("KKKK", Ends(amidated=True)) == pytest.approx(14, abs=0.001)
    assert synthesis_warnings("QKRKS", Ends(acetylated=True)) == ""


def test_hydrophobicity_and_moment_are_those_of_modlamp(columns):
    """ModlAMP has the scale with two significant digits."""
    modlamp = PeptideDescriptor(PEPTIDES, "Eisenberg")
    modlamp.calculate_global()
    assert columns["hydrophobicity"] == pytest.approx(modlamp.descriptor.reshape(-1), abs=0.02)
    modlamp.calculate_moment(angle=100)
    assert columns["hydrophobic_moment"] == pytest.approx(modlamp.descriptor.reshape(-1), abs=0.02)


@pytest.mark.parametrize(
    ("sequence", "warning"),
    [
        ("QKRKS", "N-terminal Gln or Glu (Q1)"),
        ("ERKRS", "N-terminal Gln or Glu (E1)"),
        ("KRKSP", "C-terminal Pro (P5)"),
        ("KRSCK", "Met, Cys or Trp (C4)"),
        ("KRKSC", "C-terminal Cys (C5); Met, Cys or Trp (C5)"),
        ("KDGKNGKNPK", "Asp-Gly (DG2); Asn-Gly (NG5); Asn-Pro (NP8)"),
        ("KRSKRSKRSK", ""),
    ],
)
def test_each_rule_says_where(sequence, warning):
    assert synthesis_warnings(sequence) == warning


def test_hydrophobic_stretches_and_length():
    warnings = synthesis_warnings("KRKVVIVFIKRK")
    assert "run of hydrophobic residues (VVIVFI4)" in warnings
    assert "aggregation-prone stretch" in warnings
    assert "long (60 residues)" in synthesis_warnings("KS" * 30)
    assert "aggregation-prone" not in synthesis_warnings("KRPVPIPVPKRK")


def test_hot_spots_of_amyloid_beta_are_those_of_aggrescan():
    """Residues 17–22 and 30–42, as the publication has them."""
    sequence = "DAEFRHDSGYEVHHQKLVFFAEDVGSNKGAIIGLMVGGVVIA"
    assert "aggregation-prone stretch (LVFFAE17, AIIGLMVGGVVIA30)" in synthesis_warnings(sequence)
    assert synthesis_warnings("KL") == ""


def test_every_rule_has_its_source():
    assert all(rule.source and rule.reason.endswith(".") for rule in SYNTHESIS_RULES)
    assert len({rule.name for rule in SYNTHESIS_RULES}) == len(SYNTHESIS_RULES)


@pytest.mark.parametrize("ends", [FREE, Ends(acetylated=True, amidated=True)])
@pytest.mark.parametrize("name", list(DESCRIPTORS))
def test_descriptors_are_sums_over_the_residues(name, ends):
    values = np.array([DESCRIPTORS[name](sequence, ends) for sequence in PEPTIDES])
    lengths = np.array([len(sequence) for sequence in PEPTIDES])
    parts, totals, turn = residue_sum(name, values, lengths, ends)
    for sequence, part, total, value in zip(PEPTIDES, parts, totals, values, strict=True):
        angles = turn * np.arange(len(sequence))
        found = (part[encode(sequence)] * np.exp(1j * angles)).sum()
        if name != "isoelectric_point" or 0.1 < value < 13.9:  # else it has one sign everywhere
            assert (abs(found) if turn else found.real) == pytest.approx(total, abs=0.01)


def test_the_likeliest_length_of_a_weight_has_it():
    lengths = np.array([5, 20, 50])
    likely = length_likelihood(18 + 119 * lengths, 60)
    assert likely.shape == (3, 60) and likely.max() <= 1
    assert np.abs(likely.argmax(1) - lengths).max() <= 1
    assert (likely[1, [10, 30]] < 0.05).all()
