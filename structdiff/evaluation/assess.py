"""Measure one set of designs and its controls, judge the designs and rank them.

``assess(entry, designs, real, asked, settings)`` returns a `Result`, from which the tables and
figures of each set are made.
"""

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from structdiff.evaluation import candidates
from structdiff.evaluation.backbone_geometry import Chains, Geometry
from structdiff.evaluation.columns import judged_columns
from structdiff.evaluation.controls import COLUMNS, make_controls, with_labels
from structdiff.evaluation.judges import Judges
from structdiff.evaluation.peptide_set import PeptideSet, Settings, random_state, subsample
from structdiff.evaluation.registry import all_metrics, measure
from structdiff.evaluation.sequence_features import Features, Reference, is_valid
from structdiff.evaluation.value import Unavailable, Value
from structdiff.evaluation.verdict import Verdict, judge
from structdiff.peptides.query import parse_query
from structdiff.peptides.seen import SeenPeptides

__all__ = ["Real", "Result", "assess", "with_backbones"]

REFERENCE_SIZE = 5000
"""Largest number of training peptides of a query whose descriptors and structures are measured."""

GOOD_STEPS = 0.9
"""Smallest share of valid Cα–Cα steps in a good backbone; a good backbone also has no clash."""


@dataclass(frozen=True)
class Real:
    """The real peptides that designs are compared with.

    Attributes
    ----------
    frame
        Table with ``id``, ``sequence``, the label columns and ``split`` (``train``; peptides with
        another value are held out).
    labels
        Names of the label columns.
    structures
        Structures of training and held-out peptides, or the reason why there are none.
    rows
        Index of each peptide's chain in ``structures``, by the peptide's id.
    seen
        Hashes of the peptides that the model or its starting weights were trained on; None if not
        known.
    all_known
        Whether designs are compared with all peptides of ``frame`` to find copies (no run has held
        peptides out); if false, only with the training peptides. Held-out peptides are always
        compared with the training peptides alone.
    """

    frame: pd.DataFrame
    labels: list[str]
    structures: Chains | Unavailable
    rows: dict[str, int]
    seen: SeenPeptides | None = None
    all_known: bool = False
    _references: dict[tuple[str, int], Reference] = field(default_factory=dict, repr=False)

    def reference(self, entry: str, training: list[str], seed: int) -> Reference | None:
        """Return the training peptides of a label query, prepared for comparisons.

        The result is computed once for each label query ``entry`` and seed. ``training`` has the
        sequences of the training peptides with the labels of the query. Without such peptides, the
        result is None.
        """
        if training and (entry, seed) not in self._references:
            state = random_state(seed, entry, "reference")
            described = subsample(training, REFERENCE_SIZE, state)
            self._references[entry, seed] = Reference.of(training, described)
        return self._references.get((entry, seed))

    def chains(self, peptides: pd.DataFrame, size: int, generator) -> Chains | Unavailable:
        """Return the structures of at most ``size`` of the given peptides, chosen at random.

        ``peptides`` is a table with ``id``. The result is `Unavailable` if none of the peptides has
        a structure.
        """
        if isinstance(self.structures, Unavailable):
            return self.structures
        with_structure = [name for name in peptides["id"] if name in self.rows]
        if not with_structure:
            return Unavailable("none of these peptides has a structure")
        chosen = subsample(with_structure, size, generator)
        return self.structures.take(np.array([self.rows[name] for name in chosen]))


@dataclass(frozen=True)
class Result:
    """All results for one set of designs: values, verdict and ranked candidates.

    Attributes
    ----------
    entry
        The label query.
    designs
        All designs, including invalid ones.
    sets
        Sequences of the valid designs (key ``generated``) and of each control (by the key of the
        control), or the reason why a control is missing.
    features
        Features of the sequences of each set, by the key as in ``sets``.
    reference
        The training peptides that have the labels; None if there are none.
    geometry
        Backbone geometry of the sets ``generated``, ``held_out`` and ``reference``.
    values
        Value of each metric for the designs and for each control, by the key of the metric, then by
        the key of the set as in ``sets``.
    verdict
        The faults of the designs, and the result of each rule.
    candidates
        Table of the distinct valid designs, best first, from
        `structdiff.evaluation.candidates.rank`.
    """

    entry: str
    designs: pd.DataFrame
    sets: dict[str, list[str] | Unavailable]
    features: dict[str, Features]
    reference: Reference | None
    geometry: dict[str, Geometry | Unavailable]
    values: dict[str, dict[str, Value]]
    verdict: Verdict
    candidates: pd.DataFrame

    @property
    def valid(self) -> list[str]:
        """The sequences of the valid designs."""
        generated = self.sets["generated"]
        assert isinstance(generated, list), "only controls can be unavailable"
        return generated

    def notes(self) -> dict[str, str]:
        """Return for each metric, by its key, why values are missing; empty if none is missing."""
        return {key: _note(row) for key, row in self.values.items()}


def assess(
    entry: str, designs: pd.DataFrame, real: Real, asked: Judges, settings: Settings
) -> Result:
    """Measure, judge and rank the designs of one label query.

    Parameters
    ----------
    entry
        The label query, such as ``antimicrobial + not hemolytic + charge 4..7``, or ``none``.
    designs
        Table with a row for each design: ``id``, ``sequence``, ``label``, ``length`` and
        ``backbone`` (``(length * 12,)`` in Å, or None).
    real
        The real peptides.
    asked
        The independent judges.
    settings
        Thresholds and sizes.

    Raises
    ------
    UserError
        If the real peptides have no column for a label of the query, or a metric returns neither a
        finite number nor `Unavailable`.
    """
    is_usable = [
        is_valid(sequence, settings.min_length, settings.max_length)
        for sequence in designs["sequence"]
    ]
    valid = designs[is_usable]
    labelled = with_labels(real.frame, real.labels, entry)
    training = labelled[labelled["split"] == "train"]
    held_out = labelled[labelled["split"] != "train"]
    controls = make_controls(
        entry,
        valid["sequence"].tolist(),
        training["sequence"].tolist(),
        held_out["sequence"].tolist(),
        num_control=settings.num_control,
        seed=settings.seed,
    )
    sets = {"generated": valid["sequence"].tolist(), **controls}
    all_training = real.frame[real.frame["split"] == "train"]
    known = real.frame if real.all_known else all_training
    features = _features(sets, known, all_training, real.seen)
    reference = real.reference(entry, training["sequence"].tolist(), settings.seed)
    geometry = _geometries(entry, valid, training, held_out, real, settings)
    columns: dict[str, dict[str, Value]] = {}
    for column, peptides in sets.items():
        if isinstance(peptides, Unavailable):
            columns[column] = {metric.key: peptides for metric in all_metrics()}
            continue
        is_designs = column == "generated"
        columns[column] = measure(
            PeptideSet(
                entry,
                column,
                peptides,
                features[column],
                reference,
                geometry.get(column, Unavailable("has no structure")),
                geometry["reference"],
                _backbones(valid) if is_designs else None,
                asked,
                settings,
                len(valid) / len(designs) if is_designs else 1.0,
            )
        )
    values = {
        metric.key: {column: columns[column][metric.key] for column in COLUMNS}
        for metric in all_metrics()
    }
    judged = valid.assign(
        geometry=_good_backbones(valid, geometry["generated"]),
        called=_called(entry, valid["sequence"].tolist(), features["generated"], asked),
    )
    ranked = candidates.rank(
        judged, features["generated"], reference, known, settings.novelty_threshold
    )
    ranked = ranked.assign(**judged_columns(ranked["sequence"].tolist(), None, asked.macrel))
    return Result(
        entry, designs, sets, features, reference, geometry, values, judge(values), ranked
    )


def _features(
    sets: dict[str, list[str] | Unavailable],
    known: pd.DataFrame,
    training: pd.DataFrame,
    seen: SeenPeptides | None,
) -> dict[str, Features]:
    """Return the features of each set of sequences, by the key of the set.

    The nearest peptide of a sequence is one of ``known``. For held-out peptides, it is one of
    ``training``, because ``known`` may contain the held-out peptides themselves.
    """
    lists = {key: each for key, each in sets.items() if isinstance(each, list)}
    apart = [] if known is training else ["held_out"]
    common = [s for key, each in lists.items() if key not in apart for s in each]
    shared = Features.of(common, known["sequence"].tolist(), seen)
    others = {
        key: Features.of(lists[key], training["sequence"].tolist(), seen)
        for key in apart
        if key in lists
    }
    return {key: others.get(key, shared) for key in lists}


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

    sequences, backbones = with_backbones(valid)
    designed: Chains | Unavailable = Unavailable("no design has a backbone")
    if sequences:
        designed = Chains.join(sequences, backbones)
    if isinstance(real.structures, Unavailable):
        designed = real.structures
    chains = {
        "generated": designed,
        "held_out": real.chains(held_out, settings.num_control, state("held-out structures")),
        "reference": real.chains(training, REFERENCE_SIZE, state("reference structures")),
    }
    return {k: c if isinstance(c, Unavailable) else Geometry.of(c) for k, c in chains.items()}


def with_backbones(designs: pd.DataFrame) -> tuple[list[str], list[np.ndarray]]:
    """Return the sequences and the backbones of the designs that have a usable backbone.

    A backbone is ``(length, 4, 3)`` in Å. It is usable if it is finite and has as many residues as
    the sequence.
    """
    pairs = zip(designs["sequence"], _backbones(designs), strict=True)
    usable = [(sequence, backbone) for sequence, backbone in pairs if backbone is not None]
    return [sequence for sequence, _ in usable], [backbone for _, backbone in usable]


def _called(entry: str, sequences: list[str], features: Features, asked: Judges) -> np.ndarray:
    """Return whether each design is predicted to have the requested labels, ``(designs,)``.

    The values are bool. All values are None if a classifier is missing or no label was requested.
    """
    called = np.full(len(sequences), None, dtype=object)
    if sequences:
        query = parse_query(entry, asked.labels.trees)
        answers = asked.labels.called(
            sequences, features.descriptors(sequences), query.labels, query.unwanted
        )
        if not isinstance(answers, Unavailable):
            called[:] = answers
    return called


def _backbones(designs: pd.DataFrame) -> list[np.ndarray | None]:
    """Return each design's backbone, ``(length, 4, 3)`` in Å; None if it has no usable one."""

    def is_usable(backbone: np.ndarray | None, sequence: str) -> bool:
        if backbone is None or len(backbone) != 12 * len(sequence):
            return False
        return bool(np.isfinite(backbone).all())

    return [
        np.reshape(backbone, (-1, 4, 3)) if is_usable(backbone, sequence) else None
        for sequence, backbone in zip(designs["sequence"], designs["backbone"], strict=True)
    ]


def _good_backbones(valid: pd.DataFrame, geometry: Geometry | Unavailable) -> np.ndarray:
    """Return whether each design has a good backbone (see `GOOD_STEPS`), ``(designs,)``.

    The values are bool; a design without a usable backbone has False. All values are None if
    ``geometry`` is `Unavailable`.
    """
    good = np.full(len(valid), None, dtype=object)
    if not isinstance(geometry, Unavailable):
        usable = [backbone is not None for backbone in _backbones(valid)]
        steps = np.nan_to_num(geometry.valid_steps, nan=1.0) >= GOOD_STEPS
        good[:] = False
        good[usable] = steps & ~geometry.clashes
    return good


def _note(row: dict[str, Value]) -> str:
    """Return the reasons why values of a metric are missing, as one text.

    ``row`` has the metric's value for each set. If a reason does not apply to all sets, the names
    of its sets precede it. The text is empty if no value is missing.
    """
    names: dict[str, list[str]] = {}
    for column, value in row.items():
        if isinstance(value, Unavailable):
            names.setdefault(value.reason, []).append(COLUMNS[column])
    return "; ".join(
        reason if len(columns) == len(row) else f"{', '.join(columns)}: {reason}"
        for reason, columns in names.items()
    )
