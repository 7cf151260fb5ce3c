"""Guidance moves a prediction away from what peptides without the requested labels give."""

import torch

from structdiff.diffusion.given import State
from structdiff.diffusion.guidance import PAIRING, Guided, Paired, SelfConditioned, Tempered
from structdiff.diffusion.schedule import Levels
from structdiff.model import (
    Condition,
    ConditionSpec,
    Denoiser,
    ModelSpec,
    Prediction,
    no_estimate,
)

LEVELS = Levels(0.5, 0.5)


def half_noised(process, tokens) -> State:
    """What a model sees of some peptides in the middle of sampling."""
    return State(process.sequence.encode(tokens), torch.zeros(len(tokens), 10, 9))


def guide(model, state: State, labels: list[list[int]], scale: float) -> tuple:
    """Return logits and structure of `Guided`, for states of labels."""
    mask = torch.ones(len(labels), 10, dtype=torch.bool)
    guided = Guided(model, mask, Condition(torch.tensor(labels)), scale)
    return guided(state, LEVELS, no_estimate(state.structure))[:2]


def plain(model, state: State, labels: list[list[int]]) -> tuple:
    """Return logits and structure of the network alone."""
    mask, level = torch.ones(len(labels), 10, dtype=torch.bool), torch.full((len(labels),), 0.5)
    condition = Condition(torch.tensor(labels))
    return model(*state, mask, level, level, condition, *no_estimate(state.structure))[:2]


class Counted:
    """A model that counts its calls."""

    def __init__(self, model: Denoiser):
        self.model, self.calls = model, 0

    def __call__(self, *args, **options) -> Prediction:
        self.calls += 1
        return self.model(*args, **options)


def with_properties(process, labels: int, properties: int) -> Denoiser:
    """Return a model of random weights with labels and properties."""
    torch.manual_seed(0)
    spec = ModelSpec(32, 2, 2, labels, process.sequence.width, num_properties=properties)
    model = Denoiser(spec).eval().requires_grad_(False)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return model


def test_guidance_moves_away_from_peptides_without_the_labels(process, model, tokens):
    state = half_noised(process, tokens[:2])
    asked = guide(model, state, [[2, 0, 1]] * 2, 1.0)
    without, strong = (
        guide(model, state, x, s) for x, s in (([[1, 0, 1]] * 2, 1.0), ([[2, 0, 1]] * 2, 3.0))
    )
    assert torch.equal(asked[0], plain(model, state, [[2, 0, 1]] * 2)[0])
    for with_label, base, moved in zip(asked, without, strong, strict=True):
        assert (with_label - base).abs().max() > 1e-3
        assert torch.allclose(moved, base + 3 * (with_label - base), atol=1e-5)
    nothing = [[0, 0, 0]] * 2
    for one, other in zip(*(guide(model, state, nothing, s) for s in (3.0, 1.0)), strict=True):
        assert torch.equal(one, other)


def test_labels_asked_for_together_pull_with_equal_strength(process, model, tokens):
    model.label_in.weight[-1] *= 2  # otherwise the labels may be equally strong by chance
    state = half_noised(process, tokens[:3])
    together = guide(model, state, [[2, 0, 2], [2, 0, 0], [0, 0, 0]], 2.0)
    without = plain(model, state, [[1, 0, 1], [1, 0, 0], [0, 0, 0]])
    first = plain(model, state, [[2, 0, 1], [2, 0, 0], [0, 0, 0]])
    last = plain(model, state, [[1, 0, 2], [1, 0, 0], [0, 0, 0]])
    for moved, base, *single in zip(together, without, first, last, strict=True):
        pulls = torch.stack(single) - base
        norms = pulls[:, 0].flatten(1).norm(dim=1)
        assert (norms[0] - norms[1]).abs() > 1e-2 * norms.max()
        equal = pulls[:, 0] / norms[:, None, None] * norms.max()
        assert torch.allclose(moved[0], base[0] + 2 * 2 * equal.sum(0), atol=1e-5)
        # Each peptide is asked for its own labels alone.
        assert torch.allclose(moved[1], base[1] + 2 * pulls[0, 1], atol=1e-5)
        assert torch.equal(moved[2], base[2])


def test_three_labels_share_one_term(process, model, tokens):
    state = half_noised(process, tokens[:3])
    asked_for = [[2, 2, 2], [2, 0, 0], [0, 0, 0]]
    together = guide(model, state, asked_for, 2.0)
    without = plain(model, state, [[1, 1, 1], [1, 0, 0], [0, 0, 0]])
    for moved, base, asked in zip(together, without, plain(model, state, asked_for), strict=True):
        assert ((asked - base)[:2].abs().amax((1, 2)) > 1e-3).all()
        assert torch.allclose(moved, base + 2 * (asked - base), atol=1e-5)


def test_an_unwanted_label_doubles_the_term_of_three_labels(process, tokens):
    model = with_properties(process, labels=4, properties=1)
    state, mask = half_noised(process, tokens[:1]), torch.ones(1, 10, dtype=torch.bool)
    nothing = torch.tensor([[torch.nan]])

    def ask(labels: list[int]) -> torch.Tensor:
        condition = Condition(torch.tensor([labels]), values=nothing)
        level = torch.full((1,), 0.5)
        return model(*state, mask, level, level, condition, *no_estimate(state.structure)).logits

    asked = Condition(torch.tensor([[2, 2, 2, 1]]), torch.tensor([[1, 1, 1, 2]]), nothing)
    moved = Guided(model, mask, asked, 1.5)(state, LEVELS, no_estimate(state.structure)).logits
    wanted, lacking, absent, present = map(
        ask, ([2, 2, 2, 0], [1, 1, 1, 0], [2, 2, 2, 1], [2, 2, 2, 2])
    )
    expected = lacking + 2 * 1.5 * (wanted - lacking) + absent - present
    assert torch.allclose(moved, expected, atol=1e-4)
    assert (absent - present).abs().max() > 1e-3


def test_guidance_is_computed_again_after_three_of_32_steps(process, model, tokens):
    state, mask = half_noised(process, tokens[:1]), torch.ones(1, 10, dtype=torch.bool)
    count = Counted(model)
    for labels, each, fewer in (([2, 0, 0], 2, 1), ([2, 0, 2], 3, 1), ([0, 0, 0], 1, 1)):
        guided = Guided(count, mask, Condition(torch.tensor([labels])), 1.5)
        numbers, logits = [], []
        for level in process.grid(32)[:4]:
            count.calls = 0
            levels = Levels(level, 1.0)
            logits.append(guided(state, levels, no_estimate(state.structure)).logits)
            numbers.append(count.calls)
        assert numbers == [each, fewer, fewer, each]
        # The noise level alone changes little, so the guidance that is used again is nearly right.
        exact = Guided(model, mask, Condition(torch.tensor([labels])), 1.5)
        again = exact(state, Levels(process.grid(32)[1], 1.0), no_estimate(state.structure)).logits
        step = (logits[0] - again).abs().max()
        assert (logits[1] - again).abs().max() <= step


def test_only_a_single_label_has_guidance_in_the_first_steps_alone(process, tokens):
    model = with_properties(process, labels=2, properties=1)
    state, mask = half_noised(process, tokens[:1]), torch.ones(1, 10, dtype=torch.bool)
    estimate, unseen = no_estimate(state.structure), torch.ones(1)
    one, both, unwanted = torch.tensor([[2, 0]]), torch.tensor([[2, 2]]), torch.tensor([[1, 0]])
    value, nothing = torch.tensor([[0.5]]), torch.tensor([[torch.nan]])
    first_steps, all_steps = [True, True, True, False, False], [True] * 5
    for condition, property_scale, start, expected in (
        (Condition(one, values=nothing), 1.5, 1.0, first_steps),
        (Condition(one, values=nothing), 1.5, 0.5, first_steps),  # analogues start at a lower level
        (Condition(unwanted, torch.tensor([[2, 0]]), nothing), 1.5, 1.0, first_steps),
        (Condition(one, values=value), 1.0, 1.0, first_steps),
        (Condition(one, values=value), 1.5, 1.0, all_steps),
        (Condition(both, values=nothing), 1.5, 1.0, all_steps),
    ):
        guided = Guided(model, mask, condition, 1.5, property_scale)
        is_guided = []
        for share in (1.0, 0.85, 0.71, 0.69, 0.1):
            level = share * start
            alone = model(*state, mask, torch.full((1,), level), unseen, condition, *estimate)
            moved = guided(state, Levels(level, 1.0), estimate)
            is_guided.append(not torch.equal(moved.logits, alone.logits))
        assert is_guided == expected


def test_a_single_label_takes_36_calls_in_32_steps(process, model, tokens):
    state, mask = half_noised(process, tokens[:1]), torch.ones(1, 10, dtype=torch.bool)
    count = Counted(model)
    guided = Guided(count, mask, Condition(torch.tensor([[2, 0, 0]])), 1.5)
    for level in process.grid(32)[:-1]:
        guided(state, Levels(level, 1.0), no_estimate(state.structure))
    assert count.calls == 36


def test_an_unwanted_label_pulls_among_peptides_with_the_wanted_ones(process, model, tokens):
    state = half_noised(process, tokens[:2])
    spec = ConditionSpec(["a", "b", "c"])
    rows = [Condition.request(["a"], spec, unwanted) for unwanted in (["c"], [])]
    asked = Condition(
        torch.cat([row.labels for row in rows]), torch.cat([row.opposites for row in rows])
    )
    mask = torch.ones(2, 10, dtype=torch.bool)
    guided = Guided(model, mask, asked, 1.5)(state, LEVELS, no_estimate(state.structure))[:2]
    states = [[2, 0, 0], [1, 0, 0], [2, 0, 1], [2, 0, 2]]
    predictions = [plain(model, state, [labels] * 2) for labels in states]
    for moved, wanted, lacking, absent, present in zip(guided, *predictions, strict=True):
        pull = wanted - lacking
        assert torch.allclose(
            moved[0], (lacking + 3 * pull + absent - present)[0], atol=1e-4
        )  # two labels: twice the strength
        assert torch.allclose(moved[1], (lacking + 1.5 * pull)[1], atol=1e-4)
        assert (absent - present).abs().max() > 1e-3


def test_self_conditioning_gives_the_prediction_of_the_step_before(process, model, tokens):
    state, condition = half_noised(process, tokens[:2]), Condition.unspecified(2, 3)
    guided = Guided(model, torch.ones(2, 10, dtype=torch.bool), condition, 1.0)
    denoise = SelfConditioned(guided)
    first, second = denoise(state, LEVELS), denoise(state, LEVELS)
    assert torch.equal(first.logits, guided(state, LEVELS, no_estimate(state.structure)).logits)
    again = guided(state, LEVELS, (first.logits.softmax(-1), first.structure))
    assert torch.equal(second.logits, again.logits)
    assert not torch.equal(first.logits, second.logits)


def test_a_temperature_divides_the_logits(process, model, tokens):
    state, condition = half_noised(process, tokens[:2]), Condition.unspecified(2, 3)

    def denoise() -> SelfConditioned:
        return SelfConditioned(Guided(model, torch.ones(2, 10, dtype=torch.bool), condition, 1.0))

    cold = Tempered(denoise(), 0.5)(state, LEVELS)
    plain = denoise()(state, LEVELS)
    assert torch.equal(cold.logits, plain.logits / 0.5)
    assert torch.equal(cold.structure, plain.structure)


def test_odd_and_even_numbers_of_cysteines_get_different_logits(process, model, tokens):
    state, mask = half_noised(process, tokens[:2]), torch.ones(2, 10, dtype=torch.bool)
    mask[1, 6:] = False
    torch.nn.init.normal_(model.cysteines_out.table.weight)
    guided = Guided(model, mask, Condition.unspecified(2, 3), 1.0)
    plain = SelfConditioned(guided)(state, LEVELS)
    paired = Paired(SelfConditioned(guided), model, mask)(state, LEVELS)
    part = model.cysteines_out.pairing(state.sequence, mask, torch.full((2,), LEVELS.sequence))
    assert part.abs().max() > 0.1
    assert torch.allclose(paired.logits, plain.logits + PAIRING * part, atol=1e-6)
    assert torch.equal(paired.structure, plain.structure)


def test_properties_pull_together_among_peptides_with_the_labels(process, tokens):
    model = with_properties(process, labels=1, properties=2)
    state, values = half_noised(process, tokens[:2]), torch.tensor([[0.5, -1.0]] * 2)
    mask, level = torch.ones(2, 10, dtype=torch.bool), torch.full((2,), 0.5)
    nothing = torch.full((2, 2), torch.nan)

    def ask(label: int, values: torch.Tensor, *scales: float) -> torch.Tensor:
        condition = Condition(torch.full((2, 1), label), values=values)
        estimate = no_estimate(state.structure)
        if not scales:
            return model(*state, mask, level, level, condition, *estimate).logits
        return Guided(model, mask, condition, *scales)(state, LEVELS, estimate).logits

    free, moved = ask(0, nothing), ask(0, values)
    assert torch.allclose(ask(0, values, 1.0, 3.0), free + 3 * (moved - free), atol=1e-4)
    assert torch.equal(ask(0, values, 1.0, 1.0), moved)
    absent, present, with_values = ask(1, nothing), ask(2, nothing), ask(2, values)
    expected = absent + 2 * (present - absent) + 3 * (with_values - present)
    assert torch.allclose(ask(2, values, 2.0, 3.0), expected, atol=1e-4)
