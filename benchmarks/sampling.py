"""Quality and time against the number of denoising steps, for a released model.

    python -m benchmarks.sampling --model model.safetensors \
        --peptides results/my/peptides/peptides.parquet --label antimicrobial

draws the same peptides with more and more steps and prints a table: seconds for all of them, unique
share, Jensen–Shannon distances of k-mers to the training peptides of the label, order, copies of
training peptides, Macrel where installed, right-handed helices. Two rows stand beside them: as many
training peptides, and as many held-out ones.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from structdiff.design import Sampling, codesign
from structdiff.design.request import draw_lengths
from structdiff.evaluation import structure
from structdiff.evaluation.controls import bearing, random_state, subsample
from structdiff.evaluation.external import find_macrel
from structdiff.evaluation.metric import Missing
from structdiff.evaluation.sequence import Features, Reference, measure
from structdiff.evaluation.structure import Chains, Geometry
from structdiff.peptides.table import read_peptides
from structdiff.release import Release, load_release

SHOWN = ("uniqueness", "js1", "js2", "js3", "order", "copies")


def judge(sequences: list[str], reference: Reference, training: list[str], macrel) -> dict:
    """Return the metrics of a set of sequences that the table shows."""
    features = Features.of(sequences, training)
    values = measure(
        sequences,
        reference,
        features,
        random_state(0, "benchmark"),
        novelty_threshold=0.9,
        limit=len(sequences),
    )
    found = {key: values[key] for key in SHOWN}
    if not isinstance(macrel, Missing):
        found["macrel"] = float((macrel.scores(sequences) > 0.5).mean())
    return {key: None if isinstance(value, Missing) else value for key, value in found.items()}


def draw(release: Release, lengths: np.ndarray, label: str, sampling: Sampling) -> tuple:
    """Return designs and the seconds that they took."""
    began = time.perf_counter()
    designs = list(codesign(release, lengths, label, sampling))
    if release.device.type == "cuda":
        torch.cuda.synchronize()
    return designs, time.perf_counter() - began


def main() -> None:
    """Draw, measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--peptides", type=Path, required=True, help="peptides.parquet")
    parser.add_argument("--label", default="none")
    parser.add_argument("--number", type=int, default=1000)
    parser.add_argument("--steps", type=int, nargs="+", default=[5, 10, 20, 50, 100, 200])
    parser.add_argument("--guidance-scale", type=float, default=1.5)
    parser.add_argument("--temperature", type=float, default=1.0)
    parser.add_argument("--threads", type=int, help="of torch, on a CPU")
    parser.add_argument("--output", type=Path, help="TSV file to write as well")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    release = load_release(options.model, device)
    table = read_peptides(options.peptides)
    born = bearing(table.frame, table.labels, options.label)
    parts = {
        name: born.loc[(born["split"] == "train") == (name == "training"), "sequence"].tolist()
        for name in ("training", "held-out")
    }
    training = table.frame.loc[table.frame["split"] == "train", "sequence"].tolist()
    state = random_state(0, "reference")
    reference = Reference.of(parts["training"], subsample(parts["training"], 5000, state))
    macrel = find_macrel()
    if isinstance(macrel, Missing):
        print(f"no Macrel: {macrel.reason}")
    lengths = draw_lengths(release, options.label, options.number, 0, None)
    where = torch.cuda.get_device_name() if device.type == "cuda" else "CPU"
    print(f"{options.number:,} peptides, {where}, {torch.get_num_threads()} threads", flush=True)

    rows = [
        {"what": name, **judge(subsample(some, options.number, state), reference, training, macrel)}
        for name, some in parts.items()
    ]
    for steps in options.steps:
        sampling = Sampling(steps, options.guidance_scale, options.temperature)
        designs, seconds = draw(release, lengths, options.label, sampling)
        sequences = [one.sequence for one in designs]
        chains = Chains.join(sequences, [one.backbone for one in designs])
        geometry = structure.measure(Geometry.of(chains), Missing("not compared"))
        right = geometry["right_handed"]
        rows.append(
            {
                "what": f"{steps} steps",
                "seconds": seconds,
                **judge(sequences, reference, training, macrel),
                "clashes": geometry["clashes"],
                "right_handed": None if isinstance(right, Missing) else right,
            }
        )
        print(f"{steps} steps: {seconds:.1f} s", flush=True)
    frame = pd.DataFrame(rows)
    print(frame.to_string(index=False, float_format="%.3f", na_rep="–"))
    if options.output:
        frame.to_csv(options.output, sep="\t", index=False, float_format="%.6g")


if __name__ == "__main__":
    main()
