"""The cosine schedule, and the backbone's delay behind the sequence."""

import pytest
import torch

from structdiff.diffusion.schedule import alpha_sigma, structure_level


def test_the_schedule_is_clean_at_0_noise_at_1_and_preserves_variance():
    assert alpha_sigma(0.0) == (1.0, 0.0)
    assert alpha_sigma(1.0) == pytest.approx((0.0, 1.0))
    alpha, sigma = alpha_sigma(torch.linspace(0, 1, 11))
    assert torch.allclose(alpha**2 + sigma**2, torch.ones(11))
    assert (alpha.diff() < 0).all()
    for i in (0, 3, 10):
        assert alpha_sigma(i / 10) == pytest.approx((alpha[i].item(), sigma[i].item()), abs=1e-6)


def test_the_backbone_is_noise_until_half_of_the_sequence_is_drawn():
    assert [structure_level(t) for t in (1.0, 0.75, 0.5, 0.25, 0.0)] == [1.0, 1.0, 1.0, 0.5, 0.0]
