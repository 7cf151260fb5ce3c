"""The classifier of labels: learns what can be learnt, says how well, and refuses the rest."""

import numpy as np
import pandas as pd
import pytest

from structdiff.evaluation.classifiers import LabelClassifier, control_table
from structdiff.evaluation.sequence_features import describe
from structdiff.evaluation.value import Unavailable


@pytest.fixture(scope="module")
def frame():
    """Peptides whose label 'aromatic' shows, 'coin' is chance, 'all' is everywhere."""
    generator = np.random.default_rng(0)
    aromatic = np.arange(400) % 4 == 0
    sequences = [
        "".join(generator.choice(list("KRLAGWWFY" if one else "KRLAGSTVI"), 15)) for one in aromatic
    ]
    split = np.where(np.arange(400) < 300, "train", "val")
    return pd.DataFrame(
        {
            "sequence": sequences,
            "split": split,
            "aromatic": aromatic,
            "coin": generator.random(400) < 0.5,
            "all": True,
        }
    )


@pytest.fixture(scope="module")
def classifier(frame):
    return LabelClassifier.fit(frame, ["aromatic", "coin", "all"], seed=0)


def test_it_says_how_far_it_can_be_believed(classifier):
    assert classifier.trees["aromatic"].auroc > 0.95
    assert 0.3 < classifier.trees["coin"].auroc < 0.7
    assert classifier.trees["all"] == Unavailable(
        "no classifier: of the training peptides only 0 do not have the label"
    )


def test_held_out_peptides_are_called_as_often_as_they_bear_the_label(classifier, frame):
    held_out = frame[frame["split"] == "val"]
    sequences = held_out["sequence"].tolist()
    called = classifier.called(sequences, describe(sequences), ["aromatic"])
    assert called.mean() == pytest.approx(held_out["aromatic"].mean(), abs=0.02)


def test_all_labels_of_an_entry_must_be_called(classifier, frame):
    sequences = frame["sequence"].tolist()[:100]
    described = describe(sequences)
    one, other, both = (
        classifier.called(sequences, described, wanted)
        for wanted in (["aromatic"], ["coin"], ["aromatic", "coin"])
    )
    assert (both == (one & other)).all()
    assert classifier.called(sequences, described, []) == Unavailable("no label was asked for")
    assert isinstance(classifier.called(sequences, described, ["all"]), Unavailable)


def test_designs_stand_beside_unconditional_ones(classifier, frame):
    rich = frame.loc[frame["aromatic"], "sequence"].tolist()[:50]
    sets = {
        name: (sequences, describe(sequences))
        for name, sequences in {"aromatic": rich, "none": frame["sequence"].tolist()[:100]}.items()
    }
    table = control_table(classifier, sets, {"aromatic": ["aromatic"], "none": []})
    row = table[(table["set"] == "aromatic") & (table["label"] == "aromatic")].iloc[0]
    assert row["asked_for"]
    assert row["called"] > 0.9
    assert row["times"] == pytest.approx(row["called"] / row["unconditional"])
    assert row["times"] > 2
    assert (table.loc[table["label"] == "all", "missing"] != "").all()
    alone = control_table(classifier, {"aromatic": sets["aromatic"]}, {"aromatic": ["aromatic"]})
    assert alone["times"].isna().all()
    assert "no set was designed for 'none'" in alone["missing"].iloc[0]


def test_peptides_of_unknown_labels_neither_teach_nor_judge(classifier, frame):
    unknown = frame.assign(sequence=[s[::-1] for s in frame["sequence"]])
    names = ["aromatic", "coin", "all"]
    unknown[names] = pd.array([pd.NA] * len(frame), "boolean").repeat(3).reshape(-1, 3)
    both = pd.concat([frame.astype(dict.fromkeys(names, "boolean")), unknown], ignore_index=True)
    again = LabelClassifier.fit(both, names, seed=0)
    sequences = frame["sequence"].tolist()[:50]
    described = describe(sequences)
    for name in names[:2]:
        assert again.trees[name].auroc == classifier.trees[name].auroc
        assert again.trees[name].threshold == classifier.trees[name].threshold
        first, second = (c.called(sequences, described, [name]) for c in (again, classifier))
        assert (first == second).all()
    assert again.trees["all"] == classifier.trees["all"]
