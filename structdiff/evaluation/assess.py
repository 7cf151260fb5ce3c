"""One set of designs, measured beside its controls, judged and ranked.

``assess(entry, designs, real, settings)`` returns a `Result`, from which every table and figure of
the stage is made.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from structdiff.evaluation import candidates, judges
from structdiff.evaluation import sequence_metrics as sequence
from structdiff.evaluation import structure_metrics as structure
from structdiff.evaluation.controls import (
    COLUMNS,
    bearing,
    make_controls,
    random_state,
    subsample,
)
from structdiff.evaluation.judges import Judges
from structdiff.evaluation.metric import Unavailable, Value
from structdiff.evaluation.sequence_metrics import Features, Reference
from structdiff.evaluation.structure_metrics import Chains, Geometry
from structdiff.evaluation.verdict import Verdict, judge
from structdiff.system.naming import wanted_labels

__all__ = ["METRICS", "Real", "Result", "Settings", "assess", "usable_backbones"]

METRICS = sequence.METRICS + judges.METRICS + structure.METRICS

REFERENCE_SIZE = 5000
"""Training peptides whose descriptors and structures are measured, at most."""

GOOD_STEPS = 0.9
"""Share of valid Cα–Cα steps from which a design's backbone counts as good."""


@dataclass(frozen=True)
class Settings:
    """What the configuration says: see `structdiff.config.Evaluation` and `Data`."""

    novelty_threshold: float
    num_control: int
    seed: int
    min_length: int
    max_length: int


@dataclass(frozen=True)
class Real:
    """The real peptides.

    Attributes
    ----------
    frame
        ``id``, ``sequence``, the labels, ``split``.
    labels
        Names of the label columns.
    structures
        The structures that the model was trained on with those of held-out peptides, or why there
        are none to compare with.
    rows
        Row of each peptide's structure in ``structures``, by id.
    """

    frame: pd.DataFrame
    labels: list[str]
    structures: Chains | Unavailable
    rows: dict[str, int]

    def chains(self, peptides: pd.DataFrame, size: int, generator) -> Chains | Unavailable:
        """Return the structures of at most ``size`` of some peptides."""
        if isinstance(self.structures, Unavailable):
            return self.structures
        known = [name for name in peptides["id"] if name in self.rows]
        if not known:
            return Unavailable("none of these peptides has a structure")
        chosen = subsample(known, size, generator)
        return self.structures.take(np.array([self.rows[name] for name in chosen]))


@dataclass(frozen=True)
class Result:
    """What is known of one set of designs.

    Attributes
    ----------
    entry
        What was asked for.
    designs
        All designs.
    sets
        Sequences by column (`COLUMNS`): the valid designs and each control.
    features
        Of all these sequences.
    reference
        The training peptides that bear the label, if any.
    geometry
        Backbones of the ``generated``, the ``held_out`` and the ``reference`` set.
    values
        Key of the metric → column → value.
    verdict
        What is wrong.
    candidates
        The designs, ranked.
    """

    entry: str
    designs: pd.DataFrame
    sets: dict[str, list[str] | Unavailable]
    features: Features
    reference: Reference | None
    geometry: dict[str, Geometry | Unavailable]
    values: dict[str, dict[str, Value]]
    verdict: Verdict
    candidates: pd.DataFrame

    def notes(self) -> dict[str, str]:
        """Return why values are missing: key of the metric → text."""
        return {key: _note(row) for key, row in self.values.items()}


def assess(
    entry: str, designs: pd.DataFrame, real: Real, asked: Judges, settings: Settings
) -> Result:
    """Measure, judge and rank the designs of one entry.

    Parameters
    ----------
    entry
        A label, several joined by ``+``, or ``none``.
    designs
        ``id``, ``sequence``, ``label``, ``length``, ``backbone`` of each.
    real
        The real peptides.
    asked
        The independent judges.
    settings
        Thresholds and sizes.
    """
    valid = designs[
        [
            sequence.is_valid(s, settings.min_length, settings.max_length)
            for s in designs["sequence"]
        ]
    ]
    born = bearing(real.frame, real.labels, entry)
    training, held_out = born[born["split"] == "train"], born[born["split"] != "train"]
    controls = make_controls(
        entry,
        valid["sequence"].tolist(),
        training["sequence"].tolist(),
        held_out["sequence"].tolist(),
        num_control=settings.num_control,
        seed=settings.seed,
    )
    sets = {"generated": valid["sequence"].tolist(), **controls}
    known = real.frame[real.frame["split"] == "train"]
    features = Features.of(
        [s for column in sets.values() if isinstance(column, list) for s in column],
        known["sequence"].tolist(),
    )
    reference = None
    if len(training):
        state = random_state(settings.seed, entry, "reference")
        sequences = training["sequence"].tolist()
        reference = Reference.of(sequences, subsample(sequences, REFERENCE_SIZE, state))
    values = _sequence_values(entry, sets, reference, features, settings, len(designs))
    values |= _judges_values(entry, sets, _own_backbones(valid), features, asked, settings)
    geometry = _geometries(entry, valid, training, held_out, real, settings)
    values |= _structure_values(geometry)
    judged = valid.assign(
        geometry=_good_backbones(valid, geometry["generated"]),
        called=_called(entry, valid["sequence"].tolist(), features, asked),
    )
    return Result(
        entry,
        designs,
        sets,
        features,
        reference,
        geometry,
        values,
        judge(values),
        candidates.rank(
            judged, features, reference, known["id"].to_numpy(), settings.novelty_threshold
        ),
    )


def _sequence_values(
    entry: str,
    sets: dict[str, list[str] | Unavailable],
    reference: Reference | None,
    features: Features,
    settings: Settings,
    num_designs: int,
) -> dict[str, dict[str, Value]]:
    columns = {}
    for name, sequences in sets.items():
        if isinstance(sequences, Unavailable):
            columns[name] = {metric.key: sequences for metric in sequence.METRICS}
            continue
        columns[name] = sequence.measure(
            sequences,
            reference,
            features,
            random_state(settings.seed, entry, name, "measure"),
            novelty_threshold=settings.novelty_threshold,
            limit=settings.num_control,
            valid_share=len(sequences) / num_designs if name == "generated" else 1.0,
        )
    return {m.key: {name: columns[name][m.key] for name in COLUMNS} for m in sequence.METRICS}


def _judges_values(
    entry: str,
    sets: dict[str, list[str] | Unavailable],
    backbones: list[np.ndarray | None],
    features: Features,
    asked: Judges,
    settings: Settings,
) -> dict[str, dict[str, Value]]:
    columns = {}
    for name, sequences in sets.items():
        if isinstance(sequences, Unavailable):
            columns[name] = {metric.key: sequences for metric in judges.METRICS}
        else:
            state = random_state(settings.seed, entry, name, "judges")
            columns[name] = asked.measure(
                sequences,
                features,
                wanted_labels(entry),
                state,
                backbones if name == "generated" else None,
            )
    return {m.key: {name: columns[name][m.key] for name in COLUMNS} for m in judges.METRICS}


def _geometries(
    entry: str,
    valid: pd.DataFrame,
    training: pd.DataFrame,
    held_out: pd.DataFrame,
    real: Real,
    settings: Settings,
) -> dict[str, Geometry | Unavailable]:
    def state(purpose: str) -> np.random.Generator:
        return random_state(settings.seed, entry, purpose)

    usable = valid[usable_backbones(valid)]
    own = Unavailable("no design has a backbone")
    if len(usable):
        shaped = [np.reshape(x, (-1, 4, 3)) for x in usable["backbone"]]
        own = Chains.join(usable["sequence"].tolist(), shaped)
    if isinstance(real.structures, Unavailable):
        own = real.structures
    chains = {
        "generated": own,
        "held_out": real.chains(held_out, settings.num_control, state("held-out structures")),
        "reference": real.chains(training, REFERENCE_SIZE, state("reference structures")),
    }
    return {k: c if isinstance(c, Unavailable) else Geometry.of(c) for k, c in chains.items()}


def _structure_values(geometry: dict[str, Geometry | Unavailable]) -> dict[str, dict[str, Value]]:
    columns = {}
    for name in COLUMNS:
        measured = geometry.get(name, Unavailable("has no structure"))
        if isinstance(measured, Unavailable):
            columns[name] = {metric.key: measured for metric in structure.METRICS}
        else:
            columns[name] = structure.measure(measured, geometry["reference"])
    return {m.key: {name: columns[name][m.key] for name in COLUMNS} for m in structure.METRICS}


def usable_backbones(designs: pd.DataFrame) -> np.ndarray:
    """Return which designs have a finite backbone of their length, ``(designs,)`` bool."""
    return np.array(
        [
            backbone is not None
            and len(backbone) == 12 * len(text)
            and bool(np.isfinite(backbone).all())
            for text, backbone in zip(designs["sequence"], designs["backbone"], strict=True)
        ],
        dtype=bool,
    )


def _called(entry: str, sequences: list[str], features: Features, asked: Judges) -> np.ndarray:
    """Return whether each design is called as asked, None where that cannot be told."""
    called = np.full(len(sequences), None, dtype=object)
    if sequences:
        found = asked.labels.called(
            sequences, features.descriptors(sequences), wanted_labels(entry)
        )
        if not isinstance(found, Unavailable):
            called[:] = found
    return called


def _own_backbones(designs: pd.DataFrame) -> list[np.ndarray | None]:
    """Return each design's backbone, ``(length, 4, 3)`` in Å, None where it has none."""
    return [
        np.reshape(backbone, (-1, 4, 3)) if usable else None
        for backbone, usable in zip(designs["backbone"], usable_backbones(designs), strict=True)
    ]


def _good_backbones(valid: pd.DataFrame, geometry: Geometry | Unavailable) -> np.ndarray:
    """Return whether each design's backbone is good, None where that cannot be told."""
    good = np.full(len(valid), None, dtype=object)
    if not isinstance(geometry, Unavailable):
        usable = usable_backbones(valid)
        steps = np.nan_to_num(geometry.valid_steps, nan=1.0) >= GOOD_STEPS
        good[:] = False
        good[usable] = steps & ~geometry.clashes
    return good


def _note(row: dict[str, Value]) -> str:
    """Return the reasons of a row's missing values, each with the columns that it holds for."""
    names: dict[str, list[str]] = {}
    for column, value in row.items():
        if isinstance(value, Unavailable):
            names.setdefault(value.reason, []).append(COLUMNS[column])
    return "; ".join(
        reason if len(columns) == len(row) else f"{', '.join(columns)}: {reason}"
        for reason, columns in names.items()
    )
