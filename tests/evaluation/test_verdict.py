"""Designs of a collapsed, a memorising, an untrained model are called so; good ones are not."""

import numpy as np
import pytest

from structdiff.evaluation.assess import Real, assess
from structdiff.evaluation.backbone_geometry import Chains
from structdiff.evaluation.classifiers import LabelClassifier
from structdiff.evaluation.judges import Judges
from structdiff.evaluation.peptide_set import Settings
from structdiff.evaluation.registry import all_metrics
from structdiff.evaluation.value import Unavailable
from structdiff.evaluation.verdict import RULES, TOO_FEW, judge
from structdiff.protein.residues import AMINO_ACIDS
from structdiff.structures.index import read_backbones

COUNT = 60


@pytest.fixture(scope="module")
def verdict(make_designs, make_sequences, structures, frame):
    """Return word and reasons for each kind of model's designs."""
    generator = np.random.default_rng(5)
    good = make_sequences(COUNT, 11)
    lengths = [len(one) for one in good]
    training = frame.loc[frame["split"] == "train", "sequence"].tolist()

    def mutate(sequence: str) -> str:
        place = int(generator.integers(len(sequence)))
        return sequence[:place] + "A" + sequence[place + 1 :]

    sets = {
        "good": good,
        "poly-K": ["K" * n for n in lengths],
        "few different": (good[:8] * COUNT)[:COUNT],
        "copies": training[:COUNT],
        "near copies": [mutate(mutate(one)) for one in training if len(one) >= 20][:COUNT],
        "uniform": ["".join(generator.choice(list(AMINO_ACIDS), n)) for n in lengths],
        "shuffled": ["".join(generator.permutation(list(one))) for one in good],
        "invalid": [*good[:30], *(one[:-1] + "X" for one in good[30:])],
        "all invalid": [one[:-1] + "X" for one in good],
        "too few": good[:5],
    }
    known = read_backbones(structures)
    rows = {name: row for row, name in enumerate(known.ids)}
    chains = Chains(known.sequences, known.offsets, known.positions)
    real = Real(frame, ["antimicrobial", "antiviral"], chains, rows)
    nobody = Unavailable("not asked here")
    judges = Judges(LabelClassifier({"antimicrobial": nobody}), nobody, nobody, nobody, 1)
    settings = Settings(0.9, num_control=COUNT, seed=0, min_length=5, max_length=50)
    results = {
        name: assess(
            "antimicrobial", make_designs({"antimicrobial": sequences}), real, judges, settings
        ).verdict
        for name, sequences in sets.items()
    }
    return {name: (result.word, result.sentence()) for name, result in results.items()}


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("good", "ok"),
        ("poly-K", "collapsed"),
        ("few different", "collapsed"),
        ("copies", "memorising"),
        ("near copies", "memorising"),
        ("uniform", "random-like"),
        ("shuffled", "random-like"),
        ("invalid", "invalid"),
        ("all invalid", "invalid"),
        ("too few", TOO_FEW),
    ],
)
def test_each_kind_of_model_is_called_by_its_name(verdict, name, word):
    words, because = verdict[name]
    if word in ("ok", TOO_FEW):
        assert words == word
    else:
        assert words.split(", ")[0] == word
        assert "wanted" in because


def test_the_reason_gives_the_numbers(verdict):
    assert "one amino acid makes up 100 %" in verdict["poly-K"][1]
    assert "100 % of the designs are copies of training peptides" in verdict["copies"][1]
    assert "50 % of the designs are valid; at least 99 % wanted" in verdict["invalid"][1]


def test_nobody_is_blamed_for_what_real_peptides_do():
    strict = {"count": {"generated": 1000.0}, "clashes": {"generated": 0.05, "held_out": 0.05}}
    assert judge(strict).word == "ok"
    strict["clashes"]["held_out"] = 0.0
    assert judge(strict).word == "broken geometry"


def test_rules_that_were_not_judged_are_told():
    good = {rule.metric: {"generated": rule.bound} for rule in RULES}
    good["count"], good["order"] = {"generated": 1000.0}, {"generated": 1.0}
    assert judge(good).sentence() == "ok"
    del good["clashes"], good["js1"]
    told = f"ok; 2 of {len(RULES)} rules were not judged (unlike real, broken geometry)"
    assert judge(good).sentence() == told


def test_every_rule_names_a_metric_that_is_measured():
    assert {rule.metric for rule in RULES} <= {metric.key for metric in all_metrics()}
