"""Peptides, designs and configurations for the evaluation's tests."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from structdiff.config import Config, parse
from structdiff.diffusion import refinement
from structdiff.evaluation.backbone_geometry import Chains
from structdiff.evaluation.classifiers import LabelClassifier
from structdiff.evaluation.judges import Judges
from structdiff.evaluation.peptide_set import PeptideSet, Settings
from structdiff.evaluation.sequence_features import Features, Reference
from structdiff.evaluation.value import Unavailable
from structdiff.peptides.table import Peptides, write_peptides
from structdiff.protein.geometry import ANGLES, rebuild
from structdiff.structures.cache import Cache
from structdiff.structures.index import write_index
from structdiff.structures.predictors.ideal import IdealPredictor

LABELS = ["antimicrobial", "antiviral"]


@pytest.fixture(scope="module")
def few_clash_steps():
    """Chains of an untrained model all clash, however many steps there are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(refinement, "_CLASH_STEPS", 5)
        yield


def _make_sequences(count: int, seed: int) -> list[str]:
    """Return distinct amphipathic peptides: a face of K and R, a face of L, I, F, V, W."""
    generator = np.random.default_rng(seed)
    faces = (np.array(list("KRKS")), np.array(list("LIFVWAG")))
    sequences = {}
    while len(sequences) < count:
        length, phase = int(generator.integers(10, 25)), generator.random() * 2 * np.pi
        polar = np.cos(np.radians(100) * np.arange(length) + phase) > 0.2
        letters = [generator.choice(faces[0] if one else faces[1]) for one in polar]
        sequences["".join(letters)] = None
    return list(sequences)


def _make_frame() -> pd.DataFrame:
    """Return 300 peptides, 200 of them to train on."""
    count = 300
    return pd.DataFrame(
        {
            "id": [f"p{i}" for i in range(count)],
            "sequence": _make_sequences(count, seed=1),
            "antimicrobial": [True] * count,
            "antiviral": [i % 3 == 0 for i in range(count)],
            "cluster": [f"c{i}" for i in range(count)],
            "split": ["train"] * 200 + ["val"] * 50 + ["test"] * 50,
        }
    )


def helix(length: int, left: bool = False) -> np.ndarray:
    """Return an ideal α-helix ``(length, 4, 3)``, or its mirror image."""
    torsions = torch.tensor([-57.8, -47.0, 180.0]).deg2rad().expand(length, 3)
    backbone = rebuild(torsions, torch.tensor(ANGLES).expand(length, 3)).numpy()
    return backbone * [1, 1, -1] if left else backbone


def _make_designs(sequences: dict[str, list[str]]) -> pd.DataFrame:
    """Return designs as the generation stage writes them, each a helix."""
    rows = [
        {
            "id": f"{label}_{i}",
            "sequence": text,
            "label": label,
            "length": len(text),
            "backbone": helix(len(text)).astype(np.float32).reshape(-1),
            "pdb": f"pdb/{label}_{i}.pdb",
        }
        for label, texts in sequences.items()
        for i, text in enumerate(texts)
    ]
    return pd.DataFrame(rows)


@pytest.fixture(scope="session")
def peptide_set() -> Callable[..., PeptideSet]:
    """Return a function that makes a set of designs, given sequences and what it is to have."""

    def make(sequences: list[str], training: list[str] = (), **changes) -> PeptideSet:
        training = list(training)
        missing = Unavailable("not asked here")
        values = {
            "entry": "none",
            "column": "generated",
            "features": Features.of(sequences, training),
            "reference": Reference.of(training, training) if training else None,
            "geometry": missing,
            "reference_geometry": missing,
            "backbones": None,
            "judges": Judges(LabelClassifier({}), missing, missing, missing, 10),
            "settings": Settings(0.9, num_control=1000, seed=0, min_length=5, max_length=50),
        }
        return PeptideSet(sequences=sequences, **values | changes)

    return make


@pytest.fixture(scope="session")
def make_config() -> Callable[..., Config]:
    """Return a function that makes a configuration, given settings of ``data``."""

    def make(**data) -> Config:
        return parse(
            {
                "run": "test",
                "data": {"path": "unused.csv", "label_columns": LABELS, **data},
                "evaluation": {"num_control": 100},
            }
        )

    return make


@pytest.fixture(scope="session")
def make_sequences() -> Callable[[int, int], list[str]]:
    """Return a function that makes distinct peptides, given how many and a seed."""
    return _make_sequences


@pytest.fixture(scope="session")
def make_designs() -> Callable[[dict[str, list[str]]], pd.DataFrame]:
    """Return a function that makes designs of sequences by label."""
    return _make_designs


@pytest.fixture(scope="session")
def frame() -> pd.DataFrame:
    return _make_frame()


@pytest.fixture(scope="session")
def peptides(tmp_path_factory, frame) -> Path:
    path = tmp_path_factory.mktemp("peptides") / "peptides.parquet"
    write_peptides(Peptides(frame, LABELS), path)
    return path


@pytest.fixture(scope="session")
def structures(tmp_path_factory, frame) -> Path:
    """The index of ideal structures of all peptides."""
    folder = tmp_path_factory.mktemp("structures")
    predictor = IdealPredictor()
    cache = Cache(folder / "cache", predictor.key)
    cache.prepare()
    sequences = frame["sequence"].tolist()
    cache.write([outcome for batch in predictor.predict(sequences) for outcome in batch])
    path = folder / "index.parquet"
    located = cache.scan(sequences)
    write_index(path, frame["id"].tolist(), sequences, located, predictor.name, cache.root)
    return path


@pytest.fixture(scope="session")
def helices() -> Callable[..., Chains]:
    """Return a function that makes ideal helices of poly-alanine."""

    def make(lengths: list[int], left: bool = False) -> Chains:
        return Chains.join(["A" * n for n in lengths], [helix(n, left) for n in lengths])

    return make
