"""The controls keep what they should and lose what they should."""

from collections import Counter

import numpy as np
import pandas as pd
import pytest

from structdiff.evaluation.controls import make_controls, with_labels
from structdiff.evaluation.markov import MarkovChain, flatten, shuffle, unflatten
from structdiff.evaluation.metric import CONTROLS
from structdiff.evaluation.value import Unavailable
from structdiff.system.errors import UserError


def controls(frame, generated, num_control=100, seed=0):
    training = frame[frame["split"] == "train"]["sequence"].tolist()
    held_out = frame[frame["split"] != "train"]["sequence"].tolist()
    return make_controls(
        "antimicrobial", generated, training, held_out, num_control=num_control, seed=seed
    )


def test_all_controls_are_of_one_size_and_reproducible(frame):
    generated = frame["sequence"][:80].tolist()
    made = controls(frame, generated)
    assert set(made) == set(CONTROLS)
    assert {name: len(sequences) for name, sequences in made.items()} == dict.fromkeys(CONTROLS, 80)
    assert made == controls(frame, generated)
    assert made["shuffled"] != controls(frame, generated, seed=1)["shuffled"]


def test_shuffled_keep_every_peptides_residues_and_lose_their_order(frame):
    generated = frame["sequence"][:80].tolist()
    shuffled = controls(frame, generated)["shuffled"]
    assert [Counter(s) for s in shuffled] == [Counter(s) for s in generated]
    assert sum(a == b for a, b in zip(shuffled, generated, strict=True)) < 3


def test_composition_matched_keep_lengths_and_composition(frame):
    generated = frame["sequence"][:80].tolist()
    matched = controls(frame, generated)["composition_matched"]
    assert [len(s) for s in matched] == [len(s) for s in generated]
    own, other = Counter("".join(generated)), Counter("".join(matched))
    assert set(other) <= set(own)
    assert other["K"] / other.total() == pytest.approx(own["K"] / own.total(), abs=0.05)


def test_held_out_are_never_training_peptides(frame):
    made = controls(frame, frame["sequence"][:80].tolist())
    training = set(frame[frame["split"] == "train"]["sequence"])
    assert not training & set(made["held_out"])


def test_without_designs_or_real_peptides_the_reason_is_given(frame):
    assert all(isinstance(c, Unavailable) for c in controls(frame, []).values())
    made = make_controls("antimicrobial", ["KKLLKK"], [], [], num_control=9, seed=0)
    assert made["held_out"] == Unavailable("no held-out peptide has the label")
    assert made["markov"] == Unavailable("no training peptide has the label")


def test_a_peptide_of_unknown_label_is_not_among_those_that_have_it(frame):
    holes = frame.assign(antiviral=frame["antiviral"].astype("boolean"))
    holes.loc[holes.index[:9], "antiviral"] = pd.NA
    found = with_labels(holes, ["antimicrobial", "antiviral"], "antiviral")
    assert found["id"].tolist() == frame[9:].loc[frame["antiviral"][9:], "id"].tolist()


def test_with_labels_takes_all_labels_of_an_entry(frame):
    both = with_labels(frame, ["antimicrobial", "antiviral"], "antimicrobial+antiviral")
    assert both["antiviral"].all()
    assert len(with_labels(frame, [], "none")) == len(frame)
    with pytest.raises(UserError, match="no label 'antifungal'"):
        with_labels(frame, ["antimicrobial", "antiviral"], "antifungal")


def test_the_markov_chain_finds_and_repeats_order():
    training = ["AKAKAKAKAK", "KAKAKAKA"] * 50
    chain = MarkovChain.fit(training)
    drawn = chain.sample(np.full(50, 12), np.random.default_rng(0))
    assert sum(s.count("AA") + s.count("KK") for s in drawn) / (50 * 11) < 0.1
    codes, offsets = flatten(["AKAKAK", "AAAKKK"])
    ordered, jumbled = chain.log_likelihood(codes, offsets)
    assert ordered > jumbled + 3


def test_flat_and_back(frame):
    sequences = frame["sequence"].tolist()
    codes, offsets = flatten(sequences)
    assert unflatten(codes, offsets) == sequences
    mixed = shuffle(codes, offsets, np.random.default_rng(0))
    assert [sorted(s) for s in unflatten(mixed, offsets)] == [sorted(s) for s in sequences]
