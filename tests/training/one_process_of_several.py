"""What each process does in the tests that train with several: ``torchrun … THIS OUT [spoil]``.

Trains three epochs in memory and saves what came of it; ``spoil`` makes a loss of the second rank
NaN at the eighth step.
"""

import dataclasses
import json
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))

from conftest import _make_config, _make_trainer, _make_training_set

from structdiff.system.errors import UserError
from structdiff.training import validation
from structdiff.training.distributed import join
from structdiff.training.interrupt import Interrupt
from structdiff.training.logger import NullLogger, RunLogger


def spoil(world, trainer) -> None:
    """Make the loss of one peptide NaN on the second rank at the eighth step."""
    honest = validation.losses

    def losses(model, process, batch, noise, **options):
        scored = honest(model, process, batch, noise, **options)
        if world.rank == 1 and trainer.progress.step == 7 and torch.is_grad_enabled():
            factor = torch.ones_like(scored.sequence)
            factor[2] = float("nan")
            return dataclasses.replace(scored, sequence=scored.sequence * factor)
        return scored

    validation.losses = losses


def main(out: Path, spoiled: bool) -> None:
    torch.set_num_threads(1)
    config = _make_config(num_gpus=2, gradient_accumulation_steps=2)
    with join() as world, Interrupt() as interrupt:
        trainer = _make_trainer(config, _make_training_set(), out, world)
        logger = RunLogger(out, 0, 0) if world.is_main else NullLogger()
        if spoiled:
            spoil(world, trainer)
        message = ""
        try:
            trainer.run(logger, interrupt)
        except UserError as error:
            message = str(error)
        torch.save(trainer.model.state_dict(), out / f"weights_{world.rank}.pth")
        report = {"message": message, "step": trainer.progress.step}
        (out / f"report_{world.rank}.json").write_text(json.dumps(report))


if __name__ == "__main__":
    main(Path(sys.argv[1]), "spoil" in sys.argv)
