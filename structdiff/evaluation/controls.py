"""Controls of a set of designs: unseen real peptides, shuffled ones and random ones.

``make_controls(...)`` returns the controls for the designs of a label query:

held-out real
    Validation and test peptides that have the labels; never training peptides.
shuffled
    The designs, each with its residues in random order, so that only its composition stays.
composition-matched
    Random residues with the overall composition of the designs, in peptides of the designs'
    lengths.
order-2 Markov
    Peptides of the designs' lengths, drawn from a Markov chain that is fitted to the training
    peptides that have the labels.

The last three controls are made from a random sample of at most ``num_control`` designs, and have
as many peptides as this sample. The held-out control has the same number, or fewer if there are not
enough held-out peptides. The sizes are equal because k-mer distances fall as a set grows.
"""

import numpy as np
import pandas as pd

from structdiff.evaluation.markov import MarkovChain, flatten, shuffle, unflatten
from structdiff.evaluation.metric import CONTROLS
from structdiff.evaluation.peptide_set import random_state, subsample
from structdiff.evaluation.value import Unavailable
from structdiff.peptides.labels import has_label, lacks_label
from structdiff.peptides.query import parse_query
from structdiff.system.errors import UserError

__all__ = ["COLUMNS", "make_controls", "with_labels"]

COLUMNS = {"generated": "generated", **CONTROLS}
"""Name of each column of the tables, by its key: the designs and their controls."""


def with_labels(frame: pd.DataFrame, labels: list[str], entry: str) -> pd.DataFrame:
    """Return the peptides that have the wanted labels of a query and lack the unwanted labels.

    A peptide with an unknown label is left out if the query has this label. Ranges of properties in
    the query are ignored; the query ``none`` returns all peptides.

    Parameters
    ----------
    frame
        Peptides with a column for each label.
    labels
        Names of the label columns.
    entry
        The label query, such as ``antimicrobial + not hemolytic + charge 4..7``.

    Raises
    ------
    UserError
        If the query has a label that is not in ``labels``, or cannot be read.
    """
    query = parse_query(entry, labels)
    unknown = [name for name in query.labels + query.unwanted if name not in labels]
    if unknown:
        raise UserError(
            f"the designs were made for '{entry}', but the peptides have no label '{unknown[0]}' "
            f"(they have: {', '.join(labels) or 'none'}); give the peptides.parquet that the "
            "model was trained on"
        )
    chosen = np.ones(len(frame), dtype=bool)
    for name in query.labels:
        chosen &= has_label(frame, name)
    for name in query.unwanted:
        chosen &= lacks_label(frame, name)
    return frame[chosen]


def make_controls(
    entry: str,
    generated: list[str],
    training: list[str],
    held_out: list[str],
    *,
    num_control: int,
    seed: int,
) -> dict[str, list[str] | Unavailable]:
    """Return the sequences of each control, or the reason why it is missing, by the control's key.

    Parameters
    ----------
    entry
        The label query of the designs; the query and the seed determine the random draws.
    generated
        Sequences of the valid designs.
    training, held_out
        Sequences of the real peptides that have the labels of the query.
    num_control
        Largest number of peptides in a control.
    seed
        Seed of the random numbers.
    """
    if not generated:
        return dict.fromkeys(CONTROLS, Unavailable("there is no valid design to match"))

    def state(purpose: str) -> np.random.Generator:
        return random_state(seed, entry, purpose)

    chosen = subsample(generated, num_control, state("designs"))
    codes, offsets = flatten(chosen)
    lengths = np.diff(offsets)
    share = np.bincount(codes, minlength=20) / len(codes)
    drawn = state("composition").choice(20, len(codes), p=share)
    controls: dict[str, list[str] | Unavailable] = {
        "held_out": Unavailable("no held-out peptide has the label"),
        "shuffled": unflatten(shuffle(codes, offsets, state("shuffle")), offsets),
        "composition_matched": unflatten(drawn, offsets),
        "markov": Unavailable("no training peptide has the label"),
    }
    if held_out:
        controls["held_out"] = subsample(held_out, len(chosen), state("held-out"))
    if training:
        controls["markov"] = MarkovChain.fit(training).sample(lengths, state("markov"))
    return controls
