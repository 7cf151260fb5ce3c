"""Complete ``designs.tsv`` with the nearest known peptides and Macrel's probabilities.

A command designs peptides inside ``with completed(folder, reference, model) as weights:``, where
``weights`` is the path of the model. At the end of the block, ``complete_designs`` adds the columns
to ``designs.tsv``, and writes the mean scores of designs, shuffled designs and known peptides into
``controls.tsv`` in the same folder. The journal of the designs is removed last: if the command is
interrupted before, the user repeats it, and it continues from the journal.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pandas as pd

from structdiff.evaluation.columns import SCORED, judged_columns, mean_scores
from structdiff.evaluation.judges import find_macrel
from structdiff.evaluation.reading import left_out, read_any, with_reasons
from structdiff.evaluation.sequence_features import is_valid
from structdiff.generation.batching import shuffled
from structdiff.generation.journal import INTERRUPTED, interruptible
from structdiff.generation.output import remove_journal
from structdiff.generation.scoring import log_likelihoods
from structdiff.peptides.demo import demo_peptides
from structdiff.peptides.formats import read_columns
from structdiff.pretrained import PRETRAINED, load_model
from structdiff.system.errors import UserError, warn
from structdiff.system.files import write_frame
from structdiff.system.gpus import choose_device, lease

__all__ = ["complete_designs", "completed", "read_known"]

FEWEST_REAL = 100
"""The scores of at least this many known peptides are averaged, even if there are fewer designs."""

_KNOWN, _SCORED = (1, 1000), (5, 50)
"""Smallest and largest length, in residues, of known peptides: for the search of the nearest one,
and for the mean scores."""


@contextmanager
def completed(folder: Path, reference: Path | None, model: Path | None) -> Iterator[Path]:
    """Context manager that yields the path of the model, and completes ``designs.tsv`` at the end.

    At the end, it calls `complete_designs` and removes the journal of the designs, unless the block
    raised an error.

    Parameters
    ----------
    folder
        Folder that the designs are written to.
    reference
        Table of known peptides; None for modlAMP's peptides (of APD3 and CancerPPD). The table is
        read first, so that an error in the table is raised before anything is designed.
    model
        ``model.safetensors``; None for the released model.

    Raises
    ------
    SystemExit
        With status 130 after SIGINT or SIGTERM.
    """
    known = read_known(reference)
    weights = model or PRETRAINED
    with interruptible():
        try:
            yield weights
            complete_designs(folder, known, weights)
        except KeyboardInterrupt:
            message = f"interrupted: {folder} is not complete; the same command completes it"
            print(f"structdiff: {message}", file=sys.stderr, flush=True)
            raise SystemExit(INTERRUPTED) from None
    remove_journal(folder)


def read_known(path: Path | None) -> dict[str, str]:
    """Return the id of each known peptide, by its sequence.

    Peptides with residues other than the 20 standard ones, or with more than 1,000 residues, are
    left out, with a warning.

    Parameters
    ----------
    path
        Table of known peptides; None for modlAMP's peptides (of APD3 and CancerPPD).

    Raises
    ------
    UserError
        If the table cannot be read or has no usable peptide, or modlAMP is not installed.
    """
    table = pd.DataFrame(demo_peptides()) if path is None else read_any(path)
    reasons = left_out(table, *_KNOWN)
    usable = table.drop(index=reasons.index)
    if usable.empty:
        raise UserError(
            f"{path} (--reference): has no peptide that designs can be compared with: "
            f"{with_reasons(table, reasons)}"
        )
    if path is not None and len(reasons):
        warn(
            f"{path} (--reference): {len(reasons):,} of {len(table):,} "
            f"peptides left out: {with_reasons(table, reasons)}"
        )
    return dict(zip(usable["sequence"], usable["id"], strict=True))


def complete_designs(folder: Path, known: dict[str, str], model: Path) -> None:
    """Add the columns of known peptides and Macrel to ``designs.tsv``, and write ``controls.tsv``.

    Parameters
    ----------
    folder
        Folder that has ``designs.tsv``.
    known
        Id of each known peptide by its sequence, from `read_known`.
    model
        ``model.safetensors``. The log-likelihood under this model is one of the scores in
        ``controls.tsv``.
    """
    path = folder / "designs.tsv"
    table = pd.DataFrame(read_columns(path))
    macrel = find_macrel()
    sequences = table["sequence"].tolist()
    table = table.assign(**judged_columns(sequences, known, macrel))
    real = [sequence for sequence in known if is_valid(sequence, *_SCORED)]
    real = real[:: max(len(real) // min(max(len(table), FEWEST_REAL), SCORED), 1)]
    sets = {}
    for label, rows in table.groupby("label", sort=False):
        sets[str(label)] = rows["sequence"].tolist()
        sets[f"{label}, shuffled"] = shuffled(rows["sequence"].tolist())
    sets["known peptides"] = real
    with lease(1):
        scored = partial(log_likelihoods, load_model(model, choose_device()))
        controls = mean_scores(sets, macrel, scored)
    write_frame(path, table)
    write_frame(folder / "controls.tsv", controls)
