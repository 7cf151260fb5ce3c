"""Folding and inverse folding of held-out peptides, measured and set beside baselines."""

import math

import numpy as np
import pytest
import torch

from structdiff.diffusion import JointProcess
from structdiff.evaluation.model_tasks import (
    BINS,
    COLUMNS,
    PeptidesWithStructures,
    assess_tasks,
    compare,
    straight_helix,
    with_ideal_angles,
)
from structdiff.evaluation.value import Unavailable
from structdiff.generation.folding import Fold
from structdiff.model import ConditionSpec, Denoiser, ModelSpec
from structdiff.pretrained import TrainedModel
from structdiff.protein.geometry import ANGLES, internal_coordinates, rebuild
from structdiff.protein.io import format_pdb
from structdiff.protein.structure import Structure
from structdiff.system.errors import UserError

pytestmark = pytest.mark.usefixtures("few_clash_steps")


@pytest.fixture(scope="module")
def release():
    torch.manual_seed(0)
    process = JointProcess("masked", 100)
    model = Denoiser(ModelSpec(32, 1, 2, 1, process.sequence.width)).eval()
    return TrainedModel(model, process, ConditionSpec(["amp"]), {}, {})


@pytest.fixture(scope="module")
def held_out(frame, helices):
    sequences = frame["sequence"].tolist()[-40:]
    chains = helices([len(one) for one in sequences])
    backbones = np.split(chains.positions, chains.offsets[1:-1])
    return PeptidesWithStructures(sequences, backbones, np.linspace(40, 95, 40))


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
    assert known["value"].notna().all()
    assert (known["baseline"].notna() == (known["baseline_name"] != "")).all()
    assert set(known.loc[known["baseline_name"] == "", "measure"].str.split().str[0]) == {
        "Spearman"
    }
    assert table.loc[table["missing"] != "", "value"].isna().all()
    folding = known[known["task"] == "folding"].set_index(["subset", "measure"])
    assert folding.loc[("all", "Cα lDDT, median"), "baseline"] > 0.95  # helices by a helix
    bins = folding.loc[(slice(None), "Cα RMSD, median (Å)"), "peptides"].droplevel(1)
    assert bins["all"] == 30
    assert bins["pLDDT ≥ 70"] == bins[["pLDDT 70–80", "pLDDT 80–90", "pLDDT ≥ 90"]].sum()
    # A fresh network gives every residue the same chance.
    inverse = known[known["task"] == "inverse folding"].set_index(["subset", "measure"])
    assert inverse.loc[("as written", "perplexity"), "value"] == pytest.approx(20, rel=1e-3)
    assert len(inverse) == 6
    again = assess_tasks(release, held_out, {"amp": held_out}, limit=30, seed=0)
    assert again.equals(table)


def test_windows_of_experimental_chains_are_read_in_full(tmp_path, helices):
    chains = helices([45, 12])
    for number, positions in enumerate(np.split(chains.positions, chains.offsets[1:-1])):
        structure = Structure("G" * len(positions), positions.reshape(-1, 3))
        (tmp_path / f"{number}.pdb").write_text(format_pdb(structure))
    (tmp_path / "notes.txt").write_text("not a structure")
    windows = PeptidesWithStructures.experimental(tmp_path)
    assert sorted(map(len, windows.sequences)) == [10] * 5 + [20] * 2 + [30, 40]
    assert set("".join(windows.sequences)) == {"G"}
    assert np.allclose(windows.backbones[1], chains.positions[10:20], atol=1e-3)
    with pytest.raises(UserError, match=r"notes\.txt has no structure of 10 residues or more"):
        PeptidesWithStructures.experimental(tmp_path / "notes.txt")
    with pytest.raises(UserError, match=r"evaluation\.experimental: .*absent: no such file or"):
        PeptidesWithStructures.experimental(tmp_path / "absent")


def test_ideal_angles_keep_the_torsions(held_out):
    backbone = held_out.backbones[0]
    bent = rebuild(*(torch.randn(1, 20, 3) * scale + shift for scale, shift in ((1, 0), (0.05, 2))))
    for chain in (backbone, bent[0].numpy()):
        before, _ = internal_coordinates(torch.from_numpy(chain)[None])
        after, angles = internal_coordinates(torch.from_numpy(with_ideal_angles(chain))[None])
        assert torch.allclose(before.cos(), after.cos(), atol=1e-3)
        assert torch.allclose(angles, torch.tensor(ANGLES).expand_as(angles), atol=1e-3)


def folded_as(monkeypatch, backbones, confidence):
    """Let a model fold the peptides, given by their number, to backbones of a confidence."""

    def fold(release, sequences):
        for number in reversed(range(len(sequences))):
            own = np.full(len(sequences[number]), confidence[number], dtype=np.float32)
            yield Fold(number, sequences[number], backbones[number], own)

    monkeypatch.setattr("structdiff.evaluation.model_tasks.fold", fold)


def test_the_geometry_of_folds_stands_beside_that_of_the_structures(release, held_out, monkeypatch):
    mirrored = [backbone * [1, 1, -1] for backbone in held_out.backbones]
    mirrored[3] = mirrored[3].copy()
    mirrored[3][-1] += 5  # breaks the last bond
    folded_as(monkeypatch, mirrored, np.full(40, 0.9))
    table = assess_tasks(release, held_out, {}, limit=40, seed=0)
    rows = table[table["baseline_name"] == "the structures themselves"].set_index(
        ["subset", "measure"]
    )
    assert set(rows.index.levels[0]) == {"all", *BINS}
    everything = rows.loc["all"]
    joints = sum(len(sequence) - 1 for sequence in held_out.sequences)
    for measure in (
        "Cα–Cα steps within 3.8 ± 0.15 Å (share)",
        "C–N bonds within 1.33 ± 0.1 Å (share)",
    ):
        assert everything.loc[measure, "value"] == pytest.approx((joints - 1) / joints)
        assert everything.loc[measure, "baseline"] == 1
    handed = everything.loc["Right-handed among helical turns (share)"]
    assert (handed["value"], handed["baseline"]) == (0, 1)
    clashes = everything.loc["Chains with Cα closer than 3.0 Å (share)"]
    assert (clashes["value"], clashes["baseline"]) == (0, 0)
    bent = [np.zeros_like(backbone) for backbone in held_out.backbones]
    folded_as(monkeypatch, bent, np.full(40, 0.9))
    table = assess_tasks(release, held_out, {}, limit=40, seed=0)
    handed = table[table["measure"] == "Right-handed among helical turns (share)"].iloc[0]
    assert math.isnan(handed["value"])
    assert handed["baseline"] == 1
    assert handed["missing"] == "only 0 helical turns, 50 wanted"


def test_a_confidence_that_knows_its_folds_correlates_with_their_lddt(
    release, held_out, monkeypatch
):
    bent = [
        backbone + 0.1 * row * np.arange(len(backbone))[:, None, None] ** 1.5
        for row, backbone in enumerate(held_out.backbones)
    ]
    _, actual = compare([one[:, 1] for one in bent], [one[:, 1] for one in held_out.backbones])
    name = "Spearman correlation of confidence and Cα lDDT"
    for confidence, told in ((actual, 1), (1 - actual, -1)):
        folded_as(monkeypatch, bent, confidence)
        table = assess_tasks(release, held_out, {}, limit=40, seed=0)
        (row,) = table[table["measure"] == name].to_dict("records")
        assert row["value"] == pytest.approx(told)
        assert row["subset"] == "all"
        assert math.isnan(row["baseline"])


def test_designs_are_told_apart_by_the_confidence_of_their_folds(release, held_out, monkeypatch):
    folded_as(monkeypatch, held_out.backbones, np.where(np.arange(40) < 12, 0.81, 0.79))
    table = assess_tasks(release, Unavailable("none"), {"amp": held_out}, limit=40, seed=0)
    rows = table[table["task"] == "refolding"].set_index("subset")
    assert rows["peptides"].to_dict() == {"all": 40, "confident": 12}
    folded_as(monkeypatch, held_out.backbones, np.full(40, 0.79))
    table = assess_tasks(release, Unavailable("none"), {"amp": held_out}, limit=40, seed=0)
    assert table["missing"].tolist()[-1] == "no such design"


def test_what_cannot_be_measured_says_why(release, held_out):
    blind = PeptidesWithStructures(held_out.sequences, held_out.backbones, np.full(40, math.nan))
    table = assess_tasks(release, blind, {}, limit=10, seed=0)
    missing = table[table["missing"] != ""]
    reasons = missing.loc[missing["subset"] != "all", "missing"]
    assert set(reasons) == {"the structures come without pLDDT"}
    table = assess_tasks(release, Unavailable("no structures"), {}, limit=10, seed=0)
    assert table["missing"].tolist() == ["no structures"] * 2
    nothing = PeptidesWithStructures([], [], np.zeros(0))
    table = assess_tasks(release, Unavailable("no structures"), {"amp": nothing}, limit=10, seed=0)
    assert table["missing"].tolist()[-1] == "no design has a backbone"
