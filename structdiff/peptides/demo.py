"""The demo's peptides: real ones that the installed modlAMP carries.

``write_demo(path)`` unites the antimicrobial class of modlAMP's AMP set (2,600 peptides of APD3,
Wang et al. 2016) and the anticancer class of its ACP set (413 peptides of CancerPPD, Tyagi et al.
2015) into one CSV: ``id``, ``sequence``, ``antimicrobial``, ``anticancer``, ``source``. A 0 means
that the database of that label does not list the peptide, not that it was tested inactive.
"""

import csv
import importlib.util
from pathlib import Path

from structdiff.system.errors import UserError
from structdiff.system.files import replacing

__all__ = ["write_demo"]

SETS = {
    "antimicrobial": ("AMPvsUniProt.csv", "APD3"),
    "anticancer": ("ACP_CancPPD_vs_TM.csv", "CancerPPD"),
}
"""Label → modlAMP's file, and the database whose peptides are its class 1."""


def write_demo(path: Path) -> int:
    """Write the demo's table, atomically, and return how many peptides it holds.

    Raises
    ------
    UserError
        If modlAMP is not installed or ``path`` cannot be written.
    """
    folder = _modlamp_data()
    labels: dict[str, list[str]] = {}
    for label, (name, _) in SETS.items():
        for sequence in dict.fromkeys(_positives(folder / name)):  # some occur twice
            labels.setdefault(sequence, []).append(label)
    rows: list[list[object]] = [["id", "sequence", *SETS, "source"]]
    for number, (sequence, names) in enumerate(labels.items(), start=1):
        bits = [int(label in names) for label in SETS]
        sources = ";".join(SETS[label][1] for label in names)
        rows.append([f"demo{number:04d}", sequence, *bits, sources])
    try:
        with replacing(path) as temporary, temporary.open("w", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows(rows)
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror}") from None
    return len(labels)


def _modlamp_data() -> Path:
    """Return the folder of modlAMP's tables; the package, slow to import, is not imported."""
    spec = importlib.util.find_spec("modlamp")
    if spec is None or spec.origin is None:
        raise UserError(
            "the demo's peptides come with the package modlAMP, which is not installed: "
            "`pip install modlamp`"
        )
    return Path(spec.origin).parent / "data"


def _positives(path: Path) -> list[str]:
    """Return the sequences of class 1 of one of modlAMP's tables (no header, `sequence, class`)."""
    with path.open(newline="") as file:
        next(file)  # number of peptides, of features, names of the classes 0 and 1
        rows = list(csv.reader(file, skipinitialspace=True))
    return [sequence.strip() for sequence, target in rows if target.strip() == "1"]
