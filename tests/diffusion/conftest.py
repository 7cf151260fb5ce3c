"""Small models and batches for the tests of the diffusion core."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from structdiff.diffusion import JointProcess
from structdiff.model import Condition, Denoiser, ModelSpec
from structdiff.protein.geometry import ANGLES, rebuild
from structdiff.training.dataset import Batch

LENGTHS = np.array([8, 9, 12, 20])


@pytest.fixture(params=["masked", "gaussian"])
def process(request) -> JointProcess:
    return JointProcess(request.param, 1000)


@pytest.fixture
def model(process) -> Denoiser:
    """A model of random weights: a fresh one would predict zeros."""
    torch.manual_seed(0)
    model = Denoiser(ModelSpec(32, 2, 2, 3, process.sequence.width)).eval().requires_grad_(False)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return model


@pytest.fixture(scope="session")
def make_batch() -> Callable[..., Batch]:
    """Return a function that makes a batch of four peptides, the last one without a structure."""

    def make(width: int = 20) -> Batch:
        generator = torch.Generator().manual_seed(0)
        mask = torch.arange(width) < torch.from_numpy(LENGTHS)[:, None]
        torsions = torch.randn(4, width, 3, generator=generator)
        backbone = rebuild(torsions, torch.tensor(ANGLES).expand(4, width, 3))
        has_structure = torch.tensor([True, True, True, False])
        known = mask & has_structure[:, None]
        return Batch(
            index=torch.arange(4),
            tokens=torch.randint(0, 20, (4, width), generator=generator) * mask,
            mask=mask,
            condition=Condition.observed(torch.tensor([[1, 0, 1]] * 4).bool()),
            backbone=backbone * known[..., None, None],
            weight=known.float(),
            has_structure=has_structure,
        )

    return make


@pytest.fixture(scope="session")
def tokens() -> torch.Tensor:
    """Residues of six peptides, ``(6, 10)``."""
    return torch.randint(0, 20, (6, 10), generator=torch.Generator().manual_seed(7))
