"""The index: what training reads through it, and that nothing damaged comes through."""

import errno
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from structdiff.protein.structure import from_backbone
from structdiff.structures.index import read_backbones, read_files, read_structures, write_index
from structdiff.system.errors import UserError
from structdiff.system.parquet import read_sealed, write_sealed
from tests.damage import cut_off, flipped


@pytest.fixture
def indexed(cache, tmp_path, peptides, simulate):
    """An index of 30 peptides, of which 20 have a structure, in two files."""
    sequences = peptides(30)
    cache.write([simulate(sequence) for sequence in sequences[:12]])
    cache.write([simulate(sequence) for sequence in sequences[12:20]])
    shuffled = np.random.default_rng(0).permutation(sequences).tolist()
    ids = [f"p{number}" for number in range(30)]
    path = tmp_path / "run" / "index.parquet"
    path.parent.mkdir()
    frame = write_index(path, ids, shuffled, cache.scan(shuffled), "simulated", cache.root)
    return path, frame, sequences[:20]


def test_each_peptide_stands_once_with_its_file_or_none(indexed):
    path, frame, known = indexed
    assert frame["id"].is_unique and len(frame) == 30
    assert set(frame.loc[frame["file"].notna(), "sequence"]) == set(known)
    assert set(frame["predictor"]) == {"simulated"}
    assert len(read_files(path)) == 2 and all(file.is_file() for file in read_files(path))


def test_backbones_come_in_the_indexs_order(indexed, simulate):
    path, frame, _ = indexed
    found = read_backbones(path)
    expected = frame[frame["file"].notna()]
    assert found.ids == expected["id"].tolist()
    for number, sequence in enumerate(found.sequences):
        rows = slice(found.offsets[number], found.offsets[number + 1])
        structure = simulate(sequence)
        assert (found.positions[rows] == structure.backbone).all()
        assert (found.plddt[rows] == structure.plddt).all()


def test_all_atoms_come_by_id(indexed, simulate):
    path, frame, _ = indexed
    for name, structure in read_structures(path).items():
        expected = simulate(frame.set_index("id").loc[name, "sequence"])
        assert (structure.positions == expected.positions).all()
        assert structure.ptm == pytest.approx(expected.ptm, abs=1e-7)
    some = frame[frame["file"].notna()]["id"].tolist()[3:5]
    assert list(read_structures(path, some)) == some
    none = frame[frame["file"].isna()]["id"].iloc[0]
    with pytest.raises(UserError, match=f"has no structure of {none}"):
        read_structures(path, [none])


def test_peptides_without_confidence_have_none(cache, tmp_path, simulate):
    cache.write([simulate("ACDEF"), from_backbone("GHIKL", np.ones((5, 4, 3)))])
    both = ["GHIKL", "ACDEF"]
    path = tmp_path / "index.parquet"
    write_index(path, ["a", "b"], both, cache.scan(both), "simulated", cache.root)
    plddt = read_backbones(path).plddt
    assert np.isnan(plddt[:5]).all() and (plddt[5:] == simulate("ACDEF").plddt).all()


def test_no_structure_at_all_is_an_empty_answer(tmp_path):
    path = tmp_path / "index.parquet"
    write_index(path, ["a"], ["ACDEF"], None, "none", tmp_path)
    found = read_backbones(path)
    assert found.ids == [] and found.positions.shape == (0, 4, 3)


def test_a_full_disk_names_the_index(tmp_path, monkeypatch):
    """The message named a temporary file."""

    def full(path, data):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(Path, "write_bytes", full)
    path = tmp_path / "index.parquet"
    with pytest.raises(UserError, match=f"^{path}: cannot be written"):
        write_index(path, ["a"], ["ACDEF"], None, "none", tmp_path)


@pytest.mark.parametrize("read", [read_backbones, read_structures])
def test_nothing_damaged_is_returned(indexed, read):
    path, _, _ = indexed
    file = read_files(path)[0]
    for data in flipped(file.read_bytes(), 50):
        file.write_bytes(data)
        with pytest.raises(UserError, match="is damaged") as caught:
            read(path)
        assert str(file) in str(caught.value) and "plan_folding" in str(caught.value)
    file.unlink()
    with pytest.raises(UserError, match="is missing"):
        read(path)


@pytest.mark.parametrize("read", [read_backbones, read_structures, read_files])
def test_no_damaged_index_is_used(indexed, read):
    path, _, _ = indexed
    whole = path.read_bytes()
    for data in (*flipped(whole, 100), *cut_off(whole)):
        path.write_bytes(data)
        with pytest.raises(UserError, match=r"is not a whole index.*plan_folding") as caught:
            read(path)
        assert str(path) in str(caught.value)


def test_a_file_that_holds_other_peptides_is_refused(indexed):
    path, _, _ = indexed
    table = read_sealed(path)
    rows = [None if row is None else (row + 1) % 8 for row in table["row"].to_pylist()]
    write_sealed(table.set_column(3, "row", pa.array(rows, pa.int32())), path)
    with pytest.raises(UserError, match="holds other peptides than the index says"):
        read_backbones(path)


@pytest.fixture
def write_relative(indexed, tmp_path, cache, monkeypatch):
    """Return a function that writes the index again; its path is relative, as that of the cache."""
    monkeypatch.chdir(tmp_path)
    ids, sequences = indexed[1]["id"].tolist(), indexed[1]["sequence"].tolist()
    located = cache.scan(sequences)
    return lambda path: write_index(Path(path), ids, sequences, located, "x", Path("cache"))


def test_a_project_may_be_moved(write_relative, tmp_path):
    write_relative("run/index.parquet")
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    for name in ("run", "cache"):
        shutil.move(tmp_path / name, moved / name)
    assert len(read_backbones(moved / "run" / "index.parquet").ids) == 20


def test_results_may_be_a_link_to_another_place(write_relative, tmp_path):
    scratch = tmp_path / "scratch" / "of" / "user"
    scratch.mkdir(parents=True)
    Path("results").symlink_to(scratch)
    write_relative("results/index.parquet")
    assert len(read_backbones(Path("results/index.parquet")).ids) == 20


def test_another_file_is_no_index(tmp_path):
    path = tmp_path / "x.parquet"
    path.write_bytes(b"nothing")
    with pytest.raises(UserError, match="is not a whole index"):
        read_backbones(path)
    pq.write_table(pa.table({"a": [1]}), path)
    with pytest.raises(UserError, match="not an index of"):
        read_backbones(path)
