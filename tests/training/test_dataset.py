"""The training arrays: joined by sequence, padded rightly, planned without losing a peptide."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from structdiff.model import Condition, ConditionSpec
from structdiff.peptides.labels import label_column
from structdiff.peptides.table import Peptides, write_peptides
from structdiff.protein.residues import AMINO_ACIDS, decode, encode
from structdiff.system.errors import UserError
from structdiff.training.dataset import TrainingSet, build


def write(directory: Path, lengths: np.ndarray) -> None:
    directory.mkdir()
    generator = np.random.default_rng(0)
    total = int(lengths.sum())
    arrays = {
        "tokens": generator.integers(0, 20, total).astype(np.uint8),
        "offsets": np.concatenate([[0], np.cumsum(lengths)]),
        "labels": generator.random((len(lengths), 2)) < 0.5,
        "split": (np.arange(len(lengths)) % 10 == 0).astype(np.uint8),
        "backbone": generator.normal(size=(total, 4, 3)).astype(np.float32),
        "weight": generator.random(total).astype(np.float32),
        "has_structure": generator.random(len(lengths)) < 0.5,
        "ids": np.array([f"p{i}" for i in range(len(lengths))]),
    }
    for name, array in arrays.items():
        np.save(directory / f"{name}.npy", array)
    (directory / "meta.json").write_text(json.dumps({"labels": ["a", "b"]}))


@pytest.fixture(scope="module")
def directory(tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("set") / "arrays"
    lengths = 5 + np.random.default_rng(1).gamma(2.5, 6.5, 3000).astype(np.int64).clip(max=45)
    write(directory, lengths)
    return directory


@pytest.fixture(scope="module")
def training_set(directory) -> TrainingSet:
    return TrainingSet.open(directory)


def test_an_epoch_holds_every_row_once(training_set):
    batches = training_set.global_batches("train", 64, seed=3, epoch=7)
    assert sorted(np.concatenate(batches)) == sorted(training_set.rows("train"))
    assert all(len(batch) <= 64 for batch in batches)
    assert all((np.diff(training_set.lengths[batch]) >= 0).all() for batch in batches)


def test_peptides_with_a_structure_can_be_seen_more_often(training_set):
    rows = training_set.rows("train")
    plan = np.concatenate(training_set.global_batches("train", 64, seed=3, epoch=7, repeats=3))
    seen = np.bincount(plan, minlength=len(training_set))[rows]
    known = training_set.has_structure[rows]
    assert known.any() and not known.all()
    assert (seen == np.where(known, 3, 1)).all()


def test_a_plan_is_a_function_of_seed_and_epoch(training_set):
    def flat(**which: int) -> list[int]:
        return np.concatenate(training_set.global_batches("train", 64, **which)).tolist()

    assert flat(seed=3, epoch=7) == flat(seed=3, epoch=7)
    assert flat(seed=3, epoch=7) != flat(seed=3, epoch=8)
    assert flat(seed=3, epoch=7) != flat(seed=4, epoch=7)


def test_at_least_95_percent_of_positions_are_residues(training_set):
    real = padded = 0
    for rows in training_set.global_batches("train", 32, seed=0, epoch=0):
        mask = training_set.batch(rows).mask
        real, padded = real + int(mask.sum()), padded + mask.numel()
    assert real / padded >= 0.95


def test_a_batch_holds_what_the_arrays_hold(training_set, directory):
    arrays = {name: np.load(directory / f"{name}.npy") for name in ("tokens", "backbone", "weight")}
    rows = np.array([5, 17, 40])
    batch = training_set.batch(rows, width=48)
    assert batch.mask.shape[1] == 48
    for i, row in enumerate(rows):
        first, last = training_set.offsets[row : row + 2]
        length = last - first
        assert batch.mask[i].tolist() == [True] * length + [False] * (len(batch.mask[i]) - length)
        assert np.array_equal(batch.tokens[i, :length], arrays["tokens"][first:last])
        assert np.array_equal(batch.backbone[i, :length], arrays["backbone"][first:last])
        assert np.array_equal(batch.weight[i, :length], arrays["weight"][first:last])
        assert not batch.tokens[i, length:].any()
        assert not batch.backbone[i, length:].any()
        assert not batch.weight[i, length:].any()
    known = Condition.observed(torch.from_numpy(np.load(directory / "labels.npy")[rows]))
    assert torch.equal(batch.condition.labels, known.labels)


def test_cutting_batches_leaves_the_files_as_they_are(training_set, directory):
    before = {path.name: path.read_bytes() for path in directory.iterdir()}
    batch = training_set.batch(training_set.rows("train"))
    batch.backbone.zero_()
    assert {path.name: path.read_bytes() for path in directory.iterdir()} == before
    assert training_set.nbytes < sum(map(len, before.values()))


def test_lengths_are_counted_by_exact_sets_of_labels(training_set, directory):
    found = training_set.lengths_by_labels("train")
    assert set(found) == {"", "a", "b", "a+b"}
    rows = training_set.rows("train")
    both = rows[(np.load(directory / "labels.npy")[rows] == 1).all(1)]
    assert found["a+b"] == np.bincount(training_set.lengths[both]).tolist()
    assert sum(map(sum, found.values())) == len(rows)


def test_rows_of_unknown_labels_change_nothing_of_the_labels_and_train_their_sequences(tmp_path):
    generator = np.random.default_rng(2)
    sequences = ["".join(generator.choice(list(AMINO_ACIDS), 12)) for _ in range(90)]
    frame = pd.DataFrame({"id": [f"p{i}" for i in range(90)], "sequence": sequences})
    frame["amp"] = label_column(np.repeat([1, 0, -1], 30))
    frame["toxic"] = label_column(np.repeat([1, 1, -1], 30))
    frame = frame.assign(cluster="c", split=np.tile(["train"] * 4 + ["val"], 18))
    sets = []
    for name, part in (("known", frame[:60]), ("all", frame)):
        write_peptides(Peptides(part, ["amp", "toxic"]), tmp_path / f"{name}.parquet")
        build(tmp_path / f"{name}.parquet", None, tmp_path / name)
        sets.append(TrainingSet.open(tmp_path / name))
    known, every = sets
    assert every.conditions == known.conditions == ConditionSpec(["amp", "toxic"], ["toxic"])
    lengths = every.lengths_by_labels("train")
    assert sum(lengths.pop("?amp+?toxic")) == 24
    assert lengths == known.lengths_by_labels("train")
    added = np.arange(60, 90)
    batch = every.batch(added)
    assert not batch.condition.labels.any()
    assert decode(batch.tokens[0].numpy()) == sequences[60]
    assert np.isin(added[frame["split"][60:] == "train"], every.epoch_rows("train")).all()
    assert torch.equal(
        every.batch(np.arange(60)).condition.labels, known.batch(np.arange(60)).condition.labels
    )


def test_properties_are_standardised_by_the_training_peptides(tmp_path):
    frame = pd.DataFrame({"id": list("abcd"), "sequence": ["GIGKF", "KWKLF", "FFHHI", "GGGGG"]})
    frame = frame.assign(mic=np.array([1, 100, np.nan, 1000], dtype=np.float32), cluster="c")
    frame["split"] = ["train", "train", "train", "val"]
    table = Peptides(frame, [], {"mic": ("uM", "log10")})
    write_peptides(table, tmp_path / "p.parquet")
    build(tmp_path / "p.parquet", None, tmp_path / "arrays")
    data = TrainingSet.open(tmp_path / "arrays")
    [mic] = data.conditions.properties
    assert (mic.name, mic.unit, mic.scale, mic.mean, mic.sd) == ("mic", "uM", "log10", 1, 1)
    values = data.batch(np.arange(4)).condition.values[:, 0]
    assert values.tolist() == pytest.approx([-1, 1, np.nan, 2], nan_ok=True)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (None, ""),
        ("tokens.npy", ""),
        ("offsets.npy", "x"),
        ("meta.json", "{"),
        ("meta.json", "{}"),
        ("meta.json", '{"labels": ["a"], "properties": [{"name": "b"}]}'),
    ],
)
def test_missing_and_damaged_arrays_are_named(directory, tmp_path, name, content):
    folder = tmp_path / "arrays"
    if name:
        shutil.copytree(directory, folder)
        (folder / name).write_text(content)
    with pytest.raises(UserError, match="training arrays cannot be read"):
        TrainingSet.open(folder)


def test_encode_and_decode_are_inverses_and_refuse_other_letters():
    assert decode(encode(AMINO_ACIDS)) == AMINO_ACIDS
    for bad in ("AXA", "a", "A-", "Aé"):
        with pytest.raises(ValueError, match="20 standard residues"):
            encode(bad)
