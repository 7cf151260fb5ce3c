"""The training set: flat memory-mapped arrays, and batches of peptides of similar length.

``build(peptides, structures, directory)`` joins the peptides with their structures once;
``TrainingSet.open(directory)`` maps the arrays into memory (one copy on each node, which its
processes share); ``global_batches`` divides the peptides of an epoch into batches, and ``batch``
pads and stacks the peptides of some rows, without a Python loop over residues. Peptides without a
structure are kept; they train the sequence only.
"""

import json
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from structdiff.model import Condition, ConditionSpec, Property
from structdiff.peptides import SPLITS
from structdiff.protein.residues import decode, encode, offsets_of, residues_of
from structdiff.system.errors import UserError
from structdiff.system.files import replacing

if TYPE_CHECKING:
    import pandas as pd

    from structdiff.peptides.table import Peptides
    from structdiff.structures.index import Backbones

__all__ = ["Batch", "TrainingSet", "build"]

_ARRAYS = ("tokens", "offsets", "labels", "split", "backbone", "weight", "has_structure", "ids")
_GATHERED = ("tokens", "offsets", "labels", "backbone", "weight", "has_structure")
"""Names of the arrays from which batches are made; `TrainingSet.to` moves them to a device."""

_VALUES = "values"
"""Name of the array of standardised property values, ``(peptides, properties)`` float32; the array
is missing if there are no properties."""


@dataclass(frozen=True)
class Batch:
    """Batch of peptides, padded to one length.

    Attributes
    ----------
    index
        Rows of the training set, ``(batch,)`` int64.
    tokens
        Residue indices 0–19, 0 on pads, ``(batch, length)`` int64.
    mask
        True at residues, ``(batch, length)``.
    condition
        Known labels and properties of each peptide.
    backbone
        Positions of N, Cα, C, O in Å, ``(batch, length, 4, 3)`` float32; zeros without a structure
        and on pads.
    weight
        Weight of each residue in the structure loss, 0–1, ``(batch, length)`` float32: its pLDDT /
        100; 1 where a structure has no pLDDT; 0 without a structure and on pads.
    has_structure
        Which peptides have a structure, ``(batch,)`` bool.
    padded
        Whether the batch may have pads; False if it certainly has none.
    """

    index: Tensor
    tokens: Tensor
    mask: Tensor
    condition: Condition
    backbone: Tensor
    weight: Tensor
    has_structure: Tensor
    padded: bool = True

    def to(self, device: torch.device) -> "Batch":
        """Return the batch with its tensors moved to a device."""
        tensors = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "padded"}
        moved = {name: x.to(device, non_blocking=True) for name, x in tensors.items()}
        return Batch(**moved, padded=self.padded)


def build(peptides: Path, structures: Path | None, directory: Path) -> None:
    """Join peptides and structures, and write the arrays of a `TrainingSet`, atomically.

    Parameters
    ----------
    peptides
        Path of the ``peptides.parquet`` of the peptides stage.
    structures
        Path of the ``index.parquet`` of the structures stage; None to train on sequences alone.
    directory
        Folder for the arrays; replaced if it exists.
    """
    from structdiff.peptides.labels import label_states
    from structdiff.peptides.table import read_peptides
    from structdiff.structures.index import iterate_backbones

    table = read_peptides(peptides)
    frame = table.frame
    sequences = frame["sequence"].tolist()
    offsets = offsets_of(sequences)
    has_structure = np.zeros(len(sequences), dtype=bool)
    conditions = ConditionSpec(table.labels, properties=_fit_properties(table))
    with replacing(directory) as temporary:
        temporary.mkdir()

        def create(name: str, *shape: int) -> np.ndarray:
            path = temporary / f"{name}.npy"
            return np.lib.format.open_memmap(path, "w+", dtype=np.float32, shape=shape)

        # The large arrays are written in pieces, so that a whole array is never in memory.
        residues = int(offsets[-1])
        backbone, weight = create("backbone", residues, 4, 3), create("weight", residues)
        if structures is not None:
            row_of = {sequence: row for row, sequence in enumerate(sequences)}
            for part in iterate_backbones(structures):
                rows, *values = _of_peptides(part, row_of)
                target = residues_of(offsets, rows)
                backbone[target], weight[target] = values
                has_structure[rows] = True
        arrays = {
            "tokens": encode("".join(sequences)),
            "offsets": offsets,
            "labels": label_states(frame, table.labels),
            "split": np.array([SPLITS.index(name) for name in frame["split"]], dtype=np.uint8),
            "has_structure": has_structure,
            "ids": frame["id"].to_numpy(dtype=np.str_),
        }
        if conditions.properties:
            columns = [one.standardise(_floats(frame[one.name])) for one in conditions.properties]
            arrays[_VALUES] = np.stack(columns, axis=1).astype(np.float32)
        for name, array in arrays.items():
            np.save(temporary / f"{name}.npy", array, allow_pickle=False)
        (temporary / "meta.json").write_text(json.dumps(conditions.to_json()))


def _fit_properties(table: "Peptides") -> list[Property]:
    """Return each property of the table with its distribution in the training peptides."""
    training = table.frame[table.frame["split"] == "train"]
    return [
        Property.fit(name, unit, scale, _floats(training[name].dropna()))
        for name, (unit, scale) in table.properties.items()
    ]


def _floats(column: "pd.Series") -> np.ndarray:
    return column.to_numpy(dtype=np.float64)


def _of_peptides(
    part: "Backbones", row_of: dict[str, int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Match structures to the rows of the training set by sequence; leave out unmatched ones.

    Returns the row of each match, ``(matches,)`` int64, and for all their residues the backbone in
    Å, ``(residues, 4, 3)``, and the weight in the structure loss, ``(residues,)`` (see `Batch`).
    """
    rows = np.array([row_of.get(sequence, -1) for sequence in part.sequences], dtype=np.int64)
    known = np.repeat(rows >= 0, np.diff(part.offsets))
    plddt = part.plddt[known]
    weight = np.where(np.isnan(plddt), 1.0, plddt / 100.0)
    return rows[rows >= 0], part.positions[known], weight


class TrainingSet:
    """The peptides of all splits, in memory-mapped arrays; each peptide has a row, from 0.

    Attributes
    ----------
    conditions
        Labels and properties that a model trained on these peptides can be conditioned on.
    ids
        Identifiers of the peptides, ``(peptides,)``.
    offsets
        Position of each peptide's first residue in the arrays of residues, and the number of all
        residues, ``(peptides + 1,)`` int64.
    lengths
        Number of residues of each peptide, ``(peptides,)`` int64.
    has_structure
        Which peptides have a structure, ``(peptides,)`` bool.
    """

    def __init__(self, arrays: dict[str, np.ndarray], conditions: ConditionSpec):
        self.ids = arrays["ids"]
        self.has_structure = np.asarray(arrays["has_structure"])
        self.offsets = np.asarray(arrays["offsets"])
        self.lengths = np.diff(self.offsets)
        self._split = np.asarray(arrays["split"])
        self._label_states = np.asarray(arrays["labels"]).astype(np.int8)
        lacked = (self._label_states[self.rows("train")] == 0).any(axis=0)
        unopposed = [n for n, known in zip(conditions.labels, lacked, strict=True) if not known]
        self.conditions = replace(conditions, unopposed=unopposed)
        self._on_device = {
            name: torch.from_numpy(np.asarray(arrays[name]))
            for name in (*_GATHERED, _VALUES)
            if name in arrays
        }

    @classmethod
    def open(cls, directory: Path) -> "TrainingSet":
        """Open the arrays that `build` wrote into a folder, by mapping them into memory.

        Raises
        ------
        UserError
            If the arrays are missing, damaged or incomplete.
        """
        try:
            conditions = ConditionSpec.read(json.loads((directory / "meta.json").read_text()))
            arrays = {
                # "c": torch wants writable memory; nothing is written, so all processes share it.
                name: np.load(directory / f"{name}.npy", mmap_mode="c", allow_pickle=False)
                for name in (*_ARRAYS, *([_VALUES] if conditions.properties else []))
            }
        except (OSError, ValueError, EOFError, KeyError, TypeError) as error:
            raise UserError(
                f"{directory}: the training arrays cannot be read ({error}); "
                "remove the folder and train again, it is rebuilt"
            ) from None
        return cls(arrays, conditions)

    @property
    def labels(self) -> list[str]:
        """Names of the labels."""
        return self.conditions.labels

    def __len__(self) -> int:
        return len(self.lengths)

    def rows(self, split: str) -> np.ndarray:
        """Return the rows of a split's peptides, ``(rows,)`` int64.

        ``split`` is ``train``, ``val`` or ``test``, as in all methods.
        """
        return np.flatnonzero(self._split == SPLITS.index(split))

    def sequences(self, split: str) -> list[str]:
        """Return the sequences of a split's peptides, in the order of `rows`."""
        tokens = self._on_device["tokens"].cpu().numpy()
        return [
            decode(tokens[self.offsets[row] : self.offsets[row + 1]]) for row in self.rows(split)
        ]

    def lengths_by_labels(self, split: str) -> dict[str, list[int]]:
        """Count the peptides of each length, for each combination of label states in a split.

        Returns
        -------
        dict[str, list[int]]
            Counts for each combination; the index in the list is the length. A key has the names
            of the present and the unknown labels, joined by ``+``, with a ``?`` before each unknown
            label; ``""`` if all labels are absent.
        """
        rows = self.rows(split)
        sets, own = np.unique(self._label_states[rows], axis=0, return_inverse=True)
        counts = [np.bincount(self.lengths[rows[own == number]]) for number in range(len(sets))]
        mark = {1: "", -1: "?"}
        names = [
            "+".join(mark[s] + n for s, n in zip(states, self.labels, strict=True) if s in mark)
            for states in sets.tolist()
        ]
        return {name: count.tolist() for name, count in zip(names, counts, strict=True)}

    def epoch_rows(self, split: str, repeats: int = 1) -> np.ndarray:
        """Return the rows of the training set in an epoch of a split, ``(rows,)`` int64.

        The row of a peptide with a structure occurs ``repeats`` times, any other row once.
        """
        rows = self.rows(split)
        return np.repeat(rows, np.where(self.has_structure[rows], repeats, 1))

    def global_batches(
        self, split: str, size: int, seed: int, epoch: int, repeats: int = 1
    ) -> list[np.ndarray]:
        """Return the global batches of an epoch: its `epoch_rows` in arrays of ``size`` rows.

        Peptides of similar length are in the same batch, so that there is little padding: the rows
        are sorted by length plus a random number of up to 1.5 residues, then cut. The batches are
        in random order; within a batch, rows are sorted by length. One batch may have fewer rows.
        Random numbers depend only on ``seed`` and ``epoch``.
        """
        generator = np.random.default_rng([seed & 0xFFFFFFFF, epoch])
        rows = generator.permutation(self.epoch_rows(split, repeats))
        jitter = generator.random(len(rows)) * 1.5
        rows = rows[np.argsort(self.lengths[rows] + jitter, kind="stable")]
        batches = [rows[i : i + size] for i in range(0, len(rows), size)]
        batches = [batch[np.argsort(self.lengths[batch], kind="stable")] for batch in batches]
        return [batches[i] for i in generator.permutation(len(batches))]

    @property
    def nbytes(self) -> int:
        """Total size in bytes of the arrays that `to` moves to a device."""
        return sum(array.nbytes for array in self._on_device.values())

    def to(self, device: torch.device) -> None:
        """Move the arrays from which `batch` makes batches to a device; batches are made there."""
        self._on_device = {name: array.to(device) for name, array in self._on_device.items()}

    def batch(self, rows: np.ndarray, width: int | None = None) -> Batch:
        """Return the peptides of ``rows``, padded to ``width`` or the length of the longest one."""
        width = int(self.lengths[rows].max()) if width is None else width
        arrays = self._on_device
        index = torch.from_numpy(np.asarray(rows, dtype=np.int64)).to(arrays["offsets"].device)
        first = arrays["offsets"][index]
        length = arrays["offsets"][index + 1] - first
        position = torch.arange(width, device=index.device)
        mask = position < length[:, None]
        flat = torch.where(mask, first[:, None] + position, 0)
        return Batch(
            index=index,
            tokens=torch.where(mask, arrays["tokens"][flat].long(), 0),
            mask=mask,
            condition=Condition.observed(
                arrays["labels"][index], arrays[_VALUES][index] if _VALUES in arrays else None
            ),
            backbone=arrays["backbone"][flat] * mask[..., None, None],
            weight=torch.where(mask, arrays["weight"][flat], 0.0),
            has_structure=arrays["has_structure"][index],
            padded=bool(self.lengths[rows].min() < width),
        )
