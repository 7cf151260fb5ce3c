"""The loop computes the same however the work is cut, and stops before it does harm."""

import dataclasses
import json
import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from structdiff.diffusion import structure_process as structure
from structdiff.system.errors import UserError
from structdiff.system.gpus import is_out_of_memory
from structdiff.training import dataloader, metrics, validation
from structdiff.training import trainer as training_loop
from structdiff.training.dataloader import BatchLoader, bucket_length
from structdiff.training.distributed import World
from structdiff.training.interrupt import Interrupt
from structdiff.training.logger import NullLogger, RunLogger
from structdiff.training.trainer import Trainer
from tests.waiting import META, copies

ALONE = World(0, 1, torch.device("cpu"))
TOLERANCE = {"rtol": 2e-5, "atol": 2e-6}
"""Adam divides by the gradient's own size, which magnifies rounding where that is next to zero."""


def _train(trainer, output_dir):
    logger = RunLogger(output_dir, 0, 0)
    with Interrupt() as interrupt:
        trainer.run(logger, interrupt)
    logger.close()
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
        timeout=300,
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


@pytest.mark.workflow
def test_two_processes_compute_what_one_does(reference, tmp_path):
    _torchrun(tmp_path)
    weights = [torch.load(tmp_path / f"weights_{rank}.pth") for rank in (0, 1)]
    torch.testing.assert_close(weights[1], weights[0], rtol=0, atol=0)
    torch.testing.assert_close(_curve(tmp_path), reference[1], **TOLERANCE)
    torch.testing.assert_close(weights[0], reference[0], **TOLERANCE)


@pytest.mark.workflow
def test_a_nan_on_one_rank_stops_both_and_is_not_saved(
    make_config, make_training_set, make_trainer, tmp_path
):
    data, config = make_training_set(), make_config()
    reports = _torchrun(tmp_path, "spoil")
    batch = data.global_batches("train", 16, config.training.seed, 2)[1]
    row = batch[4 + 2]  # the third peptide of the second micro-batch
    for report in reports:
        assert report["step"] == 7
        assert "step 8 (epoch 3): not finite" in report["message"]
        assert f"peptide p{row} (row {row}) on rank 1" in report["message"]
    weights = [torch.load(tmp_path / f"weights_{rank}.pth") for rank in (0, 1)]
    torch.testing.assert_close(weights[1], weights[0], rtol=0, atol=0, equal_nan=True)
    kept = torch.load(tmp_path / "checkpoints" / "checkpoint_latest.pth", weights_only=True)
    assert kept["step"] == 6
    assert all(value.isfinite().all() for value in kept["model"].values())
    steps = [x["step"] for x in metrics.read(tmp_path / "metrics.jsonl") if x["event"] == "step"]
    assert steps == [1, 2, 3, 4, 5, 6, 7]


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

    honest = validation.losses

    def losses(*arguments, **options):
        scored = honest(*arguments, **options)
        return dataclasses.replace(scored, sequence=Infinite.apply(scored.sequence))

    monkeypatch.setattr(validation, "losses", losses)
    trainer = make_trainer(make_config(), make_training_set(), tmp_path, ALONE)
    with Interrupt() as interrupt, pytest.raises(UserError, match="the gradient on rank 0 of pept"):
        trainer.run(NullLogger(), interrupt)
    assert trainer.progress.step == 0


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("[…] can't allocate memory: […]"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("NCCL error […] ncclUnhandledCudaError […] Cuda failure 2 'out of memory'"),
    ],
)
@pytest.mark.parametrize("validating", [False, True])
def test_out_of_memory_says_what_to_change(
    make_config, make_training_set, make_trainer, tmp_path, monkeypatch, error, validating
):
    def losses(*arguments, honest=validation.losses, **options):
        if torch.is_grad_enabled() != validating:
            raise error
        return honest(*arguments, **options)

    monkeypatch.setattr(validation, "losses", losses)
    config = make_config(validate_every=1)
    trainer = make_trainer(config, make_training_set(), tmp_path, ALONE)
    message = f"{'validation' if validating else 'step 1'}.*out of memory.*halve training.batch_si"
    with Interrupt() as interrupt, pytest.raises(UserError, match=message):
        trainer.run(NullLogger(), interrupt)


def test_out_of_memory_in_the_update_says_what_to_change(
    make_config, make_training_set, make_trainer, tmp_path, monkeypatch
):
    trainer = make_trainer(make_config(), make_training_set(), tmp_path, ALONE)

    def step():
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(trainer.optimizer, "step", step)
    message = "the update of the weights in step 1: out of memory on rank 0: halve"
    with Interrupt() as interrupt, pytest.raises(UserError, match=message):
        trainer.run(NullLogger(), interrupt)


def test_torch_still_says_so_on_a_cpu():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**50)
    assert is_out_of_memory(caught.value)


def test_no_structures_train_the_sequence_alone(
    make_config, make_training_set, make_trainer, tmp_path
):
    data = make_training_set(structures=False)
    trainer = make_trainer(make_config(num_epochs=1), data, tmp_path, ALONE)
    with Interrupt() as interrupt:
        trainer.run(RunLogger(tmp_path, 0, 0), interrupt)
    lines = [x for x in metrics.read(tmp_path / "metrics.jsonl") if x["event"] == "step"]
    assert all(x["structure"] is None and x["total"] == x["diffusion"] for x in lines)


@pytest.mark.parametrize(
    ("settings", "ahead", "num_workers"),
    [
        ({}, 0, 3),  # threads prepare the batches
        ({}, 1, 0),  # as on a GPU: a step is read when the next one is queued
        ({"activation_checkpointing": True}, 0, 0),
    ],
)
def test_what_saves_time_or_memory_changes_nothing(
    settings, ahead, num_workers, reference, make_config, make_training_set, make_trainer, tmp_path
):
    config = make_config(batch_size=16, gradient_accumulation_steps=1, **settings)
    trainer = make_trainer(config, make_training_set(), tmp_path, ALONE)
    trainer.ahead, trainer.loader.num_workers = ahead, num_workers
    weights, curve = _train(trainer, tmp_path)
    torch.testing.assert_close(curve, reference[1], rtol=0, atol=0)
    torch.testing.assert_close(weights, reference[0], rtol=0, atol=0)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_no_step_waits_for_the_device(
    optimizer, make_config, make_training_set, make_trainer, tmp_path, monkeypatch
):
    """Losses, gradient, refusal, clipping, update: nothing is copied to or from the device."""
    optimizers = sys.modules["torch.optim.optimizer"]
    monkeypatch.setattr(optimizers, "_get_fused_kernels_supported_devices", lambda: ["meta"])
    settings = {"optimizer": {"name": optimizer}, "self_conditioning": 1.0}
    config = make_config(precision="bfloat16", **settings)
    trainer = make_trainer(config, make_training_set(), tmp_path, World(0, 1, META))
    rows = trainer._plan(0)[0]
    micro_batches = trainer.loader.micro_batches(rows, 0, 0)
    with copies() as places, Interrupt() as interrupt:
        for _ in range(2):
            trainer.step(rows, micro_batches, interrupt)
    assert places == []
    with pytest.raises(NotImplementedError, match="Cannot copy out of meta tensor"):
        trainer.finish()  # it does wait


def test_what_waits_is_found():
    with copies() as places:
        torch.tensor([1.0], device=META)
        torch.zeros(2).to(META)
    assert len(places) == 2


def test_matrices_alone_are_decayed(make_config, make_training_set, make_trainer, tmp_path):
    trainer = make_trainer(make_config(), make_training_set(), tmp_path, ALONE)
    decayed, others = trainer.optimizer.param_groups
    assert decayed["weight_decay"] == 0.01
    assert others["weight_decay"] == 0
    assert all(parameter.ndim == 2 for parameter in decayed["params"])
    assert sum(len(group["params"]) for group in (decayed, others)) == len(trainer.parameters)
    assert trainer.model.label_in.weight in set(others["params"])


def _gradient(trainer, rows):
    """Return the gradient of a step with self-conditioning, of weights that are not zero."""
    torch.manual_seed(1)
    for parameter in trainer.parameters:
        parameter.data += 0.05 * torch.randn(parameter.shape)
    micro_batches = trainer.loader.micro_batches(rows, 0, 0)
    trainer._accumulate(micro_batches, int(trainer.data.lengths[rows].sum()), 100, True)
    return trainer.gradient.values


def test_bfloat16_gives_the_gradient_of_float32(
    make_config, make_training_set, make_trainer, tmp_path
):
    data = make_training_set()
    rows = data.global_batches("train", 16, 0, 0)[0]
    full, half = (
        _gradient(make_trainer(make_config(precision=precision), data, tmp_path, ALONE), rows)
        for precision in ("float32", "bfloat16")
    )
    assert half.dtype == torch.float32
    assert torch.cosine_similarity(full, half, dim=0) > 0.999
    assert not torch.equal(full, half)


def test_bfloat16_leaves_the_geometry_in_float32(
    make_config, make_training_set, make_trainer, tmp_path, monkeypatch
):
    seen = []

    def rebuild(torsions, angles, honest=structure.rebuild):
        seen.append(torsions.dtype)
        return honest(torsions, angles)

    monkeypatch.setattr(structure, "rebuild", rebuild)
    config = make_config(precision="bfloat16", num_epochs=1)
    trainer = make_trainer(config, make_training_set(), tmp_path, ALONE)
    with Interrupt() as interrupt:
        trainer.run(NullLogger(), interrupt)
    assert set(seen) == {torch.float32}
    assert all(parameter.dtype == torch.float32 for parameter in trainer.parameters)


def test_slow_loading_is_told(make_config, make_training_set, make_trainer, tmp_path, monkeypatch):
    """By a clock on which a step takes 3 s to load and 2 s to compute."""
    clock = SimpleNamespace(now=0.0)
    clock.monotonic = clock.perf_counter = lambda: clock.now

    def takes(seconds, function):
        def timed(*arguments):
            clock.now += seconds
            return function(*arguments)

        return timed

    for module in (dataloader, training_loop):
        monkeypatch.setattr(module, "time", clock)
    monkeypatch.setattr(BatchLoader, "micro_batches", takes(3, BatchLoader.micro_batches))
    monkeypatch.setattr(Trainer, "step", takes(2, Trainer.step))
    trainer = make_trainer(make_config(num_epochs=1), make_training_set(), tmp_path, ALONE)
    _train(trainer, tmp_path)
    (log,) = (tmp_path / "logs").iterdir()
    assert (
        "WARNING - the model waited for its batches in 60 % of this epoch's time: "
        "raise data.num_workers (now 0)"
    ) in log.read_text()


def test_the_widths_of_a_compiled_model_are_few_and_little_of_them_is_padding(make_training_set):
    lengths = {1: 1, 5: 5, 15: 15, 16: 16, 17: 18, 31: 32, 33: 36, 50: 52}
    assert {n: bucket_length(n) for n in lengths} == lengths
    assert len({bucket_length(n) for n in range(5, 51)}) == 25
    assert all(n <= bucket_length(n) <= 1.13 * n for n in range(1, 1000))


def test_a_validation_that_is_not_finite_stops_the_run(
    make_config, make_training_set, make_trainer, tmp_path
):
    trainer = make_trainer(make_config(validate_every=1), make_training_set(), tmp_path, ALONE)
    next(trainer.ema.parameters()).fill_(float("nan"))
    with Interrupt() as interrupt, pytest.raises(UserError, match="validation loss is not finite"):
        trainer.run(NullLogger(), interrupt)


def test_a_full_disk_is_told_although_the_log_cannot_be_closed(tmp_path):
    """The file that was full was not named."""
    logger = RunLogger(tmp_path, 0, 0)
    logger.metrics = metrics.Metrics(Path("/dev/full"))
    with pytest.raises(UserError, match="/dev/full: cannot be written"), closing(logger):
        logger.event("save", step=1)
