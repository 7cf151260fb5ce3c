"""Shards of a large generation: parts of its designs, each drawn by a separate job.

Each shard has a part of the designs of every set. The name of a shard (`shard_names`) is a hash of
the settings, the place of the shard (its index, from 0) and the number of shards. The job of a
shard saves the designs in ``shards/<name>.jsonl`` (`write_shard`), and `read_shard` reads them.
"""

import hashlib
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from structdiff.generation import journal
from structdiff.generation.journal import Drawn
from structdiff.system.errors import UserError
from structdiff.system.files import replacing

if TYPE_CHECKING:
    from structdiff.config import Generation

__all__ = ["part_of", "read_shard", "shard_file", "shard_names", "write_shard"]


def shard_names(settings: "Generation") -> list[str]:
    """Return the names of the shards, in the order of their places.

    The list is empty if a set has at most ``shard_size`` designs: one job then draws all sets.
    """
    count = math.ceil(settings.num_samples / settings.shard_size)
    if count == 1:
        return []
    wanted = json.dumps(settings.deciding(), sort_keys=True)
    texts = (f"{wanted} {place} of {count}" for place in range(count))
    return [hashlib.sha256(text.encode()).hexdigest()[:16] for text in texts]


def shard_file(output_dir: Path, name: str) -> Path:
    """Return the path of a shard's file in the folder of designs ``output_dir``."""
    return output_dir / "shards" / f"{name}.jsonl"


def part_of(lengths: np.ndarray, place: int, count: int) -> np.ndarray:
    """Return which designs of a set belong to a shard: their indices, by increasing length.

    The shard draws them in this order. All shards have about the same number of residues.
    ``lengths`` has the length of each design of the set in residues, ``(designs,)``. ``place`` is
    the index of the shard, and ``count`` the number of shards. Indices start at 0.
    """
    order = np.argsort(lengths, kind="stable")
    residues = np.cumsum(lengths[order])
    total = residues[-1] if len(residues) else 0
    first, last = np.searchsorted(residues, total * np.arange(place, place + 2) / count, "right")
    return order[first:last]


def write_shard(path: Path, identity: str, records: Sequence[dict[int, Drawn]]) -> None:
    """Write the designs of a shard into the file ``path``.

    ``identity`` is everything that determines the designs, as text. ``records`` has, for each set,
    the shard's designs by number, in the order in which they were drawn.
    """
    with replacing(path) as temporary, temporary.open("w", encoding="ascii") as file:
        journal.append(file, {"settings": identity})
        for place, drawn in enumerate(records):
            for number, record in drawn.items():
                journal.append(file, {"set": place, "number": number, **record.to_json()})


def read_shard(path: Path, identity: str, numbers: Sequence[np.ndarray]) -> list[dict[int, Drawn]]:
    """Read a shard's file: return, for each set, a dictionary of the shard's designs by number.

    Parameters
    ----------
    path, identity
        The shard's file, and everything that determines the designs, as in `write_shard`.
    numbers
        For each set, the numbers of the shard's designs, as `part_of` returns them.

    Raises
    ------
    UserError
        If the file is missing or damaged, was written with another ``identity``, or does not have
        exactly the designs ``numbers``.
    """
    header, *lines = (journal.read_lines(path) if path.exists() else []) or [{}]
    records: list[dict[int, Drawn]] = [{} for _ in numbers]
    if header.get("settings") == identity:
        for line in lines:
            records[line["set"]][line["number"]] = Drawn.from_json(line)
    if any(list(drawn) != wanted.tolist() for drawn, wanted in zip(records, numbers, strict=True)):
        raise UserError(
            f"{path}: has not the designs of this shard: it is missing or damaged, or is of other "
            "settings or another model. Remove it, and draw the shard again with `structdiff "
            "design shard` (the workflow does it)"
        )
    return records
