"""Descriptors of peptides for tables, computed from the sequence and its ends only.

``describe(sequences, ends)`` returns the descriptors by name; `COLUMNS` has each column's unit,
definition and source, for tables, tooltips and ``docs/columns.md``. `SYNTHESIS_RULES` has the
warnings about the chemical synthesis of peptides, with sources. Sequences have the 20 standard
residues.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from structdiff.protein.ends import FREE, Ends
from structdiff.protein.residues import AMINO_ACIDS

__all__ = [
    "COLUMNS",
    "DESCRIPTORS",
    "HYDROPHOBICITY",
    "SYNTHESIS_RULES",
    "Column",
    "SynthesisRule",
    "describe",
    "hydrophobic_moment",
    "hydrophobicity",
    "isoelectric_point",
    "length_likelihood",
    "molecular_weight",
    "net_charge",
    "residue_sum",
    "synthesis_warnings",
]

PH = 7.0

WATER = 18.01528
RESIDUE_MASSES = {
    "A": 71.0788, "R": 156.1875, "N": 114.1038, "D": 115.0886, "C": 103.1388,
    "Q": 128.1307, "E": 129.1155, "G": 57.0519, "H": 137.1411, "I": 113.1594,
    "L": 113.1594, "K": 128.1741, "M": 131.1926, "F": 147.1766, "P": 97.1167,
    "S": 87.0782, "T": 101.1051, "W": 186.2132, "Y": 163.1760, "V": 99.1326,
}  # fmt: skip
"""Average masses of residues in Da (IUPAC atomic weights)."""

ACETYL, AMIDE = 42.0367, -0.98476
"""Mass of N-terminal acetylation (+C2H2O) and C-terminal amidation (OH to NH2), Da."""

POSITIVE_PK = {"N-terminus": 9.38, "K": 10.67, "R": 12.10, "H": 6.04}
NEGATIVE_PK = {"C-terminus": 2.15, "D": 3.71, "E": 4.15, "C": 8.14, "Y": 10.10}
"""pKa of the charged groups (CRC Handbook of Chemistry and Physics, 96th edition)."""

HYDROPHOBICITY = dict(
    zip(
        "ARNDCQEGHILKMFPSTWYV",
        [
            *(0.62, -2.53, -0.78, -0.90, 0.29, -0.85, -0.74, 0.48, -0.40, 1.38),
            *(1.06, -1.50, 0.64, 1.19, 0.12, -0.18, -0.05, 0.81, 0.26, 1.08),
        ],
        strict=True,
    )
)
"""Consensus scale of Eisenberg et al., J. Mol. Biol. 179, 125 (1984)."""

TURN = math.radians(100)
"""Angle from one residue of an α-helix to the next."""

AGGREGATION = dict(
    zip(
        "IFVLYWMCATSPGKHQRNED",
        [
            *(1.822, 1.754, 1.594, 1.380, 1.159, 1.037, 0.910, 0.604, -0.036, -0.159),
            *(-0.294, -0.334, -0.535, -0.931, -1.033, -1.231, -1.240, -1.302, -1.412, -1.836),
        ],
        strict=True,
    )
)
"""Propensities (a3v) of AGGRESCAN (Conchillo-Solé et al., BMC Bioinformatics 8, 65, 2007).

The values are from de Groot et al., BMC Struct. Biol. 5, 18 (2005). They were compared with the
table of pymol-psico, which follows AGGRESCAN's server.
"""

HOT_SPOT, HOT_SPOT_RESIDUES = -0.02, 5


@dataclass(frozen=True)
class Column:
    """A column of the tables, with its documentation.

    Attributes
    ----------
    name
        Name in tables and in the conditions of `structdiff pick`.
    unit
        Unit; empty if it has none.
    definition
        What the column has and how it is computed, in one sentence.
    source
        Source of the definition or the values.
    """

    name: str
    unit: str
    definition: str
    source: str


COLUMNS = {
    column.name: column
    for column in (
        Column("length", "residues", "Number of residues.", "–"),
        Column(
            "molecular_weight",
            "Da",
            "Average mass of the neutral peptide, with its ends.",
            "IUPAC standard atomic weights",
        ),
        Column(
            "charge",
            "e",
            "Net charge at pH 7.0 (Henderson–Hasselbalch); acetylated and amidated ends have none.",
            "pKa: CRC Handbook of Chemistry and Physics, 96th edition",
        ),
        Column(
            "isoelectric_point",
            "pH",
            "pH at which the net charge is zero; 0 or 14 where it has one sign everywhere.",
            "pKa: CRC Handbook of Chemistry and Physics, 96th edition",
        ),
        Column(
            "hydrophobicity",
            "Eisenberg scale",
            "Mean hydrophobicity of the residues.",
            "consensus scale, Eisenberg et al., J. Mol. Biol. 179, 125 (1984)",
        ),
        Column(
            "hydrophobic_moment",
            "Eisenberg scale",
            "Length of the mean hydrophobic moment of an α-helix (100° a residue).",
            "Eisenberg et al., Nature 299, 371 (1982)",
        ),
        Column(
            "synthesis_warnings",
            "",
            "What may trouble the synthesis or the storage of the peptide; empty if nothing.",
            "the table of synthesis warnings",
        ),
    )
}


def molecular_weight(sequence: str, ends: Ends = FREE) -> float:
    """Return the average mass in Da of a peptide."""
    residues = sum(RESIDUE_MASSES[residue] for residue in sequence)
    return WATER + residues + ACETYL * ends.acetylated + AMIDE * ends.amidated


def net_charge(sequence: str, ph: float = PH, ends: Ends = FREE) -> float:
    """Return the net charge in e of a peptide at a pH."""
    counts = {residue: sequence.count(residue) for residue in "KRHDECY"}
    counts |= {"N-terminus": int(not ends.acetylated), "C-terminus": int(not ends.amidated)}
    positive = sum(counts[group] / (1 + 10 ** (ph - pk)) for group, pk in POSITIVE_PK.items())
    negative = sum(counts[group] / (1 + 10 ** (pk - ph)) for group, pk in NEGATIVE_PK.items())
    return positive - negative


def isoelectric_point(sequence: str, ends: Ends = FREE) -> float:
    """Return the pH from 0 to 14 at which the net charge is zero, by bisection to 0.001.

    If the charge is negative at every pH, the result is about 0; if it is positive, about 14.
    """
    low, high = 0.0, 14.0
    while high - low > 0.0005:
        middle = (low + high) / 2
        low, high = (middle, high) if net_charge(sequence, middle, ends) > 0 else (low, middle)
    return (low + high) / 2


def hydrophobic_moment(sequence: str) -> tuple[float, float]:
    """Return the mean hydrophobic moment of a sequence as an α-helix: a vector ``(x, y)``.

    Each residue has a vector, and the result is their mean. The length of a vector is the residue's
    value on the scale `HYDROPHOBICITY`. The vector of residue 1 points along y, and each next
    vector is rotated by `TURN` from the one before.
    """
    x = sum(HYDROPHOBICITY[a] * math.sin(i * TURN) for i, a in enumerate(sequence))
    y = sum(HYDROPHOBICITY[a] * math.cos(i * TURN) for i, a in enumerate(sequence))
    return x / len(sequence), y / len(sequence)


@dataclass(frozen=True)
class SynthesisRule:
    """A rule that warns of problems in the synthesis or storage of a peptide.

    Attributes
    ----------
    name
        Name of the warning in tables.
    reason
        Reason of the warning, in one sentence.
    source
        Publication or page.
    find
        Function that returns, as text, the places in a sequence where the rule applies; '' if none.
    needs_free_amine
        Whether the rule applies only to peptides with a free N-terminus.
    """

    name: str
    reason: str
    source: str
    find: Callable[[str], str]
    needs_free_amine: bool = False


def _matches(pattern: str) -> Callable[[str], str]:
    """Return a function that lists the matches of a pattern in a sequence, as ``DG3, DG9``.

    The number is the position of the match, from 1.
    """
    expression = re.compile(pattern)
    return lambda sequence: ", ".join(
        f"{match[0]}{match.start() + 1}" for match in expression.finditer(sequence)
    )


def _aggregation_prone(sequence: str) -> str:
    """Return the hot spots of AGGRESCAN with their positions from 1; '' if there are none.

    A hot spot is five or more consecutive residues, none of them proline, whose values are above
    `HOT_SPOT`. The value of a residue is the mean propensity in the window around it, which is 5
    residues wide, or up to 11 in peptides of more than 75 residues. A virtual charged residue is
    added at each end. A residue too close to an end for a full window has the value of the nearest
    residue with a full window.
    """
    length = len(sequence)
    width = 5 + 2 * sum(length > limit for limit in (75, 175, 300))
    if length + 2 < width:
        return ""
    values = np.array([AGGREGATION[letter] for letter in sequence])
    start = (AGGREGATION["K"] + AGGREGATION["R"]) / 2
    stop = (AGGREGATION["D"] + AGGREGATION["E"]) / 2
    padded = np.concatenate([[start], values, [stop]])
    means = np.convolve(padded, np.full(width, 1 / width), mode="valid")
    means = np.pad(means, width // 2 - 1, mode="edge")
    marked = "".join(
        "x" if mean > HOT_SPOT and residue != "P" else "-"
        for mean, residue in zip(means, sequence, strict=True)
    )
    return ", ".join(
        f"{sequence[match.start() : match.end()]}{match.start() + 1}"
        for match in re.finditer(f"x{{{HOT_SPOT_RESIDUES},}}", marked)
    )


SYNTHESIS_RULES = (
    SynthesisRule(
        "N-terminal Gln or Glu",
        "It cyclises to pyroglutamate, where the N-terminus is free.",
        "Yang, Side Reactions in Peptide Synthesis (Elsevier, 2016), chapter 6, as cited at "
        "https://www.peptide-tool.com/side-reaction/r/pyroglu-from-e.html",
        _matches("^[QE]"),
        needs_free_amine=True,
    ),
    SynthesisRule(
        "C-terminal Pro",
        "The last two residues leave the resin as a diketopiperazine.",
        "Yang, Side Reactions in Peptide Synthesis (Elsevier, 2016), chapter 1, as cited at "
        "https://www.peptide-tool.com/side-reaction/r/dkp.html",
        _matches("P$"),
    ),
    SynthesisRule(
        "C-terminal Cys",
        "It racemises and forms 3-(1-piperidinyl)alanine under Fmoc conditions.",
        "Mthembu et al., Solid-Phase Synthesis of C-Terminus Cysteine Peptide Acids (ACS, 2022); "
        "https://www.peptide-tool.com/side-reaction/r/cys-beta-elim-piperidine.html",
        _matches("C$"),
    ),
    SynthesisRule(
        "Asp-Gly",
        "It forms aspartimide, and from that isoaspartate and piperidides.",
        "https://www.iris-biotech.de/en/blog/"
        "a-systematic-comparison-of-different-methods-to-tackle-aspartimide-formation/",
        _matches("DG"),
    ),
    SynthesisRule(
        "Asn-Gly",
        "It deamidates to aspartate and isoaspartate.",
        "Yang, Side Reactions in Peptide Synthesis (Elsevier, 2016), chapter 6, as cited at "
        "https://www.peptide-tool.com/side-reaction/r/asn-gln-deamidation.html",
        _matches("NG"),
    ),
    SynthesisRule(
        "Asn-Pro",
        "The chain breaks behind the asparagine in ammonia, through a succinimide.",
        "Tarelli & Corran, J. Pept. Res. 61, 245 (2003), doi:10.1046/j.1399-3011.2003.00089.x",
        _matches("NP"),
    ),
    SynthesisRule(
        "Met, Cys or Trp",
        "It oxidises, in solution and when stored dry.",
        "https://aminocoreresearch.com/articles/oxidation-in-synthetic-peptides",
        _matches("[MCW]"),
    ),
    SynthesisRule(
        "run of hydrophobic residues",
        "Five or more in a row: the peptide dissolves badly; as a rule of thumb, every fifth "
        "residue should be charged.",
        "https://bitesizebio.com/50106/tips-for-peptide-synthesis/",
        _matches("[AVILMFWY]{5,}"),
    ),
    SynthesisRule(
        "aggregation-prone stretch",
        "A hot spot of AGGRESCAN: five or more residues whose mean propensity over a window of "
        "five is above −0.02, without proline.",
        "Conchillo-Solé et al., BMC Bioinformatics 8, 65 (2007), doi:10.1186/1471-2105-8-65",
        _aggregation_prone,
    ),
    SynthesisRule(
        "long",
        "More than 50 residues: purity and yield of the synthesis suffer.",
        "https://bitesizebio.com/50106/tips-for-peptide-synthesis/",
        lambda sequence: f"{len(sequence)} residues" if len(sequence) > 50 else "",
    ),
)
"""Every synthesis warning."""


def synthesis_warnings(sequence: str, ends: Ends = FREE) -> str:
    """Return the synthesis warnings for a peptide as one text, empty if there are none.

    An example is ``Asp-Gly (DG3); C-terminal Cys (C12)``.
    """
    found = (
        (rule.name, rule.find(sequence))
        for rule in SYNTHESIS_RULES
        if not (rule.needs_free_amine and ends.acetylated)
    )
    return "; ".join(f"{name} ({where})" for name, where in found if where)


def hydrophobicity(sequence: str) -> float:
    """Return the mean hydrophobicity of the residues, on the scale `HYDROPHOBICITY`."""
    return sum(HYDROPHOBICITY[residue] for residue in sequence) / len(sequence)


DESCRIPTORS: dict[str, Callable[[str, Ends], float]] = {
    "molecular_weight": molecular_weight,
    "charge": lambda sequence, ends: net_charge(sequence, PH, ends),
    "isoelectric_point": isoelectric_point,
    "hydrophobicity": lambda sequence, ends: hydrophobicity(sequence),
    "hydrophobic_moment": lambda sequence, ends: math.hypot(*hydrophobic_moment(sequence)),
}
"""Numbers that a model can be conditioned on, as functions of a sequence and its ends."""


def residue_sum(
    name: str, values: np.ndarray, lengths: np.ndarray, ends: Ends = FREE
) -> tuple[np.ndarray, np.ndarray, float] | None:
    """Return a descriptor as a sum over the residues: the term of each residue, and the sum.

    A peptide has the value in ``values`` if the terms of its residues add up to the sum. For the
    isoelectric point, the terms are the charges of the residues at the pH in ``values``. The sum is
    then minus the charge of the ends, so that the net charge is zero.

    Parameters
    ----------
    name
        Name of a property, such as one of `DESCRIPTORS`.
    values
        Value of the descriptor that each peptide should have, ``(peptides,)``.
    lengths
        Length of each peptide in residues, ``(peptides,)``.
    ends
        The ends of all peptides.

    Returns
    -------
    tuple[np.ndarray, np.ndarray, float] | None
        None if the property is not one of `DESCRIPTORS`. Otherwise three items: the term of each of
        the 20 residues, ``(peptides, 20)``; the sum of the terms over the sequence, without the
        contribution of the ends, ``(peptides,)``; and an angle in radians. With the angle 0, terms
        are added as numbers. With another angle, each term is the signed length of a vector, and
        the vector of each residue is rotated by the angle from the vector of the residue before.
        The second item is then the length of the sum of the vectors.
    """

    def of_residues(values: Mapping[str, float]) -> np.ndarray:
        return np.tile([values[residue] for residue in AMINO_ACIDS], (len(lengths), 1))

    match name:
        case "molecular_weight":
            return of_residues(RESIDUE_MASSES), values - molecular_weight("", ends), 0.0
        case "hydrophobicity":
            return of_residues(HYDROPHOBICITY), values * lengths, 0.0
        case "hydrophobic_moment":
            return of_residues(HYDROPHOBICITY), values * lengths, TURN
        case "charge" | "isoelectric_point":
            charge, ph = (values, PH) if name == "charge" else (0.0, values)
            ph = np.broadcast_to(ph, values.shape)
            of_ends = np.array([net_charge("", each, ends) for each in ph])
            parts = np.array([[net_charge(a, each, ends) for a in AMINO_ACIDS] for each in ph])
            return parts - of_ends[:, None], charge - of_ends, 0.0
    return None


def length_likelihood(weights: np.ndarray, count: int) -> np.ndarray:
    """Return the relative likelihood of each peptide length, given the molecular weight.

    The masses of the residues are taken as independent, with the mean and the standard deviation
    of the 20 residues; ends are free.

    Parameters
    ----------
    weights
        Molecular weights in Da, ``(weights,)``.
    count
        Number of lengths: 0 to ``count - 1`` residues.

    Returns
    -------
    np.ndarray
        Relative likelihoods, 0–1, ``(weights, count)``.
    """
    masses = np.array(list(RESIDUE_MASSES.values()))
    lengths = np.arange(count)
    excess = weights[:, None] - WATER - masses.mean() * lengths
    return np.exp(-0.5 * excess**2 / (masses.var() * np.maximum(lengths, 1)))


_DIGITS = {"isoelectric_point": 2, "hydrophobicity": 4, "hydrophobic_moment": 4}


def describe(sequences: Sequence[str], ends: Sequence[Ends] | None = None) -> dict[str, list]:
    """Return the descriptors of peptides: the columns of `COLUMNS` by name, with rounded values.

    Parameters
    ----------
    sequences
        Sequences of the 20 standard residues.
    ends
        Ends of each peptide; None if all are free.
    """
    peptides = list(zip(sequences, ends or [FREE] * len(sequences), strict=True))
    return {
        "length": [len(sequence) for sequence in sequences],
        **{
            name: [round(compute(s, e), _DIGITS.get(name, 3)) for s, e in peptides]
            for name, compute in DESCRIPTORS.items()
        },
        "synthesis_warnings": [synthesis_warnings(s, e) for s, e in peptides],
    }
