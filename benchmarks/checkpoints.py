"""Seconds that a checkpoint costs the training loop, with a model of any preset on random peptides.

    python -m benchmarks.checkpoints --preset large --saves 3

Each save follows one optimizer step of one micro-batch. Prints, for each: the seconds that the loop
spends in the call, the seconds that the next step waits until its tensors may change, the seconds
until the checkpoint is on the disk, and the seconds of a save that the loop waits for.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

import torch

from benchmarks.roofline import peptides
from structdiff.config import parse
from structdiff.diffusion import JointProcess
from structdiff.model import Denoiser, spec
from structdiff.training.checkpoint import Checkpoints
from structdiff.training.distributed import World
from structdiff.training.interrupt import Interrupt
from structdiff.training.logger import NullLogger
from structdiff.training.trainer import Trainer


def main() -> None:
    """Train a few steps and save after each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--preset", default="large")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--optimizer", default="adamw", choices=["adamw", "muon"])
    parser.add_argument("--saves", type=int, default=3)
    parser.add_argument(
        "--directory", type=Path, help="folder for the checkpoints, on the disk to measure"
    )
    options = parser.parse_args()

    config = parse(
        {
            "run": "checkpoints",
            "data": {"path": "none.csv"},
            "training": {
                "batch_size": options.batch_size,
                "gradient_accumulation_steps": 1,
                "optimizer": {"name": options.optimizer},
            },
        }
    )
    data = peptides(4 * options.batch_size, 24)
    process = JointProcess(**config.diffusion.model_dump(mode="json"))
    model = Denoiser(
        spec(options.preset, data.conditions, process.sequence.width, process.structure.width)
    )
    with tempfile.TemporaryDirectory(dir=options.directory) as directory:
        world = World(0, 1, torch.device("cpu"))
        checkpoints = Checkpoints(Path(directory), keep=1)
        trainer = Trainer(config.training, model, process, data, world, checkpoints, {})
        logger, interrupt = NullLogger(), Interrupt()
        rows = data.global_batches("train", options.batch_size, 0, 0)[0]

        def step() -> tuple[float, float]:
            """Return the seconds of a step, and those of them spent waiting for the copy."""
            waited = 0.0
            wait = trainer.writer.copied

            def timed() -> None:
                nonlocal waited
                began = time.perf_counter()
                wait()
                waited += time.perf_counter() - began

            trainer.writer.copied = timed  # type: ignore[method-assign]
            began = time.perf_counter()
            micro_batches = trainer.loader.micro_batches(rows, 0, trainer.progress.step)
            trainer.step(rows, micro_batches, interrupt)
            trainer.finish()
            seconds = time.perf_counter() - began
            trainer.writer.copied = wait  # type: ignore[method-assign]
            return seconds, waited

        step()  # makes the state of the optimizer
        seconds, _ = step()
        print(
            f"{options.preset}, {trainer.num_parameters / 1e6:.1f} M parameters, "
            f"{options.optimizer}, {sys.platform} {torch.get_num_threads()} thread(s)"
        )
        print(f"a step: {seconds:.2f} s")
        for number in range(options.saves):
            began = time.perf_counter()
            trainer.save(logger)
            called = time.perf_counter() - began
            seconds, waited = step()
            trainer.writer.wait()
            written = time.perf_counter() - began
            size = checkpoints.latest.stat().st_size / 1e9
            print(
                f"save {number + 1} ({size:.2f} GB): {called + waited:.3f} s of the loop "
                f"(call {called:.3f}, waits for the copy {waited:.3f}); next step {seconds:.2f} s; "
                f"on the disk after {written:.1f} s",
                flush=True,
            )
        began = time.perf_counter()
        trainer.save(logger)
        trainer.writer.wait()
        print(f"a save that the loop waits for: {time.perf_counter() - began:.1f} s")


if __name__ == "__main__":
    main()
