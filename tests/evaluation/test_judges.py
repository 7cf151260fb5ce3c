"""Judges that others trained: real code on small weights; a reason where they are missing."""

import argparse
import importlib.util
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from structdiff.evaluation.classifiers import LabelClassifier
from structdiff.evaluation.judges import Judges, find_macrel, load_esm2
from structdiff.evaluation.registry import measure
from structdiff.evaluation.value import Unavailable
from structdiff.protein.structure import from_backbone
from structdiff.structures.predictors import Failure
from structdiff.system.errors import UserError
from tests.evaluation.conftest import helix

CPU = torch.device("cpu")
PEPTIDES = ["GIGKFLHSAKKFGKAFVGEIMNS", "KKLLKKLLKK", "KKLLKKLLKR", "A"]


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A file as ESM-2's authors publish them, of a model with two small layers."""
    import esm
    from esm.model.esm2 import ESM2

    torch.manual_seed(0)
    alphabet = esm.data.Alphabet.from_architecture("ESM-1b")
    sizes = {"encoder_layers": 2, "encoder_embed_dim": 32, "encoder_attention_heads": 4}
    model = ESM2(2, 32, 4, alphabet, token_dropout=True)
    heads = ("lm_head", "contact_head")
    state = {
        f"encoder.{'' if name.startswith(heads) else 'sentence_encoder.'}{name}": value
        for name, value in model.state_dict().items()
        if not name.startswith("contact_head")
    }
    path = tmp_path_factory.mktemp("esm") / "esm2_tiny.pt"
    settings = argparse.Namespace(**sizes, token_dropout=True)
    torch.save({"cfg": {"model": settings}, "model": state}, path)
    return path


def test_pseudo_perplexity_is_that_of_each_residue_hidden_in_turn(weights):
    judge = load_esm2(str(weights), CPU)
    found = judge.scores(PEPTIDES)
    convert = judge.alphabet.get_batch_converter()
    for sequence, score in zip(PEPTIDES, found, strict=True):
        _, _, tokens = convert([("", sequence)])
        total = 0.0
        for place in range(1, len(sequence) + 1):
            hidden = tokens.clone()
            hidden[0, place] = judge.alphabet.mask_idx
            with torch.no_grad():
                logits = judge.model(hidden)["logits"][0, place]
            total -= logits.log_softmax(-1)[tokens[0, place]].item()
        assert score == pytest.approx(math.exp(total / len(sequence)), rel=1e-4)


def test_weights_that_are_none_are_named(tmp_path):
    assert "evaluation.esm2_weights" in load_esm2(None, CPU).reason
    with pytest.raises(UserError, match=r"esm2_weights: absent\.pt: no such file"):
        load_esm2("absent.pt", CPU)
    path = tmp_path / "other.pt"
    torch.save({"weight": torch.zeros(3)}, path)
    with pytest.raises(UserError, match=r"other\.pt: are no weights of ESM-2"):
        load_esm2(str(path), CPU)


def test_without_macrel_the_reason_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    found = find_macrel()
    assert isinstance(found, Unavailable)
    assert "pip install --no-deps macrel" in found.reason


def test_macrel_where_it_is_installed():
    judge = find_macrel()
    if isinstance(judge, Unavailable):
        pytest.skip(judge.reason)
    magainin, other, _, short = judge.scores([PEPTIDES[0], "GDEDGSDEGSDE", PEPTIDES[1], "A"])
    assert magainin > 0.5 > other
    assert math.isnan(short)


def test_a_judge_that_is_not_there_leaves_its_reason(weights, peptide_set):
    missing = [Unavailable(f"no {name}") for name in ("Macrel", "ESM-2", "ESMFold")]
    without = Judges(LabelClassifier({}), *missing, 10)
    values = measure(peptide_set(PEPTIDES, judges=without))
    assert values["called"] == Unavailable("no label was asked for")
    assert values["macrel"] == Unavailable("no Macrel")
    assert values["pseudo_perplexity"] == Unavailable("no ESM-2")
    assert values["plddt"] == values["self_consistency"] == Unavailable("no ESMFold")
    with_esm2 = replace(without, esm2=load_esm2(str(weights), CPU))
    scores = with_esm2.esm2.scores(PEPTIDES)
    values = measure(peptide_set(PEPTIDES, judges=with_esm2))
    assert values["pseudo_perplexity"] == pytest.approx(np.median(scores))
    assert measure(peptide_set([], judges=with_esm2))["macrel"] == Unavailable("no valid peptide")


class Folder:
    """A predictor that folds everything to a helix, sure of it at 80, but for one peptide."""

    def predict(self, sequences):
        for sequence in sequences:
            if sequence == "A":
                yield [Failure("too short", sequence)]
                continue
            length = len(sequence)
            yield [from_backbone(sequence, helix(length), np.full(length, 80.0))]


def test_refolding_compares_with_the_designs_own_backbones(peptide_set):
    missing = Unavailable("not asked here")
    judges = Judges(LabelClassifier({}), missing, missing, Folder(), 10)
    (folds,) = zip(*Folder().predict(PEPTIDES[:3]), strict=True)
    backbones = [fold.backbone for fold in folds]

    def values(sequences, backbones=None):
        return measure(peptide_set(sequences, judges=judges, backbones=backbones))

    measured = values(PEPTIDES, [*backbones, None])
    assert measured["plddt"] == pytest.approx(80)
    assert measured["self_consistency"] == pytest.approx(0, abs=1e-4)
    mirrored = [backbone * [1, 1, -1] for backbone in backbones]
    assert values(PEPTIDES[:3], mirrored)["self_consistency"] > 1
    assert values(PEPTIDES)["self_consistency"] == Unavailable("these peptides have no backbone")
    assert values(["A"])["plddt"] == Unavailable("ESMFold folded none of them")
