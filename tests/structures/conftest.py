"""A simulated predictor, random peptides and tables of them."""

import runpy
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from structdiff import config as configuration
from structdiff.peptides.table import Peptides, write_peptides
from structdiff.protein.residues import AMINO_ACIDS
from structdiff.structures.cache import Cache

SIMULATED = Path(__file__).with_name("simulated.py")
_MODULE = runpy.run_path(str(SIMULATED))


def random_peptides(count: int, shortest: int = 5, longest: int = 50, seed: int = 0) -> list[str]:
    """Return unique random sequences."""
    rng = np.random.default_rng(seed)
    found: dict[str, None] = {}
    while len(found) < count:
        length = int(rng.integers(shortest, longest + 1))
        found["".join(rng.choice(list(AMINO_ACIDS), length))] = None
    return list(found)


def write_table(path: Path, sequences: list[str]) -> Path:
    """Write sequences as peptides.parquet."""
    frame = pd.DataFrame(
        {
            "id": [f"p{number}" for number in range(len(sequences))],
            "sequence": sequences,
            "label": True,
            "cluster": "c",
            "split": "train",
        }
    )
    write_peptides(Peptides(frame, ["label"]), path)
    return path


def configure(root: Path, **structures: object):
    """Return a configuration whose cache is in ``root``."""
    return configuration.parse(
        {
            "run": "test",
            "data": {"path": "peptides.csv"},
            "structures": {"cache": str(root / "cache"), **structures},
        }
    )


@pytest.fixture(scope="session")
def simulate():
    """The function that gives a sequence its simulated structure."""
    return _MODULE["simulate"]


@pytest.fixture(scope="session")
def simulated():
    """The class of the simulated predictor."""
    return _MODULE["Simulated"]


@pytest.fixture(scope="session")
def simulated_script() -> Path:
    """The script that folds with it."""
    return SIMULATED


@pytest.fixture(scope="session")
def peptides():
    """The function that makes random sequences."""
    return random_peptides


@pytest.fixture(scope="session")
def table():
    """The function that writes peptides.parquet."""
    return write_table


@pytest.fixture(scope="session")
def config():
    """The function that makes a configuration."""
    return configure


@pytest.fixture
def cache(tmp_path, simulated) -> Cache:
    """An empty cache of the simulated predictor."""
    cache = Cache(tmp_path / "cache", simulated().key)
    cache.prepare()
    return cache
