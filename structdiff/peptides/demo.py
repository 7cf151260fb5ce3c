"""Peptides of the demo: real peptides that come with the package modlAMP.

``write_demo(path)`` writes the antimicrobial class of modlAMP's AMP set (APD3, Wang et al. 2016)
and the anticancer class of its ACP set (CancerPPD, Tyagi et al. 2015), without duplicates, as one
CSV: ``id``, ``sequence``, ``antimicrobial``, ``anticancer``, ``source``. A 0 means that the
database of that label does not list the peptide, not that it was tested inactive.
"""

import csv
import importlib.util
from pathlib import Path

from structdiff.system.errors import UserError
from structdiff.system.files import replacing

__all__ = ["SETS", "demo_peptides", "write_demo"]

SETS = {
    "antimicrobial": ("AMPvsUniProt.csv", "APD3"),
    "anticancer": ("ACP_CancPPD_vs_TM.csv", "CancerPPD"),
}
"""For each label: modlAMP's file, and the database from which the file's class 1 comes."""


def write_demo(path: Path) -> int:
    """Write the demo's table atomically, and return its number of peptides.

    Raises
    ------
    UserError
        If modlAMP is not installed. `replacing` explains the errors of writing.
    """
    rows = demo_peptides()
    with replacing(path) as temporary, temporary.open("w", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
    return len(rows)


def demo_peptides() -> list[dict[str, object]]:
    """Return the rows of the demo's table, with the columns that the module lists.

    Raises
    ------
    UserError
        If modlAMP is not installed.
    """
    folder = _modlamp_data()
    labels: dict[str, list[str]] = {}
    for label, (name, _) in SETS.items():
        for sequence in dict.fromkeys(_positives(folder / name)):  # some occur twice
            labels.setdefault(sequence, []).append(label)
    return [
        {
            "id": f"demo{number:04d}",
            "sequence": sequence,
            **{label: int(label in names) for label in SETS},
            "source": ";".join(SETS[label][1] for label in names),
        }
        for number, (sequence, names) in enumerate(labels.items(), start=1)
    ]


def _modlamp_data() -> Path:
    """Return the folder of modlAMP's tables, without importing it (it is slow to import)."""
    spec = importlib.util.find_spec("modlamp")
    if spec is None or spec.origin is None:
        raise UserError(
            "the demo's peptides come with the package modlAMP, which is not installed: "
            "`pip install modlamp`"
        )
    return Path(spec.origin).parent / "data"


def _positives(path: Path) -> list[str]:
    """Return the sequences of class 1 in one of modlAMP's tables (rows of `sequence, class`)."""
    with path.open(newline="") as file:
        next(file)  # the first line: numbers of peptides and features, names of classes 0 and 1
        rows = list(csv.reader(file, skipinitialspace=True))
    return [sequence.strip() for sequence, target in rows if target.strip() == "1"]
