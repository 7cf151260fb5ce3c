"""The content of a folder decides: resume, begin again, set aside, import a checkpoint."""

import json
import random
import shutil

import pytest
import torch

from structdiff import selection
from structdiff.system.errors import UserError
from structdiff.training import metrics, run_directory, stage
from structdiff.training.checkpoint import BEST, LATEST, read
from structdiff.training.interrupt import Stopped
from structdiff.training.trainer import Trainer
from tests.damage import cut_off, flipped


@pytest.fixture
def finished(uninterrupted, tmp_path):
    """Return a copy of a finished run, to change at will."""
    return shutil.copytree(uninterrupted, tmp_path / "run")


def _steps(output_dir):
    return [x["step"] for x in metrics.read(output_dir / "metrics.jsonl") if x["event"] == "step"]


def _checkpoint(output_dir, name=LATEST):
    return output_dir / "checkpoints" / name


def test_a_finished_run_is_left_as_it_is(make_config, peptides, finished, capsys):
    before = {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()}
    stage.run(make_config(), peptides, None, finished)
    assert "trained already, 3 epochs" in capsys.readouterr().out
    after = {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()}
    changed = {path.name for path in after if before.get(path) != after[path]}
    assert changed <= {".lock"}


@pytest.mark.workflow
def test_cores_share_the_micro_batches_of_a_step(
    make_config, peptides, finished, tmp_path, monkeypatch
):
    """Without a GPU; the losses are those of one process, which sums in another order."""
    monkeypatch.setattr(stage, "granted_cores", lambda: 2)
    stage.run(make_config(num_epochs=1), peptides, None, tmp_path / "shared")
    start, *lines = metrics.read(tmp_path / "shared" / "metrics.jsonl")
    assert start["world_size"] == 2
    assert start["effective_batch"] == 16
    first = [line["total"] for line in lines if line["event"] == "step"]
    alone = [x["total"] for x in metrics.read(finished / "metrics.jsonl") if x["event"] == "step"]
    assert first == pytest.approx(alone[: len(first)], rel=1e-4)


@pytest.mark.parametrize(
    ("device", "cores", "processes"), [("cuda", 8, 1), ("cpu", 8, 4), ("cpu", 3, 3)]
)
def test_processes_that_share_a_step_of_four_micro_batches(
    device, cores, processes, make_config, monkeypatch
):
    monkeypatch.setattr(stage, "granted_cores", lambda: cores)
    assert stage._processes_on(device, make_config().training) == processes


def test_a_table_smaller_than_a_batch_has_one_step_an_epoch(make_config, peptides, tmp_path):
    config = make_config(batch_size=768, gradient_accumulation_steps=1)
    stage.run(config, peptides, None, tmp_path)
    assert _steps(tmp_path) == [1, 2, 3]
    lines = metrics.read(tmp_path / "metrics.jsonl")
    assert all(line["grad_norm"] > 0 for line in lines if line["event"] == "step")
    assert "there are only 3 steps in all" in next((tmp_path / "logs").iterdir()).read_text()


def test_more_epochs_continue(make_config, peptides, finished):
    stage.run(make_config(num_epochs=5), peptides, None, finished)
    assert _steps(finished) == list(range(1, 16))
    assert not (finished / "superseded").exists()
    state = read(_checkpoint(finished))
    assert [entry["epoch"] for entry in state["history"]] == [1, 2, 3, 4, 5]
    events = [line["event"] for line in metrics.read(finished / "metrics.jsonl")]
    assert events.count("end") == 1
    assert events[-1] == "end"


def test_the_last_epoch_is_validated_although_num_epochs_is_lowered_to_it(
    make_config, peptides, tmp_path, monkeypatch
):
    def stop(trainer, epoch, logger, interrupt, honest=Trainer._close_epoch):
        honest(trainer, epoch, logger, interrupt)
        if epoch == 1:
            raise Stopped

    monkeypatch.setattr(Trainer, "_close_epoch", stop)
    with pytest.raises(SystemExit):
        stage.run(make_config(num_epochs=9, validate_every=5), peptides, None, tmp_path)
    monkeypatch.undo()
    stage.run(make_config(num_epochs=2, validate_every=5), peptides, None, tmp_path)
    assert _steps(tmp_path) == list(range(1, 7))
    state = read(_checkpoint(tmp_path))
    assert [bool(entry["validation"]) for entry in state["history"]] == [False, True]
    assert state["best"]["epoch"] == 2
    assert json.loads((tmp_path / "summary.json").read_text())["best"]["epoch"] == 2


def test_a_run_that_stopped_within_an_epoch_is_validated_when_num_epochs_is_lowered(
    make_config, peptides, tmp_path, monkeypatch, capsys
):
    def stop(trainer, rows, micro_batches, interrupt, honest=Trainer.step):
        honest(trainer, rows, micro_batches, interrupt)
        if trainer.progress.step == 7:
            trainer.stop_requested = True

    monkeypatch.setattr(Trainer, "step", stop)
    with pytest.raises(SystemExit):
        stage.run(make_config(num_epochs=9, validate_every=5), peptides, None, tmp_path / "run")
    monkeypatch.undo()
    config = make_config(num_epochs=2, validate_every=5)
    stage.run(config, peptides, None, tmp_path / "run")
    last = _steps(tmp_path / "run")[-1]
    assert last > 6  # within the third epoch
    selection.run(config, tmp_path / "run", tmp_path / "selection")
    assert "epoch 2 is chosen" in capsys.readouterr().out
    stage.run(config, peptides, None, tmp_path / "run")
    assert not (tmp_path / "run" / "superseded").exists()


def test_fewer_epochs_than_were_trained_begin_afresh(make_config, peptides, finished):
    stage.run(make_config(num_epochs=1), peptides, None, finished)
    (aside,) = (finished / "superseded").iterdir()
    assert read(_checkpoint(aside))["epoch"] == 3
    assert read(_checkpoint(finished))["epoch"] == 1
    log = max((finished / "logs").iterdir()).read_text()
    assert "training begins again (training.num_epochs: 3 trained → 1)" in log


@pytest.mark.parametrize(
    "change", [{"optimizer": {"lr": 2e-3}}, {"batch_size": 8}, {"seed": 1}, {"ema_decay": 0.5}]
)
def test_other_settings_set_the_old_run_aside(change, make_config, peptides, finished):
    old = read(_checkpoint(finished))
    stage.run(make_config(num_epochs=1, **change), peptides, None, finished)
    (aside,) = (finished / "superseded").iterdir()
    assert torch.equal(
        read(_checkpoint(aside))["ema"]["length_in.weight"], old["ema"]["length_in.weight"]
    )
    assert (aside / "metrics.jsonl").exists()
    assert (aside / "summary.json").exists()
    assert len(_steps(finished)) == _steps(finished)[-1] <= 3
    log = max((finished / "logs").iterdir()).read_text()
    assert f"it is now in {aside}, and training begins again" in log
    assert next(iter(change)) in log or "effective batch: 16 → 32" in log


@pytest.mark.parametrize(
    "change",
    [
        {"batch_size": 8, "gradient_accumulation_steps": 2},
        {"validate_every": 1, "save_every": 1, "keep_checkpoints": 1},
        {"activation_checkpointing": True, "compile": True},
    ],
)
def test_how_it_is_computed_and_kept_sets_nothing_aside(change, make_config, peptides, finished):
    stage.run(make_config(**change), peptides, None, finished)
    assert not (finished / "superseded").exists()


def test_resuming_from_an_earlier_checkpoint_loses_nothing(
    make_config, peptides, finished, uninterrupted, assert_identical
):
    """From the end of epoch 2 to the end again: the same run, and the first one set aside."""
    chosen = _checkpoint(finished, "checkpoint_epoch_2.pth")
    stage.run(make_config(), peptides, None, finished, resume=chosen)
    assert_identical(uninterrupted, finished)
    (aside,) = (finished / "superseded").iterdir()
    assert_identical(uninterrupted, aside)
    assert read(_checkpoint(finished, "checkpoint_best.pth"))["step"] in (6, 9)


@pytest.fixture
def second_is_best(finished):
    """Return a run whose second epoch is the best, with the checkpoint of that epoch."""
    path = _checkpoint(finished, "checkpoint_epoch_2.pth")
    assert read(path)["best"]["epoch"] == 2
    return path


def test_resuming_from_the_best_keeps_it(make_config, peptides, second_is_best, tmp_path):
    """A learning rate so high that the next epoch is worse."""
    best = read(second_is_best)
    config = make_config(num_epochs=3, optimizer={"lr": 0.1})
    stage.run(config, peptides, None, tmp_path / "worse", resume=second_is_best)
    state = read(_checkpoint(tmp_path / "worse"))
    assert state["history"][-1]["validation"]["total"] > best["best"]["total"]
    assert state["best"] == best["best"]
    kept = read(_checkpoint(tmp_path / "worse", BEST))
    assert (kept["step"], kept["epoch"]) == (best["step"], 2)
    assert all(torch.equal(kept["ema"][name], value) for name, value in best["ema"].items())


def test_resuming_finds_the_best_under_any_name(make_config, peptides, second_is_best, tmp_path):
    """The best of an epoch is there as such, but not as the best one."""
    worse = make_config(num_epochs=3, optimizer={"lr": 0.1})
    stage.run(worse, peptides, None, tmp_path / "worse", resume=second_is_best)
    folder = tmp_path / "worse" / "checkpoints"
    (folder / BEST).rename(folder / "checkpoint_epoch_2.pth")
    (folder / f"{BEST}.sha256").rename(folder / "checkpoint_epoch_2.pth.sha256")
    longer = make_config(num_epochs=4, optimizer={"lr": 0.1})
    stage.run(longer, peptides, None, tmp_path / "longer", resume=folder / LATEST)
    assert read(_checkpoint(tmp_path / "longer", BEST))["epoch"] == 2


def test_a_best_that_is_lost_is_told(make_config, peptides, second_is_best, tmp_path):
    worse = make_config(num_epochs=3, optimizer={"lr": 0.1})
    stage.run(worse, peptides, None, tmp_path / "worse", resume=second_is_best)
    for name in (BEST, "checkpoint_previous.pth"):
        _checkpoint(tmp_path / "worse", name).unlink()
    config = make_config(num_epochs=4, optimizer={"lr": 0.1})
    stage.run(
        config, peptides, None, tmp_path / "longer", resume=_checkpoint(tmp_path / "worse", LATEST)
    )
    (log,) = (tmp_path / "longer" / "logs").iterdir()
    assert "the best checkpoint up to then (epoch 2, total " in log.read_text()


def test_resuming_from_the_latest_is_what_happens_anyway(make_config, peptides, finished):
    stage.run(make_config(num_epochs=4), peptides, None, finished, resume=_checkpoint(finished))
    assert _steps(finished) == list(range(1, 13))
    assert not (finished / "superseded").exists()


def test_resuming_elsewhere_with_another_learning_rate(make_config, peptides, finished, tmp_path):
    config = make_config(num_epochs=4, optimizer={"lr": 5e-4})
    stage.run(config, peptides, None, tmp_path / "other", resume=_checkpoint(finished))
    assert _steps(tmp_path / "other") == list(range(1, 13))
    (log,) = (tmp_path / "other" / "logs").iterdir()
    assert "changed since that checkpoint: training.optimizer.lr: 0.001 → 0.0005" in log.read_text()


def test_structures_that_are_not_used_need_not_exist(make_config, peptides, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(stage, "train", asked.append)
    monkeypatch.setattr(stage, "granted_cores", lambda: 1)
    config = make_config()
    data = config.data.model_copy(update={"use_predicted_structures": False})
    config = config.model_copy(update={"data": data})
    stage.run(config, peptides, tmp_path / "none.parquet", tmp_path)
    assert [request.structures for request in asked] == [None]


def test_resuming_another_model_is_refused(make_config, peptides, finished, tmp_path):
    config = make_config(num_epochs=4)
    config = config.model_copy(update={"model": config.model.model_copy(update={"preset": "base"})})
    with pytest.raises(UserError, match=r'model\.preset: "tiny" → "base"'):
        stage.run(config, peptides, None, tmp_path / "other", resume=_checkpoint(finished))


def test_resuming_from_a_damaged_checkpoint_is_refused(make_config, peptides, finished, tmp_path):
    path = _checkpoint(finished)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match=r"--resume: .*checkpoint_latest\.pth: is damaged or half"):
        stage.run(make_config(), peptides, None, tmp_path / "other", resume=path)


def test_a_damaged_latest_is_named_and_the_one_before_is_used(
    make_config, peptides, finished, uninterrupted, assert_identical
):
    path = _checkpoint(finished)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)  # and that of epoch 3, if kept: it is the same file
    (finished / "summary.json").unlink()
    stage.run(make_config(), peptides, None, finished)
    assert_identical(uninterrupted, finished)
    log = max((finished / "logs").iterdir()).read_text()
    assert "checkpoint_latest.pth: is damaged or half-written" in log
    assert "; using " in log


def test_a_validation_noted_before_a_kill_is_not_doubled(tmp_path):
    path = tmp_path / "metrics.jsonl"
    notes = metrics.Metrics(path)
    for line in (
        {"event": "step", "step": 3, "epoch": 1},
        {"event": "validation", "step": 3, "epoch": 1},
    ):
        notes.append(line)
    notes.close()
    metrics.truncate(path, step=3, epoch=1)
    assert len(metrics.read(path)) == 2
    metrics.truncate(path, step=3, epoch=0)  # saved at the epoch's last step, before its validation
    assert [line["event"] for line in metrics.read(path)] == ["step"]


def test_damaged_arrays_are_named_and_built_again(
    make_config, peptides, finished, uninterrupted, assert_identical
):
    files = [path for path in (finished / "arrays").iterdir() if path.stat().st_size]
    assert {"tokens.npy", "ids.npy", "meta.json", "built.json"} <= {path.name for path in files}
    place = random.Random(0)
    for number in range(106):
        path = place.choice(files)
        content = path.read_bytes()
        if number < 100:
            spoiled = bytearray(content)
            spoiled[place.randrange(len(content))] ^= 1 << place.randrange(8)
            path.write_bytes(spoiled)
        else:
            path.write_bytes(content[: place.randrange(len(content))])
        _, message = run_directory.ensure_arrays(peptides, None, finished / "arrays")
        if path.name != "built.json":
            assert f"{path.name} damaged or missing; built again" in message
            assert path.read_bytes() == content
        assert run_directory.ensure_arrays(peptides, None, finished / "arrays")[1] == ""
    (finished / "summary.json").unlink()
    stage.run(make_config(), peptides, None, finished)
    assert_identical(uninterrupted, finished)


def test_a_damaged_identity_is_told_and_sets_nothing_aside(make_config, peptides, finished):
    path = finished / "identity.json"
    content = path.read_bytes()
    for data in (*flipped(content, 100), *cut_off(content)):
        path.write_bytes(data)
        try:
            stage.run(make_config(), peptides, None, finished)
        except UserError as error:
            assert f"{path}: is damaged" in str(error)
            assert f"--resume {_checkpoint(finished)}" in str(error)
    assert not (finished / "superseded").exists()


def test_metrics_that_were_cut_off_are_told(make_config, peptides, finished):
    path = finished / "metrics.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:4]))
    stage.run(make_config(num_epochs=4), peptides, None, finished)
    log = max((finished / "logs").iterdir()).read_text()
    assert "has no step after 3, though the checkpoint is of step 9" in log
