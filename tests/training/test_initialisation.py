"""Starting weights: the same predictions as the model they come from, until they are trained."""

import numpy as np
import pytest
import torch

from structdiff.diffusion import JointProcess
from structdiff.model import (
    Condition,
    ConditionSpec,
    Denoiser,
    ModelSpec,
    Property,
    no_estimate,
    spec,
)
from structdiff.pretrained import save_model
from structdiff.system.errors import UserError
from structdiff.training import run_directory
from structdiff.training.initialisation import (
    Start,
    check_properties,
    hash_weights,
    initialise,
    matches,
    read_start,
)

PROCESS = JointProcess("masked", 1000)


def mic(values) -> Property:
    return Property.fit("mic", "uM", "log10", np.asarray(values, dtype=float))


def make(conditions: ConditionSpec, seed: int) -> Denoiser:
    """Return a small network of random weights."""
    torch.manual_seed(seed)
    count = len(conditions.properties)
    network = Denoiser(ModelSpec(16, 1, 2, len(conditions.labels), 21, num_properties=count))
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return network.eval()


def predict(network: Denoiser, labels: list[int], values: torch.Tensor | None = None):
    """Return the logits for one peptide with states of labels and standardised properties."""
    generator = torch.Generator().manual_seed(1)
    sequence, structure = (torch.randn(1, 7, n, generator=generator) for n in (21, 9))
    level = torch.tensor([0.5])
    condition = Condition(torch.tensor([labels]), values=values)
    mask = torch.ones(1, 7, dtype=torch.bool)
    with torch.no_grad():
        return network(
            sequence, structure, mask, level, level, condition, *no_estimate(structure)
        ).logits


def start_of(network: Denoiser, conditions: ConditionSpec) -> Start:
    return Start(network.state_dict(), network.spec, conditions, PROCESS)


def test_labels_are_matched_by_name_and_new_ones_are_neutral():
    before, after = ConditionSpec(["a", "b"]), ConditionSpec(["new", "b"])
    old, fresh = make(before, 0), make(after, 1)
    initialise(fresh, after, start_of(old, before))
    for state in (0, 1, 2):
        expected = predict(old, [0, state])  # the label that is gone is unspecified
        for new in (0, 1, 2):
            assert torch.allclose(predict(fresh, [new, state]), expected, atol=1e-5)


def test_a_property_keeps_its_curve_with_other_statistics():
    before = ConditionSpec(["a"], properties=[mic([1, 10, 100])])
    after = ConditionSpec(
        ["a"], properties=[mic([1, 30, 200]), Property("x", "", "linear", 0, 1, [])]
    )
    old, fresh = make(before, 0), make(after, 1)
    initialise(fresh, after, start_of(old, before))
    for value in (2.0, 10.0, 60.0):
        first, second = (
            torch.tensor([[float(c.properties[0].standardise(np.array(value)))]])
            for c in (before, after)
        )
        for other in (torch.nan, 0.7):
            values = torch.cat([second, torch.tensor([[other]])], dim=1)
            assert torch.allclose(predict(fresh, [2], values), predict(old, [2], first), atol=0.02)
    assert torch.allclose(
        predict(fresh, [2], torch.full((1, 2), torch.nan)),
        predict(old, [2], torch.full((1, 1), torch.nan)),
        atol=1e-5,
    )


def test_another_unit_or_scale_of_a_property_is_refused():
    start = ConditionSpec(["a"], properties=[mic([1, 10, 100])])
    check_properties(start, {"mic": ("\u00b5M", "log10"), "new": ("", "linear")})
    for unit, scale, words in (("ug/mL", "log10", "the unit uM, now ug/mL"), ("uM", "linear", "")):
        with pytest.raises(UserError, match=f"'mic' had {words}"):
            check_properties(start, {"mic": (unit, scale)})
    after = ConditionSpec(["a"], properties=[Property("mic", "nM", "log10", 0, 1, [])])
    with pytest.raises(UserError, match="had the unit uM, now nM"):
        initialise(make(after, 1), after, start_of(make(start, 0), start))


def test_what_is_taken_over_and_what_is_new_is_said():
    start = ConditionSpec(["antimicrobial", "antifungal"], properties=[mic([1, 10, 100])])
    lines = matches(start, ["Antimicrobial", "toxic"], ["mic"])
    assert lines[:3] == [
        "taken over: mic",
        "new: Antimicrobial, toxic",
        "no longer used: antimicrobial, antifungal",
    ]
    assert "'Antimicrobial' is new, and 'antimicrobial'" in lines[3] and len(lines) == 4
    assert matches(start, ["mic"], []) == [
        "new: mic",
        "no longer used: antimicrobial, antifungal, mic",
    ]


def test_what_does_not_fit_is_named(tmp_path):
    conditions = ConditionSpec(["a"])
    torch.manual_seed(0)
    network = Denoiser(spec("tiny", conditions, PROCESS.sequence.width))
    path = tmp_path / "model.safetensors"
    diffusion = {"sequence_process": "masked", "num_timesteps": 1000}
    save_model(path, network.state_dict(), network.spec, diffusion, conditions, {}, {"run": "x"})
    assert read_start(str(path), "tiny", PROCESS).conditions == conditions
    with pytest.raises(UserError, match=r"not model\.preset small: set model\.preset to tiny"):
        read_start(str(path), "small", PROCESS)
    with pytest.raises(UserError, match="another noise process of the sequence"):
        read_start(str(path), "tiny", JointProcess("gaussian", 1000))
    (tmp_path / "own.csv").write_text("id,sequence\n")
    with pytest.raises(UserError, match=r"training\.init: .*own\.csv: has no checksum"):
        read_start(str(tmp_path / "own.csv"), "tiny", PROCESS)
    with pytest.raises(UserError, match=r"no\.safetensors: cannot be read .*give `released`"):
        hash_weights(str(tmp_path / "no.safetensors"))


def test_the_starting_weights_are_part_of_the_identity(make_config):
    plain, started = make_config(), make_config(init="released")
    content = "0" * 64
    before, after = (run_directory.identity(c, content) for c in (plain, started))
    assert "starting weights" not in before and "training.init" not in before
    assert after == before | {"starting weights": hash_weights("released")}
