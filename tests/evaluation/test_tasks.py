"""Folding and inverse folding of held-out peptides, measured and set beside baselines."""

import math

import numpy as np
import pytest
import torch

from structdiff.diffusion import JointProcess
from structdiff.evaluation.metric import Missing
from structdiff.evaluation.tasks import (
    COLUMNS,
    Peptides,
    assess_tasks,
    compare,
    straight_helix,
)
from structdiff.model import Denoiser, ModelSpec
from structdiff.release import Release


@pytest.fixture(scope="module")
def release():
    torch.manual_seed(0)
    process = JointProcess("masked", 100)
    model = Denoiser(ModelSpec(32, 1, 2, 1, process.sequence_width)).eval()
    return Release(model, process, ["amp"], {}, {})


@pytest.fixture(scope="module")
def held_out(frame, helices):
    sequences = frame["sequence"].tolist()[-40:]
    chains = helices([len(one) for one in sequences])
    backbones = np.split(chains.positions, chains.offsets[1:-1])
    return Peptides(sequences, backbones, np.linspace(40, 95, 40))


def test_a_straight_helix_is_one():
    ca = straight_helix(20)
    steps = np.linalg.norm(np.diff(ca, axis=0), axis=1)
    assert steps == pytest.approx(np.full(19, 3.8), abs=0.05)


def test_comparison_keeps_the_order_of_the_pairs(held_out):
    true = [backbone[:, 1] for backbone in held_out.backbones]
    bent = [ca + (row == 7) * np.linspace(0, 9, len(ca))[:, None] ** 1.5
            for row, ca in enumerate(true)]  # fmt: skip
    deviation, agreement = compare(bent, true)
    assert np.flatnonzero(deviation > 1e-4).tolist() == [7]
    assert np.flatnonzero(agreement < 1).tolist() == [7]


def test_every_task_stands_beside_its_baseline(release, held_out):
    table = assess_tasks(release, held_out, {"amp": held_out}, limit=30, seed=0)
    assert list(table.columns) == list(COLUMNS)
    known = table[table["missing"] == ""]
    assert set(known["task"]) == {"folding", "inverse folding", "refolding"}
    assert known[["value", "baseline"]].notna().all(axis=None)
    folding = known[known["task"] == "folding"].set_index(["subset", "measure"])
    assert folding.loc[("all", "Cα lDDT, median"), "baseline"] > 0.95  # helices by a helix
    bins = folding.loc[(slice(None), "Cα RMSD, median (Å)"), "peptides"].droplevel(1)
    assert bins["all"] == 30
    assert bins["pLDDT ≥ 70"] == bins[["pLDDT 70–80", "pLDDT 80–90", "pLDDT ≥ 90"]].sum()
    # A fresh network gives every residue the same chance.
    inverse = known[known["task"] == "inverse folding"].set_index("measure")
    assert inverse.loc["perplexity", "value"] == pytest.approx(20, rel=1e-3)
    again = assess_tasks(release, held_out, {"amp": held_out}, limit=30, seed=0)
    assert again.equals(table)


def test_what_cannot_be_measured_says_why(release, held_out):
    blind = Peptides(held_out.sequences, held_out.backbones, np.full(40, math.nan))
    table = assess_tasks(release, blind, {}, limit=10, seed=0)
    missing = table[table["missing"] != ""]
    assert set(missing["missing"]) == {"the structures come without pLDDT"}
    table = assess_tasks(release, Missing("no structures"), {}, limit=10, seed=0)
    assert table["missing"].tolist() == ["no structures"] * 2
    nothing = Peptides([], [], np.zeros(0))
    table = assess_tasks(release, Missing("no structures"), {"amp": nothing}, limit=10, seed=0)
    assert table["missing"].tolist()[-1] == "no design has a backbone"
