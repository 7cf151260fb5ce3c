"""Sealed Parquet files: other readers take them, and no changed byte goes unnoticed."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from structdiff.system.parquet import DamagedError, read_sealed, write_sealed


@pytest.fixture
def table() -> pa.Table:
    generator = np.random.default_rng(0)
    columns = {"id": [f"p{n}" for n in range(500)], "value": generator.normal(size=500)}
    return pa.table(columns).replace_schema_metadata({b"labels": b'["amp"]'})


def test_what_is_written_is_read_by_us_and_by_others(table, tmp_path):
    path = tmp_path / "table.parquet"
    write_sealed(table, path, compression="zstd")
    assert read_sealed(path).equals(table, check_metadata=True)
    pd.testing.assert_frame_equal(pd.read_parquet(path), table.to_pandas())
    assert pq.read_schema(path).metadata[b"labels"] == b'["amp"]'


def test_a_file_without_a_seal_is_read(table, tmp_path):
    pq.write_table(table, tmp_path / "old.parquet", write_page_checksum=True)
    assert read_sealed(tmp_path / "old.parquet").equals(table)


def test_every_changed_byte_is_found(table, tmp_path):
    path = tmp_path / "table.parquet"
    write_sealed(table.slice(0, 20), path, compression="zstd")
    whole = path.read_bytes()
    for position in range(len(whole)):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << position % 8
        path.write_bytes(bytes(damaged))
        with pytest.raises(DamagedError):
            read_sealed(path)


@pytest.mark.parametrize("kept", [0, 1, 7, 8, 100, -1, -9, -600])
def test_every_cut_is_found(table, tmp_path, kept):
    path = tmp_path / "table.parquet"
    write_sealed(table, path)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(DamagedError):
        read_sealed(path)
