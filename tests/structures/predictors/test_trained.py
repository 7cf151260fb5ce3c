"""The trained model as a predictor of the structures' stage."""

from contextlib import nullcontext

import numpy as np
import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner

from structdiff.cli import app
from structdiff.peptides.table import Peptides, write_peptides
from structdiff.pretrained import save_model
from structdiff.structures.cache import Cache
from structdiff.structures.fold import fold, plan
from structdiff.structures.index import read_backbones
from structdiff.structures.predictors import trained
from structdiff.structures.predictors.trained import DenoiserPredictor
from structdiff.system.errors import UserError

pytestmark = pytest.mark.xdist_group("design")

SEQUENCES = ["AELKMQRAELKM", "VIYFTWVIYF", "AELKMQRAEL", "GPNDSCHGPND"]


def test_it_has_one_outcome_for_each_sequence(model):
    batches = list(DenoiserPredictor(model).predict(SEQUENCES))
    found = [outcome for batch in batches for outcome in batch]
    assert sorted(one.sequence for one in found) == sorted(SEQUENCES)
    for one in found:
        assert np.isfinite(one.backbone).all()
        assert 20 < one.plddt.mean() < one.plddt.max() <= 100


def test_a_peptide_that_design_refuses_is_a_failure(model):
    outcomes = [o for b in DenoiserPredictor(model).predict([SEQUENCES[1], "A" * 200]) for o in b]
    failure, structure = outcomes
    assert failure.sequence == "A" * 200 and "200 residues are far beyond" in failure.reason
    assert structure.sequence == SEQUENCES[1]


def test_a_gpu_is_leased_unless_the_device_is_given(model, monkeypatch):
    leases = []
    monkeypatch.setattr(trained, "lease", lambda count: leases.append(count) or nullcontext())
    for device, expected in (("cpu", []), (None, [1])):
        list(DenoiserPredictor(model, device=device).predict(SEQUENCES[:1]))
        assert leases == expected


def test_its_key_is_the_content_of_the_weights(model, trained_model, tmp_path):
    copy, other = tmp_path / "copy.safetensors", tmp_path / "other.safetensors"
    copy.write_bytes(model.read_bytes())
    weights = trained_model.network.state_dict()
    weights = {**weights, "sequence_out.bias": weights["sequence_out.bias"] + 1}
    diffusion = {"sequence_process": "masked", "num_timesteps": 1000}
    save_model(
        other, weights, trained_model.network.spec, diffusion, trained_model.conditions, {}, {}
    )
    key = DenoiserPredictor(model).key
    assert key == DenoiserPredictor(copy).key
    assert key != DenoiserPredictor(other).key
    assert set(key) == {"predictor", "weights", "code_version"}
    with pytest.raises(UserError, match="no such model"):
        DenoiserPredictor(tmp_path / "absent.safetensors")


def test_it_fills_the_cache(model, tmp_path):
    predictor = DenoiserPredictor(model)
    cache = Cache(tmp_path / "cache", predictor.key)
    cache.prepare()
    assert fold(cache, predictor, "shard", SEQUENCES) == []
    planned = plan(cache, predictor, SEQUENCES)
    assert planned.missing == []
    assert sorted(planned.located.index) == sorted(SEQUENCES)
    assert cache.folder.name.startswith("structdiff-")


def test_the_fold_command_takes_it_by_name(model, tmp_path):
    frame = pd.DataFrame({"id": ["a", "b", "c", "d"], "sequence": SEQUENCES})
    frame["cluster"], frame["split"] = "c", "train"
    write_peptides(Peptides(frame, []), tmp_path / "peptides.parquet")
    settings = {"run": "test", "data": {"path": "unused.csv"}}
    settings["structures"] = {"cache": str(tmp_path / "cache")}
    (tmp_path / "my.yaml").write_text(yaml.safe_dump(settings))
    options = ["--config", "my.yaml", "--peptides", "peptides.parquet", "--output-dir", "out"]
    options = [str(tmp_path / o) if not o.startswith("--") else o for o in options]
    arguments = ["fold", *options, "--predictor", "structdiff"]
    for which in (["--model", str(model)], []):  # without one, the released model
        result = CliRunner().invoke(app, [*arguments, *which], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        found = read_backbones(tmp_path / "out" / "index.parquet")
        assert sorted(found.sequences) == sorted(SEQUENCES)
        assert ((found.plddt > 0) & (found.plddt <= 100)).all()
