"""Scores: a backbone makes the residues of a peptide more probable."""

import numpy as np
import pytest

from structdiff.generation.batching import shuffled
from structdiff.generation.scoring import log_likelihoods, perplexity, recovery, score

pytestmark = pytest.mark.xdist_group("design")


def test_a_backbone_tells_more_than_nothing(trained_model, held_out):
    sequences, backbones = held_out
    given = list(score(trained_model, sequences, list(backbones.numpy())))
    alone = list(score(trained_model, sequences))
    assert perplexity(given) < 0.6 * perplexity(alone) < 20
    assert recovery(given) > 1.4 * recovery(alone)
    (one,) = score(trained_model, sequences[7:8], [backbones[7].numpy()])
    same = next(s for s in given if s.number == 7)
    assert np.allclose(one.log_probability, same.log_probability, atol=1e-4)


def test_log_likelihoods_prefer_the_order_of_the_residues(trained_model, held_out):
    sequences, _ = held_out
    values = log_likelihoods(trained_model, sequences)
    control = log_likelihoods(trained_model, shuffled(sequences))
    assert values.mean() > control.mean()
    alone = log_likelihoods(trained_model, sequences[7:8])
    assert np.allclose(alone, values[7], atol=1e-4)
    assert sorted(shuffled(sequences)[0]) == sorted(sequences[0])
    assert shuffled(sequences) == shuffled(sequences)
