"""The ends of a peptide: from sequences and from the columns of public tables."""

import pytest

from structdiff.protein.ends import FREE, Ends, end_columns, read_ends, split_ends

BOTH = Ends(acetylated=True, amidated=True)


@pytest.mark.parametrize(
    ("text", "sequence", "ends"),
    [
        ("KLLK", "KLLK", FREE),
        ("KLLK-NH2", "KLLK", Ends(amidated=True)),
        ("Ac-KLLK", "KLLK", Ends(acetylated=True)),
        ("Ac-KLLK-NH2", "KLLK", BOTH),
        ("ACT-KLLK-AMD", "KLLK", BOTH),
        ("[Ac]-KLLK-[NH2]", "KLLK", BOTH),
        ("H-KLLK-OH", "KLLK", FREE),
        ("NH2-KLLK-COOH", "KLLK", FREE),
        ("KLLK-NHMe", "KLLK-NHMe", FREE),
        ("ACKLLKAM", "ACKLLKAM", FREE),
        ("AC-KLLK-NH2", "KLLK", BOTH),
        ("AC-KLLK", "AC-KLLK", FREE),  # residues and a gap, or a mark
        ("H-KLLK", "H-KLLK", FREE),
        ("KLLK-AM", "KLLK-AM", FREE),
        ("KLLK-AMD", "KLLK", Ends(amidated=True)),
        ("ac-KLLK", "KLLK", Ends(acetylated=True)),
        ("KLLK-AMIDE", "KLLK", Ends(amidated=True)),
    ],
)
def test_marks_of_a_sequence(text, sequence, ends):
    assert split_ends(text) == (sequence, ends)


@pytest.mark.parametrize(
    ("cells", "ends"),
    [
        ({"N TERMINUS": "", "C TERMINUS": "AMD"}, Ends(amidated=True)),
        ({"N TERMINUS": "ACT", "C TERMINUS": "AMD"}, BOTH),
        (
            {"N-terminal_Modification": "Free", "C-terminal_Modification": "Amidation"},
            Ends(False, True),
        ),
        ({"N-terminal Modification": "Acetylation", "C-terminal Modification": "Free"}, Ends(True)),
        ({"nTerminus": "NH2", "cTerminus": "NH2"}, Ends(amidated=True)),
        ({"AMD": "1", "ACT": "0"}, Ends(amidated=True)),
        ({"amidated": "True", "acetylated": ""}, Ends(amidated=True)),
        ({"Linear/Cyclic/Branched": "Linear", "Stereochemistry": "L"}, FREE),
        ({"COMPLEXITY": "Monomer", "Stereochemistry": "Not included yet"}, FREE),
        ({"Stereochemistry": "All L", "Linear/Cyclic/Branched": "Linear peptide"}, FREE),
        ({"complexity": "low"}, FREE),  # of the sequence
        ({"N TERMINUS": "Free amine", "C TERMINUS": "Free acid"}, FREE),
        ({"nTerminus": "Unknown", "cTerminus": "Amide (NH2)"}, Ends(amidated=True)),
        ({"amidated": "Y", "acetylated": "N"}, Ends(amidated=True)),
    ],
)
def test_spellings_of_public_tables(cells, ends):
    assert end_columns(["id", *cells, "sequence"]) == list(cells)
    assert read_ends(cells) == (ends, "")


@pytest.mark.parametrize(
    ("column", "value", "kept"),
    [
        ("N TERMINUS", "C16", "acetylation of the N-terminus"),
        ("C-terminal_Modification", "Cysteamide", "amidation of the C-terminus"),
        ("Linear/Cyclic/Branched", "Cyclic", "a linear chain of L residues"),
        ("Linear/Cyclic/Branched", "Linear, stapled", "a linear chain of L residues"),
        ("Linear/Cyclic/Branched", "Stapled", "a linear chain of L residues"),
        ("nterm", "Y", "acetylation of the N-terminus"),  # the first residue
        ("COMPLEXITY", "Multimer", "a linear chain of L residues"),
        ("Stereochemistry", "Mixed (D-Leu)", "a linear chain of L residues"),
        ("Stereochemistry", "L/D", "a linear chain of L residues"),
        ("Stereochemistry", "L; D-Phe", "a linear chain of L residues"),
        ("Stereochemistry", "Mix", "a linear chain of L residues"),
    ],
)
def test_what_cannot_be_represented_has_a_reason(column, value, kept):
    ends, reason = read_ends({column: value})
    assert ends == FREE
    assert reason == f"{column} '{value}': only {kept} can be represented"


@pytest.mark.parametrize("text", ["KLLK", "Ac-KLLK", "KLLK-NH2", "Ac-KLLK-NH2"])
def test_marked_sequences_are_read_again(text):
    sequence, ends = split_ends(text)
    assert ends.marked(sequence) == text
