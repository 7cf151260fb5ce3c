"""Training on each device: losses and gradients as on the CPU, kill and resume, several ranks."""

import os
import signal
import subprocess
import sys
import time

import pytest
import torch
import yaml

from structdiff.training import metrics
from structdiff.training.distributed import World

PARITY = {"rtol": 1e-3, "atol": 1e-4}
"""For curves of training on different devices: rounding differs, and grows with the steps."""

ON_THE_CPU = "import os; os.environ['CUDA_VISIBLE_DEVICES'] = ''; "
SAVE_EACH_STEP = "from structdiff.training import trainer; trainer.SECONDS_BETWEEN_SAVES = 0; "
SLOW = (
    "import time; trainer.step_uniform = lambda *a, c=trainer.step_uniform: "
    "(time.sleep(0.2), c(*a))[1]"
)


def _curve(output_dir):
    lines = metrics.read(output_dir / "metrics.jsonl")
    return torch.tensor([line["total"] for line in lines if line["event"] == "step"])


def _sums_and_gradient(trainer, rows):
    """Return the loss sums and the gradient of a step, of weights that are not zero."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in trainer.parameters:
            noise = torch.randn(parameter.shape, generator=generator)
            parameter += 0.05 * noise.to(parameter.device)
    residues = int(trainer.data.lengths[rows].sum())
    trainer._accumulate(trainer.loader.micro_batches(rows, 0, 0), residues, residues, True)
    return trainer.gradient.extra[:2].cpu(), trainer.gradient.values.cpu()


def test_losses_and_gradients_are_those_of_the_cpu(
    device, make_config, make_training_set, make_trainer, tmp_path
):
    """On the CPU itself, from micro-batches of another size."""
    rows = make_training_set().global_batches("train", 16, 0, 0)[0]
    (sums, gradient), (expected_sums, expected) = (
        _sums_and_gradient(
            make_trainer(
                make_config(batch_size=size, precision="float32"),
                make_training_set(),
                tmp_path,
                World(0, 1, where),
            ),
            rows,
        )
        for size, where in ((8, device), (16, torch.device("cpu")))
    )
    torch.testing.assert_close(sums, expected_sums, rtol=1e-4, atol=1e-4)
    assert torch.linalg.vector_norm(gradient - expected) < 1e-3 * torch.linalg.vector_norm(expected)


@pytest.mark.workflow
def test_killed_and_resumed_it_trains_the_same(device, start, make_config, tmp_path):
    where = ON_THE_CPU if device.type == "cpu" else ""
    undisturbed = start(make_config(), tmp_path / "undisturbed", before=where)
    process = start(make_config(), tmp_path / "out", before=where + SAVE_EACH_STEP + SLOW)
    checkpoint = tmp_path / "out" / "checkpoints" / "checkpoint_latest.pth"
    while not checkpoint.exists():
        assert process.exitcode is None
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    resumed = start(make_config(), tmp_path / "out", before=where)
    for ended in (undisturbed, resumed):
        ended.join()
        assert ended.exitcode == 0
    starts = [x for x in metrics.read(tmp_path / "out" / "metrics.jsonl") if x["event"] == "start"]
    assert starts[-1]["step"] > 0
    on_gpu = device.type == "cuda"
    assert all((x["device"] == "CPU, no GPU found") != on_gpu for x in starts)
    curves = _curve(tmp_path / "out"), _curve(tmp_path / "undisturbed")
    torch.testing.assert_close(*curves, **(PARITY if on_gpu else {"rtol": 0, "atol": 0}))


@pytest.mark.workflow
def test_two_ranks_train_as_one(device, device_environment, start, make_config, peptides, tmp_path):
    if device.type == "cuda" and torch.cuda.device_count() < 2:
        pytest.skip("there is one GPU; NCCL between processes needs two")
    alone = start(make_config(), tmp_path / "alone", before=ON_THE_CPU)
    config = make_config(num_gpus=2, gradient_accumulation_steps=2, precision="float32")
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(config.model_dump(mode="json")))
    command = [sys.executable, "-m", "structdiff", "train", "--config", file]
    command += ["--peptides", peptides, "--output-dir", tmp_path / "out"]
    subprocess.run([*map(str, command)], check=True, env=device_environment)
    alone.join()
    torch.testing.assert_close(_curve(tmp_path / "out"), _curve(tmp_path / "alone"), **PARITY)
