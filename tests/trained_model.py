"""A small model, trained for some seconds on peptides whose residues tell their fold."""

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
import torch

from structdiff.diffusion import JointProcess, TaskMix, losses, noise
from structdiff.model import Condition, ConditionSpec, Denoiser, ModelSpec
from structdiff.peptides.seen import SeenPeptides
from structdiff.pretrained import TrainedModel, load_model, save_model
from structdiff.protein.geometry import ANGLES, rebuild
from structdiff.protein.residues import AMINO_ACIDS, decode
from structdiff.system.locks import exclusive
from structdiff.training.dataset import Batch

LABELS = ["helical", "acidic"]
CLASSES = ("AELKMQR", "VIYFTW", "GPNDSCH")
"""Residues of helix, strand and coil."""
PHI_PSI = np.radians([(-63.0, -42.0), (-120.0, 130.0), (-75.0, 145.0)])
SPREAD = np.array([0.1, 0.1, 0.5])
"""Of their torsions, radians: coil is loose, so that its fold cannot be known."""
LENGTH, BATCH, STEPS = 12, 48, 400
DIFFUSION = {"sequence_process": "masked", "num_timesteps": 1000}


def _make_peptides(count: int, seed: int) -> tuple[np.ndarray, torch.Tensor, np.ndarray]:
    """Return tokens ``(count, 12)``, backbones, and labels ``(count, 2)`` of peptides.

    Each is three stretches of helix, strand or coil; half of them are helical all along.
    """
    generator = np.random.default_rng(seed)
    state = np.repeat(generator.integers(0, 3, (count, 3)), LENGTH // 3, axis=1)
    helical = generator.random(count) < 0.5
    state[helical] = 0
    letters = np.array([list(one.ljust(7, one[0])) for one in CLASSES])
    codes = np.array([[AMINO_ACIDS.index(letter) for letter in row] for row in letters])
    tokens = codes[state, generator.integers(0, 7, state.shape)]
    spread = SPREAD[state][..., None]
    phi_psi = PHI_PSI[state] + spread * generator.standard_normal((*state.shape, 2))
    torsions = np.concatenate([phi_psi, np.full((*state.shape, 1), np.pi)], axis=-1)
    bends = torch.tensor(ANGLES).expand(count, LENGTH, 3)
    backbone = rebuild(torch.from_numpy(torsions).float(), bends)
    acidic = (tokens == AMINO_ACIDS.index("E")).any(1)
    return tokens, backbone, np.stack([helical, acidic], axis=1)


def _train(process: JointProcess) -> Denoiser:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    model = Denoiser(ModelSpec(48, 2, 4, len(LABELS), process.sequence.width))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    tokens, backbone, labels = _make_peptides(2000, seed=0)
    lengths = np.full(BATCH, LENGTH)
    order = np.random.default_rng(1)
    mask = torch.ones(BATCH, LENGTH, dtype=torch.bool)
    for step in range(STEPS):
        for group in optimizer.param_groups:
            group["lr"] = 3e-3 * min(1, (step + 1) / 20) * (1 - step / STEPS)
        rows = order.choice(len(tokens), BATCH, replace=False)
        batch = Batch(
            index=torch.from_numpy(rows),
            tokens=torch.from_numpy(tokens[rows]),
            mask=mask,
            condition=Condition.observed(torch.from_numpy(labels[rows])),
            backbone=backbone[rows],
            weight=mask.float(),
            has_structure=torch.ones(BATCH, dtype=torch.bool),
        )
        found = losses(
            model,
            process,
            batch,
            noise(0, step, lengths, 0, BATCH, LENGTH, len(LABELS)),
            self_conditioning=step % 2 == 0,
            label_dropout=0.1,
            task_mix=TaskMix(0.2, 0.2, 0.2),
        )
        optimizer.zero_grad()
        (found.sequence + found.structure).mean().div(LENGTH).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    return model


@pytest.fixture(scope="session")
def model(tmp_path_factory, worker_id) -> Path:
    """Return the file of the trained model, which pytest-xdist's workers share."""
    folder = tmp_path_factory.getbasetemp()
    path = (folder if worker_id == "master" else folder.parent) / "trained.safetensors"
    with exclusive(path.with_suffix(".lock"), lambda: None):
        if not path.exists():
            _save_trained(path)
    return path


def _save_trained(path: Path) -> None:
    trained = _train(JointProcess(**DIFFUSION))
    counts = [0] * LENGTH + [1000]
    lengths = {"helical+acidic": counts, "acidic": [0] * 8 + [500], "": counts}
    save_model(
        path, trained.state_dict(), trained.spec, DIFFUSION, ConditionSpec(LABELS), lengths, {}
    )


@pytest.fixture(scope="session")
def model_that_saw(tmp_path_factory) -> Callable[[Path, Iterable[str]], Path]:
    """Return a function that writes a copy of the trained model as if it had seen some peptides."""

    def save(model: Path, sequences: Iterable[str]) -> Path:
        trained = load_model(model)
        path = tmp_path_factory.mktemp("model") / "model.safetensors"
        weights, spec = trained.network.state_dict(), trained.network.spec
        seen = SeenPeptides.of(sequences)
        save_model(path, weights, spec, DIFFUSION, trained.conditions, trained.lengths, {}, seen)
        return path

    return save


@pytest.fixture(scope="session")
def trained_model(model) -> TrainedModel:
    return load_model(model)


@pytest.fixture(scope="session")
def make_peptides() -> Callable[[int, int], tuple[np.ndarray, torch.Tensor, np.ndarray]]:
    """Return a function that makes peptides of the kind that the model was trained on."""
    return _make_peptides


@pytest.fixture(scope="session")
def held_out() -> tuple[list[str], torch.Tensor]:
    """Sequences and backbones that the model has not seen."""
    tokens, backbone, _ = _make_peptides(60, 99)
    return [decode(row) for row in tokens], backbone
