"""The denoiser: its sizes, and which inputs matter."""

import pytest
import torch

from structdiff.model import (
    DISTANCE_BINS,
    PRESETS,
    Condition,
    ConditionSpec,
    Denoiser,
    ModelSpec,
    no_estimate,
    spec,
)
from structdiff.model.denoiser import _cysteines

SPEC = ModelSpec(width=32, depth=2, heads=2, num_labels=3, sequence_width=21)


@pytest.fixture
def model() -> Denoiser:
    torch.manual_seed(0)
    model = Denoiser(SPEC).eval()
    for parameter in model.parameters():  # a fresh model's outputs are zero
        torch.nn.init.normal_(parameter, std=0.1)
    return model


def inputs(length: int = 9, batch: int = 2, seed: int = 0) -> dict:
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    return {
        "sequence": normal(batch, length, 21),
        "structure": normal(batch, length, 9),
        "mask": torch.ones(batch, length, dtype=torch.bool),
        "sequence_level": torch.full((batch,), 0.4),
        "structure_level": torch.full((batch,), 0.7),
        "condition": Condition(torch.tensor([[0, 1, 2]]).expand(batch, 3)),
        "sequence_estimate": normal(batch, length, 20),
        "structure_estimate": normal(batch, length, 9),
    }


@pytest.mark.parametrize(
    ("preset", "millions"), [("tiny", 1.25), ("small", 3.3), ("base", 17.7), ("large", 126)]
)
def test_presets_have_their_sizes(preset, millions):
    with torch.device("meta"):
        model = Denoiser(spec(preset, ConditionSpec(["a", "b", "c"]), 21))
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


def test_predictions_are_float32_values_of_each_residue(model):
    with torch.autocast("cpu", torch.bfloat16):
        prediction = model(**inputs(), distances=True)
    assert [tuple(x.shape) for x in prediction] == [(2, 9, 20), (2, 9, 9), (2, 9, 9, DISTANCE_BINS)]
    assert {x.dtype for x in prediction} == {torch.float32}


def test_a_fresh_model_predicts_zeros():
    prediction = Denoiser(SPEC).eval()(**inputs(), distances=True)
    assert all((x == 0).all() for x in prediction)


def test_pure_noise_has_no_effect(model):
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
    elif name == "condition":
        changed["condition"] = Condition.unspecified(2, 3)
    else:
        changed[name] = given[name] + 0.3
    for before, after in zip(*(model(**x, distances=True) for x in (given, changed)), strict=True):
        assert (before - after)[:, 0].abs().max() > 1e-4


def test_the_network_reads_no_bond_angle(model):
    """In predicted structures these tell the residue, so inverse folding would read it there."""
    given = inputs()
    bent = {**given}
    for name in ("structure", "structure_estimate"):
        angles = torch.randn_like(given[name][..., SPEC.structure_inputs :])
        bent[name] = torch.cat([given[name][..., : SPEC.structure_inputs], angles], dim=-1)
    for before, after in zip(model(**given)[:2], model(**bent)[:2], strict=True):
        assert torch.equal(before, after)


def test_only_the_backbone_head_reads_a_given_backbone(model):
    """The whole network would learn by heart which training peptide has the backbone."""
    free = {**inputs(), "structure_level": torch.zeros(2)}
    other = {**free, "structure": free["structure"] + 0.3}
    one, two = model(**free, distances=True), model(**other, distances=True)
    assert (one.logits - two.logits).abs().min() > 0
    assert torch.equal(one.structure, two.structure)
    assert torch.equal(one.distances, two.distances)
    without, noise = model(**free, given=False), {**free, "structure_level": torch.ones(2)}
    noise["sequence_estimate"], noise["structure_estimate"] = no_estimate(free["structure"])
    assert torch.equal(without.logits, model(**noise).logits)
    assert torch.equal(model(**inputs()).logits, model(**inputs(), given=False).logits)


def test_only_the_backbone_head_learns_residues_from_a_given_backbone(model):
    levels = {"structure_level": torch.tensor([0.0, 0.7])}
    model(**inputs() | levels).logits[0].logsumexp(-1).sum().backward()
    learning = {name for name, weight in model.named_parameters() if weight.grad is not None}
    learning = {name for name in learning if model.get_parameter(name).grad.abs().max() > 0}
    assert learning == {name for name, _ in model.named_parameters() if "backbone_out" in name}


def test_the_network_is_less_sure_of_a_given_backbone_than_it_learnt_to_be(model):
    free = {**inputs(), "structure_level": torch.tensor([0.0, 0.7])}
    learnt, used = model.train()(**free).logits, model.eval()(**free).logits
    assert torch.allclose(used[0], 0.75 * learnt[0])
    assert torch.equal(used[1], learnt[1])


def test_cysteines_are_counted_before_behind_and_in_the_peptide():
    tokens = torch.tensor([[1, 5, 20, 1, 1, 1]])  # C, another, hidden, C, C, and a pad
    mask = torch.tensor([[True] * 5 + [False]])
    counts = _cysteines(torch.nn.functional.one_hot(tokens, 21).float(), mask)
    parity = counts.unflatten(-1, (3, -1))[0, :5, :, 0]  # the cosine of pi times a number
    assert parity[:, 0].tolist() == pytest.approx([1, -1, -1, -1, 1], abs=1e-5)
    assert parity[:, 1].tolist() == pytest.approx([-1, 1, 1, 1, -1], abs=1e-5)
    assert parity[:, 2].tolist() == pytest.approx([-1] * 5, abs=1e-5)


def test_position_matters(model):
    given = inputs(batch=1)
    constant = {
        k: v[:, :1].expand_as(v) if getattr(v, "ndim", 0) == 3 else v for k, v in given.items()
    }
    for prediction in model(**constant, distances=True):
        assert (prediction[0, 0] - prediction[0, 4]).abs().max() > 1e-4


def test_predictions_with_and_without_gradients_agree(model):
    # Without gradients, other operations compute the same functions.
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    model.eval()
    with_gradients = model(**inputs(), distances=True)
    with torch.no_grad():
        without = model(**inputs(), distances=True)
    for one, other in zip(with_gradients, without, strict=True):
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-4)


def test_recomputed_activations_give_the_same_gradient(model):
    gradients = []
    for checkpointing in (False, True):
        model.checkpointing = checkpointing
        model.zero_grad()
        sum(
            prediction.square().sum() for prediction in model(**inputs(), distances=True)
        ).backward()
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
    assert torch.allclose(*gradients)
