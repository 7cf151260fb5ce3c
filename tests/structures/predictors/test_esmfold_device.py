"""ESMFold on each device: the structures of the CPU, and batches halved where memory is short."""

import numpy as np
import pytest
import torch

from structdiff.protein.residues import AMINO_ACIDS
from structdiff.structures.predictors import esmfold
from structdiff.structures.predictors.esmfold import ESMFoldPredictor


def _fold(model, device, sequences):
    predictor = ESMFoldPredictor(str(model), num_recycles=1, dtype="float32")
    predictor.__dict__["device"] = device
    return {x.sequence: x for batch in predictor.predict(sequences) for x in batch}


def _peptides(count, shortest=10, longest=40):
    random = np.random.default_rng(0)
    letters = list(AMINO_ACIDS)
    lengths = random.integers(shortest, longest + 1, count)
    return ["".join(random.choice(letters, length)) for length in lengths]


def _assert_same(found, expected):
    assert found.keys() == expected.keys()
    for sequence, structure in found.items():
        assert np.abs(structure.positions - expected[sequence].positions).max() < 1e-2
        assert np.abs(structure.plddt - expected[sequence].plddt).max() < 1e-2


def test_structures_are_those_of_the_cpu(device, tiny_esmfold, monkeypatch):
    """On the CPU itself, in batches of another size."""
    sequences = _peptides(24)
    expected = _fold(tiny_esmfold, torch.device("cpu"), sequences)
    monkeypatch.setitem(esmfold.MAX_PAIRS, "cpu", 2000)
    _assert_same(_fold(tiny_esmfold, device, sequences), expected)


@pytest.mark.gpu
def test_a_gpu_that_is_full_halves_the_batches(tiny_esmfold, capsys):
    if not torch.cuda.is_available():
        pytest.skip("torch finds no GPU")
    device = torch.device("cuda")
    sequences = _peptides(600, shortest=28, longest=28)
    expected = _fold(tiny_esmfold, torch.device("cpu"), sequences)
    _, total = torch.cuda.mem_get_info(device)
    torch.cuda.empty_cache()
    allowed = torch.cuda.memory_reserved(device) + 48 * 2**20
    torch.cuda.set_per_process_memory_fraction(allowed / total, device)
    try:
        found = _fold(tiny_esmfold, device, sequences)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, device)
    assert "halving" in capsys.readouterr().err
    _assert_same(found, expected)
