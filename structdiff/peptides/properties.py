"""Properties that a model is conditioned on: measured numbers and descriptors of the peptides.

``add_properties(frame, tables, data, rows, code)`` adds a column for each of
``data.property_columns`` (NaN where nothing was measured) and of ``data.descriptors``.
"""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from structdiff.peptides.labels import FEWEST_EXAMPLES, RESERVED, all_wrong, is_blank
from structdiff.protein.descriptors import COLUMNS, DESCRIPTORS
from structdiff.protein.ends import FLAGS, ends_of
from structdiff.system.errors import UserError

if TYPE_CHECKING:
    from structdiff.config import Data
    from structdiff.peptides.formats import Table

__all__ = ["add_properties", "check_properties"]


def add_properties(
    frame: pd.DataFrame, tables: "list[Table]", data: "Data", rows: pd.DataFrame, code: np.ndarray
) -> dict[str, tuple[str, str]]:
    """Add a float32 column for each property to a table of unique peptides.

    Several measurements of a peptide are averaged on the property's scale: on log10, the result is
    their geometric mean.

    Parameters
    ----------
    frame
        The peptides: ``sequence``, the labels, the ends; changed in place.
    tables
        The tables that were read.
    data
        The configuration, of which `property_columns` and `descriptors` are used.
    rows
        For each usable row, ``table``, its table's position in ``tables``, and ``row``, its
        position in that table.
    code
        Position in ``frame`` of the peptide of each usable row, ``(rows,)``.

    Returns
    -------
    dict[str, tuple[str, str]]
        Unit and scale of each property, by name.

    Raises
    ------
    UserError
        If a cell is neither a finite number nor blank, if a number on a log10 scale is not above 0,
        or if a property or a descriptor has the name of another column.
    """
    properties: dict[str, tuple[str, str]] = {}
    others = [*frame, *data.property_columns]
    if taken := [name for name in data.descriptors if name in others]:
        raise UserError(
            f"data.descriptors: '{taken[0]}' is the name of a label or a property too; rename that"
        )
    for name, column in data.property_columns.items():
        if name in frame or name in FLAGS or name.lower() in RESERVED:
            raise UserError(
                f"data.property_columns: '{name}' is the name of another column; give the "
                "property another name"
            )
        is_log = column.scale == "log10"
        values = np.full(len(rows), np.nan)
        for number, table in enumerate(tables):
            inside = (rows["table"] == number).to_numpy()
            values[inside] = _numbers(table, name, is_log)[rows["row"].to_numpy()[inside]]
        known = ~np.isnan(values)
        scaled = np.log10(values[known]) if is_log else values[known]
        sums = np.bincount(code[known], weights=scaled, minlength=len(frame))
        counts = np.bincount(code[known], minlength=len(frame))
        means = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
        frame[name] = (10.0**means if is_log else means).astype(np.float32)
        properties[name] = (column.unit, column.scale)
    ends = ends_of(frame)
    for name in data.descriptors:
        compute = DESCRIPTORS[name]
        pairs = zip(frame["sequence"], ends, strict=True)
        frame[name] = np.array([compute(s, e) for s, e in pairs], dtype=np.float32)
        properties[name] = (COLUMNS[name].unit, "linear")
    return properties


def _numbers(table: "Table", name: str, is_log: bool) -> np.ndarray:
    """Return the values of a property in a table, ``(rows,)`` float64, NaN where blank."""
    codes, cells = pd.factorize(np.array(table.fields[name], dtype=object))
    values = np.full(len(cells), np.nan)
    faults: dict[int, str] = {}
    for number, cell in enumerate(cells):
        if is_blank(cell):
            continue
        try:
            if "_" in cell or not cell.isascii():  # float() also reads 1_000, and other digits
                raise ValueError
            values[number] = float(cell)
        except ValueError:
            faults[number] = "is not a number"
        else:
            size, limits = abs(values[number]), np.finfo(np.float32)
            if is_log and values[number] <= 0:
                faults[number] = "is not above 0, as scale log10 needs"
            elif not size <= limits.max:  # NaN as well
                faults[number] = "is not finite, or too large"
            elif 0 < size < limits.tiny:
                faults[number] = "is too near to 0"
    if faults:
        rows = np.flatnonzero(np.isin(codes, list(faults)))
        first = codes[rows[0]]
        raise UserError(
            f"{table.at(rows[0])}: '{cells[first][:60]}' {faults[first]} (data.property_columns: "
            f"{name}); give a number such as 12.5, or leave the cell empty where nothing was "
            f"measured{all_wrong(table, name, rows)}"
        )
    return values[codes]


def check_properties(frame: pd.DataFrame, properties: dict[str, tuple[str, str]]) -> pd.DataFrame:
    """Return warnings about properties: columns ``label`` (the property's name) and ``warning``.

    Raises
    ------
    UserError
        If all training peptides have the same value of a property, or none has a value.
    """
    rows = []
    training = frame[frame["split"] == "train"]
    for name in properties:
        known = training[name].dropna()
        if known.nunique() < 2:
            raise UserError(
                f"data: the property '{name}' has {known.nunique()} different values among the "
                "training peptides, so nothing can be learnt of it; add measurements or remove it"
            )
        if len(known) < FEWEST_EXAMPLES:
            few = f"only {len(known)} training peptides have a value: designs hardly follow it"
            rows.append((name, few))
    return pd.DataFrame(rows, columns=["label", "warning"])
