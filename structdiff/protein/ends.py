"""Ends of a peptide: free, or with N-terminal acetylation or C-terminal amidation.

``split_ends(text)`` removes the marks of the ends from a sequence (``Ac-KLLK-NH2``);
``read_ends(cells)`` reads them from the cells of a table, in the spellings of DBAASP and DRAMP.
Peptides that the two flags of `Ends` cannot represent (lipids, cycles, D residues) are rejected
with a reason.
"""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["FLAGS", "FREE", "Ends", "end_columns", "ends_of", "identity", "read_ends", "split_ends"]

FLAGS = ("acetylated", "amidated")
"""Names of the two modifications of an end, as columns of 0 and 1 and as labels."""


@dataclass(frozen=True)
class Ends:
    """The ends of a peptide.

    Attributes
    ----------
    acetylated
        Whether the N-terminus is acetylated.
    amidated
        Whether the C-terminus is an amide.
    """

    acetylated: bool = False
    amidated: bool = False

    def __or__(self, other: "Ends") -> "Ends":
        return Ends(self.acetylated or other.acetylated, self.amidated or other.amidated)

    @property
    def header(self) -> str:
        """The flags as fields of a FASTA header, such as `` amidated=1``; '' if both are free."""
        return "".join(f" {flag}=1" for flag in FLAGS if getattr(self, flag))

    def marked(self, sequence: str) -> str:
        """Return a sequence with the marks of these ends, such as ``Ac-KLLK-NH2``."""
        return "Ac-" * self.acetylated + sequence + "-NH2" * self.amidated


FREE = Ends()

_N_MARK = re.compile(r"^[(\[]?(?:(ac|acetyl|ace|act)|h|h2n|nh2|nh3\+?)[)\]]?-", re.IGNORECASE)
_C_MARK = re.compile(r"-[(\[]?(?:(nh2|conh2|amide|amd|am)|oh|cooh|co2h)[)\]]?$", re.IGNORECASE)
_OF_RESIDUES = re.compile("-?[ACDEFGHIKLMNPQRSTVWY]{1,2}-?")

_COLUMNS = {
    "n": ("nterminus", "nterminalmodification", "nterm", "nterminal"),
    "c": ("cterminus", "cterminalmodification", "cterm", "cterminal"),
    "acetylated": ("acetylated", "acetylation", "act"),
    "amidated": ("amidated", "amidation", "amd"),
    "shape": ("linearcyclicbranched",),
    "chains": ("complexity",),
    "chirality": ("stereochemistry",),
}
"""Names of columns in DBAASP, DRAMP and other tables, in the form that `_letters` returns. The keys
say what the columns describe."""

_KIND = {name: kind for kind, names in _COLUMNS.items() for name in names}

_NOTHING = {"", "0", "00", "false", "no", "none", "free", "na", "nan", "null", "unmodified"}
_NOTHING |= {"unknown"}
_MODIFIED = {"1", "10", "true", "yes"}
_ACETYLATED = _MODIFIED | {"ac", "ace", "act", "acetyl", "acetylated", "acetylation"}
_AMIDATED = _MODIFIED | {"amd", "am", "amide", "amidated", "amidation", "nh2", "conh2", "amidenh2"}
_FREE_AMINE = {"h", "h2n", "nh2", "nh3", "freeamine"}
_FREE_ACID = {"oh", "cooh", "co2h", "freeacid"}
_L = {"l", "alll", "lform", "lconfiguration", "laminoacids"}
_NOT_LINEAR = ("cycl", "branch", "stapl")


def split_ends(text: str) -> tuple[str, Ends]:
    """Return a sequence without the marks of its ends (``Ac-``, ``H-``, ``-NH2``), and the ends.

    ``AC-``, ``H-`` and ``-AM`` may also be residues and a gap: they count as marks only if the
    other end is marked too, and else stay in the sequence.
    """
    text = text.strip()
    first, last = _N_MARK.search(text), _C_MARK.search(text)
    if (mark := first or last) and not (first and last) and _OF_RESIDUES.fullmatch(mark[0]):
        return text, FREE
    core = text[first.end() if first else 0 : last.start() if last else None]
    return core, Ends(bool(first and first[1]), bool(last and last[1]))


def ends_of(table: "pd.DataFrame") -> list[Ends]:
    """Return the ends of each peptide of a table, from the columns `FLAGS`.

    An end is free where its column is missing or has no value.
    """
    flags = [
        table[flag].eq(True).fillna(False).astype(bool).tolist()
        if flag in table
        else [False] * len(table)
        for flag in FLAGS
    ]
    return [Ends(*each) for each in zip(*flags, strict=True)]


def identity(table: "pd.DataFrame") -> list[str]:
    """Return the names of the columns that identify a peptide in a table: sequence and ends."""
    return ["sequence", *(flag for flag in FLAGS if flag in table)]


def end_columns(names: Iterable[str], certain: Collection[str] = ()) -> list[str]:
    """Return the column names in ``names`` that describe ends, cycles or D residues.

    ``ACT`` may also be an activity: it counts only next to ``AMD``, or if it is in ``certain``.
    """
    letters = {name: _letters(name) for name in names}
    is_pair = "amd" in letters.values()
    return [
        name
        for name, key in letters.items()
        if key in _KIND and (key != "act" or is_pair or name in certain)
    ]


def read_ends(cells: Mapping[str, str]) -> tuple[Ends, str]:
    """Return the ends of a row, and the reason why the row is rejected (empty if it is usable).

    Parameters
    ----------
    cells
        Text of the row by column name, for the columns that `end_columns` returns.
    """
    ends = FREE
    for column, text in cells.items():
        kind, value = _KIND[_letters(column)], re.sub(r"[^a-z0-9]", "", text.lower())
        is_n, is_c = kind in ("n", "acetylated"), kind in ("c", "amidated")
        if kind in FLAGS and value in ("y", "n"):  # in the column of an end, these are residues
            value = "yes" if value == "y" else "no"
        is_said = value not in _NOTHING and not value.startswith("not")
        is_linear = value.startswith("linear") and not any(word in value for word in _NOT_LINEAR)
        if is_n and value in _ACETYLATED:
            ends |= Ends(acetylated=True)
        elif is_c and value in _AMIDATED:
            ends |= Ends(amidated=True)
        elif is_said and (
            (is_n and value not in _FREE_AMINE)
            or (is_c and value not in _FREE_ACID)
            or (kind == "shape" and not is_linear)
            or (kind == "chirality" and value not in _L)
            or (kind == "chains" and value != "monomer" and value.endswith(("mer", "multipeptide")))
        ):
            what = {"n": "acetylation of the N-terminus", "c": "amidation of the C-terminus"}
            which = what["n"] if is_n else what["c"] if is_c else "a linear chain of L residues"
            return FREE, f"{column} '{text.strip()[:60]}': only {which} can be represented"
    return ends, ""


def _letters(name: str) -> str:
    """Return the letters a to z of a column's name in lower case, without all other characters."""
    return re.sub(r"[^a-z]", "", name.lower())
