"""How long a plan takes where the cache holds a million peptides.

``python benchmarks/plan.py`` simulates a cache (random sequences and coordinates: they compress
worse than real ones), plans the peptides in it and some that are missing, in a process of its own,
and prints the time and the peak memory. ``--cached 20000`` tries it in seconds.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from structdiff.protein.residues import AMINO_ACIDS
from structdiff.protein.structure import Structure, atom_starts
from structdiff.structures.cache import Cache
from structdiff.structures.fold import plan
from structdiff.structures.predictors import Outcome, Predictor

FILE_SIZE = 5000
KEY: dict[str, str | int] = {"predictor": "simulated"}


class Simulated(Predictor):
    """A predictor that predicts nothing: planning only asks for its key."""

    name = "simulated"

    @property
    def key(self) -> dict[str, str | int]:
        """The key of the cache."""
        return KEY

    def predict(self, sequences: Sequence[str]) -> Iterator[list[Outcome]]:
        """Yield nothing."""
        yield from ()


def sequences(count: int) -> list[str]:
    """Return unique peptides of 5–50 residues, most of them short, as in the public databases."""
    rng = np.random.default_rng(0)
    letters = np.array(list(AMINO_ACIDS))
    found: dict[str, None] = {}
    while len(found) < count:
        lengths = np.clip(rng.gamma(4.0, 5.5, count).astype(int), 5, 50)
        residues = "".join(letters[rng.integers(0, 20, lengths.sum())])
        ends = np.cumsum(lengths)
        found.update(
            (residues[end - length : end], None)
            for length, end in zip(lengths.tolist(), ends.tolist(), strict=True)
        )
    return list(found)[:count]


def fill(cache: Cache, peptides: list[str]) -> None:
    """Write the peptides with random coordinates."""
    rng = np.random.default_rng(1)
    cache.prepare()
    for start in range(0, len(peptides), FILE_SIZE):
        structures = []
        for sequence in peptides[start : start + FILE_SIZE]:
            codes = np.array([AMINO_ACIDS.index(letter) for letter in sequence])
            positions = rng.normal(scale=10, size=(atom_starts(codes)[-1], 3))
            plddt = rng.uniform(30, 95, len(sequence))
            structures.append(Structure(sequence, positions, plddt, 0.5))
        cache.write(structures)


def measure(root: Path, cached: int, missing: int) -> None:
    """Plan, and print what it took."""
    start = time.perf_counter()
    peptides = sequences(cached + missing)
    print(f"the peptides themselves: {time.perf_counter() - start:.1f} s, {_peak():.2f} GiB")
    start = time.perf_counter()
    planned = plan(Cache(root, KEY), Simulated(), peptides)
    seconds = time.perf_counter() - start
    print(
        f"planned {len(planned.missing):,} missing and {len(planned.located):,} cached in "
        f"{seconds:.1f} s; peak memory {_peak():.2f} GiB"
    )


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cached", type=int, default=1_000_000)
    parser.add_argument("--missing", type=int, default=1000)
    parser.add_argument("--root", type=Path, help="where the cache is, if it is made already")
    arguments = parser.parse_args()
    if arguments.root is not None:
        measure(arguments.root, arguments.cached, arguments.missing)
        return
    with tempfile.TemporaryDirectory() as root:
        fill(Cache(root, KEY), sequences(arguments.cached + arguments.missing)[: arguments.cached])
        size = sum(path.stat().st_size for path in Path(root).rglob("*.parquet"))
        print(f"cache: {arguments.cached:,} peptides, {size / 1e9:.2f} GB", flush=True)
        command = [sys.executable, __file__, "--root", root]
        command += ["--cached", str(arguments.cached), "--missing", str(arguments.missing)]
        subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
