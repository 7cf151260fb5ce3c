"""What a set of designs is held against: real unseen peptides, and peptides that know nothing.

``make_controls(...)`` returns, for one entry (a label, several joined by ``+``, or ``none``):

held-out real
    Validation and test peptides that bear the labels; never training peptides.
shuffled
    The designs, each with its residues in random order: same composition, no order.
composition-matched
    Residues drawn from the composition of all designs together, the designs' lengths.
order-2 Markov
    A chain fitted on the training peptides that bear the labels, the designs' lengths.

Each holds as many peptides as the designs that they are compared with (fewer only where there are
not enough held-out ones), because k-mer distances shrink as a set grows: columns of different size
do not compare.
"""

import zlib

import numpy as np
import pandas as pd

from structdiff.evaluation.markov import MarkovChain, flatten, shuffle, unflatten
from structdiff.evaluation.metric import Unavailable
from structdiff.system.errors import UserError
from structdiff.system.naming import wanted_labels

__all__ = [
    "COLUMNS",
    "CONTROLS",
    "bearing",
    "make_controls",
    "random_state",
    "subsample",
]

CONTROLS = {
    "held_out": "held-out real",
    "shuffled": "shuffled",
    "composition_matched": "composition-matched",
    "markov": "order-2 Markov",
}
"""The controls' keys in ``metrics.json`` and their names in tables and figures."""

COLUMNS = {"generated": "generated", **CONTROLS}


def random_state(seed: int, *purpose: str) -> np.random.Generator:
    """Return the generator of random numbers for a purpose; another purpose, other numbers."""
    return np.random.default_rng([seed & 0xFFFFFFFF, *(zlib.crc32(p.encode()) for p in purpose)])


def subsample(items: list[str], size: int, generator: np.random.Generator) -> list[str]:
    """Return at most ``size`` of the items, chosen at random, in their order."""
    if len(items) <= size:
        return list(items)
    return [items[row] for row in np.sort(generator.choice(len(items), size, replace=False))]


def bearing(frame: pd.DataFrame, labels: list[str], entry: str) -> pd.DataFrame:
    """Return the peptides that bear all labels of an entry; all of them for ``none``.

    Raises
    ------
    UserError
        If the peptides have no such label.
    """
    wanted = wanted_labels(entry)
    unknown = [name for name in wanted if name not in labels]
    if unknown:
        raise UserError(
            f"the designs were made for '{entry}', but the peptides have no label '{unknown[0]}' "
            f"(they have: {', '.join(labels) or 'none'}); give the peptides.parquet that the "
            "model was trained on"
        )
    return frame[frame[wanted].all(axis=1)] if wanted else frame


def make_controls(
    entry: str,
    generated: list[str],
    training: list[str],
    held_out: list[str],
    *,
    num_control: int,
    seed: int,
) -> dict[str, list[str] | Unavailable]:
    """Return each control's peptides, or why there are none.

    Parameters
    ----------
    entry
        What was asked of the designs; with the seed it decides all that is drawn.
    generated
        The designs, of standard residues.
    training, held_out
        Real peptides that bear the entry's labels.
    num_control
        Peptides in a control, at most.
    seed
        Of all that is drawn.
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
        "held_out": Unavailable("no held-out peptide bears the label"),
        "shuffled": unflatten(shuffle(codes, offsets, state("shuffle")), offsets),
        "composition_matched": unflatten(drawn, offsets),
        "markov": Unavailable("no training peptide bears the label"),
    }
    if held_out:
        controls["held_out"] = subsample(held_out, len(chosen), state("held-out"))
    if training:
        controls["markov"] = MarkovChain.fit(training).sample(lengths, state("markov"))
    return controls
