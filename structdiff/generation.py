"""The generation stage: designed peptides and their backbones, for each label.

``run(config, model, peptides, output_dir)`` writes FASTA, table and PDB files;
``design(release, entry, …)`` is the same for one label from Python. An entry is a label, several
joined by ``+`` (all are asked for at once), or ``none``.
"""

import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from structdiff.diffusion import sample
from structdiff.errors import UserError
from structdiff.progress import Progress
from structdiff.release import Release, load_release
from structdiff.sequence import decode

if TYPE_CHECKING:
    from structdiff.config import Config

__all__ = ["Design", "design", "label_states", "run"]

BATCH_RESIDUES = 8192
"""Residues sampled at once."""


@dataclass(frozen=True)
class Design:
    """A designed peptide.

    Attributes
    ----------
    number
        Its number within its entry: with the seed, it decides the design.
    sequence
        One-letter codes.
    backbone
        N, Cα, C, O in Å, ``(length, 4, 3)`` float32.
    """

    number: int
    sequence: str
    backbone: np.ndarray


def label_states(entry: str, labels: list[str]) -> np.ndarray:
    """Return what an entry asks of each label: 2 present, 0 unspecified, ``(labels,)``.

    Raises
    ------
    UserError
        If the entry names a label that the model does not know.
    """
    wanted = [] if entry == "none" else [name.strip() for name in entry.split("+")]
    unknown = [name for name in wanted if name not in labels]
    if unknown:
        raise UserError(
            f"generation.labels: '{entry}' asks for '{unknown[0]}', which this model was not "
            f"trained with; its labels: {', '.join(labels) or 'none'} (join several by '+', or "
            "use 'none')"
        )
    return np.array([2 if name in wanted else 0 for name in labels], dtype=np.int64)


def design(
    release: Release,
    entry: str,
    lengths: np.ndarray,
    *,
    seed: int = 0,
    num_steps: int = 100,
    guidance_scale: float = 1.0,
    temperature: float = 1.0,
    device: str | torch.device = "cpu",
) -> Iterator[Design]:
    """Yield a design for each of ``lengths``, shortest first.

    Parameters
    ----------
    release
        The model.
    entry
        What to ask for, as `label_states`.
    lengths
        Residues of each design, ``(designs,)``; the position is the design's number.
    seed
        With the entry and the number, it decides a design, whatever else is sampled beside it.
    num_steps, guidance_scale, temperature
        As `structdiff.diffusion.sample`.
    device
        Where the model is.
    """
    states = torch.from_numpy(label_states(entry, release.labels)).to(device)
    entry_seed = (seed * 1_000_003 + zlib.crc32(entry.encode())) & 0xFFFFFFFF
    for length in np.unique(lengths):
        numbers = np.flatnonzero(lengths == length)
        for part in np.array_split(numbers, -(-len(numbers) * length // BATCH_RESIDUES)):
            drawn = sample(
                release.model,
                release.process,
                length=int(length),
                index=part,
                labels=states.expand(len(part), -1),
                seed=entry_seed,
                num_steps=num_steps,
                guidance_scale=guidance_scale,
                temperature=temperature,
            )
            tokens, backbones = drawn.tokens.cpu().numpy(), drawn.backbone.cpu().numpy()
            for number, row, backbone in zip(part, tokens, backbones, strict=True):
                yield Design(int(number), decode(row), backbone)


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
    planned = {entry: _lengths(config, table, entry, release.labels) for entry in entries}
    (output_dir / "pdb").mkdir(parents=True, exist_ok=True)

    rows = []
    with Progress("designing", sum(map(len, planned.values())), "peptides") as progress:
        for entry, lengths in planned.items():
            name, digits = _file_name(entry), len(str(len(lengths) - 1))
            designs = design(
                release,
                entry,
                lengths,
                seed=settings.seed,
                num_steps=settings.num_steps,
                guidance_scale=settings.guidance_scale,
                temperature=settings.temperature,
                device=device,
            )
            for one in designs:
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


def _file_name(entry: str) -> str:
    return re.sub(r"[^A-Za-z0-9+._-]+", "_", entry)


def _write(samples, output_dir: Path) -> None:
    """Write the table, a FASTA file for each entry, and a summary."""
    samples.to_parquet(output_dir / "samples.parquet", index=False)
    rows = ["label\tdesigns\tunique\tshortest\tlongest"]
    for entry, part in samples.groupby("label", sort=False):
        lines = (
            f">{i} label={entry}\n{s}\n" for i, s in zip(part["id"], part["sequence"], strict=True)
        )
        (output_dir / f"{_file_name(entry)}.fasta").write_text("".join(lines))
        unique = part["sequence"].nunique()
        rows.append(
            f"{entry}\t{len(part)}\t{unique}\t{part['length'].min()}\t{part['length'].max()}"
        )
    (output_dir / "summary.tsv").write_text("\n".join(rows) + "\n")
