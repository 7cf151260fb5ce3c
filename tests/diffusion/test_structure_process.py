"""Structure processes: features rebuild the backbone, and steps lead to the clean ones."""

import math
from itertools import pairwise

import torch

from structdiff.diffusion.processes import JointProcess
from structdiff.diffusion.structure_process import STRUCTURE_PROCESSES, TorsionProcess
from structdiff.protein.geometry import ANGLES, rebuild


def uniform(*shape: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(shape, generator=generator).clamp(1e-6, 1 - 1e-6)


def chain(length: int = 20) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    torsions = (torch.rand(8, length, 3, generator=generator) - 0.5) * 2 * math.pi
    return rebuild(torsions, torch.tensor(ANGLES).expand(8, length, 3))


def test_structure_features_rebuild_the_backbone():
    process, backbone = TorsionProcess(), chain()
    mask = torch.ones(8, 20, dtype=torch.bool)
    rebuilt = process.decode(process.encode(backbone, mask))
    distances, expected = (
        torch.linalg.vector_norm(x.flatten(1, 2)[:, :, None] - x.flatten(1, 2)[:, None], dim=-1)
        for x in (rebuilt, backbone)
    )
    assert (distances - expected).abs().max() < 1e-3


def test_structure_step_follows_a_perfect_model():
    process = TorsionProcess()
    clean = process.encode(chain(), torch.ones(8, 20, dtype=torch.bool))
    state, grid = process.prior(uniform(8, 20, 9)), JointProcess("masked", 1000).grid(10)
    for t, t_next in pairwise(grid):
        state = process.step(state, clean, t, t_next)
    assert torch.allclose(state, clean, atol=1e-5)


def test_decoding_a_vanishing_angle_has_a_finite_gradient():
    features = torch.full((1, 12, 9), 1e-7, requires_grad=True)
    TorsionProcess().decode(features).square().sum().backward()
    assert torch.isfinite(features.grad).all()
    assert features.grad.abs().max() < 1e5


def test_a_process_is_one_registered_class(monkeypatch):
    """Here one of the torsions alone, with ideal bond angles."""

    class Ideal(TorsionProcess):
        width = 6

        def encode(self, backbone, mask):
            return super().encode(backbone, mask)[..., :6]

        def decode(self, features):
            return super().decode(torch.nn.functional.pad(features, (0, 3)))

    monkeypatch.setitem(STRUCTURE_PROCESSES, "ideal", Ideal)
    process, mask = JointProcess("masked", 1000, "ideal"), torch.ones(8, 20, dtype=torch.bool)
    assert process.structure.width == 6
    features = process.structure.encode(chain(), mask)
    assert features.shape == (8, 20, 6)
    rebuilt = process.structure.decode(features)
    assert torch.allclose(process.structure.encode(rebuilt, mask), features, atol=1e-3)
    assert process.structure.prior(uniform(8, 20, 12)).shape == (8, 20, 6)
