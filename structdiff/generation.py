"""The generation stage: designed peptides and their backbones, for each label.

``run(config, model, peptides, output_dir)`` writes FASTA, table and PDB files for every entry of
the configuration: a label, several joined by ``+`` (all are asked for at once), or ``none``. The
tasks themselves, also those that no stage needs, are in `structdiff.design`.
"""

import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from structdiff.design.request import label_states
from structdiff.design.tasks import Sampling, codesign
from structdiff.errors import UserError
from structdiff.naming import file_name
from structdiff.progress import Progress
from structdiff.release import load_release

if TYPE_CHECKING:
    from structdiff.config import Config

__all__ = ["run"]


def run(config: "Config", model: Path, peptides: Path, output_dir: Path) -> None:
    """Design peptides for every entry of the configuration.

    Parameters
    ----------
    config
        The configuration; ``generation`` is what counts.
    model
        ``model.safetensors``.
    peptides
        ``peptides.parquet``, whose training peptides give the lengths.
    output_dir
        Where ``<entry>.fasta``, ``samples.parquet``, ``summary.tsv`` and ``pdb/`` go.
    """
    import pandas as pd

    from structdiff.devices import lease
    from structdiff.peptides.table import read_peptides

    with lease(1):
        samples = pd.DataFrame(_design_all(config, model, read_peptides(peptides), output_dir))
    _write(samples.sort_values("id", ignore_index=True), output_dir)


def _design_all(config: "Config", model: Path, table, output_dir: Path) -> list[dict]:
    """Design the peptides of every entry, write their PDB files and return their rows."""
    from structdiff.structures.io import write_pdb

    settings = config.generation
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    release = load_release(model, device)
    entries = settings.labels or release.labels or ["none"]
    sampling = Sampling(
        num_steps=settings.num_steps,
        guidance_scale=settings.guidance_scale,
        temperature=settings.temperature,
        seed=settings.seed,
    )
    planned = {entry: _lengths(config, table, entry, release.labels) for entry in entries}
    (output_dir / "pdb").mkdir(parents=True, exist_ok=True)

    rows = []
    with Progress("designing", sum(map(len, planned.values())), "peptides") as progress:
        for entry, lengths in planned.items():
            name, digits = file_name(entry), len(str(len(lengths) - 1))
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


def _lengths(config: "Config", table, entry: str, labels: list[str]) -> np.ndarray:
    """Draw the designs' lengths from those of the training peptides that bear the labels."""
    settings = config.generation
    frame = table.frame[table.frame["split"] == "train"]
    wanted = [labels[i] for i in np.flatnonzero(label_states(entry, labels))]
    bearing = frame[frame[wanted].all(axis=1)] if wanted else frame
    lengths = bearing["sequence"].str.len().to_numpy()
    low, high = settings.min_length or 1, settings.max_length or np.inf
    lengths = np.sort(lengths[(lengths >= low) & (lengths <= high)])
    generator = np.random.default_rng([settings.seed & 0xFFFFFFFF, zlib.crc32(entry.encode())])
    if len(lengths):
        return generator.choice(lengths, settings.num_samples)
    if settings.min_length and settings.max_length:
        return generator.integers(low, high, settings.num_samples, endpoint=True)
    raise UserError(
        f"generation.labels: no training peptide bears '{entry}' with a length within the wanted "
        "range, so that there are no lengths to go by; set generation.min_length and max_length"
    )


def _write(samples, output_dir: Path) -> None:
    """Write the table, a FASTA file for each entry, and a summary."""
    samples.to_parquet(output_dir / "samples.parquet", index=False)
    rows = ["label\tdesigns\tunique\tshortest\tlongest"]
    for entry, part in samples.groupby("label", sort=False):
        lines = (
            f">{i} label={entry}\n{s}\n" for i, s in zip(part["id"], part["sequence"], strict=True)
        )
        (output_dir / f"{file_name(entry)}.fasta").write_text("".join(lines))
        unique = part["sequence"].nunique()
        rows.append(
            f"{entry}\t{len(part)}\t{unique}\t{part['length'].min()}\t{part['length'].max()}"
        )
    (output_dir / "summary.tsv").write_text("\n".join(rows) + "\n")
