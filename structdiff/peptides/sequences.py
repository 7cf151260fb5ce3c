"""Standard form of sequences, the same in every command.

``standardiser(data)`` returns a function that turns a sequence of a file into its standard form, or
returns the reason why that is impossible; `structdiff.peptides.table` then rejects the row.
``standard_sequence(text)`` reads a sequence from the command line and checks its letters.
``bare_sequence(text)`` reads a sequence without this check. ``read_sequences(path, key)`` reads a
FASTA or a table of peptides.
"""

import re
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from structdiff.peptides.formats import read_table
from structdiff.protein.ends import Ends
from structdiff.protein.residues import AMINO_ACIDS, THREE_LETTER
from structdiff.system.errors import UserError
from structdiff.system.files import harmless

if TYPE_CHECKING:
    from structdiff.config import Data

__all__ = [
    "bare_sequence",
    "check_alphabet",
    "not_letters",
    "read_sequences",
    "standard_sequence",
    "standardiser",
]

LONGEST = 10_000
"""Longest sequence for `standard_sequence` and `read_sequences`, in residues."""

_NONSTANDARD = re.compile(f"[^{AMINO_ACIDS}]")
_D_RESIDUES = re.compile(f"[{AMINO_ACIDS.lower()}]")
_CODE = f"(?:{'|'.join(THREE_LETTER.values())})"
_THREE_LETTER_CODES = re.compile(
    rf"{_CODE}(?:[\s–-]+{_CODE})+|(?:{_CODE}){{3,}}", re.IGNORECASE | re.ASCII
)
_NUCLEOTIDES = re.compile("[ACGTN]+")
FEWEST_NUCLEOTIDES = 50
"""Sequences of only A, C, G, T and N are taken for DNA if they have at least this total length."""


def standardiser(data: "Data") -> Callable[[str], tuple[str, str]]:
    """Return a function from a sequence to its standard form and the reason for rejection.

    The reason is empty for a usable sequence; the standard form is empty for a rejected sequence.

    The standard form is upper case, without white space, invisible characters and stop signs at
    the end. Lower-case letters in an upper-case sequence mean D residues: the sequence is rejected,
    unless ``data.residue_map`` replaces them. A sequence without upper-case letters is read as L
    residues.
    """
    shortest, longest = data.min_length, data.max_length
    mapping: dict[int, str] = {}
    if data.nonstandard == "map":
        mapping = {
            ord(letter): replacement
            for key, replacement in data.residue_map.items()
            for letter in ({key} if _D_RESIDUES.match(key) else {key.upper(), key.lower()})
        }

    def standardise(raw: str) -> tuple[str, str]:
        if reason := not_letters(raw):
            return "", reason
        sequence = bare_sequence(raw)
        if mapping:
            sequence = sequence.translate(mapping)
        length = len(sequence)
        if not length:
            return "", "the sequence is empty"
        if length < shortest:
            return "", f"length {length}, below data.min_length {shortest}"
        if length > longest:
            return "", f"length {length}, above data.max_length {longest}"
        if _NONSTANDARD.search(sequence) is None:
            return sequence, ""
        return "", _reason(sequence, bool(mapping))

    return standardise


def bare_sequence(raw: str) -> str:
    """Return a sequence without white space, invisible characters and stop signs at the end.

    A sequence without upper-case letters is returned in upper case. The letters are not checked.
    """
    sequence = "".join(raw.split())
    if not sequence.isascii():
        sequence = "".join(c for c in sequence if unicodedata.category(c) != "Cf")
    sequence = sequence.rstrip("*")
    # Outside of ASCII, ß, ſ and ı would become residues.
    return sequence.upper() if sequence.isascii() and sequence.islower() else sequence


def not_letters(raw: str) -> str:
    """Return why a text does not have one letter for each residue; '' if it may have."""
    if _THREE_LETTER_CODES.fullmatch(raw.strip()):
        return "three-letter codes of residues; write one letter for each residue"
    return ""


def _reason(sequence: str, mapped: bool) -> str:
    """Return the reason for rejection: the residues that are not among the 20.

    ``mapped`` says whether ``data.residue_map`` was applied to the sequence.
    """
    letters = sequence.upper() if sequence.isascii() else sequence
    others = sorted(set(_NONSTANDARD.findall(letters)))
    if not others:
        lower = sorted(set(_D_RESIDUES.findall(sequence)))
        pairs = ", ".join(f"{letter}: {letter.upper()}" for letter in lower)
        return (
            f"lower case, which means D or modified residues: {', '.join(lower)}; to read them as "
            "usual ones, set "
            f"data.nonstandard to map and data.residue_map to {{{pairs}}}"
        )
    shown = ", ".join(c if c.isprintable() else f"U+{ord(c):04X}" for c in others[:5])
    shown += " and others" if len(others) > 5 else ""
    reason = f"not one of the 20 standard residues: {shown}"
    return reason + (", which data.residue_map does not replace" if mapped else "")


def standard_sequence(text: str) -> str:
    """Return the standard form of a sequence from the command line.

    Raises
    ------
    UserError
        If the sequence is empty, longer than `LONGEST`, or not in the 20 one-letter codes.
    """
    sequence, reason = standardiser(_any_length())(text)
    if reason:
        raise UserError(_with_position(text, reason))
    return sequence


def _with_position(raw: str, reason: str) -> str:
    """Return a message: the sequence, its first letter that is not a residue, and the reason."""
    sequence = "".join(raw.split())
    letters = sequence.upper() if sequence.islower() and sequence.isascii() else sequence
    match = _NONSTANDARD.search(letters)
    where = f"'{match[0]}' at position {match.start() + 1}: " if match else ""
    return f"{harmless(sequence[:60]) or 'empty text'}: {where}{reason.split('; to read them')[0]}"


def check_alphabet(sequences: Sequence[str], place: str) -> None:
    """Raise `UserError` if most of the sequences seem to be DNA, whose letters are residues too.

    ``place`` names the file or files, for the message.
    """
    dna = [sequence for sequence in sequences if _NUCLEOTIDES.fullmatch(sequence)]
    if 2 * len(dna) > len(sequences) and sum(map(len, dna)) >= FEWEST_NUCLEOTIDES:
        raise UserError(
            f"{place}: {len(dna)} of {len(sequences)} sequences consist of A, C, G, T and N alone, "
            f"such as {dna[0][:30]}: they seem to be DNA; give their translation"
        )


def _any_length(path: str | None = None) -> "Data":
    from structdiff.config import Data

    return Data(path=path, min_length=1, max_length=LONGEST)


def read_sequences(path: Path, key: str) -> tuple[list[str], list[str], list[Ends]]:
    """Return ids, standard sequences and ends from a FASTA, or a table with id and sequence.

    A sequence without an id is named ``peptide_<number>``, counted from 1.

    Parameters
    ----------
    path
        The file.
    key
        Name of the command that reads the file, for messages.

    Raises
    ------
    UserError
        If the file cannot be read, a peptide cannot be represented (with its line), two sequences
        have the same id, or most sequences seem to be DNA.
    """
    data = _any_length(str(path))
    table = read_table(path, data, key)
    for broken in table.broken:
        raise UserError(f"{path}, {table.unit} {broken.line}: {broken.reason}")
    standardise = standardiser(data)
    ids, sequences = [], []
    places: dict[str, int] = {}
    for row, raw in enumerate(table.sequences):
        sequence, reason = standardise(raw)
        if reason:
            raise UserError(f"{table.at(row)}: {_with_position(raw, reason)}")
        if row in table.refused:
            raise UserError(f"{table.at(row)}: {table.refused[row]}")
        name = (table.ids[row].strip() if table.ids else "") or f"peptide_{row + 1}"
        if name in places:
            raise UserError(
                f"{table.at(row)}: the id '{name}' is in {table.unit} {places[name]} too"
            )
        places[name] = table.places[row]
        ids.append(name)
        sequences.append(sequence)
    check_alphabet(sequences, str(path))
    return ids, sequences, table.ends
