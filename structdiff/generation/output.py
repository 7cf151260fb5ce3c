"""Files of designs: the format that all commands write, and its reader.

``write_designs(sets, settings, output_dir)`` draws the sets and writes

``samples.parquet``
    All designs. The columns of every task are ``id``, ``sequence``, ``label``, ``length``,
    ``backbone`` (N, Cα, C, O of each residue in Å, flat) and ``pdb``. Other columns depend on the
    task and the model:

    - ``template`` in infilling, and in inverse folding that keeps residues;
    - ``origin`` (the peptide of analogues, or the sequence of the structure file), ``identity``
      (share of the residues that are the same as in ``origin``), ``mutations`` and
      ``mutation_count`` for analogues and inverse folding;
    - ``asked_NAME`` for each requested property, and ``NAME`` if it is a descriptor;
    - ``acetylated`` and ``amidated`` if any design has a modified end;
    - ``confidence`` (mean of the residues) for folds;
    - ``log_likelihood`` when all designs are drawn (see `structdiff.generation.scoring`);
    - ``in_training`` and ``training_pieces`` if the model has hashes of its training peptides.

    `read_samples` reads and verifies this file.
``designs.tsv``
    The same table without backbones, but with the columns of `structdiff.protein.descriptors`. The
    commands add the columns of `structdiff.evaluation.design_table`.
``<set>.fasta``
    Sequences of a set.
``pdb/<id>.pdb``
    Backbone of a design.
``summary.tsv``
    A row for each set: number of designs, number of unique designs, number of designs that were
    drawn again because they were training peptides, shortest and longest length, and the mean
    log-likelihoods of the designs and of shuffled designs.
``designs.json``
    The settings, and the names of the FASTA files.

Each design is saved in a journal as it is drawn. An interrupted command writes the designs that it
has drawn; the same command then resumes from the journal, and the files are the same in the end.
When all designs are drawn and scored, signals are ignored until the files are written. The journal
stays until the command has added its own files and columns.
"""

import json
import math
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from structdiff.generation import journal
from structdiff.generation.batching import shuffled
from structdiff.generation.journal import Draw, Drawn
from structdiff.peptides.query import Query
from structdiff.peptides.seen import SeenPeptides
from structdiff.protein.descriptors import DESCRIPTORS, describe
from structdiff.protein.ends import FLAGS, FREE, Ends
from structdiff.protein.residues import mutations
from structdiff.system.errors import UserError, warn
from structdiff.system.files import replacing, write_json, write_text, write_tsv
from structdiff.system.locks import exclusive
from structdiff.system.parquet import DamagedError, read_sealed, write_sealed

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "OF_DESIGNS",
    "SCORES",
    "DesignSet",
    "collect_designs",
    "numbered",
    "read_samples",
    "remove_journal",
    "write_designs",
]

LogLikelihoods = Callable[[Sequence[str]], np.ndarray]
"""Function that returns the log-likelihood of each of several sequences, in nats."""

SCORES = ("confidence", "log_likelihood", "in_training", "training_pieces")
"""Columns that are computed with the model or with the hashes of its training peptides."""

SHUFFLES = 100
"""Number of designs of a set that are shuffled as a control of the log-likelihood: at least this
many, and fewer than twice as many. If the set has fewer designs, all of them are shuffled."""

_JOURNAL, _MANIFEST = ".drawn.jsonl", "designs.json"

OF_DESIGNS = (_MANIFEST, "samples.parquet")
"""Files that mark a folder as a folder of designs; one of them is enough."""

_FILES = ("samples.parquet", "designs.tsv", "summary.tsv", "controls.tsv", "pdb")
"""Files and folders that the design commands write in every task."""


@dataclass(frozen=True)
class DesignSet:
    """Request for a set of designs, such as all designs of a label query.

    Attributes
    ----------
    name
        Name of the set's FASTA file, without its suffix.
    ids
        Identifier of each design, by its number.
    draw
        Function that yields the designs; it takes the designs drawn before, by number.
    label
        The label query; ``none`` sets no condition.
    query
        What the label query asks for, as the model reads it.
    template
        The template that the designs fill; empty if there is none.
    origin
        Sequence from which mutations are counted: the peptide of analogues, or the sequence of
        the structure file in inverse folding. Empty in other tasks.
    missing
        Reason why the set cannot be designed; empty if it can.
    ends
        Ends of each design, by its number. If this is empty, all designs have the ends that the
        label query asks for (``acetylated``, ``amidated``).
    note
        Remark for ``summary.tsv``, such as the chain whose backbone the designs have.
    """

    name: str
    ids: Sequence[str]
    draw: Draw
    label: str = "none"
    query: Query = field(default_factory=Query)
    template: str = ""
    origin: str = ""
    missing: str = ""
    ends: Sequence[Ends] = ()
    note: str = ""

    def ends_of(self, number: int) -> Ends:
        """Return the ends of the design with the number ``number``."""
        if self.ends:
            return self.ends[number]
        return self.query.ends


def numbered(name: str, count: int) -> list[str]:
    """Return the ids of ``count`` designs: the set's name and a number, such as ``amp_007``."""
    digits = len(str(max(count - 1, 0)))
    return [f"{name}_{number:0{digits}d}" for number in range(count)]


def write_designs(
    sets: Sequence[DesignSet],
    settings: dict[str, Any],
    output_dir: Path,
    *,
    log_likelihoods: LogLikelihoods,
    seen: SeenPeptides | None,
    replace: bool = False,
    description: str = "designing",
    other_files: Sequence[str] = (),
) -> None:
    """Draw sets of designs and write their files.

    The journal stays in the folder: until the caller removes it (`remove_journal`), the same
    command can run again.

    Parameters
    ----------
    sets
        The sets of designs to draw.
    settings
        Everything that determines the designs, as plain values. An interrupted command is resumed
        only if its settings were equal.
    output_dir
        Folder of the files.
    log_likelihoods
        Function that returns the log-likelihoods of sequences.
    seen
        Hashes of the model's training peptides; None leaves out ``in_training`` and
        ``training_pieces``.
    replace
        Whether to replace earlier designs in the folder. If false, it is an error if the folder has
        finished designs, or unfinished designs of other settings.
    description
        The task, for the progress line.
    other_files
        Names of files that the command writes into the folder later.

    Raises
    ------
    UserError
        If earlier designs in the folder may not be replaced, a file that would be written exists in
        a folder that no design command wrote, or none of the sets can be designed.
    SystemExit
        With status 130 if the command is interrupted before it has drawn all designs and computed
        their log-likelihoods. The designs drawn until then are in the files.
    """
    _warn_of_missing(sets)
    identity = json.dumps(settings, sort_keys=True)
    with _alone_in(output_dir), journal.interruptible() as ignore_signals:
        _check_foreign_files(output_dir, [f"{part.name}.fasta" for part in sets] + [*other_files])
        if not replace:
            _check_folder(output_dir, identity)
        records = journal.resume(output_dir / _JOURNAL, identity, len(sets))
        total = sum(len(part.ids) for part in sets if not part.missing)
        interrupted = False
        controls: list[float | None] = [None] * len(sets)
        try:
            draws = [(part.label, part.draw) for part in sets]
            journal.draw_all(output_dir / _JOURNAL, records, draws, total, description)
            for number, designs_of_set in enumerate(records):
                _score(designs_of_set, log_likelihoods)
                controls[number] = _control(designs_of_set, log_likelihoods)
            ignore_signals()
        except KeyboardInterrupt:
            ignore_signals()
            interrupted = True
        _write(sets, records, controls, settings, output_dir, seen)
        drawn = sum(map(len, records))
        if interrupted:
            rest = "draws the rest" if drawn < total else "computes their log-likelihoods"
            print(
                f"structdiff: interrupted: {drawn:,} of {total:,} designs are in {output_dir}; the "
                f"same command {rest}",
                file=sys.stderr,
                flush=True,
            )
            raise SystemExit(journal.INTERRUPTED)
        for part, drawn_of_set in zip(sets, records, strict=True):
            _print_hits(part, drawn_of_set)
        print(f"{drawn:,} designs in {output_dir}", flush=True)


def remove_journal(output_dir: Path) -> None:
    """Remove the journal of a folder of designs; call it when all files are complete."""
    (output_dir / _JOURNAL).unlink(missing_ok=True)


def collect_designs(
    sets: Sequence[DesignSet],
    records: Sequence[dict[int, Drawn]],
    settings: dict[str, Any],
    output_dir: Path,
    log_likelihoods: LogLikelihoods,
    seen: SeenPeptides | None,
) -> None:
    """Write the files of designs that are already drawn and scored.

    The files are those of `write_designs`. Earlier designs in the folder are replaced, and the
    journal in the folder is removed.

    Parameters
    ----------
    sets, settings, output_dir, log_likelihoods, seen
        As in `write_designs`; only the log-likelihoods of shuffled designs are computed here.
    records
        For each set, the designs by number, in the order in which they were drawn.

    Raises
    ------
    UserError
        If none of the sets can be designed.
    """
    _warn_of_missing(sets)
    with _alone_in(output_dir):
        controls = [_control(drawn, log_likelihoods) for drawn in records]
        _write(sets, records, controls, settings, output_dir, seen)
        remove_journal(output_dir)
        print(f"{sum(map(len, records)):,} designs in {output_dir}", flush=True)


def _warn_of_missing(sets: Sequence[DesignSet]) -> None:
    """Warn of each set that cannot be designed; raise `UserError` if no set can be designed."""
    reasons = [part.missing for part in sets if part.missing]
    if len(reasons) == len(sets):
        raise UserError("nothing can be designed: " + "; ".join(reasons))
    for reason in reasons:
        warn(reason)


@contextmanager
def _alone_in(output_dir: Path) -> Iterator[None]:
    """Create a folder and lock it during the block; wait while another command designs there."""
    output_dir.mkdir(parents=True, exist_ok=True)

    def wait() -> None:
        print(f"{output_dir}: another command designs here; waiting for it to end", flush=True)

    with exclusive(output_dir / ".lock", wait):
        yield


def _check_foreign_files(output_dir: Path, more: Sequence[str]) -> None:
    """Raise `UserError` if a file to write exists in a folder that no design command wrote.

    ``more`` are names of further files of this task.
    """
    if any((output_dir / name).exists() for name in (_JOURNAL, *OF_DESIGNS)):
        return
    for name in (*_FILES, *more):
        path = output_dir / name
        if path.is_file() or (path.is_dir() and any(path.iterdir())):
            raise UserError(
                f"{path}: exists, in a folder without designs, and would be replaced; name another "
                "--output-dir, or move it"
            )


def _check_folder(output_dir: Path, identity: str) -> None:
    """Raise `UserError` if a folder has finished designs, or unfinished ones of other settings."""
    unfinished = output_dir / _JOURNAL
    first, *designs = (journal.read_lines(unfinished) if unfinished.exists() else []) or [{}]
    if first.get("settings") == identity:
        return
    if designs:
        raise UserError(
            f"{output_dir}: has unfinished designs of another command or another model; name "
            "another --output-dir, or remove it"
        )
    if (output_dir / "designs.tsv").exists():
        raise UserError(
            f"{output_dir}: has designs already; name another --output-dir, or remove it"
        )


def _write(
    sets: Sequence[DesignSet],
    records: Sequence[dict[int, Drawn]],
    controls: Sequence[float | None],
    settings: dict[str, Any],
    output_dir: Path,
    seen: SeenPeptides | None,
) -> None:
    """Write all files of the designs, ``designs.json`` last.

    ``records`` has, for each set, the designs by number; ``controls`` has, for each set, the mean
    log-likelihood of shuffled designs.
    """
    columns = ["template"] if any(part.template for part in sets) else []
    if any(part.origin for part in sets):
        columns += ["origin", "identity", "mutations", "mutation_count"]
    every_end = {part.ends_of(n) for part, d in zip(sets, records, strict=True) for n in d}
    columns += FLAGS if every_end - {FREE} else ()
    asked = {name: None for drawn in records for one in drawn.values() for name in one.asked}
    for name in asked:
        columns += [f"asked_{name}", *([name] if name in DESCRIPTORS else [])]
    rows, fastas, summary = [], {}, []
    for part, drawn, control in zip(sets, records, controls, strict=True):
        part_rows = [_row(part, number, drawn[number], columns) for number in sorted(drawn)]
        fastas[f"{part.name}.fasta"] = "".join(
            f">{_header(row)}{part.ends_of(number).header}\n{row['sequence']}\n"
            for row, number in zip(part_rows, sorted(drawn), strict=True)
        )
        redrawn = [record.sequence for record in drawn.values() if record.redraws]
        if redrawn and seen is not None:
            copies = int(seen.includes(redrawn).sum())
            print(
                f"{part.name}: {len(redrawn):,} designs were training peptides and were drawn "
                f"again{f'; {copies:,} still are' if copies else ''}",
                flush=True,
            )
        mean = "" if control is None else f"{control:.3f}"
        summary.append([*_summary(part, part_rows, len(redrawn)), mean])
        rows += part_rows
    _write_backbones(sets, records, output_dir / "pdb")
    _write_samples(rows, columns, output_dir, seen)
    for name, text in fastas.items():
        write_text(output_dir / name, text)
    write_tsv(
        output_dir / "summary.tsv",
        [
            *("label", "designs", "unique", "redrawn", "shortest", "longest", "note"),
            *("log_likelihood", "log_likelihood_shuffled"),
        ],
        summary,
    )
    _remove_former(output_dir, set(fastas))
    write_json(output_dir / _MANIFEST, {"settings": settings, "files": sorted(fastas)})


def _write_backbones(
    sets: Sequence[DesignSet], records: Sequence[dict[int, Drawn]], folder: Path
) -> None:
    """Write a PDB file for each design with a backbone; without backbones, remove the folder."""
    from structdiff.protein.io import write_pdb

    if all(record.backbone is None for drawn in records for record in drawn.values()):
        shutil.rmtree(folder, ignore_errors=True)
        return
    with replacing(folder) as temporary:
        temporary.mkdir()
        for part, drawn in zip(sets, records, strict=True):
            for number, record in drawn.items():
                if record.backbone is not None:
                    confidence = (
                        None if record.confidence is None else (100 * record.confidence).tolist()
                    )
                    path = temporary / f"{part.ids[number]}.pdb"
                    ends = part.ends_of(number)
                    write_pdb(path, record.sequence, record.backbone, confidence, ends)


def _row(part: DesignSet, number: int, record: Drawn, columns: list[str]) -> dict[str, Any]:
    """Return the values of a design for ``samples.parquet``, by column.

    ``columns`` are the names of the columns that only some tasks have.
    """
    identifier = part.ids[number]
    row: dict[str, Any] = {
        "id": identifier,
        "sequence": record.sequence,
        "label": part.label,
        "length": len(record.sequence),
    }
    if "template" in columns:
        row["template"] = part.template
    if "origin" in columns:
        changed = mutations(part.origin, record.sequence)
        row |= {
            "origin": part.origin,
            "identity": 1 - len(changed) / len(part.origin),
            "mutations": " ".join(changed),
            "mutation_count": len(changed),
        }
    if FLAGS[0] in columns:
        ends = part.ends_of(number)
        row |= {flag: int(getattr(ends, flag)) for flag in FLAGS}
    for name, value in record.asked.items():
        row[f"asked_{name}"] = value
    for name in DESCRIPTORS:
        if name in columns:
            row[name] = round(DESCRIPTORS[name](record.sequence, part.ends_of(number)), 4)
    if record.confidence is not None:
        row["confidence"] = float(record.confidence.mean())
    if record.log_likelihood is not None:
        row["log_likelihood"] = record.log_likelihood
    backbone = record.backbone
    row["backbone"] = None if backbone is None else backbone.astype(np.float32).reshape(-1)
    row["pdb"] = "" if backbone is None else f"pdb/{identifier}.pdb"
    return row


def _header(row: dict[str, Any]) -> str:
    """Return the FASTA header of a design from its row: the id, the label and the mutations."""
    changed = row.get("mutations", "").replace(" ", ",")
    return f"{row['id']} label={row['label']}" + (f" mutations={changed}" if changed else "")


def _summary(part: DesignSet, rows: list[dict[str, Any]], redrawn: int) -> list[object]:
    """Return the cells of a set's row in ``summary.tsv``, except the last cell.

    The last cell is the mean log-likelihood of shuffled designs. ``rows`` are the set's rows of
    ``samples.parquet``; ``redrawn`` is the number of designs that were drawn again.
    """
    lengths = [row["length"] for row in rows]
    unique = len({row["sequence"] for row in rows})
    ends = [min(lengths), max(lengths)] if lengths else ["", ""]
    wanted = f"{len(part.ids)} wanted" if len(rows) < len(part.ids) else ""
    note = part.missing or "; ".join(text for text in (part.note, wanted) if text)
    scores = [row["log_likelihood"] for row in rows if "log_likelihood" in row]
    mean = f"{sum(scores) / len(scores):.3f}" if scores else ""
    return [part.label, len(rows), unique, redrawn, *ends, note, mean]


def _score(records: dict[int, Drawn], log_likelihoods: LogLikelihoods) -> None:
    """Compute and store the log-likelihood of each design of a set."""
    if records:
        values = log_likelihoods([record.sequence for record in records.values()])
        for record, value in zip(records.values(), values.tolist(), strict=True):
            record.log_likelihood = round(value, 3)


def _print_hits(part: DesignSet, records: dict[int, Drawn]) -> None:
    """Print how many designs of a set are in each range of a descriptor that the query asks for.

    No design has exactly a single value that is asked for: its line has the range of the designs.
    """
    for name, (low, high) in part.query.ranges.items():
        if name not in DESCRIPTORS or not records:
            continue
        values = [DESCRIPTORS[name](d.sequence, part.ends_of(n)) for n, d in records.items()]
        if low == high:
            print(
                f"{part.name}: the {name} of the designs is {min(values):.4g} to {max(values):.4g}",
                flush=True,
            )
            continue
        number = sum(low <= value <= high for value in values)
        bounds = f"{low:g} to {high:g}"
        bounds = f"at most {high:g}" if low == -math.inf else bounds
        bounds = f"at least {low:g}" if high == math.inf else bounds
        print(
            f"{part.name}: {number:,} of {len(values):,} designs have the {name} that is asked "
            f"for, {bounds}",
            flush=True,
        )


def _control(records: dict[int, Drawn], log_likelihoods: LogLikelihoods) -> float | None:
    """Return the mean log-likelihood of shuffled designs of a set; None for an empty set.

    `SHUFFLES` describes how many designs are shuffled.
    """
    if not records:
        return None
    sequences = [record.sequence for record in records.values()]
    some = sequences[:: max(len(sequences) // SHUFFLES, 1)]
    return float(log_likelihoods(shuffled(some)).mean())


def _write_samples(
    rows: list[dict[str, Any]], columns: list[str], output_dir: Path, seen: SeenPeptides | None
) -> None:
    """Write ``samples.parquet`` and ``designs.tsv``.

    ``rows`` are the designs as `_row` returns them; ``columns`` are as in `_row`.
    """
    import pyarrow as pa

    sequences = [row["sequence"] for row in rows]
    for name, values in ({} if seen is None else seen.columns(sequences)).items():
        rows = [{**row, name: value} for row, value in zip(rows, values, strict=True)]
    names = ["id", "sequence", "label", "length", *columns]
    names += [name for name in SCORES if any(name in row for row in rows)]
    types = dict.fromkeys(("identity", *SCORES), pa.float64())
    types |= dict.fromkeys(("length", "mutation_count", "in_training", *FLAGS), pa.int64())
    types |= {name: pa.float64() for name in names if name.startswith("asked_")}
    types |= dict.fromkeys(DESCRIPTORS, pa.float64())
    fields = [(name, types.get(name, pa.string())) for name in names]
    schema = pa.schema([*fields, ("backbone", pa.list_(pa.float32())), ("pdb", pa.string())])
    with replacing(output_dir / "samples.parquet") as temporary:
        write_sealed(pa.Table.from_pylist(rows, schema), temporary)
    ends = [Ends(*(bool(row.get(flag)) for flag in FLAGS)) for row in rows]
    descriptors = describe(sequences, ends)
    described = [name for name in descriptors if name not in names]
    shown = [*names, "pdb"]
    cells = [[row.get(name, "") for name in shown] for row in rows]
    more = zip(*(descriptors[name] for name in described), strict=True)
    write_tsv(
        output_dir / "designs.tsv",
        [*shown, *described],
        [[*row, *values] for row, values in zip(cells, more, strict=True)],
    )


def _remove_former(output_dir: Path, kept: set[str]) -> None:
    """Remove the FASTA files of earlier designs in the folder, except those in ``kept``."""
    with suppress(FileNotFoundError, ValueError, KeyError, TypeError):
        former = json.loads((output_dir / _MANIFEST).read_text(encoding="utf-8"))["files"]
        for name in set(former) - kept:
            if Path(name).name == name:
                (output_dir / name).unlink(missing_ok=True)


def read_samples(path: Path) -> "pd.DataFrame":
    """Return the table of designs in a ``samples.parquet``; ``path`` is this file or its folder.

    Raises
    ------
    UserError
        If the file is missing or damaged, or lacks the columns that `write_designs` writes.
    """
    if path.is_dir():
        path = path / "samples.parquet"
    remedy = "`structdiff generate` and `structdiff design` write samples.parquet"
    try:
        table = read_sealed(path)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; {remedy}") from None
    except (DamagedError, OSError) as error:
        raise UserError(
            f"{path}: cannot be read ({error}); remove it and draw the designs again"
        ) from None
    absent = [name for name in ("id", "sequence", "label") if name not in table.column_names]
    if absent:
        raise UserError(f"{path}: has no column '{absent[0]}'; {remedy}")
    return table.to_pandas()
