"""The Python interface: free to import, and its examples run on a small saved model."""

import doctest
import subprocess
import sys

import pytest
import torch

import structdiff
from structdiff import api
from structdiff.diffusion import JointProcess, refinement
from structdiff.model import ConditionSpec, Denoiser, ModelSpec
from structdiff.pretrained import save_model

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
    sizes = ModelSpec(32, 1, 2, len(LABELS), process.sequence_width)
    torch.manual_seed(0)
    lengths = {"antimicrobial": [0] * 10 + [3, 2, 1]}
    save_model(path, Denoiser(sizes).state_dict(), sizes, diffusion, conditions, lengths, {})
    return folder


@pytest.mark.parametrize("module", [structdiff, api])
def test_the_examples_are_right(module, saved, monkeypatch):
    monkeypatch.chdir(saved)
    monkeypatch.setattr(refinement, "_CLASH_STEPS", 5)  # backbones of random weights all clash
    names = {"structdiff": structdiff}
    names["model"] = structdiff.load("results/demo/selection/model.safetensors", "cpu")
    result = doctest.testmod(module, extraglobs=names)
    assert result.attempted >= 5
    assert result.failed == 0


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
