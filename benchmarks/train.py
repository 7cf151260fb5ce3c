"""Training speed: StructDiff's loop compared with a plain loop on the same model, in one run.

    python benchmarks/train.py [--preset base] [--table data/peptides.csv] [--steps 6] [--rounds 3]

The plain loop is what one writes first: batches of 8 in random order, all padded to 52 positions,
one optimizer step each. Both train the same network with the same losses, noise, self-conditioning
and optimizer, alternating in rounds; medians are printed. Without a GPU each uses one thread.
Lengths are those of ``--table`` (any CSV with a column ``sequence``; ../shared/data/peptides.csv
where it is present), otherwise of the demo's peptides. Structures are helices: the time does not
depend on what they look like.
"""

import argparse
import csv
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch

from structdiff.config import Config, parse
from structdiff.diffusion import JointProcess, step_uniform
from structdiff.model import PRESETS, ConditionSpec, Denoiser, spec
from structdiff.peptides.demo import write_demo
from structdiff.protein.geometry import ANGLES, rebuild
from structdiff.protein.residues import AMINO_ACIDS, encode
from structdiff.system.gpus import choose_device
from structdiff.training.checkpoint import Checkpoints
from structdiff.training.dataset import TrainingSet
from structdiff.training.distributed import World
from structdiff.training.interrupt import Interrupt
from structdiff.training.trainer import Trainer

ROOT = Path(__file__).resolve().parents[1]
REAL = ROOT.parent / "shared" / "data" / "peptides.csv"

PLAIN_BATCH, PLAIN_WIDTH = 8, 52
STRUCTURED = 0.16
"""Share of the peptides with a structure: that of the real data."""
LABELS = 3

PEAK_FLOPS = {"H100": 989e12, "H200": 989e12, "A100": 312e12, "L40S": 362e12, "4090": 165e12}
"""Dense bfloat16 FLOP/s of a GPU, from its data sheet, by a part of its name."""


def read_sequences(table: Path | None) -> tuple[list[str], str]:
    """Return sequences of 5–50 standard residues, and the name of what they are from."""
    with tempfile.TemporaryDirectory() as scratch:
        if table is None and REAL.exists():
            table = REAL
        name = table.name if table else "the demo's peptides"
        if table is None:
            table = Path(scratch) / "demo.csv"
            write_demo(table)
        with table.open(newline="") as file:
            found = [row["sequence"] for row in csv.DictReader(file)]
    usable = [s for s in found if 5 <= len(s) <= 50 and set(s) <= set(AMINO_ACIDS)]
    return usable, name


def training_set(sequences: list[str]) -> TrainingSet:
    """Return a training set of these peptides, some of them as helices."""
    lengths = np.array([len(sequence) for sequence in sequences])
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    longest = int(lengths.max())
    torsions = torch.deg2rad(torch.tensor([-60.0, -45.0, 180.0])).expand(longest, 3)
    helix = rebuild(torsions, torch.tensor(ANGLES).expand(longest, 3)).numpy()
    has_structure = np.random.default_rng(0).random(len(sequences)) < STRUCTURED
    known = np.repeat(has_structure, lengths)
    backbone = np.concatenate([helix[:length] for length in lengths])
    arrays = {
        "tokens": encode("".join(sequences)),
        "offsets": offsets,
        "labels": np.random.default_rng(1).random((len(sequences), LABELS)) < 0.5,
        "split": np.zeros(len(sequences), dtype=np.uint8),
        "backbone": np.where(known[:, None, None], backbone, 0).astype(np.float32),
        "weight": np.where(known, 0.8, 0.0).astype(np.float32),
        "has_structure": has_structure,
        "ids": np.array([f"p{i}" for i in range(len(sequences))]),
    }
    return TrainingSet(arrays, ConditionSpec([f"label{i}" for i in range(LABELS)]))


def make_trainer(config: Config, data: TrainingSet, world: World) -> Trainer:
    """Return a trainer; nothing is written."""
    process = JointProcess(config.diffusion.sequence_process, config.diffusion.num_timesteps)
    torch.manual_seed(0)
    model = Denoiser(spec(config.model.preset, data.conditions, process.sequence.width))
    nowhere = Checkpoints(Path("unused"), 1)
    return Trainer(config.training, model, process, data, world, nowhere, {})


def our_loop(trainer: Trainer) -> Callable[[int], int]:
    """Return a function that does one of our steps and returns its residues."""
    plan = trainer.data.global_batches("train", trainer.global_batch, 0, 0)
    interrupt = Interrupt()

    def step(number: int) -> int:
        rows = plan[number % len(plan)]
        trainer.step(rows, trainer.loader.micro_batches(rows, 0, number), interrupt)
        trainer.finish()
        return int(trainer.data.lengths[rows].sum())

    return step


def plain_loop(trainer: Trainer) -> Callable[[int], int]:
    """Return a function that does one step of the plain loop and returns its residues."""
    data, device = trainer.data, trainer.world.device
    order = np.random.default_rng(0).permutation(data.rows("train"))
    optimizer = torch.optim.AdamW(trainer.model.parameters(), lr=1e-4)
    trainer.loader.width = lambda lengths: PLAIN_WIDTH  # type: ignore[method-assign]

    def step(number: int) -> int:
        start = number * PLAIN_BATCH % (len(order) - PLAIN_BATCH)
        rows = order[start : start + PLAIN_BATCH]
        (micro,) = trainer.loader.micro_batches(rows, 0, number)
        diffusion, structure = trainer.loss_computer(
            trainer.model,
            micro,
            conditioned=step_uniform(0, number) < trainer.training.self_conditioning,
            label_dropout=trainer.training.label_dropout,
        )
        residues = micro.batch.mask.sum()
        ((diffusion.sum() + structure.sum()) / residues).backward()
        torch.nn.utils.clip_grad_norm_(trainer.model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return int(data.lengths[rows].sum())

    return step


def speed(step: Callable[[int], int], first: int, count: int) -> float:
    """Return the residues per second of some steps.

    On a CPU these are seconds of this process's one thread, so that it does not matter what else
    the machine does.
    """
    clock = time.perf_counter if torch.cuda.is_available() else time.process_time
    began = clock()
    residues = sum(step(number) for number in range(first, first + count))
    return residues / (clock() - began)


def utilization(residues_per_second: float, trainer: Trainer) -> str:
    """Return the model FLOP utilisation of the GPU, or why there is none."""
    if trainer.world.device.type != "cuda":
        return "none (no GPU)"
    name = torch.cuda.get_device_name(trainer.world.device)
    peak = next((flops for part, flops in PEAK_FLOPS.items() if part in name), None)
    if peak is None:
        return f"unknown (no peak listed for {name})"
    # 2 FLOP a parameter forward and 4 backward; in half the steps another forward pass.
    flops = (6 + 2 * trainer.training.self_conditioning) * trainer.num_parameters
    return f"{100 * flops * residues_per_second / peak:.1f} % of {peak / 1e12:.0f} TFLOP/s ({name})"


def measure(options: argparse.Namespace) -> None:
    """Run both loops and print what came of it."""
    world = World(0, 1, choose_device())
    on_gpu = world.device.type == "cuda"
    if not on_gpu:
        torch.set_num_threads(1)
    sequences, table = read_sequences(options.table)
    data = training_set(sequences)
    training = {
        "batch_size": options.batch_size,
        "gradient_accumulation_steps": options.accumulation,
        "compile": options.compile,
        "precision": options.precision,
    }

    def trainer(**changes: int) -> Trainer:
        settings = {
            "run": "benchmark",
            "data": {"path": "unused"},
            "model": {"preset": options.preset},
            "training": {**training, **changes},
        }
        return make_trainer(parse(settings), data, world)

    ours, plain = trainer(), trainer(batch_size=PLAIN_BATCH, compile=False)
    loops = {"plain": (plain_loop(plain), options.steps * ours.global_batch // PLAIN_BATCH)}
    loops["ours"] = (our_loop(ours), options.steps)
    speeds: dict[str, list[float]] = {name: [] for name in loops}
    for step, count in loops.values():
        speed(step, 0, max(count // 4, 1))
    for turn in range(options.rounds):
        for name, (step, count) in loops.items():
            speeds[name].append(speed(step, (turn + 1) * count, count))
    median = {name: statistics.median(values) for name, values in speeds.items()}
    ratio = statistics.median(a / b for a, b in zip(speeds["ours"], speeds["plain"], strict=True))
    real = float(data.lengths.mean())
    print(
        f"{datetime.now(UTC):%Y-%m-%d}, torch {torch.__version__}, "
        f"{torch.cuda.get_device_name(0) if on_gpu else 'CPU, one thread, CPU time'}\n"
        f"lengths                {len(data):,} of {table}, {real:.1f} residues on average\n"
        f"model                  {options.preset}, {ours.num_parameters:,} parameters, "
        f"{str(ours.loss_computer.dtype).removeprefix('torch.')}\n"
        f"our batches            {options.batch_size} × {options.accumulation}\n"
        f"residues/s, ours       {median['ours']:,.0f}\n"
        f"residues/s, plain      {median['plain']:,.0f} "
        f"(batch {PLAIN_BATCH}, padded to {PLAIN_WIDTH}, no buckets)\n"
        f"ratio                  {ratio:.2f} (median of {options.rounds} rounds, side by side)\n"
        f"positions that are residues: ours {100 * ours.utilization():.1f} %, "
        f"plain {100 * real / PLAIN_WIDTH:.1f} %\n"
        f"model FLOP utilisation {utilization(median['ours'], ours)}"
    )


def main() -> None:
    """Read the options and measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", choices=list(PRESETS), default="base")
    parser.add_argument("--table", type=Path, help="CSV with a column `sequence`")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--accumulation", type=int, default=4)
    parser.add_argument("--steps", type=int, default=6, help="our steps in a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--compile", action="store_true", help="compile our network")
    parser.add_argument("--precision", default="auto", choices=["auto", "float32", "bfloat16"])
    measure(parser.parse_args())


if __name__ == "__main__":
    main()
