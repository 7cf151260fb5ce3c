"""Time of designs on one core and on more, next to busy processes, and whether they are the same.

``python benchmarks/cores.py`` draws and scores 1,000 peptides with the released model, in a process
of its own for each number of workers (1 and 2), on an idle machine and next to eight processes that
are busy all the time. It prints a table, and fails unless the designs are equal to the byte. A run
takes the best of three. ``--designs 200 --workers 1 2 5 --busy 0 --rounds 1`` compares the designs.
"""

import argparse
import hashlib
import multiprocessing
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from structdiff.generation import batching
from structdiff.generation.scoring import log_likelihoods
from structdiff.generation.tasks import codesign
from structdiff.pretrained import PRETRAINED, load_model
from structdiff.system.gpus import choose_device


def draw(designs: int, workers: int) -> None:
    """Draw and score designs; print the seconds, the CPU seconds and a hash of all results."""
    model = load_model(PRETRAINED, choose_device())
    batching.granted_cores = lambda root=None: workers  # also more than this machine has
    lengths = np.random.default_rng(0).integers(10, 41, designs)
    start = time.perf_counter()
    drawn = sorted(codesign(model, lengths), key=lambda design: design.number)
    scores = log_likelihoods(model, [design.sequence for design in drawn])
    seconds = time.perf_counter() - start
    digest = hashlib.sha256(scores.tobytes())
    for design in drawn:
        assert design.backbone is not None
        digest.update(design.sequence.encode() + design.backbone.tobytes())
    used = [resource.getrusage(of) for of in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    print(seconds, sum(one.ru_utime + one.ru_stime for one in used), digest.hexdigest())


@contextmanager
def busy(count: int) -> Iterator[None]:
    """Keep so many processes busy."""
    processes = [multiprocessing.Process(target=_spin, daemon=True) for _ in range(count)]
    for process in processes:
        process.start()
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.join()


def _spin() -> None:
    while True:
        pass


def measure(designs: int, workers: int) -> tuple[float, float, str]:
    """Draw in a process of its own; return seconds, CPU seconds and the hash."""
    command = [sys.executable, __file__, "--designs", str(designs), "--draw", str(workers)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(workers), "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    seconds, used, digest = done.stdout.split()
    return float(seconds), float(used), digest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--designs", type=int, default=1000)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--busy", type=int, nargs="+", default=[0, 8])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--draw", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.draw is not None:
        draw(arguments.designs, arguments.draw)
        return
    digests = set()
    print("| busy processes | workers | seconds | CPU seconds |\n|---|---|---|---|")
    for others in arguments.busy:
        best: dict[int, tuple[float, float]] = {}
        with busy(others):
            for _ in range(arguments.rounds):
                for workers in arguments.workers:
                    seconds, used, digest = measure(arguments.designs, workers)
                    digests.add(digest)
                    best[workers] = min(best.get(workers, (np.inf, 0.0)), (seconds, used))
        for workers, (seconds, used) in best.items():
            print(f"| {others} | {workers} | {seconds:.1f} | {used:.1f} |", flush=True)
    if len(digests) > 1:
        raise SystemExit("the designs differ")
    print("the designs are equal to the byte")


if __name__ == "__main__":
    main()
