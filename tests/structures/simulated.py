"""A predictor for tests, and a process that folds with it (to be killed, or several at once).

``python simulated.py CACHE LOG NAME SEQUENCES [SECONDS]`` folds the sequences of a file as a shard.
Every peptide that is predicted is written to the log, so that a test can count.
"""

import math
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
    starts = atom_starts(encode(sequence))
    backbone = chain(rng.uniform(-math.pi, math.pi, (len(sequence), 2)))
    residue = np.repeat(np.arange(len(sequence)), np.diff(starts))
    positions = backbone[residue, 1] + rng.normal(scale=1.5, size=(len(residue), 3))
    positions[starts[:-1, None] + np.arange(4)] = backbone
    n, ca, c, _ = backbone.transpose(1, 0, 2)
    side = np.cross(ca - n, c - ca)
    beta = ca - 0.583 * side + 0.568 * (ca - n) - 0.541 * (c - ca)
    has_beta = np.diff(starts) > 4
    positions[starts[:-1][has_beta] + 4] = beta[has_beta]
    return Structure(sequence, positions, rng.uniform(20, 99, len(sequence)), float(rng.random()))


def chain(phi_psi: np.ndarray) -> np.ndarray:
    """Return a backbone ``(length, 4, 3)`` in Å with ideal bonds, of torsions ``(length, 2)``."""
    atoms = [np.zeros(3), np.array([1.46, 0.0, 0.0]), np.array([2.0, 1.42, 0.0])]
    oxygens = []
    for row, (_, psi) in enumerate(phi_psi.tolist()):
        oxygens.append(_placed(*atoms[-3:], 1.23, 2.10, psi + math.pi))
        if row + 1 < len(phi_psi):
            atoms.append(_placed(*atoms[-3:], 1.34, 2.03, psi))
            atoms.append(_placed(*atoms[-3:], 1.46, 2.12, math.pi))
            atoms.append(_placed(*atoms[-3:], 1.52, 1.94, phi_psi[row + 1, 0]))
    backbone = np.array(atoms).reshape(-1, 3, 3)
    return np.concatenate([backbone, np.array(oxygens)[:, None]], axis=1)


def _placed(a, b, c, length, angle, torsion):
    """Return the atom that is bonded to ``c``."""
    along = (c - b) / np.linalg.norm(c - b)
    normal = np.cross(b - a, along)
    normal /= np.linalg.norm(normal)
    x, y = -math.cos(angle), math.sin(angle)
    across = np.cross(normal, along)
    return c + length * (x * along + y * (math.cos(torsion) * across + math.sin(torsion) * normal))


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
