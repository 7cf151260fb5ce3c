"""How long a plan takes where the cache holds a million peptides, and the stages of such a run.

``python benchmarks/plan.py`` simulates a cache (random sequences and coordinates: they compress
worse than real ones), plans the peptides in it and some that are missing, in a process of its own,
and prints the time and the peak memory. ``--cached 20000`` tries it in seconds.

``python benchmarks/plan.py --stages 10000`` runs the stages of a whole run of 10,000 simulated
peptides, each as a command of its own, up to the first training step: structures with random
coordinates of all but 1,000 are in the cache before the plan, and the predictor `ideal` predicts
those. It prints a table of seconds and memory.
"""

import argparse
import json
import os
import resource
import signal
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
from structdiff.structures.predictors.ideal import IdealPredictor

FILE_SIZE = 5000
MISSING = 1000
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


def run_stages(count: int, folder: Path) -> None:
    """Run the stages of a run with so many peptides, and print what each took."""
    config, peptides, structures = (folder / x for x in ("config.json", "peptides", "structures"))
    training, parquet = folder / "training", peptides / "peptides.parquet"
    plan_file = structures / "plan.tsv"
    value = {
        "data": {"path": str(folder / "table.csv"), "id_column": None, "label_columns": ["active"]},
        "structures": {"predictor": "ideal", "cache": str(folder / "cache")},
        "model": {"preset": "tiny"},
        "training": {"num_epochs": 1},
    }
    config.write_text(json.dumps(value))
    known = ["--config", config, "--peptides", parquet]
    steps = {
        "split": ["split", "--config", config, "--output-dir", peptides],
        "plan": ["structures", "plan", *known, "--output", plan_file],
        "fold the missing": [
            *("structures", "shard", "--config", config, "--plan", plan_file, "--name")
        ],
        "index": ["fold", *known, "--plan", plan_file, "--output-dir", structures],
        "arrays and first step": [
            *("train", *known, "--structures", structures / "index.parquet"),
            *("--output-dir", training),
        ],
    }
    names = sequences(count)
    write_table(folder / "table.csv", names)
    fill(Cache(folder / "cache", IdealPredictor().key), names[: count - MISSING])
    print("| stage | seconds | CPU seconds | peak memory |\n|---|---|---|---|")
    for name, arguments in steps.items():
        if arguments[-1] == "--name":
            arguments.append(plan_file.read_text().splitlines()[1].split("\t")[0])
        metrics = training / "metrics.jsonl" if arguments[0] == "train" else None
        seconds, used, memory = measured_call(arguments, metrics)
        print(f"| {name} | {seconds:.1f} | {used:.1f} | {memory:.2f} GiB |", flush=True)


def write_table(path: Path, names: list[str]) -> None:
    """Write a table of peptides with one label."""
    rows = "".join(f"{name},{number % 2}\n" for number, name in enumerate(names))
    path.write_text(f"sequence,active\n{rows}")


def measured_call(arguments: list, metrics: Path | None = None) -> tuple[float, float, float]:
    """Run a command; a training only up to its first step. Return seconds, CPU seconds, GiB."""
    command = [sys.executable, "-m", "structdiff", *map(str, arguments)]
    start = time.perf_counter()
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
        stepped = None
        while metrics is not None and stepped is None and _runs(process.pid):
            time.sleep(0.05)
            if metrics.exists() and '"event": "step"' in metrics.read_text():
                stepped = time.perf_counter() - start
                process.send_signal(signal.SIGKILL)
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start if stepped is None else stepped
        if status and stepped is None:
            output.seek(0)
            raise SystemExit(output.read().decode())
    return seconds, used.ru_utime + used.ru_stime, used.ru_maxrss / 2**20


def _runs(pid: int) -> bool:
    """Return whether a child process runs; one that has ended is left to `os.wait4`."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cached", type=int, default=1_000_000)
    parser.add_argument("--missing", type=int, default=MISSING)
    parser.add_argument("--root", type=Path, help="where the cache is, if it is made already")
    parser.add_argument("--stages", type=int, help="run the stages with so many peptides instead")
    arguments = parser.parse_args()
    if arguments.stages is not None:
        with tempfile.TemporaryDirectory() as folder:
            run_stages(arguments.stages, Path(folder))
        return
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
