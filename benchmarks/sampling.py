"""Quality and time against the number of denoising steps, for a released model.

    python -m benchmarks.sampling --peptides results/released/peptides/peptides.parquet \
        --label antimicrobial [--model model.safetensors]

draws the same peptides with more and more steps and prints a table: seconds for all of them, unique
share, Jensen–Shannon distances of k-mers to the training peptides of the label, order, copies of
training peptides, Macrel where installed (of the shuffled designs too), clashes, right-handed
helices. Two rows for comparison: as many training peptides, and as many held-out ones.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from structdiff.evaluation.backbone_geometry import Chains, Geometry
from structdiff.evaluation.classifiers import LabelClassifier
from structdiff.evaluation.controls import with_labels
from structdiff.evaluation.judges import Judges, Macrel, find_macrel
from structdiff.evaluation.markov import flatten, shuffle, unflatten
from structdiff.evaluation.peptide_set import PeptideSet, Settings, random_state, subsample
from structdiff.evaluation.registry import all_metrics
from structdiff.evaluation.sequence_features import Features, Reference
from structdiff.evaluation.value import Unavailable
from structdiff.generation.request import draw_lengths
from structdiff.generation.tasks import codesign
from structdiff.peptides.table import read_peptides
from structdiff.pretrained import PRETRAINED, TrainedModel, load_model
from structdiff.settings import Sampling
from structdiff.system.gpus import choose_device

SHOWN = ("uniqueness", "js1", "js2", "js3", "order", "copies", "clashes", "right_handed")

NOT_COMPARED = Unavailable("not compared")


class Judge:
    """Measure sets of designs against the real peptides of a label.

    ``parts`` has the real peptides that have the label: ``training`` and ``held-out``.
    """

    def __init__(self, peptides: Path, label: str):
        self._label = label
        table = read_peptides(peptides)
        labelled = with_labels(table.frame, table.labels, label)
        self.parts = {
            name: labelled.loc[
                (labelled["split"] == "train") == (name == "training"), "sequence"
            ].tolist()
            for name in ("training", "held-out")
        }
        self._training = table.frame.loc[table.frame["split"] == "train", "sequence"].tolist()
        training = self.parts["training"]
        self._reference = Reference.of(
            training, subsample(training, 5000, random_state(0, "reference"))
        )
        self._macrel = find_macrel()
        if isinstance(self._macrel, Unavailable):
            print(f"no Macrel: {self._macrel.reason}")

    def __call__(
        self, sequences: list[str], geometry: Geometry | Unavailable = NOT_COMPARED
    ) -> dict[str, float | None]:
        """Return what the table shows of a set of sequences, and of its backbones if given."""
        peptides = PeptideSet(
            entry=self._label,
            column="generated",
            sequences=sequences,
            features=Features.of(sequences, self._training),
            reference=self._reference,
            geometry=geometry,
            reference_geometry=NOT_COMPARED,
            backbones=None,
            judges=Judges(LabelClassifier({}), NOT_COMPARED, NOT_COMPARED, NOT_COMPARED, 0),
            settings=Settings(0.9, len(sequences), 0, 1, 10_000),
        )
        values = {
            metric.key: metric.compute(peptides) for metric in all_metrics() if metric.key in SHOWN
        }
        if not isinstance(self._macrel, Unavailable):
            codes, offsets = flatten(sequences)
            mixed = shuffle(codes, offsets, random_state(0, "shuffle"))
            values["macrel"] = _antimicrobial(self._macrel, sequences)
            values["macrel_shuffled"] = _antimicrobial(self._macrel, unflatten(mixed, offsets))
        return {
            key: None if isinstance(value, Unavailable) else value for key, value in values.items()
        }


def _antimicrobial(macrel: Macrel, sequences: list[str]) -> float:
    """Return the share that Macrel calls antimicrobial."""
    return float((macrel.scores(sequences) > 0.5).mean())


def draw(model: TrainedModel, lengths: np.ndarray, label: str, sampling: Sampling) -> tuple:
    """Return designs and the seconds that they took."""
    began = time.perf_counter()
    designs = list(codesign(model, lengths, label, sampling))
    if model.device.type == "cuda":
        torch.cuda.synchronize()
    return designs, time.perf_counter() - began


def main() -> None:
    """Draw, measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=PRETRAINED)
    parser.add_argument("--peptides", type=Path, required=True, help="peptides.parquet")
    parser.add_argument("--label", default="none")
    parser.add_argument("--number", type=int, default=1000)
    parser.add_argument("--steps", type=int, nargs="+", default=[5, 10, 20, 50, 100, 200])
    parser.add_argument("--guidance-scale", type=float, default=1.0)
    parser.add_argument("--temperature", type=float, default=1.0)
    parser.add_argument("--threads", type=int, help="of torch, on a CPU")
    parser.add_argument("--output", type=Path, help="TSV file to write as well")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    device = choose_device()
    model = load_model(options.model, device)
    judge = Judge(options.peptides, options.label)
    lengths = draw_lengths(model, options.label, options.number, 0, None)
    where = torch.cuda.get_device_name() if device.type == "cuda" else "CPU"
    print(f"{options.number:,} peptides, {where}, {torch.get_num_threads()} threads", flush=True)

    rows = [
        {"what": name, **judge(subsample(some, options.number, random_state(0, name)))}
        for name, some in judge.parts.items()
    ]
    for steps in options.steps:
        sampling = Sampling(steps, options.guidance_scale, options.temperature)
        designs, seconds = draw(model, lengths, options.label, sampling)
        sequences = [one.sequence for one in designs]
        chains = Chains.join(sequences, [one.backbone for one in designs])
        measured = judge(sequences, Geometry.of(chains))
        rows.append({"what": f"{steps} steps", "seconds": seconds, **measured})
        print(f"{steps} steps: {seconds:.1f} s", flush=True)
    frame = pd.DataFrame(rows)
    print(frame.to_string(index=False, float_format="%.3f", na_rep="–"))
    if options.output:
        frame.to_csv(options.output, sep="\t", index=False, float_format="%.6g")


if __name__ == "__main__":
    main()
