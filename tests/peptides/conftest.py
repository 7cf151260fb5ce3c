"""Peptides made on the spot, and configurations that read them."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from structdiff.config import Config, Data, parse
from structdiff.peptides.formats import Table, read_table
from structdiff.peptides.table import clean, sort_rows
from structdiff.protein.residues import AMINO_ACIDS


def peptides(count: int, seed: int = 0, low: int = 8, high: int = 24) -> list[str]:
    """Return unique random sequences; hardly any two are similar."""
    generator = np.random.default_rng(seed)
    letters = np.array(list(AMINO_ACIDS))
    found: dict[str, None] = {}
    while len(found) < count:
        found["".join(generator.choice(letters, generator.integers(low, high + 1)))] = None
    return list(found)


def mutants(parents: list[str], count: int, changes: int, seed: int = 1) -> list[str]:
    """Return sequences some substitutions away from random ones of the parents."""
    generator = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        residues = list(parents[generator.integers(len(parents))])
        for _ in range(changes):
            residues[generator.integers(len(residues))] = AMINO_ACIDS[generator.integers(20)]
        made.append("".join(residues))
    return made


def write_csv(path: Path, rows: list[str], header: str = "id,sequence") -> Path:
    """Write a table, one line a row."""
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def read(tmp_path):
    """Return a function: the text (or bytes) of a file and settings of `data` → the table."""

    def function(content: str | bytes, name: str = "table.csv", **settings: object) -> Table:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return read_table(path, Data(path=str(path), **settings), "data.path")

    return function


def clean_tables(tables: list[Table], data: Data) -> SimpleNamespace:
    """Return what became of the rows (`Rows`) and of the peptides (`Cleaned`) in one."""
    rows = sort_rows(tables, data)
    cleaned = clean(tables, rows, data)
    return SimpleNamespace(**{**vars(rows), **vars(cleaned), "rows": rows.count})


@pytest.fixture
def clean_text(read):
    """Return a function: the text of a file and settings of `data` → rows and peptides."""

    def function(content: str | bytes, name: str = "table.csv", **settings: object):
        return clean_tables([read(content, name, **settings)], Data(path=name, **settings))

    return function


def make_config(split: dict | None = None, **data: object) -> Config:
    """Return a configuration of this stage."""
    return parse({"run": "test", "data": data, "split": split or {}})
