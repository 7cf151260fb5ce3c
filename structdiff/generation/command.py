"""``structdiff design``: one task of a trained model, from the command line to files.

``run(Request(model=…, output_dir=…, …))`` writes ``designs.tsv``, ``designs.fasta`` and, where
there are backbones, one PDB file for each design in ``pdb/``.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch

from structdiff.generation.batching import Sampling
from structdiff.generation.folding import fold
from structdiff.generation.request import (
    OPEN,
    check_length,
    check_template,
    draw_lengths,
    length_range,
    positions,
)
from structdiff.generation.scoring import perplexity, recovery, score
from structdiff.generation.tasks import analogues, codesign, infill, inverse_fold
from structdiff.peptides.sequences import read_sequences, standard_sequence
from structdiff.pretrained import TrainedModel, load_model
from structdiff.protein.structure import Structure
from structdiff.system.errors import UserError
from structdiff.system.naming import file_name, file_names
from structdiff.system.progress import Progress

__all__ = ["Request", "run"]

LONGEST_NAME = 250
"""Bytes of a file's name, beyond which a text must be a sequence."""

USUAL = Sampling(guidance_scale=1.5)
"""How designs are drawn unless something else is asked for, on the command line too."""


@dataclass(frozen=True)
class Request:
    """What a person asks of a model.

    Attributes
    ----------
    model
        ``model.safetensors``.
    output_dir
        Where the designs go.
    label
        An entry of labels: ``antimicrobial``, ``antimicrobial+antiviral``, ``none``.
    number
        Designs (of each given backbone); a sequence has one fold.
    template, analogues_of, inverse_fold, fold
        The task, at most one of them; none is free design. ``inverse_fold`` is a structure file,
        ``fold`` a sequence or a file of sequences.
    length
        ``18`` or ``10-25``, for free design.
    strength
        Of analogues.
    keep
        Residues that analogues, or designs for a backbone, must keep: ``1-4,9``.
    sequence_only
        Draw no backbones.
    sampling
        How to draw; folding draws nothing.
    """

    model: Path
    output_dir: Path
    label: str = "none"
    number: int = 100
    template: str | None = None
    analogues_of: str | None = None
    inverse_fold: Path | None = None
    fold: str | None = None
    length: str | None = None
    strength: float | None = None
    keep: str | None = None
    sequence_only: bool = False
    sampling: Sampling = USUAL


@dataclass(frozen=True)
class Row:
    """One line of ``designs.tsv``.

    Attributes
    ----------
    id, sequence, backbone
        The design.
    confidence
        Of each residue in 0–100, for the B-factor column of its PDB file; None writes 0.
    columns
        What else is known of it.
    """

    id: str
    sequence: str
    backbone: np.ndarray | None
    confidence: np.ndarray | None
    columns: dict[str, str]


def run(request: Request) -> None:
    """Do what is asked, and write it.

    Raises
    ------
    UserError
        If what is asked contradicts itself, cannot be read, or is not known to the model.
    """
    from structdiff.system.gpus import lease

    task = _task(request)
    if (request.output_dir / "designs.tsv").exists():
        raise UserError(
            f"{request.output_dir}: holds designs already; name another --output-dir, or remove it"
        )
    with lease(1):
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        release = load_model(request.model, device)
        total, rows = _TASKS[task](request, release)
        request.output_dir.mkdir(parents=True, exist_ok=True)
        found = []
        with Progress(f"design ({task})", total, "peptides") as progress:
            for row in rows:
                found.append(row)
                progress.advance()
    _write(sorted(found, key=lambda row: row.id), request.output_dir)
    print(f"{len(found):,} designs in {request.output_dir}", flush=True)


def _task(request: Request) -> str:
    """Return the one task that is asked for; refuse options that have no part in it."""
    asked = [
        name
        for name in ("template", "analogues_of", "inverse_fold", "fold")
        if getattr(request, name) is not None
    ]
    if len(asked) > 1:
        options = " and ".join(f"--{name.replace('_', '-')}" for name in asked)
        raise UserError(f"{options} are different tasks: ask for one of them at a time")
    task = asked[0] if asked else "free"
    idle = {
        "--number": request.number != Request.number and task == "fold",
        "--length": request.length is not None and task != "free",
        "--strength": request.strength is not None and task != "analogues_of",
        "--keep": request.keep is not None and task not in ("analogues_of", "inverse_fold"),
        "--sequence-only": request.sequence_only and task not in ("free", "template"),
        "--label": request.label != "none" and task == "fold",
    }
    for setting in fields(Sampling):
        own, usual = (getattr(x, setting.name) for x in (request.sampling, USUAL))
        option = f"--{setting.name.replace('_', '-')}"
        idle[option] = own != usual and task == "fold"
    for option, given in idle.items():
        if given:
            name = "free design" if task == "free" else f"--{task.replace('_', '-')}"
            raise UserError(f"{option} has no part in {name}: leave it out")
    if task == "analogues_of" and request.strength is None:
        raise UserError("--analogues-of needs --strength, from 0 (the peptide) to 1 (free design)")
    return task


def _free(request: Request, release: TrainedModel) -> tuple[int, Iterator[Row]]:
    bounds = None if request.length is None else length_range(request.length)
    seed = request.sampling.seed
    lengths = draw_lengths(release, request.label, request.number, seed, bounds)
    designs = codesign(
        release, lengths, request.label, request.sampling, sequence_only=request.sequence_only
    )
    return request.number, _rows(designs, file_name(request.label), request)


def _template(request: Request, release: TrainedModel) -> tuple[int, Iterator[Row]]:
    template = "".join(request.template.split()).upper()
    check_template(template)
    check_length(release, len(template))
    designs = infill(
        release,
        template,
        request.number,
        request.label,
        request.sampling,
        sequence_only=request.sequence_only,
    )
    return request.number, _rows(designs, "infilled", request, template=template)


def _analogues(request: Request, release: TrainedModel) -> tuple[int, Iterator[Row]]:
    sequence = standard_sequence(request.analogues_of)
    check_length(release, len(sequence))
    designs = analogues(
        release,
        sequence,
        request.strength,
        request.number,
        request.label,
        request.sampling,
        keep=None if request.keep is None else positions(request.keep, len(sequence)),
    )
    return request.number, _rows(designs, "analogue", request, origin=sequence)


def _inverse(request: Request, release: TrainedModel) -> tuple[int, Iterator[Row]]:
    chains = _read_backbones(request.inverse_fold)
    for chain in chains:
        check_length(release, len(chain.sequence))
    name = file_name(request.inverse_fold.name.split(".")[0])

    def rows() -> Iterator[Row]:
        for number, chain in enumerate(chains, start=1):
            template = None
            if request.keep is not None:
                kept = positions(request.keep, len(chain.sequence))
                template = "".join(np.where(kept, list(chain.sequence), OPEN))
            designs = inverse_fold(
                release,
                chain.backbone,
                request.number,
                request.label,
                request.sampling,
                template=template,
            )
            own = f"{name}_{number}" if len(chains) > 1 else name
            yield from _rows(designs, own, request, origin=chain.sequence)
            _tell_native(release, own, chain)

    return request.number * len(chains), rows()


def _tell_native(release: TrainedModel, name: str, chain: Structure) -> None:
    """Print how well the model knows the sequence that the file has."""
    with_structure = list(score(release, [chain.sequence], [chain.backbone]))
    without = list(score(release, [chain.sequence]))
    print(
        f"{name}: the file's own sequence {chain.sequence}: recovery "
        f"{recovery(with_structure):.2f}, perplexity {perplexity(with_structure):.1f} from the "
        f"backbone ({recovery(without):.2f} and {perplexity(without):.1f} from the length alone)",
        flush=True,
    )


def _fold(request: Request, release: TrainedModel) -> tuple[int, Iterator[Row]]:
    ids, sequences = _read_sequences(request.fold)
    for length in {len(sequence) for sequence in sequences}:
        check_length(release, length)

    def rows() -> Iterator[Row]:
        for one in fold(release, sequences):
            columns = {"confidence": f"{one.confidence.mean():.3f}"}
            confidence = 100 * one.confidence
            yield Row(ids[one.number], one.sequence, one.backbone, confidence, columns)

    return len(sequences), rows()


_TASKS = {
    "free": _free,
    "template": _template,
    "analogues_of": _analogues,
    "inverse_fold": _inverse,
    "fold": _fold,
}


def _rows(
    designs, name: str, request: Request, *, template: str = "", origin: str = ""
) -> Iterator[Row]:
    """Yield a line for each design, with what it was made from."""
    digits = len(str(request.number - 1))
    for one in designs:
        columns = {"label": request.label}
        if template:
            columns["template"] = template
        if origin:
            same = sum(a == b for a, b in zip(one.sequence, origin, strict=True)) / len(origin)
            columns |= {"origin": origin, "identity": f"{same:.3f}"}
        identifier = f"{name}_{one.number:0{digits}d}"
        yield Row(identifier, one.sequence, one.backbone, None, columns)


def _read_backbones(path: Path) -> list[Structure]:
    """Return every usable chain of a structure file; tell what is left out."""
    from structdiff.protein.io import read_structures

    if not path.is_file():
        raise UserError(f"{path}: no such file; --inverse-fold takes a PDB or mmCIF file")
    try:
        contents = read_structures(path)
    except ValueError as error:
        raise UserError(f"{path}: {error}") from None
    for ignored in contents.ignored:
        print(f"structdiff: warning: {path}: left out: {ignored}", file=sys.stderr, flush=True)
    return contents.structures


def _read_sequences(text: str) -> tuple[list[str], list[str]]:
    """Return ids and sequences of a file, or of the one sequence that the text is."""
    path = Path(text)
    if len(text) > LONGEST_NAME or not (path.suffix or path.exists()):
        return ["folded"], [standard_sequence(text)]
    ids, sequences = read_sequences(path, "--fold")
    names = file_names(ids)
    return [names[name] for name in ids], sequences


def _write(rows: list[Row], output_dir: Path) -> None:
    """Write the PDB files, the FASTA file and, last, the table."""
    from structdiff.protein.io import write_pdb

    extra = list(rows[0].columns) if rows else []
    table = ["\t".join(["id", "sequence", "length", *extra, "pdb"])]
    fasta = []
    for row in rows:
        pdb = ""
        if row.backbone is not None:
            pdb = f"pdb/{row.id}.pdb"
            (output_dir / "pdb").mkdir(exist_ok=True)
            write_pdb(output_dir / pdb, row.sequence, row.backbone, row.confidence)
        cells = [row.id, row.sequence, str(len(row.sequence)), *row.columns.values(), pdb]
        table.append("\t".join(cells))
        fasta.append(f">{row.id}\n{row.sequence}\n")
    (output_dir / "designs.fasta").write_text("".join(fasta))
    (output_dir / "designs.tsv").write_text("\n".join(table) + "\n")
