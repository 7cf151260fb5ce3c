"""A predictor for tests, and a process that folds with it (to be killed, or several at once).

``python simulated.py CACHE LOG NAME SEQUENCES [SECONDS]`` folds the sequences of a file as a shard.
Every peptide that is predicted is written to the log, so that a test can count.
"""

import os
import sys
import time
import zlib
from pathlib import Path

import numpy as np

from structdiff.protein.residues import encode
from structdiff.protein.structure import Structure, atom_starts
from structdiff.structures.cache import Cache
from structdiff.structures.fold import fold
from structdiff.structures.predictors import Failure

BATCH = 8


def simulate(sequence: str) -> Structure:
    """Return a structure that is the same whenever it is asked for."""
    rng = np.random.default_rng(zlib.crc32(sequence.encode()))
    atoms = atom_starts(encode(sequence))[-1]
    positions = rng.normal(scale=8.0, size=(atoms, 3)).astype(np.float32)
    return Structure(sequence, positions, rng.uniform(20, 99, len(sequence)), float(rng.random()))


class Simulated:
    """A predictor that takes its time and keeps a list of what it was asked for."""

    name, is_baseline, is_expensive, remembers = "simulated", False, True, False

    def __init__(self, log: Path | None = None, seconds: float = 0.0, fails: tuple[str, ...] = ()):
        self.log, self.seconds, self.fails = log, seconds, fails
        self.key = {"predictor": self.name, "code_version": 1}

    def predict(self, sequences):
        """Yield batches of eight."""
        for start in range(0, len(sequences), BATCH):
            batch = sequences[start : start + BATCH]
            time.sleep(self.seconds)
            if self.log is not None:
                handle = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
                os.write(handle, "".join(f"{sequence}\n" for sequence in batch).encode())
                os.close(handle)
            yield [
                Failure("simulated", sequence=sequence)
                if sequence in self.fails
                else simulate(sequence)
                for sequence in batch
            ]


if __name__ == "__main__":
    cache, log, name, sequences, *rest = sys.argv[1:]
    predictor = Simulated(Path(log), float(rest[0]) if rest else 0.0)
    print("ready", flush=True)
    fold(Cache(cache, predictor.key), predictor, name, Path(sequences).read_text().split())
