"""Warnings after the split: labels and lengths that cannot be learned or designed.

``label_warnings(frame, labels)`` checks each label by its training peptides;
``design_warnings(frame, labels, settings)`` checks each set that ``generation`` asks for. The split
prints both, before hours of training.
"""

import difflib
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from structdiff.peptides.labels import FEWEST_EXAMPLES, has_label, lacks_label
from structdiff.system.errors import UserError
from structdiff.system.naming import wanted_labels

if TYPE_CHECKING:
    from structdiff.config import Generation

__all__ = ["FAR", "design_warnings", "label_warnings"]

FAR = 2
"""Longest design, as a multiple of the longest training peptide."""


def label_warnings(frame: pd.DataFrame, labels: list[str]) -> pd.DataFrame:
    """Return the warnings about labels: columns ``label`` and ``warning``.

    Parameters
    ----------
    frame
        The split peptides: ``split`` and one bool column per label, NA where unknown.
    labels
        Names of the label columns.
    """
    training = frame[frame["split"] == "train"]
    rows = []
    for label in labels:
        present, absent = (int(f(training, label).sum()) for f in (has_label, lacks_label))
        if not has_label(frame, label).any():
            rows.append((label, "no peptide has it, so nothing can be learnt of it"))
        elif not present:
            rows.append(
                (
                    label,
                    "no training peptide has it (all that do are held out), so nothing can be "
                    "learnt of it; add peptides, or set another split.seed",
                )
            )
        elif present < FEWEST_EXAMPLES:
            rows.append(
                (
                    label,
                    f"only {present} training peptides have it: too few for a classifier of the "
                    f"label (it needs {FEWEST_EXAMPLES}), and the designs will hardly follow it",
                )
            )
        elif absent < FEWEST_EXAMPLES:
            rows.append(
                (
                    label,
                    f"{absent or 'no'} training peptides are known not to have it: too few for a "
                    f"classifier of the label (it needs {FEWEST_EXAMPLES}) and for guidance away "
                    "from its absence"
                    + ("" if absent else "; guidance leads away from peptides of unknown label"),
                )
            )
    return pd.DataFrame(rows, columns=["label", "warning"])


def design_warnings(frame: pd.DataFrame, labels: list[str], settings: "Generation") -> list[str]:
    """Return the warnings about the sets of designs in the configuration.

    Raises
    ------
    UserError
        If none of the sets can be designed.
    """
    training = frame[frame["split"] == "train"]
    lengths = training["sequence"].str.len().to_numpy()
    bits = {label: has_label(training, label) for label in labels}
    entries = settings.labels or labels or ["none"]
    impossible, warnings = {}, []
    for entry in entries:
        reason = _impossible(entry, bits, lengths, settings)
        if reason:
            impossible[entry] = reason
        elif not _having(entry, bits, lengths).any():
            warnings.append(f"'{entry}': no training peptide has all of these labels together")
    lines = [f"'{entry}' cannot be designed: {reason}" for entry, reason in impossible.items()]
    if len(lines) == len(entries):
        raise UserError("generation: nothing could be designed\n" + "\n".join(lines))
    longest, shortest = int(lengths.max()), int(lengths.min())
    low, high = settings.min_length or shortest, settings.max_length or longest
    if low < shortest or high > longest:
        warnings.append(
            f"generation asks for {low} to {high} residues, but the training peptides have "
            f"{shortest} to {longest}: the model will know little of others"
        )
    return lines + warnings


def _having(entry: str, bits: dict[str, np.ndarray], lengths: np.ndarray) -> np.ndarray:
    """Return which training peptides have all labels of a label query, ``(peptides,)`` bool."""
    having = np.ones(len(lengths), dtype=bool)
    for name in wanted_labels(entry):
        having &= bits[name]
    return having


def _impossible(
    entry: str, bits: dict[str, np.ndarray], lengths: np.ndarray, settings: "Generation"
) -> str:
    """Return the reason why a label query cannot be designed, empty if it can.

    Parameters
    ----------
    entry
        The label query.
    bits
        Which training peptides have each label, ``(peptides,)`` bool.
    lengths
        Lengths of the training peptides in residues, ``(peptides,)``.
    settings
        The requested lengths.
    """
    for name in wanted_labels(entry):
        if name not in bits:
            near = difflib.get_close_matches(name, bits, n=1, cutoff=0.5)
            hint = f"did you mean '{near[0]}'?" if near else f"labels: {', '.join([*bits][:20])}"
            return f"the table has no label '{name}' (generation.labels); {hint}"
        if not bits[name].any():
            return f"no training peptide has the label '{name}'"
    low, high = settings.min_length or 0, settings.max_length or 0
    if max(low, high) > FAR * lengths.max():
        return (
            f"generation.min_length or max_length is more than {FAR} × the longest training "
            f"peptide ({lengths.max()} residues)"
        )
    within = lengths[_having(entry, bits, lengths)]
    within = within[(within >= low) & (within <= (high or np.inf))]
    if not (settings.min_length and settings.max_length) and not len(within):
        return (
            "no training peptide has these labels with a length within generation.min_length and "
            "max_length; set both to design lengths that no training peptide has"
        )
    return ""
