"""The amino-acid alphabet: the order of the 20 standard residues in all arrays.

``AMINO_ACIDS.index("A") == 0``; a sequence is encoded as ``uint8`` indices into that string.
"""

from collections.abc import Sequence

import numpy as np

__all__ = [
    "AMINO_ACIDS",
    "THREE_LETTER",
    "decode",
    "encode",
    "mutations",
    "offsets_of",
    "residues_of",
]

AMINO_ACIDS = "ACDEFGHIKLMNPQRSTVWY"

_NAMES = "ALACYSASPGLUPHEGLYHISILELYSLEUMETASNPROGLNARGSERTHRVALTRPTYR"
THREE_LETTER = {letter: _NAMES[3 * i : 3 * i + 3] for i, letter in enumerate(AMINO_ACIDS)}

_CODE = np.full(128, 255, dtype=np.uint8)
_CODE[np.frombuffer(AMINO_ACIDS.encode(), dtype=np.uint8)] = np.arange(20, dtype=np.uint8)
_LETTERS = np.frombuffer(AMINO_ACIDS.encode(), dtype=np.uint8)


def encode(sequence: str) -> np.ndarray:
    """Return the residue indices of a sequence, shape ``(length,)``, dtype uint8.

    Raises
    ------
    ValueError
        If the sequence has other letters than the 20 standard one-letter codes.
    """
    raw = np.frombuffer(sequence.encode("ascii", errors="replace"), dtype=np.uint8)
    codes = _CODE[np.minimum(raw, 127)]
    if (codes == 255).any():
        raise ValueError(f"not one of the 20 standard residues in {sequence!r}")
    return codes


def decode(codes: np.ndarray) -> str:
    """Return the one-letter sequence of residue indices, shape ``(length,)``."""
    return _LETTERS[np.asarray(codes, dtype=np.int64)].tobytes().decode()


def offsets_of(sequences: Sequence[str]) -> np.ndarray:
    """Return where each sequence starts in the concatenation of all, and where the last one ends.

    Returns
    -------
    np.ndarray
        Positions in residues, from 0, ``(sequences + 1,)`` int64; the last item is the total
        length.
    """
    return np.cumsum([0, *map(len, sequences)], dtype=np.int64)


def residues_of(offsets: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return the positions of the residues of some sequences in the concatenation of all sequences.

    ``offsets`` is the result of `offsets_of` for all sequences; ``rows`` are the indices of the
    sequences to look up, ``(sequences,)``. The result is ``(residues,)`` int64, in the order of
    ``rows``.
    """
    lengths = np.diff(offsets)[rows]
    ends = np.cumsum(lengths)
    return np.arange(lengths.sum()) + np.repeat(offsets[rows] - (ends - lengths), lengths)


def mutations(parent: str, sequence: str) -> list[str]:
    """Return the mutations from ``parent`` to ``sequence``, which has the same length.

    An example is ``K4R``: K at position 4 (counted from 1) becomes R.
    """
    return [
        f"{before}{position}{after}"
        for position, (before, after) in enumerate(zip(parent, sequence, strict=True), start=1)
        if before != after
    ]
