"""The sceptic's rival: a plain autoregressive transformer of the same size and training budget.

    python -m benchmarks.autoregressive --config config/my.yaml \
        --peptides results/my/peptides/peptides.parquet --output-dir results/rival

reads the configuration of a run of StructDiff and its split, trains as many epochs with the same
batches, optimizer, schedule and moving average on a decoder of the same width and as many
parameters, draws as many peptides for each label, and judges them by the evaluation stage.
Sequences only: it has no backbones. It sees the same of a peptide: its labels, each hidden now and
then.
"""

import argparse
import math
import time
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional

from structdiff.config import Config, load
from structdiff.evaluation import stage
from structdiff.generation.request import condition
from structdiff.model import PRESETS, Condition, Denoiser, ModelSpec
from structdiff.model.conditions import ConditionEmbedding
from structdiff.protein.residues import decode
from structdiff.system.gpus import choose_device
from structdiff.system.progress import Progress
from structdiff.training import dataset
from structdiff.training.distributed import World
from structdiff.training.optimizer import learning_rate, make_optimizer

END = 20
VOCABULARY = 21


class Decoder(nn.Module):
    """Pre-norm decoder of up to ``longest`` residues; the labels are in the first token."""

    def __init__(self, spec: ModelSpec, longest: int):
        super().__init__()
        self.longest = longest
        self.labels = ConditionEmbedding(spec.num_labels, spec.width)
        self.tokens = nn.Embedding(VOCABULARY, spec.width)
        self.positions = nn.Embedding(longest + 1, spec.width)
        layer = nn.TransformerEncoderLayer(
            spec.width,
            spec.heads,
            4 * spec.width,
            dropout=0.0,
            activation="gelu",
            batch_first=True,
            norm_first=True,
        )
        self.layers = nn.TransformerEncoder(layer, spec.depth, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(spec.width)
        self.out = nn.Linear(spec.width, VOCABULARY)

    def forward(self, condition: Condition, tokens: Tensor) -> Tensor:
        """Return logits of the next token, ``(batch, length + 1, 21)``."""
        start = self.labels(condition)[:, None]
        x = torch.cat([start, self.tokens(tokens)], dim=1)
        x = x + self.positions(torch.arange(x.shape[1], device=x.device))
        mask = nn.Transformer.generate_square_subsequent_mask(x.shape[1], device=x.device)
        return self.out(self.norm(self.layers(x, mask=mask, is_causal=True)))


def matched(spec: ModelSpec) -> ModelSpec:
    """Return the sizes with as many layers as give the diffusion model's number of parameters."""
    with torch.device("meta"):
        target = sum(parameter.numel() for parameter in Denoiser(spec).parameters())
    return replace(spec, depth=round(target / (12 * spec.width**2)))


def loss_sum(model: Decoder, batch: dataset.Batch, condition: Condition) -> Tensor:
    """Return the summed negative log-likelihood of a batch, end of the sequence included."""
    lengths = batch.mask.sum(1)
    targets = functional.pad(batch.tokens, (0, 1)).scatter(1, lengths[:, None], END)
    inside = torch.arange(targets.shape[1], device=targets.device) <= lengths[:, None]
    logits = model(condition, batch.tokens)
    each = functional.cross_entropy(logits.transpose(1, 2), targets, reduction="none")
    return (each * inside).sum()


def hide(condition: Condition, dropout: float, generator: torch.Generator) -> Condition:
    """Return a condition, hidden as often as the diffusion model's is."""
    device = condition.labels.device
    uniforms = torch.rand(len(condition.labels), condition.width + 1, generator=generator).to(
        device
    )
    return condition.hide(uniforms[:, 0], uniforms[:, 1:], dropout)


def train(config: Config, data: dataset.TrainingSet, max_steps: int | None) -> Decoder:
    """Train as `structdiff train` would; return the moving average of the weights."""
    settings = config.training
    device = choose_device()
    torch.manual_seed(settings.seed)
    spec = matched(PRESETS[config.model.preset](len(data.labels), VOCABULARY))
    model = Decoder(spec, int(data.lengths.max())).to(device)
    average = deepcopy(model).eval().requires_grad_(False)
    print(f"parameters: {sum(p.numel() for p in model.parameters()):,}", flush=True)
    optimizer = make_optimizer(model, model.layers, settings.optimizer, World(0, 1, device))
    size = settings.effective_batch
    per_epoch = math.ceil(len(data.rows("train")) / size)
    total = per_epoch * settings.num_epochs
    generator = torch.Generator().manual_seed(settings.seed)
    began = time.monotonic()
    with Progress("training the rival", min(total, max_steps or total), "steps") as progress:
        for step in range(min(total, max_steps or total)):
            if step % per_epoch == 0:
                plan = data.global_batches("train", size, settings.seed, step // per_epoch)
            batch = data.batch(plan[step % per_epoch]).to(device)
            condition = hide(batch.condition, settings.label_dropout, generator)
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(
                    step,
                    total,
                    name=settings.scheduler.name,
                    peak=settings.optimizer.lr,
                    warmup_steps=settings.scheduler.warmup_steps,
                    min_lr=settings.scheduler.min_lr,
                )
            loss = loss_sum(model, batch, condition) / batch.mask.sum()
            model.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), settings.max_grad_norm)
            optimizer.step()
            decay = min(settings.ema_decay, (2 + step) / (11 + step))
            with torch.no_grad():
                for kept, new in zip(average.parameters(), model.parameters(), strict=True):
                    kept.lerp_(new, 1 - decay)
            progress.advance(note=f"loss {loss.item():.3f}")
    print(f"trained in {time.monotonic() - began:.0f} s", flush=True)
    return average


@torch.no_grad()
def validate(model: Decoder, data: dataset.TrainingSet) -> float:
    """Return nats a residue on the validation peptides, without labels."""
    device = model.out.weight.device
    total, residues = 0.0, 0
    for rows in data.global_batches("val", 256, 0, 0):
        batch = data.batch(rows).to(device)
        nothing = Condition.unspecified(len(rows), batch.condition.width).to(device)
        total += loss_sum(model, batch, nothing).item()
        residues += int(batch.mask.sum())
    return total / residues


@torch.no_grad()
def draw(model: Decoder, asked: Condition, count: int, temperature: float, seed: int) -> list[str]:
    """Draw peptides token by token, all at once, until each has ended."""
    torch.manual_seed(seed)
    device = model.out.weight.device
    asked = asked.to(device).expand(count)
    tokens = torch.zeros(count, 0, dtype=torch.int64, device=device)
    ended = torch.zeros(count, dtype=torch.bool, device=device)
    while tokens.shape[1] < model.longest and not ended.all():
        logits = model(asked, tokens)[:, -1] / temperature
        if tokens.shape[1] == 0:
            logits[:, END] = -math.inf
        following = torch.multinomial(logits.softmax(-1), 1)[:, 0]
        following = torch.where(ended, END, following)
        ended |= following == END
        tokens = torch.cat([tokens, following[:, None]], dim=1)
    rows = tokens.cpu().numpy()
    return [decode(row[row < END]) for row in rows]


def main() -> None:
    """Train, draw and judge."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--peptides", type=Path, required=True, help="peptides.parquet")
    parser.add_argument("--output-dir", type=Path, required=True)
    parser.add_argument("--max-steps", type=int, help="stop earlier, to try the script")
    options = parser.parse_args()
    config = load(options.config)
    options.output_dir.mkdir(parents=True, exist_ok=True)
    dataset.build(options.peptides, None, options.output_dir / "arrays")
    data = dataset.TrainingSet.open(options.output_dir / "arrays")
    model = train(config, data, options.max_steps)
    print(f"validation: {validate(model, data):.3f} nats a residue", flush=True)

    settings, frames = config.generation, []
    for entry in settings.labels or data.labels or ["none"]:
        asked = condition(entry, data.conditions)
        began = time.monotonic()
        sequences = draw(model, asked, settings.num_samples, settings.temperature, settings.seed)
        print(f"{entry}: {len(sequences)} peptides in {time.monotonic() - began:.1f} s", flush=True)
        frames.append(
            pd.DataFrame(
                {
                    "id": [f"{entry}_{i}" for i in range(len(sequences))],
                    "sequence": sequences,
                    "label": entry,
                    "length": np.array([len(one) for one in sequences]),
                    "backbone": None,
                }
            )
        )
    samples = options.output_dir / "samples.parquet"
    pd.concat(frames, ignore_index=True).to_parquet(samples, index=False)
    stage.run(config, samples, options.peptides, None, None, options.output_dir / "evaluation")


if __name__ == "__main__":
    main()
