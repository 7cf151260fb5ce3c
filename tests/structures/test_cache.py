"""The cache: what is written comes back, what is damaged never does."""

import pickle
import resource
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from structdiff.protein.structure import from_backbone
from structdiff.structures.cache import (
    SCHEMA,
    Cache,
    publish,
    read_table,
    to_bytes,
    to_table,
)
from structdiff.structures.fold import plan
from structdiff.structures.predictors import Failure
from structdiff.system.errors import UserError
from structdiff.system.parquet import DamagedError
from tests.damage import Evil, flipped


def files(cache):
    return sorted(cache.folder.glob("*.parquet"))


def test_what_is_written_is_found_and_read_back(cache, peptides, simulate):
    sequences = peptides(100)
    structures = [simulate(sequence) for sequence in sequences]
    path = cache.write(structures)
    found = cache.scan([*sequences, "AAAAA"])
    assert set(found.index) == set(sequences)
    assert set(found["file"]) == {path.relative_to(cache.root).as_posix()}
    rows = read_table(path).to_pylist()
    for structure in structures:
        where = found.loc[structure.sequence]
        row = rows[where["row"]]
        assert row["sequence"] == structure.sequence
        assert row["positions"] == structure.positions.reshape(-1).tolist()
        assert row["plddt"] == structure.plddt.tolist()
        assert row["ptm"] == pytest.approx(structure.ptm, abs=1e-7)
        assert where["mean_plddt"] == pytest.approx(structure.plddt.mean(), abs=1e-3)


def test_absent_atoms_and_confidence_come_back_absent(cache):
    backbone = np.ones((3, 4, 3), dtype=np.float32)
    path = cache.write([from_backbone("AWG", backbone)])
    (row,) = read_table(path).to_pylist()
    assert row["plddt"] is None and row["ptm"] is None
    assert np.isnan(row["positions"]).sum() == 3 * (1 + 10)
    assert np.isnan(cache.scan(["AWG"])["mean_plddt"]).all()


def test_the_key_is_in_the_name_beside_the_files_and_in_them(tmp_path, simulate):
    keys = [{"predictor": "esmfold", "num_recycles": n, "dtype": "float32"} for n in (1, 4)]
    caches = [Cache(tmp_path, key) for key in keys]
    assert caches[0].folder != caches[1].folder
    caches[0].prepare()
    path = caches[0].write([simulate("ACDEF")])
    assert '"num_recycles": 1' in (caches[0].folder / "key.json").read_text()
    metadata = pq.read_schema(path).metadata[b"structdiff.fold_key"].decode()
    assert '"num_recycles": 1' in metadata and '"schema_version"' in metadata
    assert caches[1].scan(["ACDEF"]).empty


def test_a_sequence_in_two_files_is_found_once(cache, simulate):
    cache.write([simulate("ACDEF"), simulate("GHIKL")])
    cache.write([simulate("ACDEF"), simulate("MNPQR")])
    found = cache.scan(["ACDEF", "GHIKL", "MNPQR"])
    assert sorted(found.index) == ["ACDEF", "GHIKL", "MNPQR"]
    assert cache.holds(["ACDEF", "WWWWW"]) == {"ACDEF"}


def test_each_of_100_flipped_bits_is_named_and_folded_anew(
    cache, peptides, simulate, simulated, capsys
):
    sequences = peptides(40)
    path = cache.write([simulate(sequence) for sequence in sequences])
    for data in flipped(path.read_bytes(), 100):
        path.write_bytes(data)
        planned = plan(cache, simulated(), sequences)
        assert sorted(planned.missing) == sorted(sequences) and planned.located.empty
        assert str(path) in capsys.readouterr().err
        assert not path.exists()
    assert len(list(cache.folder.glob("*.damaged"))) == 100


@pytest.mark.parametrize("left", [0, 1, 4, 1000, -1])
def test_a_truncated_file_is_named_and_folded_anew(
    cache, peptides, simulate, simulated, capsys, left
):
    sequences = peptides(10)
    path = cache.write([simulate(sequence) for sequence in sequences])
    path.write_bytes(path.read_bytes()[:left])
    assert len(plan(cache, simulated(), sequences).missing) == 10
    assert str(path) in capsys.readouterr().err


def test_a_pickle_in_the_cache_is_set_aside_and_never_run(cache, tmp_path, simulate, capsys):
    mark, evil = tmp_path / "ran", pickle.dumps(Evil(tmp_path / "ran"))
    cache.write([simulate("ACDEF")])
    (cache.folder / "00000000000000000000000000000000.parquet").write_bytes(evil)
    publish(cache.folder, evil, ".parquet")  # its name even fits its bytes
    assert cache.scan(["ACDEF"]).index.tolist() == ["ACDEF"]
    assert not mark.exists()
    assert capsys.readouterr().err.count("is damaged") == 2


def test_a_file_of_another_schema_is_no_cache_file(cache):
    table = pa.table({"sequence": ["ACDEF"]})
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    path = publish(cache.folder, sink.getvalue().to_pybytes(), ".parquet")
    with pytest.raises(DamagedError, match="schema"):
        read_table(path)


def test_pages_carry_checksums_and_bytes_are_stored_apart(simulate, peptides, tmp_path):
    table = to_table([simulate(sequence) for sequence in peptides(500)], {})
    data = to_bytes(table)
    (tmp_path / "x").write_bytes(data)
    column = pq.ParquetFile(tmp_path / "x").metadata.row_group(0).column(2)
    assert "BYTE_STREAM_SPLIT" in column.encodings and column.compression == "ZSTD"
    start = column.data_page_offset + column.total_compressed_size // 2
    spoilt = bytearray(data)
    spoilt[start] ^= 4
    (tmp_path / "x").write_bytes(spoilt)
    with pytest.raises(OSError, match="CRC checksum"):
        pq.ParquetFile(tmp_path / "x", page_checksum_verification=True).read()


def test_a_damaged_name_of_a_column_is_found_by_a_look_at_the_sequences(cache, simulate):
    """It ended in a KeyError: the footer, which has the names, has no checksum of its own."""
    path = cache.write([simulate("ACDEF")])
    path.write_bytes(path.read_bytes().replace(b"sequence", b"sequencf"))
    assert cache.holds(["ACDEF"]) == set()
    assert not path.exists()


def test_two_writers_of_the_same_write_one_file(cache, peptides, simulate):
    structures = [simulate(sequence) for sequence in peptides(20)]
    with ThreadPoolExecutor(8) as pool:
        paths = set(pool.map(lambda _: cache.write(structures), range(16)))
    assert len(paths) == 1 == len(files(cache))
    assert len(cache.scan([s.sequence for s in structures])) == 20
    assert not list(cache.folder.glob(".*.tmp"))


def test_failures_that_last_are_remembered(cache):
    failures = [Failure("broken", source="a.pdb"), Failure("none", "ACDEF", kind="absent")]
    cache.remember(failures)
    cache.remember(failures)
    assert sorted(cache.remembered(), key=str) == sorted(failures, key=str)
    (path,) = cache.folder.glob("*.failures.jsonl")
    path.write_bytes(path.read_bytes().replace(b"broken", b"brokem"))
    assert cache.remembered() == []


def test_a_full_disk_is_said_and_loses_nothing(cache, simulate, peptides):
    """Here, a file may not become larger than 2 kB."""
    sequences = peptides(20, shortest=40)
    path = cache.write([simulate(sequence) for sequence in sequences[:5]])
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limits[1]))
    try:
        with pytest.raises(UserError, match=r"structures\.cache: .*File too large"):
            cache.write([simulate(sequence) for sequence in sequences])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert files(cache) == [path] and len(cache.scan(sequences)) == 5
    assert not list(cache.folder.glob(".*.tmp"))


def test_a_cache_that_cannot_be_written_to_is_said(tmp_path, simulated):
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(UserError, match=r"structures\.cache: .*cannot be written to"):
        Cache(tmp_path / "cache", simulated().key).prepare()


def test_the_schema_holds_every_column():
    assert SCHEMA.names == ["sequence", "length", "positions", "plddt", "ptm"]
