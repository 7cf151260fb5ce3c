"""The table of heavy atoms, and the rows that follow from a sequence."""

import numpy as np
import pytest
from transformers.models.esm.openfold_utils import residue_constants

from structdiff.protein.residues import AMINO_ACIDS, THREE_LETTER, encode
from structdiff.protein.structure import (
    ATOM14_EXISTS,
    ATOM_COUNTS,
    HEAVY_ATOMS,
    Structure,
    atom_starts,
    from_backbone,
)


@pytest.mark.parametrize("letter", AMINO_ACIDS)
def test_the_atoms_are_those_of_alphafolds_14_slots(letter):
    slots = residue_constants.restype_name_to_atom14_names[THREE_LETTER[letter]]
    assert HEAVY_ATOMS[letter] == tuple(name for name in slots if name)
    row = AMINO_ACIDS.index(letter)
    assert ATOM14_EXISTS[row].tolist() == [bool(name) for name in slots]
    assert ATOM_COUNTS[row] == ATOM14_EXISTS[row].sum()


def test_rows_names_and_residues_go_together(simulate):
    structure = simulate("GAWK")
    assert len(structure.positions) == 4 + 5 + 14 + 9 == len(structure.atom_names)
    starts = atom_starts(encode("GAWK"))
    assert starts.tolist() == [0, 4, 9, 23, 32]
    assert [structure.atom_names[i] for i in starts[:-1]] == ["N"] * 4
    assert np.bincount(structure.residue_of_atom).tolist() == [4, 5, 14, 9]
    assert (structure.backbone[2] == structure.positions[9:13]).all()


def test_only_a_backbone_leaves_the_side_chains_absent():
    backbone = np.arange(24, dtype=float).reshape(2, 4, 3)
    structure = from_backbone("WG", backbone, np.array([50.0, 60.0]))
    assert (structure.backbone == backbone).all()
    assert structure.present.sum() == 8
    assert np.isnan(structure.positions[4:14]).all()


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="GA has 9 heavy atoms"):
        Structure("GA", np.zeros((8, 3)))
    with pytest.raises(ValueError, match="pLDDT values for 2 residues"):
        Structure("GG", np.zeros((8, 3)), np.zeros(3))
    with pytest.raises(ValueError, match=r"shape \(4, 3\) for 3 residues"):
        from_backbone("AAA", np.zeros((4, 3)))
