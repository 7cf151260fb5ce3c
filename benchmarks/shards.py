"""Designs in shards on SLURM, two of which are killed, against the same designs of one job.

``python benchmarks/shards.py`` trains the smoke model, draws 100,000 short peptides in few steps as
20 jobs of a SLURM of two nodes (started on this machine as `tests/slurm/cluster.py` says), kills
two of the jobs with SIGKILL, and draws them again in one job. It prints a table of seconds and
memory, and fails unless all files of both are equal to the byte. ``--designs 2000`` tries it.
"""

import argparse
import filecmp
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT))

from tests.slurm.cluster import Cluster, missing, running  # noqa: E402

RUN = Path("results/shards")
SAMPLES = RUN / "generation" / "samples.parquet"
WANTED = {"labels": ["antimicrobial"], "num_steps": 2, "min_length": 6, "max_length": 8}
KILLED = 2


def write_config(folder: Path, designs: int, shard_size: int) -> None:
    """Write the smoke configuration, with so many short designs."""
    config = yaml.safe_load((ROOT / "config" / "smoke.yaml").read_text())
    config["run"] = RUN.name
    config["generation"] = {**WANTED, "num_samples": designs, "shard_size": shard_size}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))


def snakemake(folder: Path, target: Path, profile: str, *options: str) -> list[str]:
    """Return the command that makes a target in a folder."""
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile")]
    command += ["--directory", str(folder), "--profile", str(ROOT / "profiles" / profile)]
    return [*command, str(target), "--configfile", "config.yaml", *options]


def call(folder: Path, target: Path, *options: str) -> str:
    """Run the workflow on this machine, on one core, and return what it prints."""
    command = snakemake(folder, target, "local", "--cores", "1", *options)
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    return done.stdout + done.stderr


def draw_on_slurm(cluster: Cluster, folder: Path) -> list[str]:
    """Draw the designs as jobs; kill some when they have saved designs, and return their names."""
    options = ["--slurm-init-seconds-before-status-checks", "2"]
    options += ["--set-threads", "design_shard=1", "generate=1"]
    killed: list[str] = []
    with (folder / "output.txt").open("w+") as output:
        process = subprocess.Popen(
            snakemake(folder, SAMPLES, "slurm", *options),
            cwd=folder,
            env=cluster.environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        while process.poll() is None:
            time.sleep(0.1)
            if len(killed) < KILLED:
                killed += kill_one(folder, killed)
        output.seek(0)
        if process.returncode or len(killed) < KILLED:
            raise SystemExit(f"{output.read()}\n{len(killed)} of {KILLED} jobs were killed")
    return killed


def kill_one(folder: Path, spared: list[str]) -> list[str]:
    """Kill the job of a shard that has saved designs, if there is one; return its name."""
    for journal in (folder / RUN / "generation" / "shards").glob(".*.drawn.jsonl"):
        name = journal.name.split(".")[1]
        if name not in spared and journal.stat().st_size > 10_000:
            for process in psutil.process_iter(["cmdline"]):
                if {"structdiff", "shard", name} <= set(process.info["cmdline"] or []):
                    process.kill()
                    return [name]
    return []


def resumed(folder: Path, name: str) -> str:
    """Return what the log of a shard says of the designs that were drawn before."""
    log = (folder / RUN / "logs" / "generation_shards" / f"{name}.log").read_text()
    found = re.search(r"([\d,]+) designs were drawn before; resuming", log)
    if not found:
        raise SystemExit(f"shard {name} did not resume:\n{log}")
    return found[1]


def measured(folder: Path, rule: str) -> str:
    """Return seconds, CPU seconds and peak memory of a rule, as Snakemake has measured them."""
    header, line = (folder / RUN / "benchmarks" / f"{rule}.tsv").read_text().splitlines()[:2]
    values = dict(zip(header.split("\t"), line.split("\t"), strict=True))
    return f"{values['s']} | {values['cpu_time']} | {float(values['max_rss']) / 1024:.2f} GiB"


def differing(first: Path, second: Path) -> list[str]:
    """Return the files that are not in both folders with equal content; shards do not count."""
    names = {
        path.relative_to(folder)
        for folder in (first, second)
        for path in folder.rglob("*")
        if path.is_file() and path.parent.name != "shards"
    }
    _, unequal, absent = filecmp.cmpfiles(first, second, map(str, names), shallow=False)
    return unequal + absent


def compare(cluster: Cluster, folder: Path, designs: int, shards: int) -> None:
    """Draw the designs in shards and in one job, and compare them."""
    many, one = folder / "many", folder / "one"
    many.mkdir()
    write_config(many, designs, -(-designs // shards))
    call(many, RUN / "selection" / "model.safetensors")
    shutil.copytree(many, one)
    write_config(one, designs, designs)
    start = time.perf_counter()
    killed = draw_on_slurm(cluster, many)
    on_slurm = time.perf_counter() - start
    print(f"{designs:,} designs as {shards} jobs, {KILLED} killed: {on_slurm:.0f} s")
    for name in killed:
        print(f"shard {name} was killed, and resumed after {resumed(many, name)} designs")
    start = time.perf_counter()
    call(one, SAMPLES)
    print(f"in one job: {time.perf_counter() - start:.0f} s", flush=True)
    start = time.perf_counter()
    if "Nothing to be done" not in call(many, SAMPLES, "--dry-run"):
        raise SystemExit("the finished designs would be drawn again")
    print(f"dry run of the finished designs: {time.perf_counter() - start:.1f} s")
    print("| job | seconds | CPU seconds | peak memory |\n|---|---|---|---|")
    for path in sorted((many / RUN / "benchmarks" / "generation_shards").iterdir()):
        print(f"| {path.stem} | {measured(many, f'generation_shards/{path.stem}')} |")
    print(f"| collecting | {measured(many, 'generation')} |")
    print(f"| one job | {measured(one, 'generation')} |")
    unequal = differing(many / RUN / "generation", one / RUN / "generation")
    if unequal:
        raise SystemExit(f"{len(unequal):,} files differ, such as {unequal[0]}")
    print("all files are equal to the byte")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--designs", type=int, default=100_000)
    parser.add_argument("--shards", type=int, default=20)
    arguments = parser.parse_args()
    if reason := missing():
        raise SystemExit(f"no SLURM: {reason}")
    os.environ["OMP_NUM_THREADS"] = "1"
    with (
        tempfile.TemporaryDirectory(prefix="shards-") as folder,
        tempfile.TemporaryDirectory(prefix="slurm-") as state,
        running(Path(state)) as cluster,
    ):
        compare(cluster, Path(folder), arguments.designs, arguments.shards)


if __name__ == "__main__":
    main()
