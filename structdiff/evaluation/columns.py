"""Columns for the choice of designs: properties of the sequence, nearest known peptide, scores.

``add_columns(designs, known, macrel)`` adds the columns of `COLUMNS` that can be computed to a
table; ``judged_columns(sequences, known, macrel)`` returns only the columns of the nearest known
peptide and of Macrel (a classifier of antimicrobial and haemolytic peptides);
``mean_scores(sets, macrel)`` compares designs, real peptides and shuffled designs by mean scores;
``column_tooltips()`` returns a text that explains each column.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd

from structdiff.evaluation.judges import Macrel
from structdiff.evaluation.value import Unavailable
from structdiff.peptides.seen import SeenPeptides
from structdiff.peptides.split import nearest_neighbour
from structdiff.protein import descriptors
from structdiff.protein.descriptors import Column
from structdiff.protein.ends import ends_of

__all__ = ["COLUMNS", "SCORED", "add_columns", "column_tooltips", "judged_columns", "mean_scores"]

SCORED = 500
"""Largest number of peptides of a set that `mean_scores` averages over."""

_MACREL = "Macrel (Santos-Júnior et al., PeerJ 8:e10555, 2020)"

COLUMNS = descriptors.COLUMNS | {
    column.name: column
    for column in (
        Column(
            "acetylated", "0 or 1", "Whether the N-terminus is acetylated; only in tables with an "
            "end that is not free.", "structdiff.protein.ends",
        ),
        Column(
            "amidated", "0 or 1", "Whether the C-terminus is an amide; only in tables with an end "
            "that is not free.", "structdiff.protein.ends",
        ),
        Column(
            "nearest_known", "", "Id of the most similar peptide of the reference.",
            "the reference table",
        ),
        Column("nearest_sequence", "", "Sequence of that peptide.", "the reference table"),
        Column(
            "nearest_identity", "0–1", "Normalised Levenshtein similarity to that peptide; 1 is "
            "identical.", "rapidfuzz",
        ),
        Column(
            "in_training", "0 or 1", "Whether it is identical to a training peptide of the model "
            "or of the model that it started from; only if the model file has hashes of these "
            "peptides.", "structdiff.peptides.seen",
        ),
        Column(
            "training_pieces", "0–1", "Share of its pieces of 8 residues that such a training "
            "peptide has.", "structdiff.peptides.seen",
        ),
        Column(
            "antimicrobial", "0–1", "Probability of being antimicrobial. Macrel keeps most of it "
            "when the residues are shuffled: compare with real peptides and shuffles before "
            "believing it.", _MACREL,
        ),
        Column(
            "hemolysis", "0–1", "Probability of being haemolytic; 70 % of real antimicrobial "
            "peptides have more than 0.5.", _MACREL,
        ),
        Column(
            "confidence", "0–1", "Mean over the residues of the lDDT that the model expects of its "
            "fold.", "structdiff.generation.folding",
        ),
        Column(
            "log_likelihood", "nats a residue", "Mean log-probability of each residue under the "
            "model, given every second other one; shuffled peptides have less, real ones about as "
            "much as designs.", "structdiff.generation.scoring",
        ),
        Column(
            "origin", "", "Parent of an analogue, or the own sequence of the backbone that it is "
            "designed for.", "the command",
        ),
        Column(
            "identity", "0–1", "Share of the residues that are those of origin.",
            "structdiff.generation.output",
        ),
        Column(
            "mutations", "", "Residues that differ from origin: K4R is Lys at position 4 replaced "
            "by Arg.", "structdiff.protein.residues",
        ),
        Column(
            "mutation_count", "residues", "Number of residues that differ from origin.",
            "structdiff.protein.residues",
        ),
    )
}  # fmt: skip
"""Name, unit, definition and source of every column, by name.

A table of designs has only the columns that could be computed.
"""


def column_tooltips() -> dict[str, str]:
    """Return a text with the definition, unit and source of each column, by the column's name."""
    return {
        name: f"{column.definition}{f' Unit: {column.unit}.' if column.unit else ''} "
        f"Source: {column.source}."
        for name, column in COLUMNS.items()
    }


def mean_scores(
    sets: Mapping[str, Sequence[str]],
    macrel: Macrel | Unavailable,
    log_likelihoods: Callable[[Sequence[str]], np.ndarray] | None = None,
) -> pd.DataFrame:
    """Return a table of mean scores of peptide sets, to compare designs with shuffled designs.

    The table has only scores that depend on the order of the residues: ``hydrophobic_moment``,
    ``antimicrobial``, ``hemolysis`` and ``log_likelihood``. It has a row for each score, whose name
    is in ``column``, and a column for each set.

    Parameters
    ----------
    sets
        Sequences of the 20 standard residues, by the name of the set. If a set has more than
        `SCORED` sequences, only every n-th sequence is used.
    macrel
        Macrel, or the reason why it is missing; without Macrel, the rows ``antimicrobial`` and
        ``hemolysis`` are left out.
    log_likelihoods
        Function that returns the log-likelihood of each sequence under a model; None leaves out the
        row ``log_likelihood``.
    """
    rows: dict[str, dict[str, float]] = {}
    for name, sequences in sets.items():
        some = list(sequences)[:: -(-len(sequences) // SCORED) or 1]
        columns: dict[str, Sequence[float] | np.ndarray] = {
            "hydrophobic_moment": descriptors.describe(some)["hydrophobic_moment"]
        }
        if isinstance(macrel, Macrel):
            columns["antimicrobial"] = macrel.scores(some)
            columns["hemolysis"] = macrel.hemolysis(some)
        if log_likelihoods is not None:
            columns["log_likelihood"] = log_likelihoods(some)
        for column, values in columns.items():
            rows.setdefault(column, {})[name] = round(float(pd.Series(values).mean()), 3)
    return pd.DataFrame([{"column": column, **means} for column, means in rows.items()])


def judged_columns(
    sequences: list[str], known: dict[str, str] | None, macrel: Macrel | Unavailable
) -> dict[str, list[str] | np.ndarray]:
    """Return the columns of the nearest known peptide and of Macrel, by the column's name.

    Parameters
    ----------
    sequences
        Sequences of the 20 standard residues.
    known
        Id of each known peptide, by its sequence. None or empty leaves out ``nearest_known``,
        ``nearest_sequence`` and ``nearest_identity``.
    macrel
        Macrel, or the reason why it is missing, which leaves out ``antimicrobial`` and
        ``hemolysis``.
    """
    columns: dict[str, list[str] | np.ndarray] = {}
    if known and sequences:
        references = list(known)
        distinct = list(dict.fromkeys(sequences))
        index, similarity = nearest_neighbour(distinct, references)
        row = {sequence: number for number, sequence in enumerate(distinct)}
        rows = np.array([row[sequence] for sequence in sequences])
        nearest = [references[number] for number in index[rows]]
        columns["nearest_known"] = [known[sequence] for sequence in nearest]
        columns["nearest_sequence"] = nearest
        columns["nearest_identity"] = similarity[rows].astype(np.float64).round(3)
    if isinstance(macrel, Macrel):
        columns["antimicrobial"] = macrel.scores(sequences).round(3)
        columns["hemolysis"] = macrel.hemolysis(sequences).round(3)
    return columns


def add_columns(
    designs: pd.DataFrame,
    known: dict[str, str] | None,
    macrel: Macrel | Unavailable,
    log_likelihoods: Callable[[Sequence[str]], np.ndarray] | None = None,
    seen: SeenPeptides | None = None,
) -> pd.DataFrame:
    """Return the table of designs with the columns of `COLUMNS` that can be computed.

    A computed column replaces a column of the same name; all other columns stay as they are.

    Parameters
    ----------
    designs
        Table with ``sequence`` (20 standard residues) and, optionally, ``acetylated`` and
        ``amidated``.
    known
        Id of each known peptide, by its sequence; None leaves ``nearest_known``,
        ``nearest_sequence`` and ``nearest_identity`` as they are.
    macrel
        Macrel, or the reason why it is missing, which leaves ``antimicrobial`` and ``hemolysis`` as
        they are.
    log_likelihoods
        Function that returns the log-likelihood of each sequence under a model; None leaves
        ``log_likelihood`` as it is.
    seen
        Hashes of a model's training peptides; None leaves ``in_training`` and ``training_pieces``
        as they are.
    """
    sequences = designs["sequence"].tolist()
    table = designs.assign(**descriptors.describe(sequences, ends_of(designs)))
    if seen is not None:
        table = table.assign(**seen.columns(sequences))
    table = table.assign(**judged_columns(sequences, known, macrel))
    if log_likelihoods is not None:
        table["log_likelihood"] = log_likelihoods(sequences).round(3)
    return table
