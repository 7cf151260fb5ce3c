"""Measure how well the model folds, designs for a backbone, and refolds its own designs.

``assess_tasks(model, held_out, designs, …)`` returns one table. Folding and inverse folding are
measured on held-out peptides. Each value has a baseline: a straight α-helix of the same length
instead of the fold, the geometry of the reference structures, or the same network without the
backbone.

Definitions
-----------
structure
    The peptide's structure from the configured predictor, used as the reference.
RMSD, lDDT
    Computed by `structdiff.protein.geometry` from the Cα atoms of the model's fold and of the
    structure. RMSD is in Å, after the best superposition without reflection; lDDT is the mean over
    a peptide's residues, 0–1.
pLDDT bin
    Range of the structure's mean pLDDT; a structure with a low pLDDT is not a reliable reference.
geometry
    Four metrics of `structdiff.evaluation.structure_metrics`, listed in `GEOMETRY`, for the folds
    and, as the baseline, for the structures.
confidence
    Mean over a peptide's residues of the lDDT that the model expects of its fold
    (`structdiff.generation.folding`), 0–1.
recovery, perplexity
    How well the model predicts the residues of a peptide, all hidden, from the peptide's backbone
    (`structdiff.generation.scoring`). They are measured with three backbones: the structure
    unchanged (``as written``), the structure with ideal bond angles and the same torsions, and the
    structure with noise of 0.1 Å on its atoms. The comparison shows whether the model uses the fold
    or only details of the predictor's coordinates.
refolding
    RMSD between a design's backbone and the model's fold of the design's sequence; for all designs,
    and for the designs whose fold has a confidence of at least 0.8.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from scipy.stats import spearmanr

from structdiff.evaluation.backbone_geometry import Chains, Geometry
from structdiff.evaluation.structure_metrics import (
    METRICS,
    ca_step_valid,
    clashes,
    cn_valid,
    right_handed,
)
from structdiff.evaluation.value import Unavailable, Value
from structdiff.generation.folding import Fold, fold
from structdiff.generation.scoring import perplexity, recovery, score
from structdiff.pretrained import TrainedModel
from structdiff.protein.geometry import ANGLES, internal_coordinates, lddt, rebuild, rmsd
from structdiff.protein.io import is_structure_file, read_structures
from structdiff.system.errors import UserError

if TYPE_CHECKING:
    from structdiff.structures.index import Backbones

__all__ = ["COLUMNS", "PeptidesWithStructures", "assess_tasks", "compare", "straight_helix"]

COLUMNS = (
    *("task", "set", "subset", "peptides", "measure", "value"),
    *("baseline", "baseline_name", "missing"),
)

BINS = {
    "pLDDT ≥ 70": (70, np.inf),
    "pLDDT < 50": (0, 50),
    "pLDDT 50–70": (50, 70),
    "pLDDT 70–80": (70, 80),
    "pLDDT 80–90": (80, 90),
    "pLDDT ≥ 90": (90, np.inf),
}
MEASURES: tuple[tuple[str, Callable[[np.ndarray], Any], int], ...] = (
    ("Cα RMSD, median (Å)", np.median, 0),
    ("Cα lDDT, median", np.median, 1),
    ("Cα lDDT, mean", np.mean, 1),
)
"""Name and summary of each measure of a fold, and its index in the result of `compare`."""

CONFIDENT = 0.8
"""Smallest mean confidence (0–1) of a fold that counts as confident."""

GEOMETRY = {
    "ca_step_valid": ca_step_valid,
    "cn_valid": cn_valid,
    "clashes": clashes,
    "right_handed": right_handed,
}
"""Functions that compute the metrics of the geometry of chains, by the key of the metric."""

WINDOWS = (10, 20, 30, 40, 50)
"""Lengths, in residues, of the windows into which experimental chains are divided."""

NOISE = 0.1
"""Standard deviation of the noise on the atoms of a backbone, Å."""

FEWEST = 3
"""Smallest number of peptides for which a correlation is given."""


@dataclass(frozen=True)
class PeptidesWithStructures:
    """Peptides with their structures.

    Attributes
    ----------
    sequences
        One-letter codes.
    backbones
        Backbone of each peptide, ``(length, 4, 3)`` in Å.
    plddt
        Mean pLDDT of each structure, ``(peptides,)`` in 0–100; NaN for a structure without pLDDT.
    """

    sequences: list[str]
    backbones: list[np.ndarray]
    plddt: np.ndarray

    @classmethod
    def held_out(cls, frame: pd.DataFrame, structures: "Backbones") -> "PeptidesWithStructures":
        """Return the validation and test peptides that have a structure.

        ``frame`` has the columns ``id`` and ``split`` of all peptides. ``structures`` has the
        predicted structures and the ids of their peptides.
        """
        names = set(frame.loc[frame["split"] != "train", "id"])
        rows = np.array(
            [i for i, name in enumerate(structures.ids) if name in names], dtype=np.int64
        )
        mean = [structures.plddt[a:b].mean() for a, b in pairwise(structures.offsets)]
        backbones = np.split(structures.positions, structures.offsets[1:-1])
        return cls(structures.sequences, backbones, np.array(mean)).take(rows)

    @classmethod
    def experimental(cls, path: Path) -> "PeptidesWithStructures":
        """Return the chains of a file or folder of structures, divided into windows.

        Each chain is divided once for every length in `WINDOWS`, from its first residue and without
        overlap; residues that do not fill a window are left out. The windows have no pLDDT.

        Raises
        ------
        UserError
            If the path does not exist, a file cannot be read, or no chain fills a window.
        """
        if not path.exists():
            raise UserError(f"evaluation.experimental: {path}: no such file or folder")
        files = [path] if path.is_file() else sorted(path.iterdir())
        sequences, backbones = [], []
        for file in files:
            if not is_structure_file(file.name):
                continue
            try:
                structures = read_structures(file).structures
            except ValueError as error:
                raise UserError(f"evaluation.experimental: {file}: {error}") from None
            for chain in structures:
                for size in WINDOWS:
                    for start in range(0, len(chain.sequence) - size + 1, size):
                        sequences.append(chain.sequence[start : start + size])
                        backbones.append(chain.backbone[start : start + size])
        if not sequences:
            raise UserError(
                f"evaluation.experimental: {path} has no structure of {WINDOWS[0]} residues or "
                "more; give a folder of PDB or mmCIF files"
            )
        return cls(sequences, backbones, np.full(len(sequences), np.nan))

    def take(self, rows: np.ndarray) -> "PeptidesWithStructures":
        """Return the peptides with the given indices, in the order of ``rows``."""
        return PeptidesWithStructures(
            [self.sequences[row] for row in rows.tolist()],
            [self.backbones[row] for row in rows.tolist()],
            self.plddt[rows],
        )

    def sample(self, most: int, generator: np.random.Generator) -> "PeptidesWithStructures":
        """Return at most ``most`` of the peptides, chosen at random, in their original order."""
        return self.take(np.sort(generator.permutation(len(self.sequences))[:most]))


def straight_helix(length: int) -> np.ndarray:
    """Return the Cα positions of an ideal α-helix, ``(length, 3)`` in Å.

    Its radius is 2.3 Å; each residue rises by 1.5 Å and turns by 100°.
    """
    angle = np.radians(100) * np.arange(length)
    return np.stack([2.3 * np.cos(angle), 2.3 * np.sin(angle), 1.5 * np.arange(length)], axis=-1)


def compare(
    models: Sequence[np.ndarray], references: Sequence[np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Compare each model with its reference: return the RMSD (Å) and the mean lDDT (0–1).

    Both results are ``(peptides,)``.

    Parameters
    ----------
    models, references
        Predicted and reference Cα positions of each peptide, ``(length, 3)`` in Å. The n-th model
        and the n-th reference are of the same peptide.
    """
    lengths = np.array([len(reference) for reference in references], dtype=np.int64)
    deviation, agreement = np.zeros(len(lengths)), np.zeros(len(lengths))
    for length in np.unique(lengths):
        rows = np.flatnonzero(lengths == length)
        a, b = (
            torch.from_numpy(np.stack([x[row] for row in rows.tolist()]).astype(np.float64))
            for x in (models, references)
        )
        deviation[rows] = rmsd(a, b).numpy()
        agreement[rows] = lddt(a, b).mean(-1).numpy()
    return deviation, agreement


def assess_tasks(
    model: TrainedModel,
    held_out: PeptidesWithStructures | Unavailable,
    designs: dict[str, PeptidesWithStructures],
    *,
    experimental: PeptidesWithStructures | None = None,
    limit: int,
    seed: int,
) -> pd.DataFrame:
    """Measure folding, inverse folding and refolding, and return one table.

    Parameters
    ----------
    model
        The trained model.
    held_out
        Held-out peptides with a structure, or the reason why there are none.
    designs
        Designs that have a backbone, by label query.
    experimental
        Windows of experimental structures; None leaves out their rows.
    limit
        Largest number of held-out peptides, and of designs of each query, that are used. If there
        are more, they are chosen at random. All experimental windows are used.
    seed
        Seed of this choice and of the noise on the backbones.

    Returns
    -------
    pd.DataFrame
        A row for each measured value: ``task`` (``folding``, ``inverse folding`` or ``refolding``),
        ``set`` (``held-out``, ``experimental`` or a label query), ``subset`` (such as a pLDDT bin),
        ``peptides`` (their number), ``measure`` (name of the value), ``value``, ``baseline`` (the
        value of the baseline), ``baseline_name``, and ``missing`` (why there is no value).
    """
    generator = np.random.default_rng(seed & 0xFFFFFFFF)
    rows: list[dict] = []
    if isinstance(held_out, Unavailable):
        rows += [
            {"task": task, "set": "held-out", "missing": held_out.reason}
            for task in ("folding", "inverse folding")
        ]
    else:
        chosen = held_out.sample(limit, generator)
        rows += _folding(model, chosen)
        rows += _inverse_folding(model, "held-out", chosen, seed)
    if experimental is not None:
        rows += _inverse_folding(model, "experimental", experimental, seed)
    for entry, pairs in designs.items():
        chosen = pairs.sample(limit, generator)
        rows += [{"set": entry, **row} for row in _refolding(model, chosen)]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _row(
    subset: str, count: int, measure: str, value: Value, baseline: Value, baseline_name: str
) -> dict:
    """Return a row of the table of `assess_tasks`, without ``task`` and ``set``.

    ``missing`` is the reason why ``value`` is `Unavailable`; empty if it is a number.
    """
    return {
        "subset": subset,
        "peptides": count,
        "measure": measure,
        "value": np.nan if isinstance(value, Unavailable) else value,
        "baseline": np.nan if isinstance(baseline, Unavailable) else baseline,
        "baseline_name": baseline_name,
        "missing": value.reason if isinstance(value, Unavailable) else "",
    }


def _folded(model: TrainedModel, sequences: list[str]) -> list[Fold]:
    """Return the fold of each sequence, in the order of the sequences."""
    return sorted(fold(model, sequences), key=lambda design: design.number)


def _folding(model: TrainedModel, held_out: PeptidesWithStructures) -> list[dict]:
    """Return the rows of the task ``folding``: all held-out peptides, then each pLDDT bin."""
    folds = _folded(model, held_out.sequences)
    true = [backbone[:, 1] for backbone in held_out.backbones]
    agreement = compare([fold.backbone[:, 1] for fold in folds], true)
    helix = compare([straight_helix(len(ca)) for ca in true], true)
    folded = Chains.join(held_out.sequences, [fold.backbone for fold in folds])
    structures = Chains.join(held_out.sequences, held_out.backbones)
    subsets = {"all": np.ones(len(true), dtype=bool)}
    has_plddt = ~np.isnan(held_out.plddt)
    subsets |= {
        name: has_plddt & (held_out.plddt >= low) & (held_out.plddt < high)
        for name, (low, high) in BINS.items()
    }
    rows = []
    for name, inside in subsets.items():
        about = {"task": "folding", "set": "held-out"}
        if not inside.any():
            reason = "no such peptide" if has_plddt.any() else "the structures come without pLDDT"
            rows.append({**about, "subset": name, "peptides": 0, "missing": reason})
            continue
        count = int(inside.sum())
        for measure, summary, which in MEASURES:
            ours, baseline = (float(summary(x[which][inside])) for x in (agreement, helix))
            rows.append(about | _row(name, count, measure, ours, baseline, "one straight helix"))
        if name == "all":
            correlation = _rank_correlation(
                [fold.confidence.mean() for fold in folds], agreement[1]
            )
            measure = "Spearman correlation of confidence and Cα lDDT"
            rows.append(about | _row(name, len(folds), measure, correlation, np.nan, ""))
        rows += [about | row for row in _geometry(name, folded, structures, np.flatnonzero(inside))]
    return rows


def _geometry(subset: str, folded: Chains, true: Chains, rows: np.ndarray) -> list[dict]:
    """Return the rows that compare the geometry of folds and structures, one for each metric.

    The value is the metric of the model's folds ``folded``; the baseline is the same metric of the
    structures ``true``. ``rows`` are the indices of the chains that are measured.
    """
    folded_geometry, true_geometry = (Geometry.of(chains.take(rows)) for chains in (folded, true))
    titles = {metric.key: metric.title for metric in METRICS}
    return [
        _row(
            subset,
            len(rows),
            titles[key],
            function(folded_geometry),
            function(true_geometry),
            "the structures themselves",
        )
        for key, function in GEOMETRY.items()
    ]


def _rank_correlation(expected: Sequence[float], actual: np.ndarray) -> Value:
    """Return Spearman's rank correlation of expected and actual values, one for each peptide.

    The result is `Unavailable` for fewer than `FEWEST` peptides, or if all expected or all actual
    values are equal.
    """
    if len(actual) < FEWEST:
        return Unavailable(f"only {len(actual)} peptides, {FEWEST} wanted")
    if not np.ptp(expected) or not np.ptp(actual):
        return Unavailable("all peptides have the same value")
    return float(spearmanr(expected, actual).statistic)


def _inverse_folding(
    model: TrainedModel, name: str, peptides: PeptidesWithStructures, seed: int
) -> list[dict]:
    """Return the rows of the task ``inverse folding``: recovery and perplexity for three backbones.

    The baseline is the same model without the backbone. ``name`` is the value of the column
    ``set``; ``seed`` is the seed of the noise on the backbones.
    """
    generator = np.random.default_rng(seed & 0xFFFFFFFF)
    given = {
        "as written": peptides.backbones,
        "ideal bond angles": [with_ideal_angles(each) for each in peptides.backbones],
        f"noise of {NOISE} Å": [
            (each + NOISE * generator.standard_normal(each.shape)).astype(np.float32)
            for each in peptides.backbones
        ],
    }
    alone = list(score(model, peptides.sequences))
    about = {"task": "inverse folding", "set": name}
    rows = []
    for subset, backbones in given.items():
        scores = list(score(model, peptides.sequences, backbones))
        rows += [
            about
            | _row(
                subset, len(scores), what, summary(scores), summary(alone), "without the backbone"
            )
            for what, summary in (("recovery", recovery), ("perplexity", perplexity))
        ]
    return rows


def with_ideal_angles(backbone: np.ndarray) -> np.ndarray:
    """Return the backbone rebuilt with its torsions, ideal bond lengths and ideal bond angles.

    The argument and the result are ``(length, 4, 3)`` in Å.
    """
    torsions, angles = internal_coordinates(torch.from_numpy(backbone)[None])
    ideal = torch.tensor(ANGLES, dtype=angles.dtype).expand_as(angles)
    return rebuild(torsions, ideal)[0].numpy()


def _refolding(model: TrainedModel, designs: PeptidesWithStructures) -> list[dict]:
    """Return the rows of the task ``refolding``, without the column ``set``.

    The rows compare each designed backbone with the model's fold of the designed sequence.
    """
    about = {"task": "refolding"}
    if not designs.sequences:
        return [about | {"missing": "no design has a backbone"}]
    folds = _folded(model, designs.sequences)
    designed = [backbone[:, 1] for backbone in designs.backbones]
    refolded, _ = compare([fold.backbone[:, 1] for fold in folds], designed)
    helix, _ = compare([straight_helix(len(ca)) for ca in designed], designed)
    confident = np.array([fold.confidence.mean() >= CONFIDENT for fold in folds])
    rows = []
    for subset, inside in (("all", np.ones(len(designed), dtype=bool)), ("confident", confident)):
        if not inside.any():
            rows.append(about | {"subset": subset, "peptides": 0, "missing": "no such design"})
            continue
        ours, baseline = (float(np.median(x[inside])) for x in (refolded, helix))
        name, count = "Cα RMSD, median (Å)", int(inside.sum())
        rows.append(about | _row(subset, count, name, ours, baseline, "one straight helix"))
    return rows
