"""Fine-tuning compared with training from random weights, on small tables of other labels.

    python -m benchmarks.finetune --table activity.csv --output-dir results/finetune

For each of some labels, the table has a column of 1, 0 and blank. The starting model is one that is
given with the peptides of its training (``--start``, ``--start-peptides``), or one is trained on
peptides of clusters without any of these labels, for a number of epochs.
Then, for each label, a few peptides that have it train two models, with the same peptides, batches
and number of steps: one from the starting model, one from random weights; each at its own
learning rate, each at its best epoch by the loss of validation clusters. Both are judged by
peptides of clusters that none of the three trainings saw: sequence loss a residue, Jensen–Shannon
distances of k-mers of the designs to them, uniqueness, copies of what the model has seen, and the
share of the designs that a classifier calls so (`structdiff.evaluation.classifiers`; ``real``:
its share of the held-out peptides). The loss of the start itself, and that of the composition of
the training peptides, stand next to it.
"""

import argparse
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.spatial.distance import jensenshannon
from torch.nn import functional

from structdiff import selection
from structdiff.config import Config, parse
from structdiff.diffusion import JointProcess
from structdiff.evaluation.classifiers import LabelClassifier
from structdiff.evaluation.sequence_features import (
    KMERS,
    composition,
    describe,
    kmer_frequencies,
)
from structdiff.evaluation.value import Unavailable
from structdiff.generation.request import draw_lengths
from structdiff.generation.tasks import codesign
from structdiff.model import Denoiser, no_estimate
from structdiff.peptides.seen import hashes
from structdiff.peptides.split import cluster_names, find_clusters, nearest_neighbour
from structdiff.peptides.table import Peptides, read_peptides, write_peptides
from structdiff.pretrained import TrainedModel, load_model
from structdiff.settings import Sampling
from structdiff.system.files import write_frame
from structdiff.training import stage
from structdiff.training.dataset import TrainingSet, build
from structdiff.training.initialisation import Start, initialise

LABELS = ("hemolytic", "cell_penetrating", "anticancer")
KNOWN = ("antimicrobial", "antifungal", "antiviral")
"""Labels of the starting model."""

WAYS = ("fine-tuned", "random weights")

DRAWS, JUDGED_TOGETHER = 16, 64
"""Number of noise draws in each loss, and of peptides in a batch of them."""

HELD_OUT, VALIDATION = 0.3, 0.15
"""Shares of the clusters that are held out, and that choose the epoch."""

START_VALIDATION = 0.08
"""Share of the starting model's clusters that choose its epoch."""


def read_table(path: Path, labels: list[str], seen: list[str]) -> pd.DataFrame:
    """Return the usable peptides with their cluster and the split of the cluster.

    Clusters with a peptide that the starting model has ``seen`` are in train.
    """
    frame = pd.read_csv(path, dtype={"id": str})
    usable = frame["sequence"].str.fullmatch("[ACDEFGHIKLMNPQRSTVWY]{5,50}")
    frame = frame[usable].drop_duplicates("sequence").reset_index(drop=True)
    sequences = frame["sequence"].tolist()
    _, frame["cluster"] = cluster_names(sequences, find_clusters(sequences, 0.7))
    has_label = frame[labels].eq(1).any(axis=1)
    frame["other"] = frame["cluster"].isin(frame.loc[has_label, "cluster"])
    uniform = hashes(frame["cluster"], "finetune") / 2.0**64
    frame["split"] = "train"
    frame.loc[uniform < HELD_OUT + VALIDATION, "split"] = "val"
    frame.loc[uniform < HELD_OUT, "split"] = "test"
    frame["for_start"] = np.where(uniform < START_VALIDATION, "val", "train")
    is_seen = frame["sequence"].isin(seen)
    frame.loc[frame["cluster"].isin(frame.loc[is_seen, "cluster"]), "split"] = "train"
    return frame


def read_training_peptides(path: Path) -> list[str]:
    """Return the training peptides of a run from its ``peptides.parquet``."""
    frame = read_peptides(path).frame
    return frame.loc[frame["split"] == "train", "sequence"].tolist()


def train_start(options: argparse.Namespace, frame: pd.DataFrame) -> tuple[Path, list[str]]:
    """Train a starting model without the labels; return its file and its training peptides."""
    allowed = frame[~frame["other"]].assign(split=frame["for_start"])
    if options.start_number:
        allowed = few(allowed, options.start_number, "start")
    known = [label for label in KNOWN if label in frame and label not in options.labels]
    config = make_config(
        options,
        known,
        num_epochs=options.start_epochs,
        batch_size=32,
        optimizer={"name": "muon", "lr": 1e-3},
    )
    # The last epoch, as for the released model.
    last = config.selection.model_copy(update={"epoch": options.start_epochs})
    config = config.model_copy(update={"selection": last})
    folder = options.output_dir / "start"
    train(config, allowed, known, folder)
    seen = allowed.loc[allowed["split"] == "train", "sequence"].tolist()
    return folder / "selection" / "model.safetensors", seen


def few(frame: pd.DataFrame, number: int, purpose: str) -> pd.DataFrame:
    """Return ``number`` of the peptides, those with the smallest hash."""
    order = np.argsort(hashes(frame["sequence"], purpose), kind="stable")
    return frame.iloc[order[:number]]


def make_config(options: argparse.Namespace, labels: list[str], **training: Any) -> Config:
    """Return the configuration of a training."""
    fixed = {"gradient_accumulation_steps": 1, "validate_every": 1}
    settings = {"batch_size": options.batch_size, **fixed, **training}
    return parse(
        {
            "run": "finetune",
            "data": {"path": str(options.table), "label_columns": labels, "num_workers": 0},
            "model": {"preset": options.preset},
            "training": settings,
        }
    )


def with_states(frame: pd.DataFrame, labels: list[str]) -> pd.DataFrame:
    """Return the table with the labels' columns of 1, 0 and blank as nullable booleans."""
    states = {label: frame[label].map({1: True, 0: False}).astype("boolean") for label in labels}
    return frame.assign(**states)


def train(config: Config, frame: pd.DataFrame, labels: list[str], folder: Path) -> TrainedModel:
    """Train on the peptides of a table, and return the model of its best epoch."""
    folder.mkdir(parents=True, exist_ok=True)
    table = frame[["id", "sequence", *labels, "cluster", "split"]].reset_index(drop=True)
    write_peptides(Peptides(with_states(table, labels), labels), folder / "peptides.parquet")
    stage.run(config, folder / "peptides.parquet", None, folder / "training")
    selection.run(config, folder / "training", folder / "selection")
    return load_model(folder / "selection" / "model.safetensors")


class Judge:
    """Judges models by held-out peptides that have a label; ``folder`` is for their arrays."""

    def __init__(
        self, held_out: pd.DataFrame, label: str, folder: Path, classifier: LabelClassifier
    ):
        folder.mkdir(parents=True, exist_ok=True)
        self.classifier = classifier
        table = held_out[["id", "sequence", label, "cluster"]].assign(split="val")
        table[label] = True
        self.sequences, self.label = table["sequence"].tolist(), label
        write_peptides(Peptides(table.reset_index(drop=True), [label]), folder / "held_out.parquet")
        build(folder / "held_out.parquet", None, folder / "held_out")
        self.data = TrainingSet.open(folder / "held_out")

    def loss(self, model: TrainedModel) -> float:
        """Return the sequence loss a residue of the held-out peptides, nats."""
        network = model.network
        if model.labels != [self.label]:  # the start, whose labels are unspecified then
            network = _with_label(model, self.data)
        return any_order_loss(network.eval(), model.process, self.data)

    def composition_loss(self, training: list[str]) -> float:
        """Return the loss of a model that knows the composition of the training peptides only."""
        known, asked = composition(training), composition(self.sequences)
        return float(-(asked * np.log(np.maximum(known, 1e-4))).sum())

    def designs(self, model: TrainedModel, number: int, seen: list[str]) -> dict[str, float]:
        """Return what is measured of designs."""
        lengths = draw_lengths(model, self.label, number, 0, None)
        drawn = [one.sequence for one in codesign(model, lengths, self.label, Sampling(32))]
        _, similarity = nearest_neighbour(drawn, seen)
        distances = {
            f"js{k}": jensenshannon(kmer_frequencies(drawn, k), kmer_frequencies(self.sequences, k))
            for k in KMERS
        }
        unique = len(set(drawn)) / len(drawn)
        copies = float((similarity >= 0.9).mean())
        return {"unique": unique, "copies": copies, "called": self.called(drawn), **distances}

    def called(self, sequences: list[str]) -> float:
        """Return the share of the sequences that the classifier calls so."""
        called = self.classifier.called(sequences, describe(sequences), [self.label])
        return float(np.mean(checked(called)))


@torch.no_grad()
def any_order_loss(network: Denoiser, process: JointProcess, data: TrainingSet) -> float:
    """Return the negative log-likelihood of the validation peptides, nats a residue.

    It is the mean over all orders in which residues can be drawn one after the other, estimated by
    `DRAWS` draws: of each peptide, a random number of random residues are hidden, and their mean
    cross-entropy is the loss (Hoogeboom et al., Autoregressive Diffusion Models, 2022). Its mean is
    that of the validation loss of the training, which varies much more, because a single residue
    that is hidden at a low noise level has a large weight there. The network is in evaluation mode,
    and its noise process must be masking.
    """
    rows, random = data.rows("val"), np.random.default_rng(0)
    total = 0.0
    for _ in range(DRAWS):
        strata = (random.permutation(len(rows)) + random.random()) / len(rows)
        for start in range(0, len(rows), JUDGED_TOGETHER):
            some = rows[start : start + JUDGED_TOGETHER]
            batch = data.batch(some, int(data.lengths[some].max()))
            lengths = batch.mask.sum(1)
            share = torch.from_numpy(strata[start : start + JUDGED_TOGETHER])
            count = ((share * lengths).floor() + 1).clamp(max=lengths)
            order = torch.from_numpy(random.random(batch.mask.shape))
            rank = order.masked_fill(~batch.mask, 2).argsort(1).argsort(1)
            level = (count / lengths).float()
            hidden = rank < count[:, None]  # pads have the last ranks
            clean = process.sequence.encode(batch.tokens)
            noisy = torch.where(hidden[..., None], process.sequence.prior(clean), clean)
            structure = torch.zeros(*batch.mask.shape, network.spec.structure_width)
            ones = torch.ones_like(level)
            inputs = (noisy, structure, batch.mask, level, ones, batch.condition)
            logits = network(*inputs, *no_estimate(structure)).logits
            losses = functional.cross_entropy(logits.mT, batch.tokens, reduction="none")
            total += float((lengths * (losses * hidden).sum(1) / count).sum())
    return total / (DRAWS * int(data.lengths[rows].sum()))


def checked(value: Any) -> Any:
    """Return the value; end the program where there is none."""
    if isinstance(value, Unavailable):
        raise SystemExit(value.reason)
    return value


def _with_label(model: TrainedModel, data: TrainingSet) -> Denoiser:
    """Return the network of the starting model for peptides of the new label, not trained."""
    process = model.process
    old = model.network.spec
    network = Denoiser(replace(old, num_labels=len(data.labels), num_properties=0))
    start = Start(model.network.state_dict(), old, model.conditions, process)
    initialise(network, data.conditions, start)
    return network


def main() -> None:
    """Train, judge and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--table", type=Path, required=True, help="CSV with the labels' columns")
    parser.add_argument("--output-dir", type=Path, required=True)
    parser.add_argument("--labels", nargs="+", default=list(LABELS))
    parser.add_argument("--number", type=int, default=200, help="training peptides of a table")
    parser.add_argument("--validation", type=int, default=60, help="validation peptides, at most")
    parser.add_argument("--held-out", type=int, default=300, help="held-out peptides, at most")
    parser.add_argument("--preset", default="small")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--epochs", type=int, default=30, help="of both trainings on a table")
    parser.add_argument("--start", type=Path, help="model.safetensors")
    parser.add_argument("--start-peptides", type=Path, help="peptides.parquet of its training")
    parser.add_argument("--start-epochs", type=int, default=9)
    parser.add_argument("--start-number", type=int, help="peptides of the start, at most")
    parser.add_argument("--lr", type=float, default=2e-4, help="of fine-tuning")
    parser.add_argument("--weight-decay", type=float, default=5.0, help="pull to the start")
    parser.add_argument("--scratch-lr", type=float, default=1e-3, help="from random weights")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--designs", type=int, default=300)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    options = parser.parse_args()
    if options.start and not options.start_peptides:
        parser.error("--start needs --start-peptides")
    folder = options.output_dir
    if options.start:
        init, seen_by_start = options.start, read_training_peptides(options.start_peptides)
        frame = read_table(options.table, options.labels, seen_by_start)
    else:
        frame = read_table(options.table, options.labels, [])
        init, seen_by_start = train_start(options, frame)
    start = load_model(init)

    rows = []
    for label in options.labels:
        has_label = frame[frame[label] == 1]
        parts = dict(iter(has_label.groupby("split")))
        held_out = few(parts["test"], options.held_out, "held out")
        table = pd.concat(
            [
                few(parts["train"], options.number, "train"),
                few(parts["val"], options.validation, "val"),
            ]
        )
        training = table.loc[table["split"] == "train", "sequence"].tolist()
        ema = {"num_epochs": options.epochs, "ema_decay": 0.98}
        tuned = {"lr": options.lr, "weight_decay": options.weight_decay}
        settings_of = (
            {**ema, "init": str(init), "optimizer": tuned},
            {**ema, "optimizer": {"lr": options.scratch_lr}},
        )
        ways = dict(zip(WAYS, settings_of, strict=True))
        scheduler = {"warmup_steps": 20}
        classifier = LabelClassifier.fit(with_states(frame, [label]), [label], 0)
        judge = Judge(held_out, label, folder / label, classifier)
        common = {"label": label, "n": len(training), "held out": len(held_out)}
        common["AUROC"] = checked(classifier.trees[label]).auroc
        common["real"] = judge.called(judge.sequences)
        common["composition"] = judge.composition_loss(training)
        common["start"] = judge.loss(start)
        for seed in options.seeds:
            for way in options.ways:
                settings = ways[way]
                one = make_config(options, [label], seed=seed, scheduler=scheduler, **settings)
                began = time.process_time()
                model = train(one, table, [label], folder / label / f"{way} {seed}")
                seconds = time.process_time() - began
                seen = training + (seen_by_start if "init" in settings else [])
                row = {**common, "way": way, "seed": seed, "epoch": model.info["epoch"]}
                row |= {"CPU s": seconds, "loss": judge.loss(model)}
                rows.append({**row, **judge.designs(model, options.designs, seen)})
                print(pd.DataFrame(rows[-1:]).to_string(index=False, float_format="%.3f"))
        write_frame(folder / "finetune.tsv", pd.DataFrame(rows))
    print(pd.DataFrame(rows).to_string(index=False, float_format="%.3f"))


if __name__ == "__main__":
    main()
