"""What the choices of the model are worth: one training for each, the same small budget.

    python -m benchmarks.ablations --config config/released.yaml \
        --peptides results/released/peptides/peptides.parquet \
        --structures results/released/structures/index.parquet --output-dir results/ablations

trains the first choice and variants of it that differ in one thing (preset ``tiny``, ``--epochs``
of the configuration otherwise), draws the same peptides from each, folds the held-out ones, and
prints a table. Losses of the two sequence processes are not of the same kind; what is drawn is. The
last rows need no training: the first choice without its moving average, and with guidance.
"""

import argparse
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from benchmarks.memorisation import release_of
from benchmarks.sampling import Judge, draw
from structdiff.config import Config, load, parse
from structdiff.evaluation.model_tasks import PeptidesWithStructures, compare
from structdiff.generation.folding import fold
from structdiff.generation.request import draw_lengths
from structdiff.peptides.table import read_peptides
from structdiff.settings import Sampling
from structdiff.structures.index import read_backbones
from structdiff.training import stage
from structdiff.training.checkpoint import read

FIRST = "first choice"
VARIANTS: dict[str, dict[str, Any]] = {
    FIRST: {},
    "Gaussian sequence process": {"diffusion": {"sequence_process": "gaussian"}},
    "no self-conditioning": {"training": {"self_conditioning": 0.0}},
    "structure weight 0.3": {"training": {"structure_weight": 0.3}},
    "structure weight 3": {"training": {"structure_weight": 3.0}},
    "task mix of 0.1 each": {"training": {"task_mix": {"folding": 0.1}}},
    "no corner tasks": {
        "training": {"task_mix": {"folding": 0.0, "inverse_folding": 0.0, "sequence_only": 0.0}}
    },
    "structures once an epoch": {"training": {"structure_repeats": 1}},
    "AdamW": {"training": {"optimizer": {"name": "adamw"}}},
}
CONFIDENT_PLDDT = 70.0


def merged(settings: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings with some of them changed, at any depth."""
    result = dict(settings)
    for key, value in changes.items():
        deeper = isinstance(value, Mapping)
        result[key] = merged(settings[key], value) if deeper else value
    return result


def variant(config: Config, epochs: int, changes: Mapping[str, Any]) -> Config:
    """Return a configuration for a small training with some changes."""
    small = {"model": {"preset": "tiny"}, "training": {"num_epochs": epochs}}
    settings = merged(config.model_dump(mode="json"), small)
    return parse(merged(settings, changes), "the ablation")


def held_out(peptides: Path, structures: Path) -> PeptidesWithStructures:
    """Return the held-out peptides whose structure is known well (mean pLDDT of 70 and more)."""
    found = PeptidesWithStructures.held_out(
        read_peptides(peptides).frame, read_backbones(structures)
    )
    return found.take(np.flatnonzero(found.plddt >= CONFIDENT_PLDDT))


def drawn_from(state: dict, average: bool) -> dict:
    """Return a checkpoint of which the average or the last weights count."""
    return state if average else {**state, "ema": state["model"]}


def sets(state: dict, first: bool) -> Iterator[tuple[str, dict, Sampling]]:
    """Yield what is drawn from a checkpoint: a note, the checkpoint, how to draw."""
    usual = Sampling(num_steps=32)
    yield "", state, usual
    if first:
        yield "without moving average", drawn_from(state, average=False), usual
        for scale in (1.5, 2.0, 3.0):
            yield f"guidance {scale:g}", state, replace(usual, guidance_scale=scale)
        yield "temperature 0.9", state, replace(usual, temperature=0.9)


def main() -> None:
    """Train, draw, fold and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--peptides", type=Path, required=True, help="peptides.parquet")
    parser.add_argument("--structures", type=Path, required=True, help="index.parquet")
    parser.add_argument("--output-dir", type=Path, required=True)
    parser.add_argument("--label", default="antimicrobial")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--number", type=int, default=1000)
    parser.add_argument("--only", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    options = parser.parse_args()
    config, judge = load(options.config), Judge(options.peptides, options.label)
    known = held_out(options.peptides, options.structures)
    rows = []
    for name in options.only:
        folder = options.output_dir / name.replace(" ", "_")
        settings = variant(config, options.epochs, VARIANTS[name])
        stage.run(settings, options.peptides, options.structures, folder)
        state = read(folder / "checkpoints" / "checkpoint_latest.pth")
        for note, checkpoint, sampling in sets(state, name == FIRST):
            model = release_of(checkpoint)
            lengths = draw_lengths(model, options.label, options.number, 0, None)
            designs, _ = draw(model, lengths, options.label, sampling)
            folds = sorted(fold(model, known.sequences), key=lambda one: one.number)
            deviation, agreement = compare(
                [one.backbone[:, 1] for one in folds], [one[:, 1] for one in known.backbones]
            )
            rows.append(
                {
                    "what": note or name,
                    "seconds": state["seconds"],
                    "diffusion": state["validation"]["diffusion"],
                    "structure": state["validation"]["structure"],
                    **judge([one.sequence for one in designs]),
                    "rmsd": float(np.median(deviation)),
                    "lddt": float(agreement.mean()),
                }
            )
        frame = pd.DataFrame(rows)
        frame.to_csv(options.output_dir / "ablations.tsv", sep="\t", index=False)
        print(frame.to_string(index=False, float_format="%.3f", na_rep="–"), flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
