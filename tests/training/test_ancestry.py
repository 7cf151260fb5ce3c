"""What a model has seen: its training peptides, and those of the models that it descends from."""

import shutil
from pathlib import Path

import pytest

from structdiff import selection
from structdiff.peptides.table import Peptides, read_peptides, write_peptides
from structdiff.training import adaptation, stage
from structdiff.training.ancestry import UnknownPeptides, read_seen, seen_by_start
from structdiff.training.checkpoint import LATEST, read


def sequences(path: Path, split: str) -> list[str]:
    frame = read_peptides(path).frame
    return frame["sequence"][frame["split"] == split].tolist()


@pytest.fixture
def others(peptides, tmp_path) -> Path:
    """Return a peptides.parquet of other peptides, those of `peptides` read backwards."""
    table = read_peptides(peptides)
    frame = table.frame.assign(sequence=table.frame["sequence"].str[::-1])
    write_peptides(Peptides(frame, table.labels), tmp_path / "others.parquet")
    return tmp_path / "others.parquet"


def test_a_checkpoint_has_seen_the_training_peptides_of_its_folder(uninterrupted, peptides):
    seen = read_seen(uninterrupted / "checkpoints" / LATEST)
    assert seen.includes(sequences(peptides, "train")).all()
    assert not seen.includes(sequences(peptides, "val")).any()


def test_a_descendant_has_seen_what_its_start_has(
    uninterrupted, peptides, others, make_config, tmp_path, monkeypatch
):
    monkeypatch.setattr(adaptation, "FIT_STEPS", 4)
    first = tmp_path / "first"
    shutil.copytree(uninterrupted, first / "training")
    selection.run(make_config(), first / "training", first / "selection")
    model = first / "selection" / "model.safetensors"
    config = make_config(init=str(model), num_epochs=1)
    stage.run(config, others, None, tmp_path / "second" / "training")
    selection.run(config, tmp_path / "second" / "training", tmp_path / "second" / "selection")
    seen = read_seen(tmp_path / "second" / "selection" / "model.safetensors")
    for path in (peptides, others):
        assert seen.includes(sequences(path, "train")).all()
        assert not seen.includes(sequences(path, "val")).any()
    assert len(seen_by_start(str(model))) == len(sequences(peptides, "train"))
    # A start that has changed is not taken for the one of the training.
    config = make_config(seed=1, num_epochs=1)
    stage.run(config, others, None, first / "training")
    selection.run(config, first / "training", first / "selection")
    with pytest.raises(UnknownPeptides, match=r"started from .* which is missing or has changed"):
        read_seen(tmp_path / "second" / "training" / "checkpoints" / LATEST)


def test_what_is_not_known_is_told(uninterrupted, others, make_config, tmp_path, capsys):
    moved = tmp_path / "moved" / "checkpoints"
    shutil.copytree(uninterrupted / "checkpoints", moved)
    with pytest.raises(UnknownPeptides, match="its training arrays are not in"):
        read_seen(moved / LATEST)
    assert seen_by_start(str(moved / LATEST)) is None
    warning = "it is not known which of the held-out peptides the starting model has seen"
    assert f"{warning}; the model.safetensors of" in capsys.readouterr().err
    stage.run(make_config(num_epochs=1), others, None, tmp_path / "other")
    shutil.copytree(tmp_path / "other" / "arrays", tmp_path / "moved" / "arrays")
    assert read(moved / LATEST)["identity"]
    with pytest.raises(UnknownPeptides, match="was not trained on the arrays in"):
        read_seen(moved / LATEST)
