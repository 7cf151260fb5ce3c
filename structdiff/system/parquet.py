"""Parquet files with a checksum of every byte, verified when they are read.

``write_sealed(table, path)`` writes a Parquet file for any reader, with a SHA-256 of all other
bytes (the seal) between its last page and its footer; readers skip the seal. ``read_sealed(path)``
verifies it. The checksums of Parquet itself cover the pages, but not the footer with the names,
types and positions of the columns.
"""

import hashlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from structdiff.system.files import write_bytes

__all__ = ["DamagedError", "read_sealed", "write_sealed"]

_MARK = b"\nsha256 of the other bytes:"
_SEAL = len(_MARK) + hashlib.sha256().digest_size
_SEALED_KEY = b"structdiff.sealed"
_END = 8  # last bytes of a Parquet file: length of the footer (4, little endian) and "PAR1"


class DamagedError(Exception):
    """A Parquet file is damaged; the message says how."""


def write_sealed(table: pa.Table, path: Path, **options: object) -> None:
    """Write a table to a Parquet file with a seal, atomically.

    `structdiff.system.files.replacing` explains the errors.

    Parameters
    ----------
    table
        The table.
    path
        The file.
    options
        Options of `pyarrow.parquet.write_table`.
    """
    metadata = {**(table.schema.metadata or {}), _SEALED_KEY: b"1"}
    sink = pa.BufferOutputStream()
    pq.write_table(
        table.replace_schema_metadata(metadata), sink, write_page_checksum=True, **options
    )
    content = memoryview(sink.getvalue())
    footer = len(content) - _END - int.from_bytes(content[-_END:-4], "little")
    digest = hashlib.sha256(content).digest()
    write_bytes(path, b"".join([content[:footer], _MARK, digest, content[footer:]]))


def read_sealed(path: Path) -> pa.Table:
    """Read a Parquet file that `write_sealed` wrote, and verify every byte.

    In a file without a seal, only the checksums of the pages are verified.

    Raises
    ------
    DamagedError
        If the file is not Parquet, or one of its bytes has changed.
    FileNotFoundError
        If there is no such file.
    """
    content = memoryview(path.read_bytes())
    footer = len(content) - _END - int.from_bytes(content[-_END:-4], "little")
    sealed = footer >= _SEAL and content[footer - _SEAL : footer - _SEAL + len(_MARK)] == _MARK
    if sealed:
        whole = hashlib.sha256(content[: footer - _SEAL])
        whole.update(content[footer:])
        if whole.digest() != content[footer - _SEAL + len(_MARK) : footer]:
            raise DamagedError("its checksum does not match: bytes of the file have changed")
    try:
        with pq.ParquetFile(pa.py_buffer(content), page_checksum_verification=True) as file:
            table = file.read()
    except (pa.ArrowException, OSError) as error:
        raise DamagedError(str(error).splitlines()[0]) from None
    metadata = dict(table.schema.metadata or {})
    if metadata.pop(_SEALED_KEY, None) and not sealed:
        raise DamagedError("its checksum is missing: bytes of the file have changed")
    return table.replace_schema_metadata(metadata)
