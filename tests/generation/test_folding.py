"""Folding finds the backbone of a sequence, and its confidence is the accuracy."""

import numpy as np
import pytest
import torch

from structdiff.generation import batching
from structdiff.generation.folding import fold
from structdiff.protein.geometry import lddt, rmsd

pytestmark = pytest.mark.xdist_group("design")

COIL = "GPNDSCH"
"""Residues whose torsions are loose in the peptides that the model was trained on."""


def test_folding_finds_the_backbone(trained_model, held_out):
    sequences, backbones = held_out
    found = sorted(fold(trained_model, sequences), key=lambda x: x.number)
    assert [x.sequence for x in found] == sequences
    ca = torch.from_numpy(np.stack([x.backbone[:, 1] for x in found]))
    assert rmsd(ca, backbones[:, :, 1]).median() < 2.0
    assert lddt(ca, backbones[:, :, 1]).mean() > 0.85


def test_the_confidence_is_the_true_lddt(trained_model, held_out):
    sequences, backbones = held_out
    found = sorted(fold(trained_model, sequences), key=lambda x: x.number)
    ca = torch.from_numpy(np.stack([x.backbone[:, 1] for x in found]))
    actual = lddt(ca, backbones[:, :, 1]).numpy()
    confidence = np.stack([x.confidence for x in found])
    assert confidence.shape == (60, 12)
    assert confidence.dtype == np.float32
    assert 0 <= confidence.min() <= confidence.max() <= 1
    assert confidence.mean() == pytest.approx(actual.mean(), abs=0.06)
    loose = np.array([any(letter in COIL for letter in sequence) for sequence in sequences])
    for values in (confidence, actual):
        assert values[~loose].mean() > values[loose].mean() + 0.02


def test_a_fold_does_not_depend_on_its_batch(trained_model, held_out, monkeypatch):
    sequences = [*held_out[0], "AELKMQRAE", "AELKMQRAELKMQRA"]
    together = {x.sequence: x for x in fold(trained_model, sequences)}
    monkeypatch.setattr(batching, "CPU_BATCH_RESIDUES", 36)  # two peptides at once
    apart = {x.sequence: x for x in fold(trained_model, sequences)}
    for alone in fold(trained_model, sequences[5:6] + sequences[-2:]):
        for other in (together[alone.sequence], apart[alone.sequence]):
            assert np.abs(alone.backbone - other.backbone).max() < 1e-3
            assert np.abs(alone.confidence - other.confidence).max() < 1e-5
