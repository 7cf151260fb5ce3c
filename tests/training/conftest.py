"""Peptides, training sets and configurations small enough to train in a second.

Fixtures return functions: ``make_config(num_epochs=2)``, ``make_training_set(structures=False)``;
``start(config, output_dir)`` trains in a process of its own, which may be killed.
"""

import multiprocessing
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from structdiff.config import Config, parse
from structdiff.diffusion import JointProcess
from structdiff.model import ConditionSpec, Denoiser, ModelSpec
from structdiff.peptides.table import Peptides, write_peptides
from structdiff.protein.geometry import rebuild
from structdiff.protein.residues import AMINO_ACIDS
from structdiff.training import metrics, stage
from structdiff.training.checkpoint import Checkpoints, read
from structdiff.training.dataset import TrainingSet
from structdiff.training.distributed import World
from structdiff.training.trainer import Trainer

LABELS = ["antimicrobial", "antiviral"]
SPLITS = ["train"] * 8 + ["val", "test"]


def _make_config(**training) -> Config:
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


def _make_frame(count: int = 60, seed: int = 0) -> pd.DataFrame:
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


def _make_training_set(count: int = 60, structures: bool = True) -> TrainingSet:
    """Return a training set in memory; every fifth peptide is without a structure."""
    frame = _make_frame(count)
    lengths = frame["sequence"].str.len().to_numpy()
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    has_structure = (np.arange(count) % 5 != 4) & structures
    generator = torch.Generator().manual_seed(0)
    torsions = -1.0 + 0.3 * torch.randn(int(offsets[-1]), 3, generator=generator)
    torsions[:, 2] = np.pi
    angles = torch.tensor([1.94, 2.03, 2.12]).expand_as(torsions)
    backbone = torch.cat(
        [rebuild(torsions[a:b], angles[a:b]) for a, b in pairwise(offsets)]
    ).numpy()
    known = np.repeat(has_structure, lengths)
    letters = "".join(frame["sequence"])
    arrays = {
        "tokens": np.array([AMINO_ACIDS.index(letter) for letter in letters], dtype=np.uint8),
        "offsets": offsets,
        "labels": frame[LABELS].to_numpy(dtype=bool, copy=True),
        "split": np.array([["train", "val", "test"].index(s) for s in frame["split"]], np.uint8),
        "backbone": (backbone * known[:, None, None]).astype(np.float32),
        "weight": np.where(known, 0.8, 0.0).astype(np.float32),
        "has_structure": has_structure,
        "ids": frame["id"].to_numpy(dtype=np.str_),
    }
    return TrainingSet(arrays, ConditionSpec(LABELS))


def _make_trainer(config: Config, data: TrainingSet, output_dir: Path, world: World) -> Trainer:
    """Return a trainer of a model much smaller than the presets."""
    process = JointProcess(config.diffusion.sequence_process, config.diffusion.num_timesteps)
    torch.manual_seed(config.training.seed)
    model = Denoiser(ModelSpec(32, 2, 2, len(data.labels), process.sequence.width))
    checkpoints = Checkpoints(output_dir / "checkpoints", config.training.keep_checkpoints)
    return Trainer(config.training, model, process, data, world, checkpoints, {"identity": {}})


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Compute with one thread: the runs compared here must not depend on the machine."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def make_config() -> Callable[..., Config]:
    """Return a function that makes a configuration, given settings of ``training``."""
    return _make_config


@pytest.fixture(scope="session")
def make_training_set() -> Callable[..., TrainingSet]:
    """Return a function that makes a training set in memory."""
    return _make_training_set


@pytest.fixture(scope="session")
def make_trainer() -> Callable[..., Trainer]:
    """Return a function that makes a trainer of a very small model."""
    return _make_trainer


@pytest.fixture(scope="session")
def peptides(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a peptides.parquet of 60 peptides."""
    path = tmp_path_factory.mktemp("peptides") / "peptides.parquet"
    write_peptides(Peptides(_make_frame(), LABELS), path)
    return path


PRELOAD = [
    "structdiff.config",
    "structdiff.peptides.table",
    "structdiff.training.stage",
    "torch._dynamo",
    "torch.utils.tensorboard",
]

TRAIN = """
import sys
import torch
sys.stdout = sys.stderr = open(f"{{output_dir}}.said", "a", buffering=1)
torch.set_num_threads(1)
from structdiff.training.stage import run
{before}
run(config, peptides, structures, output_dir, **options)
"""


def _starter(peptides: Path) -> Iterator[Callable[..., multiprocessing.Process]]:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    started = []

    def start(config, output_dir, before="", peptides=peptides, structures=None, **options):
        output_dir.parent.mkdir(parents=True, exist_ok=True)
        names = {"config": config, "peptides": peptides, "structures": structures}
        names |= {"output_dir": output_dir, "options": options}
        process = context.Process(target=exec, args=(TRAIN.format(before=before), names))
        process.start()
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.join()


@pytest.fixture
def start(peptides: Path) -> Iterator[Callable[..., multiprocessing.Process]]:
    """Return a function that starts the training stage in a process of its own.

    ``before`` is Python that the process runs first, ``options`` go to the stage. What it prints
    goes to the file ``<output_dir>.said``.
    """
    yield from _starter(peptides)


@pytest.fixture(scope="module")
def start_module(peptides: Path) -> Iterator[Callable[..., multiprocessing.Process]]:
    """Return the function of `start`, for a fixture of a module."""
    yield from _starter(peptides)


def _comparable(output_dir: Path) -> tuple[dict, list[dict]]:
    """Return the last checkpoint's tensors, and the metrics without what depends on time."""
    state = read(output_dir / "checkpoints" / "checkpoint_latest.pth")
    tensors = {
        f"{part}.{name}": value for part in ("model", "ema") for name, value in state[part].items()
    }
    for number, entry in state["optimizer"]["state"].items():
        tensors |= {f"optimizer.{number}.{name}": value for name, value in entry.items()}
    timed = {"time", "residues_per_second", "memory_bytes"}
    lines = [
        {key: value for key, value in line.items() if key not in timed}
        for line in metrics.read(output_dir / "metrics.jsonl")
        if line["event"] in ("step", "validation", "end")
    ]
    return tensors, lines


@pytest.fixture(scope="session")
def assert_identical() -> Callable[[Path, Path], None]:
    """Return a function that asserts that two runs ended bit-identically."""

    def check(first: Path, second: Path) -> None:
        (a, lines_a), (b, lines_b) = _comparable(first), _comparable(second)
        assert a.keys() == b.keys()
        assert [name for name in a if not torch.equal(a[name], b[name])] == []
        assert lines_a == lines_b

    return check


@pytest.fixture(scope="session")
def uninterrupted(peptides: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a run of `make_config()` that nothing disturbed."""
    output_dir = tmp_path_factory.mktemp("uninterrupted")
    torch.set_num_threads(1)
    stage.run(_make_config(), peptides, None, output_dir)
    return output_dir
