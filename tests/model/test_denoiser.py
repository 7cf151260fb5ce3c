"""The denoiser: sizes, and what it may and may not look at."""

import pytest
import torch

from structdiff.model import DISTANCE_BINS, PRESETS, Denoiser, ModelSpec, spec

SPEC = ModelSpec(width=32, depth=2, heads=2, num_labels=3, sequence_width=21)


@pytest.fixture
def model() -> Denoiser:
    torch.manual_seed(0)
    model = Denoiser(SPEC).eval()
    for parameter in model.parameters():  # a fresh model's outputs are zero
        torch.nn.init.normal_(parameter, std=0.1)
    return model


def inputs(length: int = 9, batch: int = 2, seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    return {
        "sequence": normal(batch, length, 21),
        "structure": normal(batch, length, 9),
        "mask": torch.ones(batch, length, dtype=torch.bool),
        "sequence_level": torch.full((batch,), 0.4),
        "structure_level": torch.full((batch,), 0.7),
        "labels": torch.tensor([[0, 1, 2]]).expand(batch, 3),
        "sequence_estimate": normal(batch, length, 20),
        "structure_estimate": normal(batch, length, 9),
    }


@pytest.mark.parametrize(
    ("preset", "millions"), [("tiny", 1.1), ("small", 3.2), ("base", 17.5), ("large", 126)]
)
def test_presets_have_the_sizes_they_promise(preset, millions):
    with torch.device("meta"):
        model = Denoiser(spec(preset, 3, 21))
    count = sum(parameter.numel() for parameter in model.parameters())
    assert count / 1e6 == pytest.approx(millions, rel=0.03)
    assert set(PRESETS) == {"tiny", "small", "base", "large"}


def test_pads_change_nothing(model):
    given = inputs()
    longer = {**given}
    for name in ("sequence", "structure", "sequence_estimate", "structure_estimate"):
        longer[name] = torch.cat([given[name], torch.randn(2, 4, given[name].shape[-1])], dim=1)
    longer["mask"] = torch.cat([given["mask"], torch.zeros(2, 4, dtype=torch.bool)], dim=1)
    short, padded = (model(**some, distances=True) for some in (given, longer))
    for one, other in zip(short, padded, strict=True):
        own = other[:, :9, :9] if one is short.distances else other[:, :9]
        assert torch.allclose(one, own, atol=1e-5)


def test_what_it_returns_is_a_value_for_each_residue_in_float32(model):
    with torch.autocast("cpu", torch.bfloat16):
        found = model(**inputs(), distances=True)
    assert [tuple(x.shape) for x in found] == [(2, 9, 20), (2, 9, 9), (2, 9, 9, DISTANCE_BINS)]
    assert {x.dtype for x in found} == {torch.float32}


def test_a_fresh_model_is_not_sure_of_anything():
    found = Denoiser(SPEC).eval()(**inputs(), distances=True)
    assert all((x == 0).all() for x in found)


def test_pure_noise_is_not_looked_at(model):
    given = {**inputs(), "structure_level": torch.tensor([1.0, 0.7])}
    changed = {**given, "structure": given["structure"] + 0.3}
    for before, after in zip(*(model(**x, distances=True) for x in (given, changed)), strict=True):
        assert torch.equal(before[0], after[0])
        assert (before - after)[1].abs().max() > 1e-4


@pytest.mark.parametrize("name", list(inputs()))
def test_every_input_matters(model, name):
    given = inputs()
    changed = {**given}
    if name == "mask":
        changed["mask"] = given["mask"].clone()
        changed["mask"][:, -1] = False
    elif name == "labels":
        changed["labels"] = torch.zeros_like(given["labels"])
    else:
        changed[name] = given[name] + 0.3
    for before, after in zip(*(model(**x, distances=True) for x in (given, changed)), strict=True):
        assert (before - after)[:, 0].abs().max() > 1e-4


def test_position_matters(model):
    given = inputs(batch=1)
    constant = {k: v[:, :1].expand_as(v) if v.ndim == 3 else v for k, v in given.items()}
    for found in model(**constant, distances=True):
        assert (found[0, 0] - found[0, 4]).abs().max() > 1e-4


def test_recomputed_activations_give_the_same_gradient(model):
    gradients = []
    for checkpointing in (False, True):
        model.checkpointing = checkpointing
        model.zero_grad()
        sum(found.square().sum() for found in model(**inputs(), distances=True)).backward()
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
    assert torch.allclose(*gradients)


@pytest.mark.parametrize(("which", "left", "right"), [(0, 1, 2), (1, 2, 4), (2, 4, 5)])
def test_a_motif_table_looks_at_its_two_neighbours(which, left, right):
    # Residue 3 of 9 has the neighbours 1 and 2, 2 and 4, or 4 and 5.
    fresh, given = Denoiser(SPEC).eval(), inputs()
    codes = torch.arange(9).expand(2, 9)
    given["sequence"] = torch.nn.functional.one_hot(codes, SPEC.sequence_width).float()
    with torch.no_grad():
        table = fresh.neighbours_out.tables[which].weight
        table[7, left * SPEC.sequence_width + right] = 1.0
    logits = fresh(**given).logits
    expected = torch.zeros_like(logits)
    expected[:, 3, 7] = 10.0
    assert torch.allclose(logits, expected)
