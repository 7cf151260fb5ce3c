"""The choice of a checkpoint: the lowest loss wins, damage is named, the release is its average."""

import csv

import pandas as pd
import pytest
import torch

from structdiff.config import parse
from structdiff.model import Denoiser, ModelSpec
from structdiff.peptides.table import Peptides, write_peptides
from structdiff.pretrained import load_model
from structdiff.selection import run
from structdiff.system.errors import UserError
from structdiff.training import metrics
from structdiff.training.checkpoint import Checkpoints, verify
from structdiff.training.run_directory import ensure_arrays

SPEC = ModelSpec(32, 1, 2, 1, 21)


def make_config(metric="total", epoch=None):
    selection = {"metric": metric, "epoch": epoch}
    return parse({"run": "test", "data": {"path": "unused.csv"}, "selection": selection})


def state(epoch, total, diffusion, structure=0.5):
    torch.manual_seed(epoch)
    weights = Denoiser(SPEC).state_dict()
    validation = {"total": total, "diffusion": diffusion, "structure": structure}
    return {
        "model": {name: torch.zeros_like(value) for name, value in weights.items()},
        "ema": weights,
        "optimizer": {},
        "step": 10 * epoch,
        "epoch": epoch,
        "validation": None if total is None else validation,
        "model_spec": vars(SPEC),
        "diffusion": {"sequence_process": "masked", "num_timesteps": 1000},
        "labels": ["antimicrobial"],
        "run": "test",
        "version": "0",
    }


@pytest.fixture
def training(tmp_path):
    """Three epochs: the second is best by the total, the third by the diffusion loss."""
    kept = Checkpoints(tmp_path / "training" / "checkpoints", keep=5)
    kept.save(state(1, 3.0, 2.5), epoch=1, best=True)
    kept.save(state(2, 2.0, 1.9), epoch=2, best=True)
    kept.save(state(3, 2.5, 1.5), epoch=3)
    return tmp_path / "training"


def test_a_folder_without_checkpoints_is_named(tmp_path):
    with pytest.raises(UserError, match="nowhere: has no checkpoints; give the folder that"):
        run(make_config(), tmp_path / "nowhere", tmp_path / "out")


def table(folder):
    with (folder / "selection.tsv").open() as file:
        return {row["candidate"]: row for row in csv.DictReader(file, delimiter="\t")}


@pytest.mark.parametrize(("metric", "epoch"), [("total", 2), ("diffusion", 3)])
def test_the_lowest_loss_wins(training, tmp_path, metric, epoch):
    run(make_config(metric), training, tmp_path / "out")
    verify(tmp_path / "out" / "checkpoint_best.pth")
    release = load_model(tmp_path / "out" / "model.safetensors")
    assert release.info["epoch"] == epoch
    expected = state(epoch, 0, 0)["ema"]
    assert all(
        torch.equal(v, expected[k].half().float()) for k, v in release.network.state_dict().items()
    )
    rows = table(tmp_path / "out")
    (chosen,) = [row for row in rows.values() if row["chosen"] == "yes"]
    assert chosen["epoch"] == str(epoch)
    assert chosen["reason"] == f"lowest validation loss {metric}"
    assert "is 1.0000 higher" in rows["checkpoint_epoch_1.pth"]["reason"]


def test_a_damaged_checkpoint_is_named_and_passed_over(training, tmp_path):
    for name in ("checkpoint_best.pth", "checkpoint_epoch_2.pth", "checkpoint_previous.pth"):
        path = training / "checkpoints" / name
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.unlink()  # the names share one file
        path.write_bytes(content)
    run(make_config(), training, tmp_path / "out")
    assert load_model(tmp_path / "out" / "model.safetensors").info["epoch"] == 3
    row = table(tmp_path / "out")["checkpoint_best.pth"]
    assert row["chosen"] == "no"
    assert "damaged" in row["reason"]


def test_the_epoch_that_is_asked_for_is_taken_whatever_its_loss(training, tmp_path, capsys):
    run(make_config(epoch=1), training, tmp_path / "out")
    assert load_model(tmp_path / "out" / "model.safetensors").info["epoch"] == 1
    assert "epoch 1 is chosen: total 3.0000, the lowest of 1 candidates" in capsys.readouterr().out
    row = table(tmp_path / "out")["checkpoint_best.pth"]
    assert row["reason"] == "is of epoch 2, not 1 (selection.epoch)"


def test_an_epoch_without_a_checkpoint_is_an_error(training, tmp_path):
    with pytest.raises(UserError, match="is of epoch 3, not 9"):
        run(make_config(epoch=9), training, tmp_path / "out")


def test_a_better_validation_without_a_checkpoint_is_told(training, tmp_path, capsys):
    noted = metrics.Metrics(training / "metrics.jsonl")
    for epoch, total in ((1, 3.0), (2, 2.0), (3, 2.5), (4, 1.25)):
        losses = {"total": total, "diffusion": total - 0.5, "structure": 0.5}
        noted.append({"event": "validation", "epoch": epoch, "step": 10 * epoch, **losses})
    noted.close()
    run(make_config(), training, tmp_path / "out")
    told = capsys.readouterr().err
    assert "epoch 4 has a lower validation loss (total 1.2500) than epoch 2 (2.0000)" in told
    assert f"its checkpoint is not in {training / 'checkpoints'}" in told
    row = table(tmp_path / "out")[""]
    assert (row["epoch"], row["chosen"]) == ("4", "no")
    assert row["reason"] == "lowest total on record, but its checkpoint is missing or damaged"


def test_the_history_of_a_checkpoint_is_a_record_too(tmp_path, capsys):
    kept = Checkpoints(tmp_path / "training" / "checkpoints", keep=5)
    history = [{"epoch": 1, "validation": {"total": 1.5}}, {"epoch": 2, "validation": None}]
    kept.save({**state(3, 2.5, 1.5), "history": history})
    run(make_config(), tmp_path / "training", tmp_path / "out")
    assert "epoch 1 has a lower validation loss (total 1.5000)" in capsys.readouterr().err


def test_the_model_has_hashes_of_its_training_peptides(tmp_path, capsys):
    frame = pd.DataFrame({"id": ["a", "b", "c"], "sequence": ["GIGKFLHS", "KWKLFKKI", "ACDEFGHI"]})
    frame = frame.assign(antimicrobial=True, cluster="c", split=["train", "train", "val"])
    write_peptides(Peptides(frame, ["antimicrobial"]), tmp_path / "peptides.parquet")
    training = tmp_path / "training"
    content, _ = ensure_arrays(tmp_path / "peptides.parquet", None, training / "arrays")
    kept = Checkpoints(training / "checkpoints", keep=5)
    kept.save({**state(1, 2.0, 1.9), "identity": {"training data": content}}, best=True)
    run(make_config(), training, tmp_path / "out")
    assert capsys.readouterr().err == ""  # also: no warning where the best is chosen
    seen = load_model(tmp_path / "out" / "model.safetensors").seen
    assert seen.includes(frame["sequence"]).tolist() == [True, True, False]


def test_unknown_training_peptides_are_told(training, tmp_path, capsys):
    run(make_config(), training, tmp_path / "out")
    told = capsys.readouterr().err
    assert f"its training arrays are not in {training / 'arrays'}" in told
    assert "has no hashes of its training peptides" in told
    assert load_model(tmp_path / "out" / "model.safetensors").seen is None


def test_no_checkpoint_with_the_metric_is_an_error(tmp_path):
    kept = Checkpoints(tmp_path / "training" / "checkpoints", keep=5)
    kept.save(state(1, None, None))
    with pytest.raises(UserError, match="was not validated"):
        run(make_config(), tmp_path / "training", tmp_path / "out")
    assert not (tmp_path / "out").exists()
