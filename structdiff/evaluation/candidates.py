"""Rank the designs of one set, and give the reasons for each rank.

``rank(designs, features, reference, …)`` drops repeated peptides (the same sequence and ends) and
checks each design against criteria that anyone can verify: it is novel; an independent classifier
predicts the wanted labels and none of the unwanted ones; length, charge, hydrophobicity and
hydrophobic moment are between the 5 % and 95 % quantiles of the training peptides that have the
labels; no amino acid makes up more than half of it; its backbone is good. Designs are sorted by the
number of criteria that they fail, then by their distance to the medians of these training peptides.
The ranking does not prove activity.
"""

import numpy as np
import pandas as pd

from structdiff.evaluation.sequence_features import (
    ROUNDING,
    Features,
    Reference,
    deviation,
    largest_shares,
)
from structdiff.generation.output import SCORES
from structdiff.protein.ends import FLAGS, identity

__all__ = ["CRITERIA", "rank"]

RANGE = (0.05, 0.95)
"""Quantiles of a property of the reference peptides, between which a design's value must lie."""

MOST_OF_ONE = 0.5

_RANGED = {
    "length": "length",
    "charge": "charge",
    "hydrophobicity": "hydrophobicity",
    "moment": "hydrophobic moment",
}

CRITERIA = ("novel", "label", *_RANGED, "varied", "geometry")


def rank(
    designs: pd.DataFrame,
    features: Features,
    reference: Reference | None,
    training: pd.DataFrame,
    novelty_threshold: float,
) -> pd.DataFrame:
    """Return the table of the distinct designs, best first.

    Parameters
    ----------
    designs
        Valid designs of one set: ``id``, ``label``, ``sequence``, ``length``, ``geometry`` (whether
        the backbone is good) and ``called`` (whether the classifier predicts the labels as
        requested). ``geometry`` and ``called`` are bool, or None if they were not judged.
    features, reference
        Features of the sequences; the training peptides that have the labels, None if there are
        none.
    training
        ``id`` and ``sequence`` of all training peptides, in the order in which `Features.of` got
        them.
    novelty_threshold
        Similarity (0–1) to a training peptide at or above which a design is a copy.

    Returns
    -------
    pd.DataFrame
        A row for each distinct peptide (sequence and ends), with the columns ``set``, ``rank``
        (from 1), ``id``, ``sequence``, ``length``, ``acetylated``, ``amidated`` and the model's
        scores (if ``designs`` has them), ``met`` (number of criteria that are met), ``judged``
        (number of criteria that were checked), ``reasons`` (why criteria are not met), ``times``
        (number of designs of this peptide), ``nearest_training`` and ``nearest_sequence`` (id and
        sequence of the most similar training peptide), ``similarity`` (to that peptide, 0–1),
        ``charge``, ``hydrophobicity``, ``moment``, ``isoelectric_point``, and ``distance``: the
        distance of a property to the median of the reference, in standard deviations of the
        reference, averaged over length, charge, hydrophobicity and moment (NaN without a
        reference).
    """
    same = identity(designs)
    times = designs.groupby(same, sort=False, dropna=False).size().to_numpy()
    table = designs.drop_duplicates(same).reset_index(drop=True)
    # Designs that were requested with a charge have a column ``charge``; modlAMP's replaces it.
    table = table.drop(columns=table.columns.intersection(features.frame.columns))
    table = table.join(features.frame.loc[table["sequence"]].reset_index(drop=True))
    checks, remarks, distance = _check(table, reference, novelty_threshold)
    neighbour = table["neighbour"].to_numpy()
    if len(training):
        nearest = training[["id", "sequence"]].astype(object).to_numpy()[neighbour]
    else:
        nearest = np.full((len(table), 2), None, dtype=object)
    result = pd.DataFrame(
        {
            "set": table["label"],
            "id": table["id"],
            "sequence": table["sequence"],
            "length": table["length"],
            **{name: table[name] for name in (*FLAGS, *SCORES) if name in table},
            "met": (checks == True).sum(axis=1),  # noqa: E712 (missing is neither)
            "judged": checks.notna().sum(axis=1),
            "reasons": ["; ".join(parts) or "meets every criterion" for parts in remarks],
            "times": times,
            "nearest_training": nearest[:, 0],
            "nearest_sequence": nearest[:, 1],
            "similarity": table["similarity"].round(3),
            **{key: table[key].round(3) for key in _RANGED if key != "length"},
            "isoelectric_point": table["isoelectric_point"].round(2),
            "distance": distance.round(3),
        }
    )
    failed = result["judged"] - result["met"]
    order = pd.DataFrame({"failed": failed, "distance": distance, "id": result["id"]})
    result = result.loc[order.sort_values(["failed", "distance", "id"]).index]
    result.insert(1, "rank", np.arange(1, len(result) + 1))
    return result.reset_index(drop=True)


def _check(
    table: pd.DataFrame, reference: Reference | None, novelty_threshold: float
) -> tuple[pd.DataFrame, list[list[str]], pd.Series]:
    """Check each distinct design against the criteria.

    The first result has a row for each design and a column for each of `CRITERIA`: true if the
    design meets it, false if not, None or NaN if it was not checked. The second has each design's
    reasons for failed criteria, the third the column ``distance`` of `rank`.
    """
    remarks: list[list[str]] = [[] for _ in range(len(table))]
    checks = pd.DataFrame(None, index=table.index, columns=list(CRITERIA), dtype=object)

    def note(name: str, passed: np.ndarray, words: list[str]) -> None:
        checks[name] = passed.astype(object)
        for remark, good, text in zip(remarks, passed, words, strict=True):
            if not good:
                remark.append(text)

    similarity = table["similarity"].to_numpy()
    if not np.isnan(similarity).any():
        seen = table["seen"].to_numpy(dtype=bool)
        words = [
            "not novel: a training peptide of the starting model"
            if before and value < 1
            else f"not novel: {value:.2f} to a training peptide"
            for value, before in zip(similarity, seen, strict=True)
        ]
        note("novel", ~seen & (similarity < novelty_threshold - ROUNDING), words)
    if table["called"].notna().all():
        word = "not called as asked by the classifier of labels"
        note("label", table["called"].to_numpy(dtype=bool), [word] * len(table))
    deviations = []
    properties = {} if reference is None else reference.properties
    for key, name in _RANGED.items() if reference is not None else ():
        real = properties[key].to_numpy(dtype=np.float64)
        low, high = np.quantile(real, RANGE)
        values = table[key].to_numpy(dtype=np.float64)
        words = [
            f"{name} {value:.3g} {'below' if value < low else 'above'} the usual "
            f"{low:.3g} to {high:.3g}"
            for value in values
        ]
        note(key, (values >= low) & (values <= high), words)
        deviations.append(np.abs(values - np.median(real)) / (deviation(real) or 1.0))
    largest = largest_shares(table["sequence"])
    words = [f"{100 * value:.0f} % one amino acid" for value in largest]
    note("varied", largest <= MOST_OF_ONE, words)
    if table["geometry"].notna().all():
        word = "backbone with a clash or broken steps"
        note("geometry", table["geometry"].to_numpy(dtype=bool), [word] * len(table))
    distance = np.mean(deviations, axis=0) if deviations else np.full(len(table), np.nan)
    return checks, remarks, pd.Series(distance, index=table.index)
