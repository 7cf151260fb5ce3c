"""The stage's files: every metric beside its controls, missing ones null with a reason."""

import json

import pytest
import torch

from structdiff.diffusion import JointProcess
from structdiff.evaluation.controls import COLUMNS
from structdiff.evaluation.plots import FIGURES
from structdiff.evaluation.registry import all_metrics
from structdiff.evaluation.stage import run
from structdiff.model import ConditionSpec, Denoiser, ModelSpec
from structdiff.pretrained import save_model
from structdiff.system.errors import UserError
from structdiff.system.files import read_tsv

pytestmark = pytest.mark.usefixtures("few_clash_steps")


@pytest.fixture(scope="module")
def samples(tmp_path_factory, make_designs, make_sequences):
    path = tmp_path_factory.mktemp("samples") / "samples.parquet"
    designs = {"antimicrobial": make_sequences(60, 2), "antiviral": make_sequences(60, 3)}
    make_designs(designs).to_parquet(path, index=False)
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """The file of an untrained model."""
    torch.manual_seed(0)
    diffusion = {"sequence_process": "masked", "num_timesteps": 100}
    denoiser = Denoiser(ModelSpec(32, 1, 2, 2, JointProcess(**diffusion).sequence.width))
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    labels = ["antimicrobial", "antiviral"]
    save_model(path, denoiser.state_dict(), denoiser.spec, diffusion, ConditionSpec(labels), {}, {})
    return path


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory, make_config, samples, peptides, structures, model):
    folder = tmp_path_factory.mktemp("evaluation")
    run(make_config(), samples, peptides, structures, model, folder)
    return folder


def test_every_metric_stands_beside_its_controls(evaluated):
    sets = json.loads((evaluated / "metrics.json").read_text())
    assert list(sets) == ["antimicrobial", "antiviral"]
    for one in sets.values():
        assert list(one["metrics"]) == [metric.key for metric in all_metrics()]
        for values in one["metrics"].values():
            nulls = [column for column in COLUMNS if values[column] is None]
            assert (values["missing"] is not None) == bool(nulls)
        for key in ("uniqueness", "js1", "order", "charge_mean"):
            assert all(one["metrics"][key][column] is not None for column in COLUMNS)
        assert one["metrics"]["right_handed"]["generated"] == 1
        assert one["metrics"]["helix"]["shuffled"] is None


def test_the_table_holds_the_same_as_the_json(evaluated):
    sets = json.loads((evaluated / "metrics.json").read_text())
    rows = read_tsv(evaluated / "metrics.tsv")
    assert len(rows) == len(sets) * len(all_metrics())
    by_title = {(row["set"], row["metric"]): row for row in rows}
    for entry, one in sets.items():
        for values in one["metrics"].values():
            row = by_title[entry, values["title"]]
            for column, name in COLUMNS.items():
                if values[column] is None:
                    assert row[name] == ""
                    assert row["missing"]
                else:
                    assert float(row[name]) == pytest.approx(values[column], rel=1e-3, abs=1e-12)


def test_each_set_gets_a_verdict_and_ranked_candidates(evaluated):
    verdicts = {row["set"]: row["verdict"] for row in read_tsv(evaluated / "verdict.tsv")}
    assert verdicts == {"antimicrobial": "ok", "antiviral": "ok"}
    candidates = read_tsv(evaluated / "candidates.tsv")
    assert len(candidates) == 120
    for entry in verdicts:
        mine = [row for row in candidates if row["set"] == entry]
        assert [int(row["rank"]) for row in mine] == list(range(1, 61))
        unmet = [int(row["judged"]) - int(row["met"]) for row in mine]
        assert unmet == sorted(unmet)
        assert all(row["reasons"] for row in mine)


def test_labels_are_judged_by_a_classifier(evaluated):
    rows = read_tsv(evaluated / "label_control.tsv")
    assert [(row["set"], row["label"], row["asked_for"]) for row in rows] == [
        ("antimicrobial", "antimicrobial", "True"),
        ("antimicrobial", "antiviral", "False"),
        ("antiviral", "antimicrobial", "False"),
        ("antiviral", "antiviral", "True"),
    ]
    for row in rows:  # every peptide is antimicrobial; which are antiviral is chance
        if row["label"] == "antimicrobial":
            assert "only 0 do not have the label" in row["missing"]
        else:
            assert 0.3 < float(row["auroc"]) < 0.7
            assert 0 <= float(row["called"]) <= 1


def test_the_model_is_asked_for_its_other_tasks(evaluated):
    rows = read_tsv(evaluated / "tasks.tsv")
    tasks = {(row["task"], row["set"]) for row in rows}
    assert tasks == {
        ("folding", "held-out"),
        ("inverse folding", "held-out"),
        ("refolding", "antimicrobial"),
        ("refolding", "antiviral"),
    }
    for row in rows:
        assert (row["value"] == "") == (row["missing"] != "")


def test_every_figure_is_drawn(evaluated):
    for name in (*FIGURES, "tasks"):
        for suffix in ("svg", "png"):
            assert (evaluated / f"{name}.{suffix}").stat().st_size > 2000


def test_it_is_reproducible(evaluated, tmp_path, make_config, samples, peptides, structures, model):
    run(make_config(), samples, peptides, structures, model, tmp_path)
    for name in ("metrics.json", "candidates.tsv", "verdict.tsv", "label_control.tsv", "tasks.tsv"):
        assert (tmp_path / name).read_bytes() == (evaluated / name).read_bytes()


@pytest.mark.parametrize("how", ["no index", "not used"])
def test_without_structures_their_metrics_are_null(
    tmp_path, make_config, samples, peptides, structures, how
):
    config = make_config(use_predicted_structures=how != "not used")
    run(config, samples, peptides, None if how == "no index" else structures, None, tmp_path)
    metrics = json.loads((tmp_path / "metrics.json").read_text())["antiviral"]["metrics"]
    assert metrics["helix"]["generated"] is None
    assert "trained without structures" in metrics["helix"]["missing"]
    assert [row["missing"] for row in read_tsv(tmp_path / "tasks.tsv")] == ["no model was given"]


def test_no_design_is_an_error(tmp_path, make_config, make_designs, peptides):
    path = tmp_path / "samples.parquet"
    with pytest.raises(UserError, match="no such file"):
        run(make_config(), path, peptides, None, None, tmp_path)
    path.write_bytes(b"PAR1 not really")
    with pytest.raises(UserError, match=r"samples\.parquet: cannot be read"):
        run(make_config(), path, peptides, None, None, tmp_path)
    make_designs({"antiviral": ["KKLLKK"]}).iloc[:0].to_parquet(path)
    with pytest.raises(UserError, match="nothing to evaluate"):
        run(make_config(), path, peptides, None, None, tmp_path)
