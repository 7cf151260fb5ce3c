"""The time steps that both processes share."""

from itertools import pairwise

import pytest

from structdiff.diffusion.processes import JointProcess


def test_the_grid_falls_from_noise_to_clean_on_the_time_steps():
    grid = JointProcess("masked", 1000).grid(30)
    assert (grid[0], grid[-1], len(grid)) == (1.0, 0.0, 31)
    assert all(a > b for a, b in pairwise(grid))
    assert all(round(level * 1000) == pytest.approx(level * 1000) for level in grid)
    assert len(JointProcess("masked", 10).grid(100)) == 11


def test_the_grid_can_begin_at_any_level():
    grid = JointProcess("masked", 1000).grid(4, 0.5)
    assert grid == [0.5, 0.375, 0.25, 0.125, 0.0]
    assert JointProcess("masked", 1000).grid(4, 0.0) == [0.0]
