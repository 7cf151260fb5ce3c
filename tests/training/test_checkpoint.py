"""A checkpoint is complete or refused, and the one before is found."""

import hashlib
import pickle

import pytest
import torch

from structdiff.system.errors import UserError
from structdiff.training import checkpoint
from structdiff.training.checkpoint import Checkpoints, DamagedCheckpoint, read, verify
from tests.damage import Evil, flipped


def _state(step):
    return {
        "model": {"w": torch.full((4, 4), float(step))},
        "ema": {"w": torch.zeros(4, 4)},
        "optimizer": {"state": {}, "param_groups": []},
        "step": step,
    }


def _fill(directory, count=3, keep=2):
    kept = Checkpoints(directory, keep)
    for step in range(1, count + 1):
        kept.save(_state(step), best=step == 1, epoch=step)
    return kept


def test_save_and_read(tmp_path):
    _fill(tmp_path)
    state = read(tmp_path / "checkpoint_latest.pth")
    assert state["step"] == 3
    assert torch.equal(state["model"]["w"], torch.full((4, 4), 3.0))
    assert read(tmp_path / "checkpoint_best.pth")["step"] == 1
    assert read(tmp_path / "checkpoint_previous.pth")["step"] == 2
    assert not list(tmp_path.glob(".*"))


def test_retention_keeps_the_newest(tmp_path):
    _fill(tmp_path, count=12, keep=3)
    kept = sorted(path.name for path in tmp_path.glob("checkpoint_epoch_*"))
    names = [f"checkpoint_epoch_{epoch}.pth" for epoch in (10, 11, 12)]
    assert kept == sorted(names + [f"{name}.sha256" for name in names])


def test_the_manifest_is_what_sha256sum_reads(tmp_path):
    _fill(tmp_path)
    for path in tmp_path.glob("*.pth"):
        digest, name = path.with_name(f"{path.name}.sha256").read_text().split()
        assert name == path.name
        assert digest == verify(path)


def test_every_flipped_bit_is_found(tmp_path):
    kept = _fill(tmp_path)
    path = tmp_path / "checkpoint_latest.pth"
    for data in flipped(path.read_bytes(), 100):
        path.write_bytes(data)
        with pytest.raises(DamagedCheckpoint, match=r"checkpoint_latest\.pth: is damaged"):
            read(path)
    newest, problems = kept.newest()
    assert read(newest)["step"] == 2
    assert "checkpoint_latest.pth: is damaged" in problems[0]
    assert (tmp_path / "checkpoint_latest.pth.damaged").exists()


@pytest.mark.parametrize("size", [0, 1, 100, -1])
def test_a_truncated_file_is_refused(tmp_path, size):
    kept = _fill(tmp_path)
    path = tmp_path / "checkpoint_latest.pth"
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(DamagedCheckpoint, match="half-written"):
        read(path)
    assert kept.newest()[0].name == "checkpoint_previous.pth"


def _forge(path, content):
    """Put a file in a checkpoint's place, with a manifest that agrees."""
    path.write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    path.with_name(f"{path.name}.sha256").write_text(f"{digest}  {path.name}\n")


@pytest.mark.parametrize("form", ["torch", "pickle", "text", "tensors"])
def test_a_forged_checkpoint_is_refused_and_not_run(tmp_path, form):
    evil = Evil(tmp_path / "executed")
    kept = _fill(tmp_path)
    path, scratch = tmp_path / "checkpoint_latest.pth", tmp_path / "forged"
    if form == "torch":
        torch.save({**_state(9), "config": evil}, scratch)
    elif form == "pickle":
        scratch.write_bytes(pickle.dumps({**_state(9), "config": evil}))
    elif form == "text":
        scratch.write_text("no checkpoint at all")
    else:
        torch.save({"weights": torch.zeros(3)}, scratch)
    _forge(path, scratch.read_bytes())
    with pytest.raises(DamagedCheckpoint):
        read(path)
    assert read(kept.newest()[0])["step"] == 2
    assert not evil.path.exists()


def test_without_a_manifest_it_is_refused(tmp_path):
    _fill(tmp_path)
    (tmp_path / "checkpoint_latest.pth.sha256").unlink()
    with pytest.raises(DamagedCheckpoint, match=r"checkpoint_latest\.pth\.sha256 is missing"):
        read(tmp_path / "checkpoint_latest.pth")


def test_no_complete_checkpoint_is_an_error_not_a_fresh_start(tmp_path):
    kept = _fill(tmp_path, count=1)
    names = sorted(path.name for path in tmp_path.iterdir())
    (tmp_path / "checkpoint_latest.pth").write_bytes(b"")
    (tmp_path / "checkpoint_best.pth").write_bytes(b"")
    with pytest.raises(UserError, match="no complete checkpoint is left"):
        kept.newest()
    assert sorted(path.name for path in tmp_path.iterdir()) == names


def test_an_empty_folder_has_no_newest(tmp_path):
    assert Checkpoints(tmp_path / "none", 1).newest() == (None, [])


def test_a_full_disk_leaves_the_earlier_ones_intact(tmp_path, monkeypatch):
    kept = _fill(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full(state, file):
        file.write(b"half a checkpoint")
        try:
            raise OSError(28, "No space left on device")
        finally:  # what torch makes of it
            raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 64 vs 0")

    monkeypatch.setattr(checkpoint.torch, "save", full)
    with pytest.raises(UserError, match=r"No space left on device.*make room"):
        kept.save(_state(4))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_adopted_checkpoints_are_copies(tmp_path):
    _fill(tmp_path / "a")
    kept = Checkpoints(tmp_path / "b", 1)
    kept.import_checkpoint(tmp_path / "a" / "checkpoint_epoch_2.pth", checkpoint.LATEST)
    assert read(kept.newest()[0])["step"] == 2
