"""Ideal backbones: helices where helices are cheap, the geometry of a peptide, no pLDDT."""

import numpy as np
import pytest

from structdiff.protein.residues import encode
from structdiff.structures.predictors import ideal
from structdiff.structures.predictors.ideal import COIL, HELIX, STRAND, IdealPredictor, states


def predicted(sequences):
    return {s.sequence: s for batch in IdealPredictor().predict(sequences) for s in batch}


def state(sequence):
    return states(encode(sequence)[None])[0]


def test_each_peptide_has_one_backbone_without_side_chains_or_confidence(peptides):
    sequences = peptides(300, shortest=1)
    found = predicted(sequences)
    assert set(found) == set(sequences)
    for sequence, structure in found.items():
        assert np.isfinite(structure.backbone).all()
        assert structure.present.sum() == 4 * len(sequence)
        assert structure.plddt is None and structure.ptm is None


def test_bonds_are_those_of_peptides(peptides):
    for structure in predicted(peptides(50)).values():
        n, ca, c = (structure.backbone[:, i] for i in range(3))
        assert np.allclose(np.linalg.norm(ca - n, axis=1), 1.46, atol=0.02)
        assert np.allclose(np.linalg.norm(c - ca, axis=1), 1.52, atol=0.02)
        assert np.allclose(np.linalg.norm(n[1:] - c[:-1], axis=1), 1.33, atol=0.02)
        assert np.allclose(np.linalg.norm(ca[1:] - ca[:-1], axis=1), 3.8, atol=0.05)


def test_propensities_decide_the_state():
    assert (state("ALKEALRKALEA") == HELIX).all()
    assert (state("YVIYVPYVIYV")[[0, 1, 2, 3, 4]] == STRAND).all()
    assert (state("GGPGGPGGPGG") == COIL).all()


def test_a_helix_is_right_handed_and_rises_by_1_5_angstrom():
    ca = predicted(["A" * 30])["A" * 30].backbone[:, 1].astype(float)
    ends = ca[[18, 0]] + ca[[21, 3]] + ca[[25, 7]] + ca[[29, 11]]
    rise = np.linalg.norm(ends[0] - ends[1]) / 4 / 18
    assert rise == pytest.approx(1.5, abs=0.1)
    a, b, c = ca[1] - ca[0], ca[2] - ca[1], ca[3] - ca[2]
    assert np.dot(np.cross(a, b), c) > 0


def test_batches_change_nothing(peptides, monkeypatch):
    sequences = peptides(40, shortest=20, longest=22)
    whole = predicted(sequences)
    monkeypatch.setattr(ideal, "BATCH_RESIDUES", 50)
    parts = predicted(sequences)
    assert all(np.allclose(whole[s].backbone, parts[s].backbone, atol=1e-4) for s in sequences)
