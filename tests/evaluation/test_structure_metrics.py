"""Backbone metrics on shapes whose values are known."""

import numpy as np
import pytest

from structdiff.evaluation.backbone_geometry import Chains, Geometry
from structdiff.evaluation.registry import measure
from structdiff.evaluation.structure_metrics import disulfides
from structdiff.evaluation.value import Unavailable


@pytest.fixture
def values(peptide_set):
    """Return a function that measures chains, given the geometry of training structures."""

    def measured(chains, reference):
        geometry = Geometry.of(chains)
        return measure(
            peptide_set(chains.sequences, geometry=geometry, reference_geometry=reference)
        )

    return measured


def test_an_ideal_helix(helices, values):
    chains = helices([20] * 10)
    got = values(chains, Geometry.of(chains))
    assert got["chains"] == 10
    assert got["ca_step_valid"] == got["cn_valid"] == got["trans"] == 1
    assert got["clashes"] == 0
    assert got["helix"] == got["alpha"] == got["right_handed"] == 1
    assert got["n_ca_mean"] == pytest.approx(1.459, abs=1e-3)
    assert got["angle_n_ca_c_mean"] == pytest.approx(111.0, abs=0.1)
    assert got["positive_phi"] == 0
    assert got["ramachandran_js"] == 0
    # 19 steps of 1.5 Å along the axis, 2.3 Å away from it.
    expected = np.sqrt((1.5 * 20) ** 2 / 12 + 2.3**2)
    assert got["radius_mean"] == pytest.approx(expected, abs=0.3)


def test_a_mirror_image_is_left_handed(helices, values):
    got = values(helices([20] * 10, left=True), Unavailable("-"))
    assert got["right_handed"] == 0
    assert got["helix"] == 0
    assert got["positive_phi"] == 1
    assert got["ramachandran_js"] == Unavailable("-")


def test_chains_do_not_touch_each_other(helices):
    """Joined flat, nothing is measured from the end of a chain to the start of the next."""
    alone = Geometry.of(helices([12]))
    together = Geometry.of(helices([12, 7, 12]))
    for name in ("phi", "psi", "omega"):
        np.testing.assert_allclose(
            getattr(together, name)[:12], getattr(alone, name), rtol=1e-6, equal_nan=True
        )
        np.testing.assert_allclose(
            getattr(together, name)[19:], getattr(alone, name), atol=1e-3, equal_nan=True
        )
    assert np.isnan(together.lengths["c_n"][[11, 18, 30]]).all()


def test_clashes_and_broken_steps_are_found(helices):
    chains = helices([10, 10])
    positions = chains.positions.copy()
    positions[4] = positions[0] + 0.5  # the fifth residue of the first chain on top of the first
    geometry = Geometry.of(Chains(chains.sequences, chains.offsets, positions))
    assert geometry.clashes.tolist() == [True, False]
    np.testing.assert_allclose(geometry.valid_steps, [7 / 9, 1])


def test_too_few_turns_say_nothing_of_handedness(helices, values):
    got = values(helices([8]), Unavailable("-"))
    assert got["right_handed"] == Unavailable("only 5 helical turns, 50 wanted")


def test_cysteines_are_paired_where_another_is_near(helices):
    """A second cysteine at 4 Å is a partner, one of a helix is not; a single one is not asked."""
    sequences = ["AACAAACAAA"] * 15 + ["AAACAAAAAA"] * 5
    chains = helices([10] * 20)
    positions = chains.positions.copy().reshape(20, 10, 4, 3)
    positions[:10, 6] = positions[:10, 2] + [4, 0, 0]
    positions = positions.reshape(-1, 4, 3)
    geometry = Geometry.of(Chains(sequences, chains.offsets, positions))
    assert disulfides(geometry) == pytest.approx(20 / 30)
    few = Geometry.of(Chains(sequences[:2], chains.offsets[:3], positions[:20]))
    assert disulfides(few) == Unavailable("only 4 cysteines are not alone, 20 wanted")
