"""The loop computes the same however the work is cut, and stops before it does harm."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from structdiff.errors import UserError
from structdiff.training import loop, metrics
from structdiff.training.distributed import World
from structdiff.training.interrupt import Interrupt
from structdiff.training.journal import Journal

ALONE = World(0, 1, torch.device("cpu"))
TOLERANCE = {"rtol": 2e-5, "atol": 2e-6}
"""Adam divides by the gradient's own size, which magnifies rounding where that is next to zero."""


def _train(trainer, output_dir):
    journal = Journal(output_dir, 0)
    with Interrupt() as interrupt:
        assert trainer.run(journal, interrupt)
    journal.close()
    return trainer.model.state_dict(), _curve(output_dir)


def _curve(output_dir):
    lines = metrics.read(output_dir / "metrics.jsonl")
    return torch.tensor(
        [
            [line["total"], line["diffusion"], line["structure"]]
            for line in lines
            if line["event"] in ("step", "validation")
        ],
        dtype=torch.float64,
    )


def _torchrun(output_dir, *arguments):
    script = Path(__file__).with_name("one_process_of_several.py")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    subprocess.run(
        [*command, str(script), str(output_dir), *arguments],
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=120,
    )
    return [json.loads((output_dir / f"report_{rank}.json").read_text()) for rank in (0, 1)]


@pytest.fixture(scope="module")
def reference(make_config, make_training_set, make_trainer, tmp_path_factory):
    """Return weights and losses of one process that takes each global batch whole."""
    output_dir = tmp_path_factory.mktemp("reference")
    torch.set_num_threads(1)
    config = make_config(batch_size=16, gradient_accumulation_steps=1)
    return _train(make_trainer(config, make_training_set(), output_dir, ALONE), output_dir)


@pytest.mark.parametrize("accumulation", [2, 4, 16])
def test_accumulation_changes_nothing(
    accumulation, reference, make_config, make_training_set, make_trainer, tmp_path
):
    config = make_config(batch_size=16 // accumulation, gradient_accumulation_steps=accumulation)
    trainer = make_trainer(config, make_training_set(), tmp_path, ALONE)
    weights, curve = _train(trainer, tmp_path)
    torch.testing.assert_close(curve, reference[1], **TOLERANCE)
    torch.testing.assert_close(weights, reference[0], **TOLERANCE)


def test_two_processes_compute_what_one_does(reference, tmp_path):
    _torchrun(tmp_path)
    weights = [torch.load(tmp_path / f"weights_{rank}.pth") for rank in (0, 1)]
    torch.testing.assert_close(weights[1], weights[0], rtol=0, atol=0)
    torch.testing.assert_close(_curve(tmp_path), reference[1], **TOLERANCE)
    torch.testing.assert_close(weights[0], reference[0], **TOLERANCE)


def test_a_nan_on_one_rank_stops_both_before_the_update(
    make_config, make_training_set, make_trainer, tmp_path
):
    data, config = make_training_set(), make_config()
    reports = _torchrun(tmp_path, "spoil")
    batch = data.global_batches("train", 16, config.training.seed, 1)[1]
    row = batch[4 + 2]  # the third peptide of the second micro-batch
    for report in reports:
        assert report["step"] == 4
        assert "step 5 (epoch 2): not finite" in report["message"]
        assert f"peptide p{row} (row {row}) on rank 1" in report["message"]
    weights = [torch.load(tmp_path / f"weights_{rank}.pth") for rank in (0, 1)]
    assert all(value.isfinite().all() for value in weights[0].values())
    torch.testing.assert_close(weights[1], weights[0], rtol=0, atol=0)
    kept = torch.load(tmp_path / "checkpoints" / "checkpoint_latest.pth", weights_only=True)
    assert kept["step"] == 3
    steps = [x["step"] for x in metrics.read(tmp_path / "metrics.jsonl") if x["event"] == "step"]
    assert steps == [1, 2, 3, 4]


def test_an_infinite_gradient_names_the_peptides(
    make_config, make_training_set, make_trainer, tmp_path, monkeypatch
):
    class Infinite(torch.autograd.Function):
        @staticmethod
        def forward(context, x):
            return x.clone()

        @staticmethod
        def backward(context, gradient):
            return gradient * float("inf")

    honest = loop.losses

    def losses(*arguments, **options):
        scored = honest(*arguments, **options)
        return dataclasses.replace(scored, diffusion=Infinite.apply(scored.diffusion))

    monkeypatch.setattr(loop, "losses", losses)
    trainer = make_trainer(make_config(), make_training_set(), tmp_path, ALONE)
    with Interrupt() as interrupt, pytest.raises(UserError, match="the gradient on rank 0 of pept"):
        trainer.run(None, interrupt)
    assert trainer.progress.step == 0


def test_out_of_memory_says_what_to_change(
    make_config, make_training_set, make_trainer, tmp_path, monkeypatch
):
    def losses(*arguments, **options):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(loop, "losses", losses)
    trainer = make_trainer(make_config(), make_training_set(), tmp_path, ALONE)
    with Interrupt() as interrupt, pytest.raises(UserError, match=r"halve training\.batch_size"):
        trainer.run(None, interrupt)


def test_no_structures_train_the_sequence_alone(
    make_config, make_training_set, make_trainer, tmp_path
):
    data = make_training_set(structures=False)
    trainer = make_trainer(make_config(num_epochs=1), data, tmp_path, ALONE)
    journal = Journal(tmp_path, 0)
    with Interrupt() as interrupt:
        trainer.run(journal, interrupt)
    lines = [x for x in metrics.read(tmp_path / "metrics.jsonl") if x["event"] == "step"]
    assert all(x["structure"] is None and x["total"] == x["diffusion"] for x in lines)


def test_batches_prepared_ahead_by_threads_are_the_same(
    reference, make_config, make_training_set, make_trainer, tmp_path
):
    config = make_config(batch_size=16, gradient_accumulation_steps=1)
    trainer = make_trainer(config, make_training_set(), tmp_path, ALONE)
    trainer.num_workers = 3
    weights, curve = _train(trainer, tmp_path)
    torch.testing.assert_close(curve, reference[1], rtol=0, atol=0)
    torch.testing.assert_close(weights, reference[0], rtol=0, atol=0)


def test_matrices_alone_are_decayed(make_config, make_training_set, make_trainer, tmp_path):
    trainer = make_trainer(make_config(), make_training_set(), tmp_path, ALONE)
    decayed, others = trainer.optimizer.param_groups
    assert decayed["weight_decay"] == 0.01
    assert others["weight_decay"] == 0
    assert all(parameter.ndim == 2 for parameter in decayed["params"])
    assert sum(len(group["params"]) for group in (decayed, others)) == len(trainer.parameters)
    assert trainer.model.label_in.weight in set(others["params"])


def test_bfloat16_trains(make_config, make_training_set, make_trainer, tmp_path):
    config = make_config(precision="bfloat16", num_epochs=1)
    trainer = make_trainer(config, make_training_set(), tmp_path, ALONE)
    with Interrupt() as interrupt:
        assert trainer.run(None, interrupt)
    assert all(parameter.dtype == torch.float32 for parameter in trainer.parameters)
