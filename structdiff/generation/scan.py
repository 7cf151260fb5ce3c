"""Deep mutational scan: the log-likelihood of each single substitution, relative to the parent.

``scan(model, sequence)`` hides one residue at a time, and the model predicts it from all the others
(masked marginals; Meier et al., NeurIPS 2021). The model gets no backbone, because a predicted
backbone would reveal the parent's residues. ``write_scans(scans, output_dir)`` writes a table of
all peptides and a heat map of each.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from structdiff.diffusion import SamplingNoise
from structdiff.generation.batching import BATCH_RESIDUES, PADDED, sequence_seed
from structdiff.generation.output import OF_DESIGNS
from structdiff.generation.request import condition
from structdiff.model import no_estimate
from structdiff.pretrained import TrainedModel, float32
from structdiff.protein.residues import AMINO_ACIDS, encode
from structdiff.system.errors import UserError
from structdiff.system.files import write_tsv

__all__ = ["Scan", "check_scan_folder", "scan", "write_scans"]

TABLE = "scan.tsv"
"""Name of the table of scans in a folder."""

COLUMNS = ["id", "mutation", "position", "parent", "residue", "log_odds", "probability"]
"""Columns of the table of scans."""


@dataclass(frozen=True, eq=False)
class Scan:
    """Mutational scan: the probability of each of the 20 residues at each position of a peptide.

    Attributes
    ----------
    sequence
        The parent peptide.
    log_probability
        Natural logarithm of the probability of each amino acid at each position, given the parent's
        residues at all other positions, ``(length, 20)``. The columns are in the order of
        `structdiff.protein.residues.AMINO_ACIDS`.
    """

    sequence: str
    log_probability: np.ndarray

    @property
    def log_odds(self) -> np.ndarray:
        """Log-odds of each residue relative to the parent's residue, in nats, ``(length, 20)``.

        They are ``log_probability`` minus its value for the parent's residue at the same position.
        """
        parent = encode(self.sequence).astype(np.int64)[:, None]
        return self.log_probability - np.take_along_axis(self.log_probability, parent, axis=1)


@float32()
@torch.no_grad()
def scan(model: TrainedModel, sequence: str, entry: str = "none") -> Scan:
    """Return the mutational scan of a peptide.

    Parameters
    ----------
    model
        The trained model.
    sequence
        The parent peptide, of the 20 standard residues.
    entry
        The label query, of which only the labels are used; ``none`` sets no condition.

    Raises
    ------
    UserError
        If the query cannot be read, or asks for something that the model does not know (see
        `structdiff.generation.request.read_query`).
    """
    length = len(sequence)
    width = -(-length // PADDED) * PADDED
    process, device = model.process, model.device
    codes = np.zeros(width, dtype=np.int64)
    codes[:length] = encode(sequence)
    tokens = torch.from_numpy(codes).to(device)
    asked = condition(entry, model.conditions).to(device)
    rows = []
    for hidden in torch.arange(length, device=device).split(max(1, BATCH_RESIDUES // width)):
        count = len(hidden)
        mask = (torch.arange(width, device=device) < length).expand(count, width)
        noise = SamplingNoise(0, np.full(count, sequence_seed(sequence)), width, device)
        features = process.sequence.encode(tokens.expand(count, width))
        is_hidden = torch.arange(width, device=device) == hidden[:, None]
        features = torch.where(
            is_hidden[..., None], process.sequence.prior(noise.sequence(0)), features
        )
        structure = torch.zeros(count, width, process.structure.width, device=device)
        prediction = model.network(
            features,
            structure,
            mask,
            torch.full((count,), 1 / length, device=device),
            torch.ones(count, device=device),
            asked.expand(count),
            *no_estimate(structure),
        )
        rows.append(prediction.logits.log_softmax(-1)[torch.arange(count), hidden].cpu())
    return Scan(sequence, torch.cat(rows).double().numpy())


def write_scans(scans: Mapping[str, Scan], output_dir: Path) -> None:
    """Write the table ``scan.tsv``, and for each scan a heat map ``<name>_scan.svg`` and ``.png``.

    Parameters
    ----------
    scans
        Scan of each peptide, by the name of the peptide.
    output_dir
        Folder of the files.
    """
    rows: list[list[object]] = []
    for name, result in scans.items():
        log_odds, probability = result.log_odds, np.exp(result.log_probability)
        for index, parent in enumerate(result.sequence):
            for code, residue in enumerate(AMINO_ACIDS):
                if residue != parent:
                    change = f"{parent}{index + 1}{residue}"
                    values = (round(float(x[index, code]), 4) for x in (log_odds, probability))
                    rows.append([name, change, index + 1, parent, residue, *values])
    write_tsv(output_dir / TABLE, COLUMNS, rows)  # first: `check_scan_folder` looks for it
    for name, result in scans.items():
        draw_scan(result, output_dir / f"{name}_scan")


def check_scan_folder(output_dir: Path, names: Collection[str]) -> None:
    """Raise `UserError` if a folder has designs, or files of the user that scans would replace.

    Parameters
    ----------
    output_dir
        Folder of the scans. Earlier scans of `scan_peptides` in it may be replaced. Designs are
        not allowed, because the page would show them as analogues of the scanned peptide.
    names
        Names of the scanned peptides.
    """
    for name in OF_DESIGNS:
        if (output_dir / name).exists():
            raise UserError(
                f"--output-dir {output_dir}: is a folder of designs ({name}); name another folder"
            )
    path = output_dir / TABLE
    if path.is_file():
        with path.open(encoding="utf-8", errors="replace") as file:
            if file.readline().split() == COLUMNS:
                return
    figures = [f"{name}_scan.{kind}" for name in names for kind in ("svg", "png")]
    for name in (TABLE, "index.html", *figures):
        if (output_dir / name).exists():
            raise UserError(
                f"{output_dir / name}: exists, in a folder without earlier scans of `design scan`, "
                "and would be replaced; name another --output-dir, or move it"
            )


def draw_scan(result: Scan, stem: Path) -> None:
    """Write a heat map of the log-odds as SVG and PNG; dots mark the parent's residues.

    ``stem`` is the path of the files without a suffix.
    """
    from structdiff.system.plotting import new_figure, save_figure

    length = len(result.sequence)
    figure, axes = new_figure(width=max(4.8, 1.6 + 0.24 * length), height=4.6)
    (axis,) = axes.flat
    limit = max(1.0, float(np.quantile(np.abs(result.log_odds), 0.9)))
    order = [AMINO_ACIDS.index(letter) for letter in ORDER]
    image = axis.imshow(
        result.log_odds[:, order].T, cmap="RdBu", vmin=-limit, vmax=limit, aspect="auto"
    )
    axis.scatter(range(length), [ORDER.index(x) for x in result.sequence], s=9, color="#10161d")
    axis.set_yticks(range(len(ORDER)), list(ORDER), fontsize=8)
    numbers = [f"{x}\n{i}" if i == 1 or i % 5 == 0 else x for i, x in enumerate(result.sequence, 1)]
    axis.set_xticks(range(length), numbers, fontsize=8)
    axis.grid(False)
    axis.set_xlabel("parent (dots)")
    axis.set_ylabel("residue")
    figure.colorbar(image, ax=axis, extend="both", label="log-likelihood against the parent, nats")
    save_figure(figure, stem)


ORDER = "KRHDESTNQGPACMVLIFYW"
"""Residues in the order of the heat map's rows: positive, negative, polar, small, hydrophobic."""
