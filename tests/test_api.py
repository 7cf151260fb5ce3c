"""The Python interface: free to import, and its examples run on a small saved model."""

import doctest
import math
import subprocess
import sys
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch

import structdiff
from structdiff import api
from structdiff.diffusion import JointProcess, refinement
from structdiff.generation.tasks import Design
from structdiff.model import ConditionSpec, Denoiser, ModelSpec
from structdiff.pretrained import save_model
from structdiff.protein.geometry import ANGLES, rebuild
from structdiff.system.errors import UserError

LABELS = ["antimicrobial", "anticancer"]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A folder with a model of random weights, where the examples look for the demo's."""
    folder = tmp_path_factory.mktemp("api")
    path = folder / "results" / "demo" / "selection" / "model.safetensors"
    path.parent.mkdir(parents=True)
    diffusion = {"num_timesteps": 100, "sequence_process": "masked"}
    process = JointProcess(**diffusion)
    conditions = ConditionSpec(LABELS)
    sizes = ModelSpec(32, 1, 2, len(LABELS), process.sequence.width)
    torch.manual_seed(0)
    lengths = {"antimicrobial": [0] * 10 + [3, 2, 1]}
    save_model(path, Denoiser(sizes).state_dict(), sizes, diffusion, conditions, lengths, {})
    return folder


@pytest.fixture(scope="module")
def model(saved):
    return structdiff.load(saved / "results" / "demo" / "selection" / "model.safetensors", "cpu")


@pytest.mark.parametrize("module", [structdiff, api])
def test_the_examples_are_right(module, saved, model, monkeypatch):
    monkeypatch.chdir(saved)
    monkeypatch.setattr(refinement, "_CLASH_STEPS", 5)  # backbones of random weights all clash
    result = doctest.testmod(module, extraglobs={"structdiff": structdiff, "model": model})
    assert result.attempted >= 5
    assert result.failed == 0


def test_the_default_type_of_a_script_changes_nothing(saved, model, monkeypatch):
    monkeypatch.setattr(refinement, "_CLASH_STEPS", 5)

    def results(model):
        folded = structdiff.fold(model, "GIGKFLHSAK").backbone
        [design] = structdiff.generate(model, 1, "antimicrobial", length=10, num_steps=3)
        scores = structdiff.score(model, "GIGKFLHSAK", folded).log_probability
        return folded, design.backbone, scores, structdiff.scan(model, "GIGKF").log_probability

    expected = results(model)
    torch.set_default_dtype(torch.float64)
    try:
        again = structdiff.load(
            saved / "results" / "demo" / "selection" / "model.safetensors", "cpu"
        )
        assert all(map(np.array_equal, results(again), expected))
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)


def test_results_with_arrays_can_be_compared_and_collected(model):
    for result in (structdiff.score(model, "GIGKF"), structdiff.scan(model, "GIGKF")):
        assert result == result and result != replace(result)
        assert len({result, replace(result)}) == 2
    design = Design(0, "GIGKF", np.zeros((5, 4, 3)))
    assert design in [replace(design), design]


BACKBONE = np.zeros((4, 4, 3), dtype=np.float32)
HELIX, LONGER = (
    rebuild(
        torch.tensor([-1.1, -0.73, math.pi]).expand(length, 3),
        torch.tensor(ANGLES).expand(length, 3),
    ).numpy()
    for length in (4, 8)
)
MIRRORED = LONGER * np.array([1, 1, -1], dtype=np.float32)
MISTAKES = {
    "fold, letter": (lambda m: api.fold(m, "GIGX"), "'X' at position 4"),
    "fold, bytes": (lambda m: api.fold(m, b"GIGK"), "give a text of one-letter codes"),
    "fold, list": (lambda m: api.fold(m, ["GIGK"]), "give a text of one-letter codes"),
    "infill, none": (lambda m: api.infill(m, None, 1), "give a text of one-letter codes"),
    "analogues, strength": (lambda m: api.analogues(m, "GIGK", "0.5", 1), "'0.5' is not a number"),
    "fold, empty": (lambda m: api.fold(m, ""), "the sequence is empty"),
    "score, letter": (lambda m: api.score(m, "GIGK "), "' ' at position 5"),
    "score, empty": (lambda m: api.score(m, ""), "the sequence is empty"),
    "score, backbone": (lambda m: api.score(m, "GIG", BACKBONE), "shape .4, 4, 3.*of 3 residues"),
    "scan, letter": (lambda m: api.scan(m, "gigk"), "'g' at position 1"),
    "scan, length": (lambda m: api.scan(m, "GIGK", "length 9..12"), "labels only, not for length"),
    "scan, label": (lambda m: api.scan(m, "GIGK", None), "label None: give a text"),
    "scan, empty": (lambda m: api.scan(m, ""), "the sequence is empty"),
    "analogues, letter": (lambda m: api.analogues(m, "GIGX", 0.5, 1), "'X' at position 4"),
    "analogues, empty": (lambda m: api.analogues(m, "", 0.5, 1), "the sequence is empty"),
    "analogues, count": (lambda m: api.analogues(m, "GIGK", 0.5, -1), "-1 designs"),
    "inverse_fold, shape": (lambda m: api.inverse_fold(m, BACKBONE[:, :3], 1), "shape .4, 3, 3"),
    "inverse_fold, empty": (lambda m: api.inverse_fold(m, BACKBONE[:0], 1), "shape .0, 4, 3"),
    "inverse_fold, NaN": (lambda m: api.inverse_fold(m, BACKBONE + np.nan, 1), "give finite N"),
    "inverse_fold, text": (lambda m: api.inverse_fold(m, "a.pdb", 1), "not an array of numbers"),
    "inverse_fold, ragged": (lambda m: api.inverse_fold(m, [[1, 2], [3]], 1), "not an array of"),
    "inverse_fold, zeros": (lambda m: api.inverse_fold(m, BACKBONE, 1), "all atoms are at one"),
    "inverse_fold, nm": (lambda m: api.inverse_fold(m, HELIX / 10, 1), "the unit seems to be nm"),
    "inverse_fold, order": (
        lambda m: api.inverse_fold(m, HELIX[:, [0, 1, 3, 2]], 1),
        "Cα–C of residue 1 is 2",
    ),
    "score, nm": (lambda m: api.score(m, "GIGK", HELIX / 10), "the unit seems to be nm"),
    "inverse_fold, mirror": (lambda m: api.inverse_fold(m, MIRRORED, 1), "7 of 7 φ angles are po"),
    "score, mirror": (lambda m: api.score(m, "KLLGKLLK", MIRRORED), "6 of 6 φ angles are pos"),
    "score, gradient": (
        lambda m: api.score(m, "GIGK", torch.tensor(HELIX, requires_grad=True)),
        "not an array of numbers: Can't call numpy",
    ),
    "view, text": (lambda m: api.view({"magainin": "GIGK"}), "give a design or a fold"),
    "view, fold": (lambda m: api.view(api.fold(m, "GIGK")), "give the peptides by name"),
    "inverse_fold, count": (lambda m: api.inverse_fold(m, BACKBONE, -1), "-1 designs"),
    "infill, count": (lambda m: api.infill(m, "GI??", -1), "-1 designs"),
    "generate, count": (lambda m: api.generate(m, -1), "-1 designs"),
    "generate, length": (lambda m: api.generate(m, 1, length=0), "lengths 0 to 0: give 1 or more"),
    "generate, lengths": (lambda m: api.generate(m, 1, length=(9, 8)), "lengths 9 to 8"),
    "generate, steps": (lambda m: api.generate(m, 1, num_steps=0), "num_steps 0: give a whole"),
    "generate, guidance": (
        lambda m: api.generate(m, 1, guidance_scale=-1),
        "a number from 0 to 1,000,000",
    ),
    "generate, temperature": (lambda m: api.generate(m, 1, temperature=0), "a number from 0.0"),
    "generate, hot": (lambda m: api.generate(m, 1, temperature=1e-40), "a number from 0.0"),
    "generate, hard": (lambda m: api.generate(m, 1, guidance_scale=1e300), "from 0 to 1,000,000"),
    "generate, switch": (lambda m: api.generate(m, 1, num_steps=True), "num_steps True: give a"),
    "generate, seed": (lambda m: api.generate(m, 1, seed=0.5), "seed 0.5: give a whole number"),
    "generate, large seed": (lambda m: api.generate(m, 1, seed=2**32), "from 0 to 2³² - 1"),
    "generate, setting": (lambda m: api.generate(m, 1, steps=3), "'steps' is not a setting"),
    "generate, forbid": (lambda m: api.generate(m, 1, forbid=["C"]), "give a text such as 'C,M'"),
    "generate, sampler": (lambda m: api.generate(m, 1, sampler=["x"]), "text such as 'ancestral'"),
    "generate, label": (lambda m: api.generate(m, 1, None), "label None: give a text"),
    "generate, whole": (lambda m: api.generate(m, 1.5), "1.5 designs"),
    "generate, words": (lambda m: api.generate(m, 1, length="10-12"), "length '10-12': give a"),
    "generate, true": (lambda m: api.generate(m, 1, length=True), "length True: give a whole"),
    "generate, one": (lambda m: api.generate(m, 1, length=(10,)), "give a whole number, or two"),
    "generate, text": (lambda m: api.generate(m, 1, num_steps="9"), "num_steps '9': give a whole"),
}


@pytest.mark.parametrize(("call", "message"), MISTAKES.values(), ids=list(MISTAKES))
def test_a_mistake_in_an_argument_is_told(model, call, message):
    with pytest.raises(UserError, match=message):
        call(model)


def test_glycines_of_either_hand_are_taken(model):
    assert len(api.score(model, "GGGGGGGG", MIRRORED).log_probability) == 8


def test_a_backbone_of_a_table_is_taken(model):
    """What pandas and np.load(mmap_mode="r") give cannot be written to; torch warns of such."""
    backbone = HELIX.copy()
    backbone.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (design,) = api.inverse_fold(model, backbone, 1, num_steps=2)
        from_list = api.score(model, "GIGK", backbone.tolist()).log_probability
    assert design.backbone is not backbone
    np.testing.assert_array_equal(from_list, api.score(model, "GIGK", backbone).log_probability)


def test_inference_mode_of_the_caller_changes_nothing(model):
    fold, [design] = api.fold(model, "GIGKFLHS"), api.generate(model, 1, num_steps=2)
    with torch.inference_mode():
        again, [same] = api.fold(model, "GIGKFLHS"), api.generate(model, 1, num_steps=2)
    np.testing.assert_array_equal(again.backbone, fold.backbone)
    np.testing.assert_array_equal(same.backbone, design.backbone)


def straight(length: int) -> np.ndarray:
    """A chain of ``length`` residues with the bonds of residue 1 of the helix, 3.8 Å apart."""
    steps = np.arange(length)[:, None, None] * np.array([0.0, 3.8, 0.0])
    return HELIX[0] + steps


LONG = "K" * 2000
FAR_TOO_LONG = {
    "fold": lambda m: api.fold(m, LONG),
    "score": lambda m: api.score(m, LONG),
    "scan": lambda m: api.scan(m, LONG),
    "infill": lambda m: api.infill(m, LONG + "?", 1),
    "analogues": lambda m: api.analogues(m, LONG, 0.5, 1),
    "inverse_fold": lambda m: api.inverse_fold(m, straight(len(LONG)), 1),
    "generate": lambda m: api.generate(m, 1, length=len(LONG)),
}


@pytest.mark.parametrize("call", FAR_TOO_LONG.values(), ids=list(FAR_TOO_LONG))
def test_a_peptide_far_longer_than_the_training_peptides_is_refused(model, call):
    """Memory and time grow with the square of the length: 5,000 residues fill 20 GB."""
    with pytest.raises(UserError, match=r"200\d residues are far beyond what the model has seen"):
        call(model)


def test_a_length_is_warned_of_once(model, capsys):
    api.generate(model, 1, length=14, num_steps=2)
    assert capsys.readouterr().err.count("14 residues: the model was trained on") == 1


@pytest.mark.parametrize("device", ["gpu", "cuda:99"])
def test_a_device_that_cannot_be_used_is_told(device):
    with pytest.raises(UserError, match=f"the device '{device}' cannot be used: "):
        structdiff.load(device=device)


def test_numbers_of_numpy_are_numbers(model):
    (design,) = api.generate(model, 1, length=np.int64(9), num_steps=2)
    assert len(design.sequence) == 9


def test_no_design_is_an_empty_list(model):
    assert api.analogues(model, "GIGKFLHS", 0.5, 0) == []
    assert api.generate(model, 0) == []


def test_importing_costs_nothing_and_knows_its_functions():
    code = (
        "import sys, structdiff; heavy = {'torch', 'numpy', 'pandas', 'pydantic'}; "
        "print(sorted(heavy & set(sys.modules)), set(structdiff.__all__) <= set(dir(structdiff)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[] True"


def test_a_name_that_is_not_there():
    with pytest.raises(AttributeError, match="has no attribute 'generat'"):
        structdiff.generat  # noqa: B018


def test_every_public_function_is_offered():
    assert set(structdiff.__all__) - {"__version__"} == set(api.__all__)
