"""How long clustering takes, next to a comparison of all pairs.

``python benchmarks/cluster.py --sizes 100000 1000000 --compare 20000 50000`` clusters simulated
peptides (half of them unrelated, half members of families) at similarity ≥ 0.7. Each size runs in
a process of its own with one thread, and prints CPU seconds and peak memory. For the sizes of
``--compare`` all pairs are compared as well, in the same run, and the clusters must be equal.
"""

import argparse
import multiprocessing
import os
import resource
import time

import numpy as np
from rapidfuzz.distance import Levenshtein
from rapidfuzz.process import cdist
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from structdiff.peptides.split import find_clusters
from structdiff.protein.residues import AMINO_ACIDS

THRESHOLD = 0.7
PER_FAMILY = 20
FREQUENT = {"K": 3.0, "L": 2.5, "G": 2.0, "A": 2.0, "R": 2.0, "I": 1.5}
"""Residues that antimicrobial peptides have more often than others, and how much more."""


def simulate(count: int) -> list[str]:
    """Return unique peptides of 5–50 residues: one half unrelated, the other in families."""
    generator = np.random.default_rng(0)
    weights = np.array([FREQUENT.get(letter, 1.0) for letter in AMINO_ACIDS])
    letters, weights = np.array(list(AMINO_ACIDS)), weights / weights.sum()
    found: dict[str, None] = {}
    while len(found) < count // 2:
        length = int(np.clip(generator.gamma(4.0, 5.5), 5, 50))
        found["".join(generator.choice(letters, length, p=weights))] = None
    parents = list(found)[: max(1, count // 2 // PER_FAMILY)]
    while len(found) < count:
        child = list(parents[generator.integers(len(parents))])
        for _ in range(generator.integers(1, 4)):
            start = int(generator.integers(len(child)))
            added = generator.choice(letters, generator.integers(0, 3), p=weights)
            child[start : start + 1] = added.tolist()
        if 5 <= len(child) <= 50:
            found["".join(child)] = None
    return list(found)


def compare_all(sequences: list[str]) -> np.ndarray:
    """Return the clusters by comparing every pair whose lengths allow a link."""
    order = np.argsort([len(sequence) for sequence in sequences], kind="stable")
    ordered = [sequences[row] for row in order]
    lengths = np.array([len(sequence) for sequence in ordered])
    allowed = np.floor((1 - THRESHOLD) * lengths + 1e-9).astype(np.int64)
    edges = []
    for start in range(0, len(ordered), 1024):
        stop = min(start + 1024, len(ordered))
        end = int(np.searchsorted(lengths - allowed, lengths[stop - 1], side="right"))
        distance = cdist(
            ordered[start:stop],
            ordered[start:end],
            scorer=Levenshtein.distance,
            score_cutoff=int(allowed[end - 1]),
            dtype=np.uint8,
        )
        edges.append(np.stack(np.nonzero(distance <= allowed[start:end])) + start)
    row, column = np.concatenate(edges, axis=1)
    graph = coo_array((np.ones(len(row), dtype=bool), (row, column)), shape=[len(ordered)] * 2)
    clusters = np.empty(len(ordered), dtype=np.int64)
    clusters[order] = connected_components(graph, directed=False)[1]
    return clusters


def measure(count: int, compare: bool) -> None:
    """Cluster, and print what it took."""
    sequences = simulate(count)
    start = time.process_time()
    clusters = find_clusters(sequences, THRESHOLD)
    seconds = time.process_time() - start
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    line = f"{count:,} peptides, {clusters.max() + 1:,} clusters: "
    line += f"{seconds:.1f} CPU s, {memory:.2f} GiB"
    if compare:
        start = time.process_time()
        same = np.array_equal(clusters, compare_all(sequences))
        all_pairs = time.process_time() - start
        line += f"; all pairs {all_pairs:.1f} CPU s, {all_pairs / seconds:.1f} times as much"
        line += "; equal clusters" if same else "; THE CLUSTERS DIFFER"
    print(line, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="*", default=[100_000, 200_000])
    parser.add_argument("--compare", type=int, nargs="*", default=[20_000, 50_000])
    arguments = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    for count in sorted({*arguments.sizes, *arguments.compare}):
        process = multiprocessing.get_context("spawn").Process(
            target=measure, args=(count, count in arguments.compare)
        )
        process.start()
        process.join()
        if process.exitcode:
            raise SystemExit(process.exitcode)


if __name__ == "__main__":
    main()
