"""The doctor: right about this machine, and about machines with one thing broken each."""

import os
import shutil
import subprocess
import sys
from collections import namedtuple
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from structdiff.cli import app
from structdiff.config import PARAMETERS, parse
from structdiff.doctor import facts
from structdiff.doctor.checks import judge, judge_inputs
from structdiff.doctor.facts import Folder, Machine, Scheduler, Torch, look
from structdiff.model import PRESETS, ConditionSpec, Denoiser, spec
from structdiff.pretrained import PRETRAINED
from structdiff.system.gpus import Reading

GIB = 2**30
GPU = Reading(0, "NVIDIA H100", "GPU-0", 0, 0, 80 * GIB, 30)
SOUND = Machine(
    python=(3, 12, 1),
    packages={"torch": "2.13.0", "numpy": "2.4.0"},
    wrong={},
    torch=Torch("2.13.0", "13.0", devices=1),
    gpus=[GPU],
    scheduler=Scheduler(installed=True, partitions=("gpu",)),
    results=Folder(Path("results"), 500 * GIB),
    cache=Folder(Path("resources/structures"), 500 * GIB),
    cached=3,
    weights=Path("weights"),
    hub_offline=True,
    cpus=16,
    memory=128 * GIB,
)
ESMFOLD = parse(
    {
        "run": "production",
        "data": {"path": "peptides.csv"},
        "structures": {"predictor": "esmfold"},
        "model": {"preset": "large"},
    }
)


def faults(machine: Machine, config=ESMFOLD, directory=Path(), state="missing") -> dict[str, str]:
    """Return what is missing, each with its finding and remedy."""
    checks = judge(machine, config, directory)
    return {c.subject: f"{c.finding} → {c.remedy}" for c in checks if c.state == state}


notes = partial(faults, state="note")


def test_a_sound_machine_has_no_fault_and_no_note():
    assert faults(SOUND) == notes(SOUND) == {}


@pytest.mark.parametrize(
    ("change", "subject", "words"),
    [
        ({"python": (3, 9, 2)}, "python", ["3.9.2", "3.11 is needed"]),
        ({"packages": {"torch": None}}, "packages", ["torch is not installed", "make install"]),
        (
            {"wrong": {"torch": "2.3.0 is here, >=2.11 is needed"}},
            "packages",
            ["torch 2.3.0 is here, >=2.11 is needed"],
        ),
        ({"torch": Torch(None, error="OSError: libcudart.so")}, "torch", ["libcudart.so"]),
        (
            {"torch": Torch("2.13.0", "13.0", 1, "RuntimeError: no kernel image is available")},
            "torch",
            ["does not compute", "no kernel image", "CUDA_VISIBLE_DEVICES="],
        ),
        (
            {"torch": Torch("2.13.0", None)},
            "torch",
            ["sees none of the 1 GPUs", "fits the driver", "CUDA_VISIBLE_DEVICES="],
        ),
        ({"weights": None}, "structures", ["no weights of ESMFold", "HF_HUB_OFFLINE", "esmfold"]),
        (
            {"results": Folder(Path("results"), 2 * GIB)},
            "disk",
            ["2.0 GiB free for results", "about 17.9 GiB needed", "keep_checkpoints"],
        ),
        ({"results": Folder(Path("results"), 9e12, writable=False)}, "disk", ["cannot be written"]),
        ({"cache": Folder(Path("cache"), 0)}, "cache", ["0.0 GiB free for cache"]),
    ],
)
def test_what_is_broken_is_named_with_a_remedy(change, subject, words):
    found = faults(replace(SOUND, **change))
    assert found.keys() == {subject}
    assert all(word in found[subject] for word in words), found[subject]


def test_more_gpus_asked_for_than_there_are():
    settings = ESMFOLD.model_copy(
        update={"training": ESMFOLD.training.model_copy(update={"num_gpus": 4})}
    )
    assert "set training.num_gpus to 1" in faults(SOUND, settings)["GPU"]


@pytest.mark.parametrize(
    ("change", "subject", "words"),
    [
        ({"gpus": [], "torch": Torch("2.13.0", None)}, "GPU", ["all runs on the CPU"]),
        ({"gpus": [replace(GPU, memory_used=70 * GIB)]}, "GPU", ["more than half full"]),
        ({"scheduler": Scheduler(True, error="timed out")}, "scheduler", ["profiles/local"]),
        ({"weights": None, "hub_offline": False}, "structures", ["fetches 8 GiB"]),
        ({"results": Folder(Path("results"), 9e12, locks=False)}, "disk", ["file locks"]),
    ],
)
def test_what_does_not_stop_the_pipeline_is_a_note(change, subject, words):
    machine = replace(SOUND, **change)
    assert faults(machine) == {}
    assert all(word in notes(machine)[subject] for word in words), notes(machine)


def test_without_a_configuration_no_weights_are_required():
    assert faults(replace(SOUND, weights=None), None) == {}


@pytest.mark.parametrize("there", [True, False])
def test_structures_of_ones_own_in_the_folder_of_the_workflow(tmp_path, there):
    (tmp_path / "mine").mkdir()
    structures = {"predictor": "files", "files": {"path": "mine" if there else "gone"}}
    config = parse({"run": "x", "data": {"path": "p.csv"}, "structures": structures})
    found = faults(SOUND, config, tmp_path)
    assert found == {} if there else "set structures.files.path" in found["structures"]


def test_parameters_are_those_of_the_presets():
    assert PARAMETERS.keys() == PRESETS.keys()
    for preset, about in PARAMETERS.items():
        with torch.device("meta"):
            model = Denoiser(spec(preset, ConditionSpec(["a", "b", "c"]), 21))
        assert sum(p.numel() for p in model.parameters()) == pytest.approx(about, rel=0.03)


def doctor(*arguments: object, **environment: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "structdiff", "doctor", *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, **environment}
    )


def test_this_machine_can_run_the_pipeline(tmp_path):
    done = doctor("--directory", tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"✓ torch       {torch.__version__}" in done.stdout
    assert "the pipeline can run here" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_a_torch_that_cannot_be_imported(tmp_path):
    (tmp_path / "torch.py").write_text("raise OSError('libtorch.so: cannot open shared object')\n")
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    done = doctor("--directory", tmp_path, PYTHONPATH=path)
    assert done.returncode == 1
    assert "✗ torch       cannot be imported: OSError: libtorch.so" in done.stdout
    assert "cannot run here yet: torch" in done.stdout
    assert "Traceback" not in done.stderr


@pytest.fixture
def torch_known(monkeypatch):
    """What torch says, without the process that asks it."""
    monkeypatch.setattr(facts, "ask_torch", lambda: SOUND.torch)


@pytest.mark.parametrize("model", ["folder", "facebook/esmfold_v1"])
def test_weights_that_are_not_there(tmp_path, model, torch_known, monkeypatch):
    config = tmp_path / "my.yaml"
    name = tmp_path / model if model == "folder" else model
    config.write_text(
        "{run: x, data: {path: p.csv}, "
        f"structures: {{predictor: esmfold, esmfold: {{model: {name}}}}}}}\n"
    )
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    arguments = ["doctor", "--config", config, "--directory", tmp_path]
    done = CliRunner().invoke(app, list(map(str, arguments)))
    assert done.exit_code == 1
    assert f"no weights of ESMFold: {name}" in " ".join(done.stdout.split())
    assert "run 'x' cannot run here yet: structures" in done.stdout


def test_weights_in_the_cache_of_the_hub(tmp_path, monkeypatch, torch_known):
    folder = tmp_path / "models--facebook--esmfold_v1" / "snapshots" / "abc"
    folder.mkdir(parents=True)
    for name in ("config.json", "model.safetensors"):
        (folder / name).touch()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert look(None, tmp_path).weights == folder
    structures = {"predictor": "esmfold", "esmfold": {"model": str(folder.relative_to(tmp_path))}}
    relative = parse({"data": {"path": "p.csv"}, "structures": structures})
    assert look(relative, tmp_path).weights == folder


def test_a_full_disk(tmp_path, monkeypatch, torch_known):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(GIB, GIB, 0))
    assert {"disk", "cache"} <= faults(look(ESMFOLD, tmp_path)).keys()


def test_a_place_where_no_file_can_be_made(torch_known):
    proc = Path("/proc/self")
    if not proc.is_dir():
        pytest.skip("no /proc, the one place where nobody can make a file")
    assert "cannot be written" in faults(look(None, proc), None)["disk"]


TABLE = "id,sequence,amp\na,GIGKFLHSAK,1\n"


@pytest.mark.parametrize(
    ("data", "training", "preset", "words"),
    [
        ({"path": "no.csv"}, {}, "small", {"peptides": "no.csv is not here yet"}),
        ({"path": "p.csv", "label_columns": ["hem"]}, {}, "small", {"peptides": "no column 'hem'"}),
        ({"path": "p.csv"}, {"init": "relased"}, "small", {"start": "relased: cannot be read"}),
        ({"path": "p.csv"}, {"init": "released"}, "tiny", {"start": "is not model.preset tiny"}),
        ({"path": "p.csv"}, {"init": "mine"}, "small", {}),
        ({"path": "p.csv", "label_columns": ["amp"]}, {"init": "released"}, "small", {}),
    ],
)
def test_tables_and_starting_weights_are_read(tmp_path, data, training, preset, words):
    (tmp_path / "p.csv").write_text(TABLE)
    shutil.copy(PRETRAINED, tmp_path / "mine")
    config = parse({"data": data, "training": training, "model": {"preset": preset}})
    checks = judge_inputs(config, tmp_path, SOUND)
    found = {check.subject: check.finding for check in checks if check.state != "works"}
    assert found.keys() == words.keys()
    for subject, text in words.items():
        assert text in found[subject]
