"""A condition is made, hidden, turned round for guidance and embedded in one place."""

import numpy as np
import pytest
import torch

from structdiff.model import Condition, ConditionSpec, Denoiser, ModelSpec, Property
from structdiff.model.conditions import ConditionEmbedding, PropertyEmbedding

KNOWN = Condition.observed(torch.tensor([[True, False, True], [False, False, False]]))


def test_what_is_known_of_peptides_and_what_is_asked_of_them():
    assert KNOWN.labels.tolist() == [[2, 1, 2], [1, 1, 1]]
    asked = Condition.request(["c", "a"], ConditionSpec(["a", "b", "c"]))
    assert asked.labels.tolist() == [[2, 0, 2]]
    assert asked.expand(2).num_requests().tolist() == [2, 2]
    assert Condition.unspecified(2, 3).labels.tolist() == [[0, 0, 0]] * 2
    nothing = Condition.request([], ConditionSpec([]))
    assert nothing.width == 0
    assert nothing.num_requests().tolist() == [0]


def test_what_can_be_asked_for_is_read_from_a_header_as_it_was_written():
    for spec in (ConditionSpec(["a", "b"]), ConditionSpec(["a", "b"], unopposed=["b"])):
        assert ConditionSpec.read({"step": 3, **spec.to_json()}) == spec
    assert ConditionSpec(["a"]).to_json() == {"labels": ["a"]}


def test_an_unknown_label_is_unspecified():
    known = Condition.observed(torch.tensor([[1, 0, -1]], dtype=torch.int8))
    assert known.labels.tolist() == [[2, 1, 0]]


def test_a_label_may_be_unwanted_and_guidance_turns_round():
    asked = Condition.request(["a"], ConditionSpec(["a", "b", "c"]), unwanted=["c"])
    assert asked.labels.tolist() == [[2, 0, 1]]
    assert asked.opposite().labels.tolist() == [[1, 0, 2]]
    assert asked.num_requests().tolist() == [2]
    assert [single.labels.tolist() for single, _ in asked.requests()] == [[[2, 0, 2]], [[1, 0, 1]]]


def test_unwanted_labels_are_set_apart_where_others_are_wanted():
    spec = ConditionSpec(["a", "b", "c"])
    asked = Condition.request(["a"], spec, unwanted=["b", "c"])
    assert asked.wanted().labels.tolist() == [[2, 0, 0]]
    assert asked.wanted().opposite().labels.tolist() == [[1, 0, 0]]
    apart = [(x.labels.tolist(), y.labels.tolist(), who.all()) for x, y, who in asked.unwanted()]
    assert apart == [([[2, 1, 0]], [[2, 2, 0]], True), ([[2, 0, 1]], [[2, 0, 2]], True)]
    alone = Condition.request([], spec, unwanted=["b"])
    assert alone.wanted().labels.tolist() == alone.labels.tolist()
    assert not list(alone.unwanted()) and not list(KNOWN.unwanted())


def test_guidance_leaves_a_label_unspecified_that_no_peptide_lacks():
    asked = Condition.request(["a", "b"], ConditionSpec(["a", "b"], unopposed=["b"]))
    assert asked.opposite().labels.tolist() == [[1, 0]]
    assert [single.labels.tolist() for single, _ in asked.requests()] == [[[2, 0]], [[1, 2]]]


def test_training_hides_all_of_a_peptide_or_single_labels():
    parts = torch.tensor([[0.2, 0.8, 0.8], [0.8, 0.8, 0.2]])
    single = KNOWN.hide(torch.tensor([0.9, 0.9]), parts, 0.1)
    assert single.labels.tolist() == [[0, 1, 2], [1, 1, 0]]
    whole = KNOWN.hide(torch.tensor([0.05, 0.9]), parts, 0.1)
    assert whole.labels.tolist() == [[0, 0, 0], [1, 1, 0]]
    uniforms = torch.rand(4000, 3, generator=torch.Generator().manual_seed(0))
    many = Condition(torch.full((4000, 3), 2)).hide(torch.ones(4000), uniforms, 0.0)
    assert (many.labels == 0).float().mean() == pytest.approx(0.5, abs=0.02)


def test_guidance_asks_for_each_label_alone():
    asked = Condition(torch.tensor([[2, 0, 2], [2, 1, 0], [0, 0, 1]]))
    assert asked.num_requests().tolist() == [2, 1, 0]
    assert asked.opposite().labels.tolist() == [[1, 0, 1], [1, 1, 0], [0, 0, 1]]
    (first, who_first), (last, who_last) = asked.requests()
    assert first.labels.tolist() == [[2, 0, 1], [2, 1, 0], [0, 0, 1]]
    assert who_first.tolist() == [True, True, False]
    assert last.labels.tolist() == [[1, 0, 2], [1, 1, 0], [0, 0, 1]]
    assert who_last.tolist() == [True, False, False]


def test_guidance_asks_for_three_labels_at_once():
    asked = Condition(torch.tensor([[2, 2, 2, 0], [0, 2, 0, 2]]))
    (joint, of_three), (first, of_first), (last, of_last) = asked.requests()
    assert joint.labels.tolist() == [[2, 2, 2, 0], [0, 1, 0, 1]]
    assert of_three.tolist() == [True, False]
    assert first.labels.tolist() == [[1, 1, 1, 0], [0, 2, 0, 1]]
    assert last.labels.tolist() == [[1, 1, 1, 0], [0, 1, 0, 2]]
    assert of_first.tolist() == of_last.tolist() == [False, True]


def test_the_embedding_is_the_sum_over_labels():
    embedding = ConditionEmbedding(3, 8)
    rows = embedding.weight
    embedded = embedding(Condition(torch.tensor([[2, 0, 1]])))
    assert torch.allclose(embedded, (rows[2] + rows[3] + rows[7])[None])


MIC = Property.fit("mic", "uM", "log10", np.array([1.0, 10, 100]))
SPEC = ConditionSpec(["a"], properties=[MIC, Property.fit("charge", "e", "linear", np.arange(9.0))])


def test_values_have_one_type_whatever_the_default_type_of_the_script():
    torch.set_default_dtype(torch.float64)
    try:
        assert Condition.request(["a"], SPEC).values.dtype == torch.float32
    finally:
        torch.set_default_dtype(torch.float32)


def test_a_property_is_standardised_on_its_scale():
    assert MIC.mean == 1
    assert MIC.seen == pytest.approx((1, 100))
    assert MIC.standardise(np.array([10.0, np.nan])) == pytest.approx([0, np.nan], nan_ok=True)
    assert MIC.draw(1, 100, np.array([0, 0.5, 1])) == pytest.approx([1, 10, 100])
    assert MIC.draw(20, 20, np.array([0.3])) == pytest.approx([20])
    assert ConditionSpec.read(SPEC.to_json()) == SPEC


def test_values_at_the_lower_bound_are_drawn_although_many_peptides_share_them():
    shared = Property.fit("mic", "uM", "log10", np.repeat([1.0, 2, 4, 8], 25))
    drawn = shared.draw(2, 8, np.linspace(0, 1, 100))
    assert drawn.min() == pytest.approx(2) and drawn.max() == pytest.approx(8)
    counts = [np.isclose(drawn, value).sum() for value in (2, 4, 8)]
    assert min(counts) > 25


def test_each_peptide_may_be_asked_for_a_value_of_its_own():
    asked = Condition.request(["a"], SPEC).with_values({"mic": np.array([10.0, 100, 1])}, SPEC)
    assert asked.labels.tolist() == [[2]] * 3
    assert asked.values[:, 0].tolist() == pytest.approx([0, 1.2247, -1.2247], abs=1e-4)
    assert asked.values[:, 1].isnan().all()
    assert (
        asked.take(torch.tensor([2, 0])).values[:, 0].tolist() == asked.values[[2, 0], 0].tolist()
    )
    assert asked.asks_values() and not asked.without_values().asks_values()
    assert not Condition.unspecified(2, 1, 2).asks_values()
    assert asked.width == 3


def test_training_hides_properties_as_it_hides_labels():
    known = Condition.observed(torch.tensor([[True], [True]]), torch.tensor([[0.5, torch.nan]] * 2))
    hidden = known.hide(torch.tensor([0.9, 0.05]), torch.tensor([[0.2, 0.8, 0.8]] * 2), 0.1)
    assert hidden.labels.tolist() == [[0], [0]]
    assert hidden.values.isnan().tolist() == [[False, True], [True, True]]


def test_the_embedding_of_properties_is_neutral_at_the_start_and_of_unknown_values():
    embedding = PropertyEmbedding(2, 8)
    condition = Condition.observed(torch.zeros(1, 1, dtype=bool), torch.tensor([[0.5, torch.nan]]))
    assert not embedding(condition).any()
    torch.nn.init.normal_(embedding.weight)
    assert embedding(condition).any()
    assert not embedding(condition.without_values()).any()
    embedding.weight.data[0] = 0
    assert not embedding(condition).any()


def test_a_model_without_properties_has_the_weights_that_it_had():
    torch.manual_seed(0)
    plain = Denoiser(ModelSpec(16, 1, 2, 3, 21)).state_dict()
    torch.manual_seed(0)
    more = Denoiser(ModelSpec(16, 1, 2, 3, 21, num_properties=2)).state_dict()
    assert set(more) - set(plain) == {"property_in.weight"}
    assert all(torch.equal(more[name], plain[name]) for name in plain)
