"""The generation stage: designed peptides and their backbones, for each label.

``run(settings, model, output_dir)`` writes FASTA, table and PDB files for every entry of the
settings: a label, several joined by ``+`` (all are asked for at once), or ``none``. The tasks
themselves, also those that no stage needs, are in `structdiff.generation`.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from structdiff.generation.request import draw_lengths, training_lengths
from structdiff.generation.tasks import Sampling, codesign
from structdiff.pretrained import TrainedModel, load_model
from structdiff.system.errors import UserError
from structdiff.system.naming import file_names
from structdiff.system.progress import Progress

if TYPE_CHECKING:
    from structdiff.config import Generation

__all__ = ["run"]


def run(settings: "Generation", model: Path, output_dir: Path) -> None:
    """Design peptides for every entry of the settings.

    Parameters
    ----------
    settings
        The configuration's section of that name.
    model
        ``model.safetensors``; its training peptides give the lengths.
    output_dir
        Where ``<entry>.fasta``, ``samples.parquet``, ``summary.tsv`` and ``pdb/`` go.
    """
    import pandas as pd

    from structdiff.system.gpus import lease

    with lease(1):
        samples = pd.DataFrame(_design_all(settings, model, output_dir))
    _write(samples.sort_values("id", ignore_index=True), output_dir)


def _design_all(settings: "Generation", model: Path, output_dir: Path) -> list[dict]:
    """Design the peptides of every entry, write their PDB files and return their rows."""
    from structdiff.protein.io import write_pdb

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    release = load_model(model, device)
    entries = settings.labels or release.labels or ["none"]
    sampling = Sampling(
        num_steps=settings.num_steps,
        guidance_scale=settings.guidance_scale,
        temperature=settings.temperature,
        seed=settings.seed,
    )
    planned = {entry: _lengths(settings, release, entry) for entry in entries}
    (output_dir / "pdb").mkdir(parents=True, exist_ok=True)

    rows, names = [], file_names(entries)
    with Progress("designing", sum(map(len, planned.values())), "peptides") as progress:
        for entry, lengths in planned.items():
            name, digits = names[entry], len(str(len(lengths) - 1))
            for one in codesign(release, lengths, entry, sampling):
                identifier = f"{name}_{one.number:0{digits}d}"
                pdb = f"pdb/{identifier}.pdb"
                write_pdb(output_dir / pdb, one.sequence, one.backbone)
                rows.append(
                    {
                        "id": identifier,
                        "sequence": one.sequence,
                        "label": entry,
                        "length": len(one.sequence),
                        "backbone": one.backbone.reshape(-1),
                        "pdb": pdb,
                    }
                )
                progress.advance(note=entry)
    return rows


def _lengths(settings: "Generation", release: TrainedModel, entry: str) -> np.ndarray:
    """Draw the designs' lengths from those of the training peptides that bear the labels."""
    low, high = settings.min_length, settings.max_length
    if not (low and high):
        seen = np.flatnonzero(training_lengths(release, entry))
        seen = seen[(seen >= (low or 0)) & (seen <= (high or np.inf))]
        if not len(seen):
            raise UserError(
                f"generation.labels: no training peptide bears '{entry}' with a length within the "
                "wanted range, so that there are no lengths to go by; set generation.min_length "
                "and max_length"
            )
        low, high = low or int(seen[0]), high or int(seen[-1])
    return np.sort(draw_lengths(release, entry, settings.num_samples, settings.seed, (low, high)))


def _write(samples, output_dir: Path) -> None:
    """Write the table, a FASTA file for each entry, and a summary."""
    samples.to_parquet(output_dir / "samples.parquet", index=False)
    names = file_names(samples["label"].unique())
    rows = ["label\tdesigns\tunique\tshortest\tlongest"]
    for entry, part in samples.groupby("label", sort=False):
        lines = (
            f">{i} label={entry}\n{s}\n" for i, s in zip(part["id"], part["sequence"], strict=True)
        )
        (output_dir / f"{names[entry]}.fasta").write_text("".join(lines))
        unique = part["sequence"].nunique()
        rows.append(
            f"{entry}\t{len(part)}\t{unique}\t{part['length'].min()}\t{part['length'].max()}"
        )
    (output_dir / "summary.tsv").write_text("\n".join(rows) + "\n")
