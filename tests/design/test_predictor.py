"""The trained model as a predictor of the structures' stage."""

import numpy as np
import pytest

from structdiff.design.predictor import DenoiserPredictor
from structdiff.errors import UserError
from structdiff.structures.cache import Cache
from structdiff.structures.fold import fold, plan

pytestmark = pytest.mark.xdist_group("design")

SEQUENCES = ["AELKMQRAELKM", "VIYFTWVIYF", "AELKMQRAEL", "GPNDSCHGPND"]


def test_it_has_one_outcome_for_each_sequence(model):
    batches = list(DenoiserPredictor(model, num_steps=4, draws=2).predict(SEQUENCES))
    found = [outcome for batch in batches for outcome in batch]
    assert sorted(one.sequence for one in found) == sorted(SEQUENCES)
    for one in found:
        assert one.plddt is None
        assert np.isfinite(one.backbone).all()


def test_its_key_is_the_content_of_the_weights_and_every_setting(model, tmp_path):
    copy = tmp_path / "copy.safetensors"
    copy.write_bytes(model.read_bytes())
    key = DenoiserPredictor(model).key
    assert key == DenoiserPredictor(copy).key
    for setting in ({"num_steps": 5}, {"draws": 2}, {"seed": 1}):
        assert DenoiserPredictor(model, **setting).key != key
    with pytest.raises(UserError, match="no such model"):
        DenoiserPredictor(tmp_path / "absent.safetensors")


def test_it_fills_the_cache(model, tmp_path):
    predictor = DenoiserPredictor(model, num_steps=4, draws=1)
    cache = Cache(tmp_path / "cache", predictor.key)
    assert fold(cache, predictor, "shard", SEQUENCES) == []
    planned = plan(cache, predictor, SEQUENCES)
    assert sorted(planned.located.index) == sorted(SEQUENCES)
    assert planned.missing == []
    assert cache.folder.name.startswith("structdiff-")
