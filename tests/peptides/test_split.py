"""Splits are stable, and only distant neighbours are sampled."""

import numpy as np
import pytest

from peptides.conftest import mutants, peptides
from structdiff.config import Split
from structdiff.peptides import split as module
from structdiff.peptides.split import (
    cluster_names,
    find_clusters,
    nearest_neighbour,
    split_at_random,
    split_by_cluster,
)


def family(count: int = 120, seed: int = 0) -> list[str]:
    """Return unique peptides, many of them relatives."""
    parents = peptides(count // 3, seed)
    made = [*parents, *mutants(parents, count, 2, seed), *mutants(parents, count, 5, seed + 1)]
    return list(dict.fromkeys(made))


def test_the_limits_of_the_threshold():
    sequences = peptides(10)
    assert set(find_clusters(sequences, 0.0)) == {0}
    assert sorted(find_clusters(sequences, 1.0)) == list(range(10))
    assert find_clusters(["GIGKF"], 0.7).tolist() == [0]


def splits_of(sequences: list[str], recorded=None, **settings: object) -> dict[str, str]:
    """Cluster and split: sequence → split."""
    settings = Split(**{"val_fraction": 0.2, "test_fraction": 0.2, **settings})
    cluster = find_clusters(sequences, settings.threshold)
    found = split_by_cluster(sequences, cluster, settings, recorded)
    return dict(zip(sequences, found.tolist(), strict=True))


def test_a_cluster_is_never_divided():
    sequences = family(300)
    cluster = find_clusters(sequences, 0.7)
    found = split_by_cluster(sequences, cluster, Split())
    assert all(len(set(found[cluster == number])) == 1 for number in set(cluster))
    assert set(found) == {"train", "val", "test"}


def test_the_order_of_the_table_does_not_matter():
    sequences = family()
    turned = sequences[::-1]
    assert splits_of(sequences) == splits_of(turned)
    _, names = cluster_names(sequences, find_clusters(sequences, 0.7))
    _, turned_names = cluster_names(turned, find_clusters(turned, 0.7))
    assert (names == turned_names[::-1]).all()


def test_unrelated_additions_move_nothing():
    old = peptides(300, seed=3)
    new = old + peptides(100, seed=4)
    assert find_clusters(new, 0.7).max() == len(new) - 1
    before, after = splits_of(old), splits_of(new)
    assert {s: after[s] for s in old} == before


def test_related_additions_move_only_the_clusters_they_join():
    old = family(240)
    added = [s for s in mutants(old, 20, 1, seed=9) if s not in old]
    new = old + added
    before, after = splits_of(old), splits_of(new)
    cluster = dict(zip(new, find_clusters(new, 0.7).tolist(), strict=True))
    touched = {cluster[s] for s in added}
    assert all(before[s] == after[s] for s in old if cluster[s] not in touched)


@pytest.mark.parametrize("seed", range(3))
def test_a_recorded_split_is_kept_but_for_bridged_clusters_which_move_towards_train(seed):
    old = family(240, seed)
    added = [s for s in mutants(old, 60, 3, seed=seed + 9) if s not in old]
    before = splits_of(old)
    after = splits_of(old + added, recorded=before)
    cluster = dict(zip(old + added, find_clusters(old + added, 0.7).tolist(), strict=True))
    for sequence in old:
        met = {before[s] for s in old if cluster[s] == cluster[sequence]}
        expected = next(split for split in ("train", "val", "test") if split in met)
        assert after[sequence] == expected


def test_a_giant_cluster_goes_to_train():
    parent = peptides(1, low=20, high=20)
    giant = list(dict.fromkeys(mutants(parent, 200, 1)))
    others = peptides(200, seed=5)
    for seed in range(5):
        found = splits_of(others + giant, seed=seed, val_fraction=0.4, test_fraction=0.4)
        assert {found[s] for s in giant} == {"train"}


def test_fractions_are_met_on_average_and_are_independent():
    sequences = peptides(4000)
    cluster = np.arange(len(sequences))
    found = split_by_cluster(sequences, cluster, Split(val_fraction=0.1, test_fraction=0.2))
    assert np.mean(found == "val") == pytest.approx(0.1, abs=0.02)
    assert np.mean(found == "test") == pytest.approx(0.2, abs=0.02)
    more = split_by_cluster(sequences, cluster, Split(val_fraction=0.3, test_fraction=0.2))
    assert ((found == "test") == (more == "test")).all()
    assert ((found == "val") <= (more == "val")).all()
    other = split_by_cluster(sequences, cluster, Split(seed=1))
    assert (other != found).mean() > 0.2


def test_no_fraction_no_split():
    sequences = peptides(500)
    assert set(split_at_random(sequences, Split(test_fraction=0.0))) == {"train", "val"}


def test_a_random_split_is_a_function_of_each_sequence():
    sequences = peptides(200)
    whole = split_at_random(sequences, Split())
    assert (split_at_random(sequences[50:100], Split()) == whole[50:100]).all()


def test_only_queries_without_a_near_reference_are_sampled(monkeypatch):
    monkeypatch.setattr(module, "SMALLEST_SAMPLE", 2)
    queries, references = ["KKLL", "GGAA", "WWYY", "CCMM"], ["KKLA", "PPPP"]
    assert (nearest_neighbour(queries, references)[0] >= 0).all()
    index, _ = nearest_neighbour(queries, references, most_pairs=4)
    assert index[0] == 0
    assert (index[1:] >= 0).sum() == 2


def test_the_nearest_neighbour_of_a_copy_and_of_nothing():
    references = peptides(20)
    index, similarity = nearest_neighbour(references[::-1], references)
    assert index.tolist() == list(range(20))[::-1]
    assert (similarity == 1.0).all()
    assert nearest_neighbour([], references)[0].shape == (0,)
    assert nearest_neighbour([""], references)[1].tolist() == [0.0]
    with pytest.raises(ValueError, match="at least one reference"):
        nearest_neighbour(references, [])
