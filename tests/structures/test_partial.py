"""Batches on the disk: merged at the end, taken over from the dead, left to the living."""

import pytest

from structdiff.structures import partial
from structdiff.structures.cache import read_table
from structdiff.structures.partial import Partial, adopt


def batches(cache):
    return sorted((cache.folder / "partial").glob("*/*.parquet"))


def test_batches_are_on_the_disk_at_once_and_one_file_at_the_end(cache, peptides, simulate):
    sequences = peptides(20)
    with Partial(cache) as saving:
        for start in (0, 10):
            saving.add([simulate(sequence) for sequence in sequences[start : start + 10]])
            assert len(batches(cache)) == start // 10 + 1
        saving.add([])
        assert not list(cache.folder.glob("*.parquet"))
    (path,) = cache.folder.glob("*.parquet")
    assert read_table(path)["sequence"].to_pylist() == sequences
    assert not batches(cache) and not list((cache.folder / "partial").iterdir())


def test_many_batches_become_files_on_the_way(cache, peptides, simulate, monkeypatch):
    monkeypatch.setattr(partial, "FILE_SIZE", 8)
    sequences = peptides(30)
    with Partial(cache) as saving:
        for start in range(0, 30, 3):
            saving.add([simulate(sequence) for sequence in sequences[start : start + 3]])
    assert len(list(cache.folder.glob("*.parquet"))) == 4
    assert set(cache.scan(sequences).index) == set(sequences)


def abandon(cache, structures):
    """Leave batches behind, as a killed run does."""
    saving = Partial(cache)
    saving.__enter__()
    for structure in structures:
        saving.add([structure])
    saving._lock.close()


def test_the_batches_of_the_dead_are_taken_over(cache, peptides, simulate):
    sequences = peptides(12)
    abandon(cache, [simulate(sequence) for sequence in sequences[:6]])
    abandon(cache, [simulate(sequence) for sequence in sequences[4:]])
    assert adopt(cache) == 12
    assert set(cache.scan(sequences).index) == set(sequences)
    assert not batches(cache) and adopt(cache) == 0


def test_the_batches_of_the_living_are_left(cache, simulate):
    with Partial(cache) as saving:
        saving.add([simulate("ACDEF")])
        assert adopt(cache) == 0
        assert len(batches(cache)) == 1


def test_after_an_error_the_batches_stay_for_the_next_run(cache, simulate):
    with pytest.raises(RuntimeError, match="boom"), Partial(cache) as saving:
        saving.add([simulate("ACDEF")])
        raise RuntimeError("boom")
    assert adopt(cache) == 1


def test_a_damaged_batch_is_named_and_its_neighbours_are_kept(cache, simulate, capsys):
    abandon(cache, [simulate("ACDEF"), simulate("GHIKL")])
    path = batches(cache)[0]
    lost = read_table(path)["sequence"].to_pylist()
    path.write_bytes(path.read_bytes()[:-10])
    assert adopt(cache) == 1
    assert str(path) in capsys.readouterr().err
    assert lost[0] not in cache.scan(["ACDEF", "GHIKL"]).index


def test_what_is_in_the_cache_already_is_not_added_twice(cache, simulate):
    cache.write([simulate("ACDEF")])
    abandon(cache, [simulate("ACDEF")])
    assert adopt(cache) == 0
    assert len(list(cache.folder.glob("*.parquet"))) == 1
