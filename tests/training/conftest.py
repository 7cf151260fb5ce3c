"""Peptides, training sets and configurations small enough to train in a second."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from structdiff.arrays import TrainingSet
from structdiff.config import Config, parse
from structdiff.geometry import rebuild
from structdiff.peptides.table import Peptides, write_peptides
from structdiff.sequence import AMINO_ACIDS

LABELS = ["antimicrobial", "antiviral"]
SPLITS = ["train"] * 8 + ["val", "test"]


def make_config(**training) -> Config:
    """Return a configuration whose runs take a second."""
    settings = {
        "num_epochs": 3,
        "batch_size": 4,
        "gradient_accumulation_steps": 4,
        "validate_every": 2,
        "save_every": 2,
        "optimizer": {"lr": 1e-3},
        "scheduler": {"warmup_steps": 3},
        **training,
    }
    return parse(
        {
            "run": "test",
            "data": {"path": "unused.csv", "num_workers": 0},
            "model": {"preset": "tiny"},
            "training": settings,
        }
    )


def make_frame(count: int = 60, seed: int = 0) -> pd.DataFrame:
    """Return a table of random peptides of 5–20 residues."""
    random = np.random.default_rng(seed)
    lengths = random.integers(5, 21, count)
    return pd.DataFrame(
        {
            "id": [f"p{i}" for i in range(count)],
            "sequence": ["".join(random.choice(list(AMINO_ACIDS), n)) for n in lengths],
            **{label: random.random(count) < 0.5 for label in LABELS},
            "cluster": [f"c{i}" for i in range(count)],
            "split": [SPLITS[i % len(SPLITS)] for i in range(count)],
        }
    )


def make_training_set(count: int = 60, structures: bool = True) -> TrainingSet:
    """Return a training set in memory; every fifth peptide is without a structure."""
    frame = make_frame(count)
    lengths = frame["sequence"].str.len().to_numpy()
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    has_structure = (np.arange(count) % 5 != 4) & structures
    generator = torch.Generator().manual_seed(0)
    torsions = -1.0 + 0.3 * torch.randn(int(offsets[-1]), 3, generator=generator)
    torsions[:, 2] = np.pi
    angles = torch.tensor([1.94, 2.03, 2.12]).expand_as(torsions)
    backbone = torch.cat(
        [
            rebuild(torsions[a:b], angles[a:b])
            for a, b in zip(offsets[:-1], offsets[1:], strict=True)
        ]
    ).numpy()
    known = np.repeat(has_structure, lengths)
    letters = "".join(frame["sequence"])
    arrays = {
        "tokens": np.array([AMINO_ACIDS.index(letter) for letter in letters], dtype=np.uint8),
        "offsets": offsets,
        "labels": frame[LABELS].to_numpy(dtype=bool),
        "split": np.array([["train", "val", "test"].index(s) for s in frame["split"]], np.uint8),
        "backbone": (backbone * known[:, None, None]).astype(np.float32),
        "weight": np.where(known, 0.8, 0.0).astype(np.float32),
        "has_structure": has_structure,
        "ids": frame["id"].to_numpy(dtype=np.str_),
    }
    return TrainingSet(arrays, LABELS)


@pytest.fixture
def peptides(tmp_path: Path) -> Path:
    """Return a peptides.parquet of 60 peptides."""
    path = tmp_path / "peptides.parquet"
    write_peptides(Peptides(make_frame(), LABELS), path)
    return path


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Compute with one thread: the runs compared here must not depend on the machine."""
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
