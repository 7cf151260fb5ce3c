"""The values of the training guide's example run as written there."""

import csv

import numpy as np
import pytest
import torch
import yaml

from structdiff import config as settings
from structdiff.peptides import stage as peptides_stage
from structdiff.protein.residues import AMINO_ACIDS
from structdiff.structures import stage as structures_stage
from structdiff.training import metrics, stage
from structdiff.training.checkpoint import read
from tests.guide import GUIDE


def _guide(use_esmfold, **changes):
    """Return the guide's example, but for the size of the model."""
    values = yaml.safe_load(GUIDE)
    values["model"]["structure_encoder"]["use_esmfold"] = use_esmfold
    values["model"]["preset"] = "tiny"
    for section, changed in changes.items():
        values.setdefault(section, {}).update(changed)
    return settings.parse(values)


@pytest.fixture(scope="module")
def stages(tmp_path_factory):
    """Return peptides and (ideal) structures for the guide's example."""
    folder = tmp_path_factory.mktemp("guide")
    random = np.random.default_rng(0)
    (folder / "data").mkdir()
    for name, count in (("train", 24), ("val", 6)):
        with (folder / "data" / f"{name}.csv").open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["id", "sequence"])
            for i in range(count):
                letters = random.choice(list(AMINO_ACIDS), random.integers(8, 16))
                rows.writerow([f"{name}{i}", "".join(letters)])
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        config = _guide(use_esmfold=False)
        peptides_stage.run(config, folder / "peptides")
        peptides = folder / "peptides" / "peptides.parquet"
        structures_stage.run(config, peptides, folder / "structures")
    return peptides, folder / "structures" / "index.parquet"


@pytest.mark.workflow
def test_the_example_runs_as_written(stages, tmp_path, capsys):
    torch.set_num_threads(1)
    stage.run(_guide(use_esmfold=False), *stages, tmp_path)
    kept = sorted(path.name for path in (tmp_path / "checkpoints").glob("*.pth"))
    epochs = [f"checkpoint_epoch_{n}.pth" for n in (100, 60, 70, 80, 90)]
    names = ["checkpoint_best.pth", *epochs, "checkpoint_latest.pth", "checkpoint_previous.pth"]
    assert kept == names
    lines = metrics.read(tmp_path / "metrics.jsonl")
    steps = [line for line in lines if line["event"] == "step"]
    assert [line["step"] for line in steps] == list(range(1, 101))
    assert max(line["lr"] for line in steps) == pytest.approx(1e-4)
    validated = [line["epoch"] for line in lines if line["event"] == "validation"]
    assert validated == list(range(5, 101, 5))
    assert all(line["structure"] > 0 for line in steps)
    group = read(tmp_path / "checkpoints" / "checkpoint_latest.pth")["optimizer"]["param_groups"][0]
    assert group["weight_decay"] == 0.01
    (log,) = (tmp_path / "logs").glob("training_*.log")
    text = log.read_text()
    for line in (
        " - INFO - Starting StructDiff training",
        " - INFO - Model parameters: 1,25",
        "Effective batch size: 32 = 8 × 4 × 1",
        " - WARNING - there are only 100 steps in all, and the learning rate rises for 100 ",
        " - INFO - 🚀 Epoch 1/100",
        " - INFO - Training loss - total: ",
        " - INFO - Validation loss - total: ",
        " - INFO - 💾 Saved the best model (validation loss: ",
        " - INFO - 💾 Saved checkpoint_epoch_10.pth",
        "memory: ",
    ):
        assert line in text
    assert (tmp_path / "config.yaml").exists()


def test_with_esmfold_it_trains_on_its_structures(stages, tiny_esmfold, tmp_path):
    torch.set_num_threads(1)
    peptides, _ = stages
    config = _guide(
        use_esmfold=True,
        structures={
            "cache": str(tmp_path / "cache"),
            "esmfold": {"model": str(tiny_esmfold), "dtype": "float32"},
        },
        training={"num_epochs": 5},
    )
    structures_stage.run(config, peptides, tmp_path / "structures")
    index = tmp_path / "structures" / "index.parquet"
    stage.run(config, peptides, index, tmp_path / "training")
    lines = metrics.read(tmp_path / "training" / "metrics.jsonl")
    assert lines[-1]["event"] == "end"
    assert all(line["structure"] > 0 for line in lines if line["event"] == "step")
    assert "esmfold" in (tmp_path / "structures" / "summary.tsv").read_text()
