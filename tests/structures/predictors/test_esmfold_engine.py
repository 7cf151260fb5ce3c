"""The engine's own arithmetic: rows of pairs in turns, and pads that nobody sees."""

import pytest
import torch
from transformers import EsmForProteinFolding

from structdiff.structures.predictors import esmfold_engine
from structdiff.structures.predictors.esmfold_engine import Engine
from tests.waiting import META, copies


@pytest.fixture(scope="module")
def engine(tiny_esmfold):
    return Engine(EsmForProteinFolding.from_pretrained(tiny_esmfold).eval(), torch.float32)


def batch(*lengths):
    generator = torch.Generator().manual_seed(0)
    longest = max(lengths)
    mask = (torch.arange(longest) < torch.tensor(lengths)[:, None]).long()
    tokens = torch.randint(0, 20, mask.shape, generator=generator) * mask
    return tokens, mask


def test_rows_in_turns_give_the_same(engine, monkeypatch):
    tokens, mask = batch(30, 30, 22)
    whole = engine(tokens, mask, 2)
    for elements in (20_000, 3_000):
        monkeypatch.setattr(esmfold_engine, "MAX_ELEMENTS", elements)
        parts = engine(tokens, mask, 2)
        assert torch.allclose(parts.positions, whole.positions, atol=1e-3)
        assert torch.allclose(parts.plddt, whole.plddt, atol=1e-3)
        assert torch.allclose(parts.ptm, whole.ptm, atol=1e-5)


def test_pads_change_nothing(engine):
    tokens, mask = batch(12, 40)
    padded = engine(tokens, mask, 2)
    alone = engine(tokens[:1, :12], mask[:1, :12], 2)
    assert torch.allclose(padded.positions[0, :12], alone.positions[0], atol=1e-3)
    assert torch.allclose(padded.plddt[0, :12], alone.plddt[0], atol=1e-3)
    assert torch.allclose(padded.ptm[0], alone.ptm[0], atol=1e-5)


@pytest.mark.parametrize("rows", [2**15, 16])
def test_many_short_peptides_are_folded_as_each_alone(engine, rows, monkeypatch):
    """Many share one attention with copied biases, or a few; a single one has its own."""
    monkeypatch.setattr(esmfold_engine, "MAX_ROWS", rows)
    tokens, mask = batch(*[6, 7] * 5)
    together = engine(tokens, mask, 2)
    alone = engine(tokens[1:2], mask[1:2], 2, padded=False)
    assert torch.allclose(together.positions[1], alone.positions[0], atol=1e-3)
    assert torch.allclose(together.ptm[1], alone.ptm[0], atol=1e-5)


def test_shapes_and_ranges(engine):
    folded = engine(*batch(9, 5), 1)
    assert folded.positions.shape == (2, 9, 14, 3)
    assert folded.plddt.shape == (2, 9) and folded.ptm.shape == (2,)
    assert ((folded.plddt >= 0) & (folded.plddt <= 100)).all()
    assert ((folded.ptm >= 0) & (folded.ptm <= 1)).all()
    assert folded.positions.dtype == torch.float32


def test_without_pads_nothing_need_be_masked(engine):
    tokens, mask = batch(17, 17)
    masked, plain = engine(tokens, mask, 2), engine(tokens, mask, 2, padded=False)
    assert torch.allclose(masked.positions, plain.positions, atol=1e-3)
    assert torch.allclose(masked.plddt, plain.plddt, atol=1e-3)
    assert torch.allclose(masked.ptm, plain.ptm, atol=1e-5)


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_no_pass_waits_for_the_device(tiny_esmfold, dtype, padded):
    """Nothing is copied to or from the device: only the structures are, at the end."""
    on_meta = Engine(EsmForProteinFolding.from_pretrained(tiny_esmfold).eval().to(META), dtype)
    tokens, mask = (x.to(META) for x in batch(17, 9 if padded else 17))
    with copies() as places:
        folded = on_meta(tokens, mask, 3, padded=padded)
    assert places == []
    assert folded.positions.shape == (2, 17, 14, 3)
