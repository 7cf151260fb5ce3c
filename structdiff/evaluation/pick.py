"""Choose peptides to order: filter and rank designs, drop similar ones, write the order sheet.

``pick(Choice(…), output, call)`` reads designs with `structdiff.evaluation.reading.read_any` and
adds the columns of `structdiff.evaluation.columns` and of the user's own table. It writes the order
sheet (CSV, TSV or XLSX), a FASTA file and a text file with the command. The same input and options
give the same files.
"""

import ast
import io
import operator
import re
import unicodedata
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from structdiff.evaluation.columns import add_columns, column_tooltips, mean_scores
from structdiff.evaluation.design_table import read_known
from structdiff.evaluation.judges import find_macrel
from structdiff.evaluation.reading import (
    IN_FOLDERS,
    few_of,
    left_out,
    read_any,
    read_rows_by_id,
    with_reasons,
)
from structdiff.generation.batching import shuffled
from structdiff.peptides.by_length import Sequences
from structdiff.peptides.labels import is_blank
from structdiff.peptides.similarity import similar_pairs
from structdiff.protein.ends import FLAGS, ends_of, identity
from structdiff.system.errors import UserError, counted, warn
from structdiff.system.files import replacing, write_frame, write_text

__all__ = ["Choice", "Picked", "pareto_fronts", "pick", "select_rows"]

LONGEST = 1000
"""Largest number of residues of a peptide that can be chosen."""

NEW_COMPARED = 1000
"""Number of peptides that are compared at a time with the chosen ones and with each other."""

COMPANIONS = (".fasta", ".txt", ".html")
"""Suffixes of the files that are written next to the order sheet."""

_FIRST_NOTE = re.compile(r"^[\d,]+ peptides read from ", re.MULTILINE)

FORMATS = (".xlsx", ".csv", ".tsv")


@dataclass(frozen=True)
class Choice:
    """Request of `structdiff pick`: the designs, the number of peptides, and how to choose.

    Attributes
    ----------
    source
        File or folder of designs.
    number
        Largest number of peptides to choose.
    where
        Condition on the columns, such as ``hemolysis < 0.5 and charge > 3``; empty for none.
    diverse
        Similarity (normalised Levenshtein, 0–1) that no two chosen peptides reach; 1 only removes
        repeated peptides (the same sequence and ends).
    pareto
        Columns to optimise together. Larger values are better; ``-`` before the name of a column
        means that smaller values are better.
    join
        Table with more columns, matched by ``id`` or ``sequence``; None for no such table.
    reference
        Table of known peptides, in which the nearest peptide to each design is searched; None for
        no such search.
    """

    source: Path
    number: int
    where: str = ""
    diverse: float = 1.0
    pareto: tuple[str, ...] = ()
    join: Path | None = None
    reference: Path | None = None


@dataclass(frozen=True)
class Picked:
    """The chosen peptides, with controls and notes.

    Attributes
    ----------
    table
        All columns of the chosen peptides, first choice first.
    controls
        Mean scores of the chosen peptides, of these peptides shuffled, of all distinct valid
        peptides that were read and, with a reference table, of the known peptides in that table.
    notes
        Lines that say how many peptides are left after each step.
    """

    table: pd.DataFrame
    controls: pd.DataFrame
    notes: list[str]


def pick(choice: Choice, output: Path, call: str) -> Picked:
    """Choose peptides, write the order sheet, a FASTA file and a text file, and return the choice.

    Parameters
    ----------
    choice
        The request.
    output
        The order sheet; its suffix, ``.xlsx``, ``.csv`` or ``.tsv``, determines the format. The
        FASTA and the text file have the same name with the suffixes ``.fasta`` and ``.txt``.
    call
        The command line, which is written into the text file and an XLSX order sheet.

    Raises
    ------
    UserError
        If a file cannot be read or would be replaced, the condition or a column is not valid, no
        peptide is left, two chosen peptides have the same id, or the order sheet has an unknown
        format.
    """
    form = output.suffix.lower()
    if form not in FORMATS:
        raise UserError(f"--output {output}: give a name that ends in {', '.join(FORMATS)}")
    suffixes = (output.suffix, *COMPANIONS)
    written = {output.with_suffix(suffix).resolve() for suffix in suffixes}
    given = [path for path in (choice.source, choice.join, choice.reference) if path is not None]
    for path in [*given, *(path / name for path in given for name in IN_FOLDERS)]:
        if path.resolve() in written:
            raise UserError(
                f"--output {output}: {path} would be replaced; give the order sheet another name"
            )
    _check_companions(output)
    picked = _choose(choice)
    sheet = _order_sheet(picked.table)
    if form == ".xlsx":
        _write_workbook(output, sheet, picked, call)
    elif form == ".csv":
        with replacing(output) as temporary:
            sheet.to_csv(temporary, index=False, lineterminator="\n")
    else:
        write_frame(output, sheet)
    table = picked.table
    lines = zip(table["id"], ends_of(table), table["sequence"], strict=True)
    fasta = "".join(f">{name}{ends.header}\n{sequence}\n" for name, ends, sequence in lines)
    # The text is written first: by its notes, `_check_companions` recognises the files of a pick.
    write_text(output.with_suffix(".txt"), "\n".join([call, *picked.notes]) + "\n")
    write_text(output.with_suffix(".fasta"), fasta)
    return picked


def _check_companions(output: Path) -> None:
    """Raise `UserError` if pick would replace a file that no earlier pick wrote.

    The files next to the order sheet are from an earlier pick if the text file has its first note.
    """
    text = output.with_suffix(".txt")
    if text.is_file() and _FIRST_NOTE.search(text.read_text(encoding="utf-8", errors="replace")):
        return
    for path in (output.with_suffix(suffix) for suffix in COMPANIONS):
        if path.exists():
            raise UserError(
                f"--output {output}: {path} would be replaced, which no earlier pick wrote; give "
                "the order sheet another name"
            )


def _choose(choice: Choice) -> Picked:
    table = read_any(choice.source)
    notes = [f"{counted(len(table), 'peptide')} read from {choice.source}"]
    table = table.drop(columns="backbone", errors="ignore")
    if "rank" in table:
        if not pd.api.types.is_numeric_dtype(table["rank"]):
            raise UserError(
                f"{choice.source}: the column 'rank', which orders the peptides, is not numeric"
                f"{_text_among(table['rank'])}; correct or rename it"
            )
        table = table.sort_values("rank", kind="stable")
    reasons = left_out(table, 1, LONGEST)
    unusable = with_reasons(table, reasons)
    table = table.drop(index=reasons.index)
    if table.empty:
        raise UserError(f"{choice.source}: has no peptide that can be ordered: {unusable}")
    repeats = table.duplicated(identity(table))
    notes.append(f"{(~repeats).sum():,} distinct ones of the 20 standard residues")
    if unusable:
        notes.append(f"left out: {unusable}")
    if repeats.any():
        notes.append(f"left out, as they repeat an earlier peptide: {few_of(table['id'][repeats])}")
    table = table[~repeats].reset_index(drop=True)
    known = None if choice.reference is None else read_known(choice.reference)
    macrel = find_macrel()
    described = add_columns(table, known, macrel)
    if replaced := [name for name in table if not table[name].equals(described[name])]:
        notes.append(f"computed, and not taken as they were read: {', '.join(replaced)}")
    table = described
    if choice.join is not None:
        table, matched = _join(table, choice.join)
        notes.append(f"{matched:,} of them have a row in {choice.join}")
    if choice.where:
        table = table[select_rows(table, choice.where)].reset_index(drop=True)
        notes.append(f"{len(table):,} meet the condition: {choice.where}")
    if table.empty:
        raise UserError(f"no peptide is left, loosen --where: {'; '.join(notes)}")
    if choice.pareto:
        front = pareto_fronts(_objectives(table, choice.pareto))
        table = table.assign(pareto_front=front).sort_values("pareto_front", kind="stable")
        table = table.reset_index(drop=True)
        names = ", ".join(choice.pareto)
        notes.append(f"{(front == 1).sum():,} of them on the Pareto front of {names}")
    rows = _diverse(table["sequence"].tolist(), choice.number, choice.diverse)
    notes.append(f"{len(rows):,} chosen")
    if choice.diverse < 1:
        notes[-1] += f"; no two have a similarity of {choice.diverse:g} or more"
    if len(rows) < choice.number:
        advice = ["loosen --where"] if choice.where else []
        advice += ["raise --diverse"] if choice.diverse < 1 else []
        notes.append(
            f"only {len(rows):,} of the {choice.number:,} asked for; "
            f"{' or '.join(advice) or 'there are no more'}"
        )
    chosen = table.iloc[rows].reset_index(drop=True)
    repeated = chosen.loc[chosen["id"].duplicated(), "id"]
    if len(repeated):
        raise UserError(
            f"{choice.source}: different peptides have the id '{repeated.iloc[0]}'; give each its "
            "own, since an order is read by its names"
        )
    sequences = chosen["sequence"].tolist()
    sets = {"chosen": sequences, "chosen, shuffled": shuffled(sequences)}
    sets["all that were read"] = described["sequence"].tolist()
    if known is not None:
        sets["peptides of the reference"] = list(known)
    return Picked(chosen, mean_scores(sets, macrel), notes)


def _join(table: pd.DataFrame, path: Path) -> tuple[pd.DataFrame, int]:
    """Return ``table`` with the columns of the table at ``path``, and the number of matched rows.

    Rows are matched by ``id``. They are matched by ``sequence`` if no id matches, or if more
    sequences match than rows with the same ``id`` and the same ``sequence``. A row without a match
    gets missing values.

    Raises
    ------
    UserError
        If the table at ``path`` cannot be read, matches no row, has two rows for one peptide, or
        has a column that ``table`` has too.
    """
    other = read_rows_by_id(path)
    for key in ("id", "sequence"):
        if key in other and other[key].isin(table[key]).any():
            if key == "id" and "sequence" in other:
                both = table[["id", "sequence"]].merge(other[["id", "sequence"]], on="id")
                same = int((both["sequence_x"] == both["sequence_y"]).sum())
                if same < int(other["sequence"].isin(table["sequence"]).sum()):
                    continue
            break
    else:
        raise UserError(f"{path} (--join): no id and no sequence is one of the designs'")
    repeated = other.loc[other[key].duplicated(), key]
    if len(repeated):
        raise UserError(f"{path} (--join): the {key} '{repeated.iloc[0]}' has several rows")
    names = [name for name in other if name not in ("id", "sequence", *FLAGS)]
    taken = [name for name in names if name in table]
    if taken:
        raise UserError(f"{path} (--join): the designs have a column '{taken[0]}' too; rename it")
    matched = int(table[key].isin(other[key]).sum())
    return table.merge(other[[key, *names]], how="left", on=key), matched


_COMPARE: dict[type, Callable[[Any, Any], Any]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
_ARITHMETIC: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


def select_rows(table: pd.DataFrame, where: str) -> pd.Series:
    """Return which rows meet a condition, ``(rows,)`` bool.

    The condition may have column names (in backquotes if they have spaces), numbers, texts in
    quotes, ``< <= > >= == !=``, ``in`` and ``not in`` (part of a text, or item of a list),
    ``and or not``, ``+ - * /`` and brackets. A row is false if the result depends on a missing
    value or on a division by zero in a column of numbers.

    Raises
    ------
    UserError
        If the condition has any other syntax, names a column that the table lacks, compares text
        with a number, cannot be computed, or is not true or false for each row.
    """
    quoted: dict[str, str] = {}

    def name(match: re.Match) -> str:
        return quoted.setdefault(match[1], f"_quoted_{len(quoted)}")

    try:
        tree = ast.parse(re.sub(r"`([^`]+)`", name, where.strip()), mode="eval")
    except (SyntaxError, ValueError) as error:
        reason = error.msg if isinstance(error, SyntaxError) else str(error)
        raise UserError(
            f"--where '{where}': is not a condition ({reason}); write one such as 'charge > 3 and "
            "length <= 20', a column whose name has spaces in backquotes"
        ) from None
    columns = {alias: column for column, alias in quoted.items()}
    try:
        result = _Condition(table, where, columns).value(tree.body)
    except TypeError as error:
        raise UserError(
            f"--where '{where}': compares text with a number ({error}); write a text in quotes and "
            "a number without, and compare each with a column of its kind"
        ) from None
    except ArithmeticError as error:
        raise UserError(f"--where '{where}': cannot be computed ({error})") from None
    if not _is_truth(result):
        raise UserError(f"--where '{where}': is not true or false for each peptide")
    return result.fillna(False).astype(bool)


def _is_text(value: Any) -> bool | None:
    """Return whether an operand of a condition is text.

    The operand is a single value, a list or a column. The result is None if the operand has both
    text and other values, or no value.
    """
    items = value if isinstance(value, list) else [value]
    if isinstance(value, pd.Series):
        if pd.api.types.is_numeric_dtype(value) and value.notna().any():
            return False
        items = value.dropna().tolist()
    kinds = {isinstance(item, str) for item in items}
    return kinds.pop() if len(kinds) == 1 else None


def _text_among(column: pd.Series) -> str:
    """Return the end of a message that names the first cell of a column that is not a number.

    The result is empty if all cells are numbers or blank.
    """
    cells = column[column.map(lambda cell: isinstance(cell, str) and not is_blank(cell))]
    texts = cells[pd.to_numeric(cells, errors="coerce").isna()]
    return f": '{texts.iloc[0]}' is text" if len(texts) else ""


def _is_truth(value: Any) -> bool:
    return isinstance(value, pd.Series) and pd.api.types.is_bool_dtype(value)


@dataclass(frozen=True)
class _Condition:
    """Evaluator of a parsed condition on the rows of a table; it runs no code of the user.

    A row is true, false, or missing if the result depends on a missing value.

    Attributes
    ----------
    table, where
        The table, and the text of the condition.
    quoted
        Column names by the aliases that replaced them (they were in backquotes) in the condition.
    """

    table: pd.DataFrame
    where: str
    quoted: dict[str, str]

    def value(self, node: ast.expr) -> Any:
        if isinstance(node, ast.Constant) and isinstance(node.value, int | float | str):
            return node.value
        if isinstance(node, ast.Name):
            column = self.quoted.get(node.id, node.id)
            if column not in self.table:  # the parser normalises names: µ (U+00B5) to U+03BC
                alike = (c for c in self.table if unicodedata.normalize("NFKC", str(c)) == column)
                column = next(alike, column)
            if column not in self.table:
                names = ", ".join(map(str, self.table.columns))
                raise UserError(f"--where '{self.where}': no column '{column}', but {names}")
            return self.table[column]
        if isinstance(node, ast.BoolOp):
            combine = operator.and_ if isinstance(node.op, ast.And) else operator.or_
            return reduce(combine, map(self.truth, node.values))
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            return ~self.truth(node.operand)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            return -self.value(node.operand)
        if isinstance(node, ast.BinOp) and type(node.op) in _ARITHMETIC:
            return self.arithmetic(node)
        if isinstance(node, ast.Compare):
            return self.comparison(node)
        if isinstance(node, ast.List | ast.Tuple):
            return [self.value(item) for item in node.elts]
        raise UserError(f"--where '{self.where}': '{self.text(node)}' is not allowed")

    def text(self, node: ast.expr) -> str:
        """Return a part of the condition as it was written: columns with spaces in backquotes."""
        return re.sub(r"_quoted_\d+", lambda alias: f"`{self.quoted[alias[0]]}`", ast.unparse(node))

    def arithmetic(self, node: ast.BinOp) -> Any:
        """Return the result of an operator; a division by zero is missing, with a warning."""
        left, right = self.value(node.left), self.value(node.right)
        result = _ARITHMETIC[type(node.op)](left, right)
        if isinstance(node.op, ast.Div) and isinstance(result, pd.Series):
            is_zero = pd.Series(right == 0, self.table.index).fillna(False).astype(bool)
            if is_zero.any():
                warn(
                    f"--where '{self.where}': '{self.text(node)}' divides by zero in "
                    f"{is_zero.sum():,} of {len(is_zero):,} rows, which have no value of it"
                )
                result = result.mask(is_zero)
        return result

    def truth(self, node: ast.expr) -> pd.Series:
        result = self.value(node)
        if not _is_truth(result):
            raise UserError(
                f"--where '{self.where}': '{self.text(node)}' is not true or false for each peptide"
            )
        return result

    def comparison(self, node: ast.Compare) -> pd.Series:
        """Return which rows meet a chain of comparisons, such as ``10 <= length <= 25``.

        The result is ``(rows,)`` nullable boolean; a row is missing if a compared value is missing.
        """
        left, result = self.value(node.left), None
        for sign, side in zip(node.ops, node.comparators, strict=True):
            right = self.value(side)
            if {_is_text(left), _is_text(right)} == {True, False}:
                columns = (side for side in (left, right) if isinstance(side, pd.Series))
                raise TypeError(self.text(node) + "".join(map(_text_among, columns)))
            if isinstance(sign, ast.In | ast.NotIn):
                part = self.contains(left, right)
                part = ~part if isinstance(sign, ast.NotIn) else part
            elif type(sign) in _COMPARE and list not in (type(left), type(right)):
                part = _COMPARE[type(sign)](left, right)
            else:
                raise UserError(f"--where '{self.where}': '{self.text(node)}' is not allowed")
            missing = pd.Series(False, self.table.index)
            for value in (left, right):
                if isinstance(value, pd.Series):
                    missing |= value.isna()
            part = pd.Series(part, self.table.index).astype("boolean").mask(missing)
            result = part if result is None else result & part
            left = right
        assert result is not None
        return result

    def contains(self, left: Any, right: Any) -> pd.Series:
        if isinstance(left, str) and isinstance(right, pd.Series):
            return right.astype(str).str.contains(left, regex=False)
        if isinstance(left, pd.Series) and isinstance(right, list):
            return left.isin(right)
        raise UserError(
            f"--where '{self.where}': `in` takes a text and a column ('KK' in sequence) or a "
            "column and a list (length in [12, 14])"
        )


def _objectives(table: pd.DataFrame, names: tuple[str, ...]) -> np.ndarray:
    """Return the values to optimise, ``(peptides, columns)`` float64, so that larger is better.

    ``names`` are the columns; a column whose name has a ``-`` before it is negated. A missing value
    becomes −∞, the worst.
    """
    columns = []
    for name in names:
        column = name.removeprefix("-")
        if column not in table:
            have = ", ".join(map(str, table.columns))
            raise UserError(f"--pareto {name}: no column '{column}', but {have}")
        if table[column].isna().all():
            raise UserError(
                f"--pareto {name}: no peptide that is left has a value in the column '{column}'"
            )
        if not pd.api.types.is_numeric_dtype(table[column]):
            raise UserError(
                f"--pareto {name}: the column '{column}' is not numeric{_text_among(table[column])}"
            )
        values = table[column].to_numpy(dtype=np.float64)
        columns.append(-values if name.startswith("-") else values)
    return np.nan_to_num(np.stack(columns, axis=1), nan=-np.inf)


def pareto_fronts(values: np.ndarray) -> np.ndarray:
    """Return the number of each row's Pareto front, from 1 (best), ``(rows,)`` int64.

    ``values`` are ``(rows, columns)``; larger values are better. A row is on the first front if no
    other row is at least as good in every column and better in one. It is on the second front if
    this is true after the rows of the first front are removed, and so on.
    """
    fronts = np.zeros(len(values), dtype=np.int64)
    left, number = np.arange(len(values)), 0
    while len(left):
        number += 1
        # Sorted by the first column, then by the others: only an earlier row can dominate.
        order = left[np.lexsort(-values[left].T[::-1])]
        front = np.empty((0, values.shape[1]))
        members = []
        for row in order:
            better = (front >= values[row]).all(1) & (front > values[row]).any(1)
            if not better.any():
                members.append(row)
                front = np.vstack([front, values[row]])
        fronts[members] = number
        left = np.setdiff1d(left, members)
    return fronts


def _diverse(sequences: list[str], number: int, threshold: float) -> list[int]:
    """Return the indices of at most ``number`` sequences, of which no two are too similar.

    The sequences are tried in order. A sequence is left out if its similarity to an earlier chosen
    sequence is at least ``threshold`` (0–1). If ``threshold`` is 1, no sequences are compared.
    """
    if threshold >= 1:
        return list(range(min(number, len(sequences))))
    chosen: list[int] = []
    start = 0
    while start < len(sequences) and len(chosen) < number:
        stop = min(start + NEW_COMPARED, len(sequences))
        rows = np.array([*chosen, *range(start, stop)])
        ordered = Sequences([sequences[row] for row in rows])
        pairs = [np.empty((2, 0), dtype=np.int64)]
        for one, other, _ in similar_pairs(ordered, ordered, threshold):
            pairs.append(np.sort(rows[ordered.order[np.stack([one, other])]], axis=0))
        earlier, later = np.concatenate(pairs, axis=1)
        by_row = np.argsort(later)
        earlier, later = earlier[by_row], later[by_row]
        is_chosen = np.zeros(stop, dtype=bool)
        is_chosen[chosen] = True
        for row in range(start, stop):
            first, last = np.searchsorted(later, [row, row + 1])
            if len(chosen) < number and not is_chosen[earlier[first:last]].any():
                is_chosen[row] = True
                chosen.append(row)
        start = stop
    return chosen


def _order_sheet(table: pd.DataFrame) -> pd.DataFrame:
    """Return the order sheet for a peptide supplier; the cells of purity and scale are empty."""
    ends = ends_of(table)
    return pd.DataFrame(
        {
            "name": table["id"],
            "sequence (N to C)": table["sequence"],
            "N-terminus": ["Ac (acetyl)" if end.acetylated else "H (free)" for end in ends],
            "C-terminus": ["NH2 (amide)" if end.amidated else "OH (free)" for end in ends],
            "length": table["length"],
            "molecular weight (Da)": table["molecular_weight"].round(2),
            "net charge (pH 7)": table["charge"].round(2) + 0.0,  # not −0
            "purity (%)": "",
            "scale (mg)": "",
            "synthesis warnings": table["synthesis_warnings"],
        }
    )


def _write_workbook(path: Path, sheet: pd.DataFrame, picked: Picked, call: str) -> None:
    """Write the order as an XLSX file; `UserError` is raised if openpyxl is not installed."""
    try:
        import openpyxl
    except ImportError:
        raise UserError(
            f"--output {path}: XLSX needs openpyxl, which is not installed (pip install openpyxl); "
            "or name a .csv"
        ) from None
    tooltips = column_tooltips()
    meanings = pd.DataFrame(
        [[name, tooltips.get(name, "column of the input")] for name in picked.table],
        columns=["column", "meaning"],
    )
    sheets = {
        "order": sheet,
        "columns": picked.table,
        "controls": picked.controls,
        "meanings": meanings,
        "call": pd.DataFrame({"call": [call, *picked.notes]}),
    }
    book = openpyxl.Workbook()
    book.remove(book.active)
    for name, frame in sheets.items():
        page = book.create_sheet(name)
        page.append([str(column) for column in frame.columns])
        for row in frame.astype(object).where(frame.notna(), None).itertuples(index=False):
            page.append([_cell(value) for value in row])
        for cells in page.iter_rows(min_row=2):
            for cell in cells:
                if isinstance(cell.value, str):
                    cell.data_type = "s"  # text is never a formula
        page.freeze_panes = "A2"
    with replacing(path) as temporary:
        _save_without_date(book, temporary)


def _save_without_date(book: Any, path: Path) -> None:
    """Save a workbook with a fixed date, so that the same content gives the same bytes."""
    content = io.BytesIO()
    book.save(content)
    with zipfile.ZipFile(content) as made, zipfile.ZipFile(path, "w") as file:
        for name in made.namelist():
            data = made.read(name)
            if name == "docProps/core.xml":
                data = re.sub(rb'(W3CDTF">)[^<]*', rb"\g<1>2000-01-01T00:00:00Z", data)
            entry = zipfile.ZipInfo(name, (2000, 1, 1, 0, 0, 0))
            file.writestr(entry, data, zipfile.ZIP_DEFLATED)


def _cell(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, int | float):
        return value
    return re.sub(r"[\x00-\x08\x0b\x0c\x0e-\x1f]", "", str(value))
