"""Split peptides into train, val and test so that no held-out peptide resembles a training one.

``find_clusters`` joins peptides by exact single linkage on Levenshtein similarity;
``split_by_cluster`` and ``split_at_random`` assign splits; ``nearest_neighbour`` measures the
remaining similarity. Everywhere, the similarity of two sequences is 1 - distance / length of the
longer one.

Which peptides move to another split when peptides are added
    The founder of a cluster is the member whose sequence has the smallest hash. A second hash of
    the founder draws the split, so the order of the table does not matter. A new peptide moves the
    cluster that it joins only if it becomes the founder (probability 1 / (size + 1)) and draws
    another split. If a new peptide links two clusters of different splits, one of these clusters
    moves: otherwise a held-out peptide would resemble a training peptide. A cluster may also move
    because the limit of size (`LARGEST_SHARE`) depends on the table. If the split of an earlier run
    is recorded, it is kept: only linked clusters move, and only towards train (train before val
    before test), so that a peptide that was trained on is never tested on.
"""

from collections.abc import Mapping
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from structdiff.peptides import SPLITS
from structdiff.peptides.by_length import Sequences
from structdiff.peptides.seen import hashes
from structdiff.peptides.similarity import BLOCK_PAIRS, FEW_PAIRS, distances, similar_pairs
from structdiff.system.progress import Progress

if TYPE_CHECKING:
    from structdiff.config import Split

__all__ = [
    "cluster_names",
    "find_clusters",
    "nearest_neighbour",
    "split_at_random",
    "split_by_cluster",
]

CLOSE = 0.7
"""Smallest similarity of a close neighbour; these are found without comparing all pairs."""

SMALLEST_SAMPLE = 1000
"""Smallest size of the sample of queries without a close neighbour (see `nearest_neighbour`)."""

LARGEST_SHARE = 0.5
"""A cluster larger than this share of the smaller held-out split is assigned to train."""

MANY_PAIRS = 2**29
"""Number of pairs to compare (a few seconds) above which the progress is shown."""

EDGES_HELD = 2**16
"""Number of pairs that are collected before their clusters are joined."""


def find_clusters(sequences: list[str], threshold: float) -> np.ndarray:
    """Return the exact single-linkage clusters of unique sequences.

    Two peptides are linked if their normalised Levenshtein similarity is at least the threshold.
    `structdiff.peptides.similarity` finds these pairs, in bounded memory.

    Parameters
    ----------
    sequences
        Unique sequences, at least one.
    threshold
        Similarity, 0–1.

    Returns
    -------
    np.ndarray
        Cluster of each sequence, ``(sequences,)``, numbered from 0.
    """
    ordered = Sequences(sequences)
    cluster = np.arange(len(ordered), dtype=np.int32)
    held: list[np.ndarray] = []
    count = 0
    for rows, columns, _ in similar_pairs(ordered, ordered, threshold, cluster, "clustering"):
        held.append(np.stack([rows, columns]))
        count += len(rows)
        if count > EDGES_HELD:
            cluster[:] = _join(cluster, np.concatenate(held, axis=1))
            held, count = [], 0
    if held:
        cluster[:] = _join(cluster, np.concatenate(held, axis=1))
    numbered = np.empty(len(ordered), dtype=np.int64)
    numbered[ordered.order] = cluster
    return numbered


def _join(cluster: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Return the cluster of each row, ``(sequences,)``, after joining the linked clusters.

    ``edges``, ``(2, edges)``, has pairs of rows whose clusters are joined. The new clusters are
    numbered from 0.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    row, column = cluster[edges]
    size = int(cluster.max()) + 1
    graph = coo_array((np.ones(len(row), dtype=bool), (row, column)), shape=(size, size))
    return connected_components(graph, directed=False)[1][cluster]


def cluster_names(sequences: list[str], cluster: np.ndarray) -> tuple[list[str], np.ndarray]:
    """Return the founder of each cluster, and a name that depends only on the founder.

    Parameters
    ----------
    sequences
        Unique sequences.
    cluster
        Number of the cluster of each sequence, ``(sequences,)``.

    Returns
    -------
    founders
        The sequence with the smallest hash in each cluster, in the order of the clusters' numbers.
    names
        "c" and the founder's hash (hexadecimal), for each *sequence*, ``(sequences,)``.
    """
    value = hashes(sequences, "cluster")
    order = np.lexsort((value, cluster))
    first = order[np.unique(cluster[order], return_index=True)[1]]
    names = np.array([f"c{number:016x}" for number in value[first].tolist()])
    return [sequences[row] for row in first], names[cluster]


def split_by_cluster(
    sequences: list[str],
    cluster: np.ndarray,
    settings: "Split",
    recorded: Mapping[str, str] | None = None,
) -> np.ndarray:
    """Assign every cluster to a split, as described at the top of this module.

    Without a recorded split, a cluster that would fill more than half of the smaller held-out split
    goes to train. The held-out splits stay varied, but are somewhat smaller than requested.

    Parameters
    ----------
    sequences
        Unique sequences.
    cluster
        Number of the cluster of each sequence, ``(sequences,)``, from 0.
    settings
        Fractions and seed.
    recorded
        Split of each sequence in an earlier run with the same settings, by sequence.

    Returns
    -------
    np.ndarray
        "train", "val" or "test", ``(sequences,)``.
    """
    founders, _ = cluster_names(sequences, cluster)
    chosen = _draw(founders, settings)
    size = np.bincount(cluster)
    fractions = [f for f in (settings.val_fraction, settings.test_fraction) if f > 0]
    largest = max(1.0, LARGEST_SHARE * min(fractions, default=1.0) * len(sequences))
    chosen[size > largest] = SPLITS.index("train")
    if recorded:
        unknown = len(SPLITS)
        old = np.array([SPLITS.index(recorded[s]) if s in recorded else unknown for s in sequences])
        kept = np.full(len(founders), unknown)
        np.minimum.at(kept, cluster, old)
        chosen = np.where(kept < unknown, kept, chosen)
    return np.array(SPLITS)[chosen[cluster]]


def split_at_random(sequences: list[str], settings: "Split") -> np.ndarray:
    """Return the split of each peptide, ``(sequences,)``, by a hash of its sequence.

    New peptides in the table do not change the split of the others.
    """
    return np.array(SPLITS)[_draw(sequences, settings)]


def _draw(sequences: list[str], settings: "Split") -> np.ndarray:
    """Return an index into `SPLITS` for each sequence, ``(sequences,)``, by its hash.

    Test takes the lowest hashes and val the highest, so that changing the fraction of one of these
    splits does not change the other.
    """
    uniform = hashes(sequences, f"split {settings.seed}") / 2.0**64
    chosen = np.zeros(len(sequences), dtype=np.int64)
    chosen[uniform >= 1 - settings.val_fraction] = SPLITS.index("val")
    chosen[uniform < settings.test_fraction] = SPLITS.index("test")
    return chosen


def nearest_neighbour(
    queries: list[str], references: list[str], most_pairs: float = np.inf
) -> tuple[np.ndarray, np.ndarray]:
    """Find the most similar reference of every query, exactly, with bounded memory.

    Parameters
    ----------
    queries, references
        Sequences.
    most_pairs
        Largest number of pairs that are compared for the queries without a close reference (a
        similarity of at least 0.7). If there are more such pairs, only a sample of these queries is
        compared: those whose sequences have the smallest hashes, at least `SMALLEST_SAMPLE` of
        them. Close references are always found.

    Returns
    -------
    index
        Position in ``references``, ``(queries,)`` int64. Of equally similar references, the
        shortest is taken, then the first. -1 if the query has no close reference and is not in the
        sample.
    similarity
        Normalised Levenshtein similarity, 0–1, ``(queries,)`` float32; NaN where the index is -1.

    Raises
    ------
    ValueError
        If ``references`` is empty.
    """
    if not references:
        raise ValueError("nearest_neighbour needs at least one reference")
    asked, known = Sequences(queries), Sequences(references)
    row = np.full(len(queries), -1, dtype=np.int64)
    share = np.full(len(queries), np.inf)
    if len(asked) * len(known) > min(FEW_PAIRS, most_pairs):
        _nearest_above(asked, known, row, share)
    left = np.flatnonzero(row < 0)
    most = max(SMALLEST_SAMPLE, most_pairs / len(known))
    if len(left) > most:
        order = np.argsort(hashes(asked.text[left].tolist(), "sample"), kind="stable")
        left = np.sort(left[order[: int(most)]])
    _nearest_of_all(asked, left, known, row, share)
    index = np.empty(len(queries), dtype=np.int64)
    similarity = np.empty(len(queries), dtype=np.float32)
    index[asked.order] = np.where(row < 0, -1, known.order[row])
    similarity[asked.order] = np.where(row < 0, np.nan, 1 - share)
    return index, similarity


def _nearest_above(asked: Sequences, known: Sequences, row: np.ndarray, share: np.ndarray) -> None:
    """Find the nearest reference of each query that has one with a similarity of at least `CLOSE`.

    ``row`` and ``share``, ``(queries,)``, are changed in place. ``row`` is the row in ``known`` of
    the nearest reference so far of each query in ``asked``; -1 if there is none. ``share`` is their
    distance divided by the length of the longer of the two sequences; ∞ if there is none.
    """
    many = len(asked) * len(known) > MANY_PAIRS
    pairs = similar_pairs(asked, known, CLOSE, None, "near neighbours" if many else "")
    turned = similar_pairs(known, asked, CLOSE, None, "longer neighbours" if many else "")
    swapped = ((columns, rows, distance) for rows, columns, distance in turned)
    for query, reference, distance in chain(pairs, swapped):
        longer = np.maximum(asked.lengths[query], known.lengths[reference])
        found = distance / np.maximum(longer, 1)
        # Of equally similar references, the one in the first row is taken.
        order = np.lexsort((reference, found, query))
        order = order[np.unique(query[order], return_index=True)[1]]
        query, reference, found = query[order], reference[order], found[order]
        better = (found < share[query]) | ((found == share[query]) & (reference < row[query]))
        row[query[better]], share[query[better]] = reference[better], found[better]


def _nearest_of_all(
    asked: Sequences, left: np.ndarray, known: Sequences, row: np.ndarray, share: np.ndarray
) -> None:
    """Find the nearest reference of some queries by comparing each with all references.

    ``left`` has the rows of these queries in ``asked``. The other arguments are as in
    `_nearest_above`; ``row`` and ``share`` are changed in place.
    """
    # References of equal length are in adjacent rows; only the nearest one of each length matters.
    lengths, first = np.unique(known.lengths, return_index=True)
    last = np.append(first[1:], len(known))
    step = max(1, min(1024, BLOCK_PAIRS // len(known)))
    description = "distant neighbours" if len(left) * len(known) > MANY_PAIRS else ""
    with Progress(description, len(left), "peptides") as progress:
        for start in range(0, len(left), step):
            block = left[start : start + step]
            longest = max(asked.lengths[block[-1]], known.lengths[-1])
            distance = distances(asked.text[block], known.text, int(longest) + 1)
            smallest = np.minimum.reduceat(distance, first, axis=1)
            shares = smallest / np.maximum(np.maximum(asked.lengths[block, None], lengths), 1)
            group = shares.argmin(axis=1)
            for place, (begin, end) in enumerate(zip(first[group], last[group], strict=True)):
                row[block[place]] = begin + distance[place, begin:end].argmin()
            share[block] = shares[np.arange(len(block)), group]
            progress.advance(len(block))
