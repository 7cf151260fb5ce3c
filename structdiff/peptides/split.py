"""Divide peptides into train, val and test so that no held-out peptide resembles a training one.

``find_clusters`` joins peptides by exact single linkage on Levenshtein similarity;
``split_by_cluster`` and ``split_at_random`` decide where they go; ``nearest_neighbour`` measures
what still leaks. Everywhere, the similarity of two sequences is 1 - distance / length of the
longer one.

What stays where it was when peptides are added
    A cluster is known by its founder, the member whose sequence has the smallest hash, and the
    founder's second hash decides the split: a function of the peptides alone, whatever their order
    in the table, and no draw depends on another cluster. So a new peptide changes nothing but
    the cluster it joins, and that only if it becomes the founder (one chance in size + 1) and
    draws another split. A peptide that bridges two clusters of different splits must move one of
    them, else it would leak. Where the split of a first run is recorded, it decides instead:
    nothing moves but bridged clusters, and those only towards train (train before val before
    test), so that what was trained on is never tested on.
"""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from rapidfuzz.distance import Levenshtein
from rapidfuzz.process import cdist
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from structdiff.peptides.table import hashes
from structdiff.system.progress import Progress

if TYPE_CHECKING:
    from structdiff.config import Split

__all__ = [
    "SPLITS",
    "cluster_names",
    "find_clusters",
    "nearest_neighbour",
    "split_at_random",
    "split_by_cluster",
]

SPLITS = ("train", "val", "test")

LARGEST_SHARE = 0.5
"""A cluster that would fill more than this share of a held-out split goes to train."""

BLOCK_PAIRS = 2**24
EDGES_HELD = 2**23


def find_clusters(sequences: list[str], threshold: float) -> np.ndarray:
    """Number the single-linkage clusters of unique sequences, exactly.

    Two peptides are linked where their normalised Levenshtein similarity is at least the
    threshold. Every pair whose lengths allow that is compared, in blocks of bounded memory.

    Parameters
    ----------
    sequences
        Unique, not empty.
    threshold
        0–1.

    Returns
    -------
    np.ndarray
        Cluster of each sequence, ``(sequences,)``, numbered from 0.
    """
    count = len(sequences)
    order = np.argsort([len(sequence) for sequence in sequences], kind="stable")
    ordered = [sequences[row] for row in order]
    lengths = np.array([len(sequence) for sequence in ordered])
    # As integers, so that a similarity of exactly the threshold is a link whatever the rounding.
    allowed = np.floor((1 - threshold) * lengths + 1e-9).astype(np.int64)
    shortest_partner = lengths - allowed  # ascending, as both lengths and threshold are
    cluster = np.arange(count)
    held: list[np.ndarray] = []
    start = 0
    with Progress("clustering", total=count, unit="peptides") as progress:
        while start < count:
            stop = min(count, start + _block_rows(count - start))
            end = int(np.searchsorted(shortest_partner, lengths[stop - 1], side="right"))
            distance = _distances(ordered[start:stop], ordered[start:end], int(allowed[end - 1]))
            row, column = np.nonzero(distance <= allowed[start:end])
            new = cluster[row + start] != cluster[column + start]
            held.append(np.stack([row[new], column[new]]) + start)
            if sum(edges.shape[1] for edges in held) > EDGES_HELD or stop == count:
                cluster, held = _join(cluster, np.concatenate(held, axis=1)), []
            progress.advance(stop - start)
            start = stop
    numbered = np.empty(count, dtype=np.int64)
    numbered[order] = cluster
    return numbered


def _join(cluster: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Unite the clusters that ``edges`` (2, edges) between peptides link, and number them again."""
    row, column = cluster[edges]
    size = int(cluster.max()) + 1
    graph = coo_array((np.ones(len(row), dtype=bool), (row, column)), shape=(size, size))
    return connected_components(graph, directed=False)[1].astype(np.int64)[cluster]


def _block_rows(columns: int) -> int:
    """Return how many rows of so many columns make a block."""
    return max(1, min(1024, BLOCK_PAIRS // max(columns, 1)))


def _distances(rows: list[str], columns: list[str], cutoff: int | None) -> np.ndarray:
    """Return all Levenshtein distances, ``(rows, columns)``; cutoff + 1 means any above it."""
    longest = max(map(len, rows + columns)) if cutoff is None else cutoff + 1
    dtype = np.uint8 if longest < 2**8 else np.uint32
    workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else -1
    return cdist(
        rows,
        columns,
        scorer=Levenshtein.distance,
        score_cutoff=cutoff,
        dtype=dtype,
        workers=workers,
    )


def cluster_names(sequences: list[str], cluster: np.ndarray) -> tuple[list[str], np.ndarray]:
    """Return each cluster's founder, and a name for it that only its founder decides.

    Parameters
    ----------
    sequences
        Unique.
    cluster
        Number of each one's cluster, ``(sequences,)``.

    Returns
    -------
    founders
        The sequence with the smallest hash in each cluster, in the order of their numbers.
    names
        "c" and that hash, for each *peptide*, ``(sequences,)``.
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
    """Assign every cluster to a split, as the module's docstring says.

    A cluster that alone would fill more than half of a held-out split goes to train, so the
    held-out splits stay varied (and turn out somewhat smaller than asked).

    Parameters
    ----------
    sequences
        Unique.
    cluster
        Number of each one's cluster, ``(sequences,)``, from 0.
    settings
        Fractions and seed.
    recorded
        Sequence → split of an earlier run with the same settings.

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
    """Assign every peptide by a hash of its sequence alone; adding peptides moves none."""
    return np.array(SPLITS)[_draw(sequences, settings)]


def _draw(sequences: list[str], settings: "Split") -> np.ndarray:
    """Return an index into `SPLITS` for each sequence, by its hash.

    Test takes the lower end and val the upper, so changing one fraction leaves the other split.
    """
    uniform = hashes(sequences, f"split {settings.seed}") / 2.0**64
    chosen = np.zeros(len(sequences), dtype=np.int64)
    chosen[uniform >= 1 - settings.val_fraction] = SPLITS.index("val")
    chosen[uniform < settings.test_fraction] = SPLITS.index("test")
    return chosen


def nearest_neighbour(queries: list[str], references: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Find the most similar reference of every query, exactly, in blocks of bounded memory.

    Parameters
    ----------
    queries, references
        Sequences; there must be a reference.

    Returns
    -------
    index
        Position in ``references``, ``(queries,)`` int64; of equally similar ones that of the
        shortest, then of the first.
    similarity
        Normalised Levenshtein similarity, 0–1, ``(queries,)`` float32.
    """
    if not references:
        raise ValueError("nearest_neighbour needs at least one reference")
    order = np.argsort([len(sequence) for sequence in references], kind="stable")
    ordered = [references[row] for row in order]
    # Only the smallest distance to the references of each length matters, and those lie together.
    lengths, first = np.unique([len(sequence) for sequence in ordered], return_index=True)
    last = np.append(first[1:], len(ordered))
    index = np.empty(len(queries), dtype=np.int64)
    similarity = np.empty(len(queries), dtype=np.float32)
    step = _block_rows(len(references))
    for start in range(0, len(queries), step):
        block = queries[start : start + step]
        distance = _distances(block, ordered, None)
        smallest = np.minimum.reduceat(distance, first, axis=1)
        query_lengths = np.array([len(sequence) for sequence in block])[:, None]
        share = smallest / np.maximum(np.maximum(query_lengths, lengths), 1)
        group = share.argmin(axis=1)
        for row, (begin, end) in enumerate(zip(first[group], last[group], strict=True)):
            index[start + row] = order[begin + distance[row, begin:end].argmin()]
        similarity[start : start + len(block)] = 1 - share[np.arange(len(block)), group]
    return index, similarity
