"""Shards of a large generation: its designs, divided among many jobs.

Each shard has a part of every set, in the order of drawing. Its name (`shard_names`) is the hash of
the settings and of its place. The job of a shard saves its designs in ``shards/<name>.jsonl``
(`write_shard`), and `read_shard` reads them.
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
    """Return the name of each shard; an empty list if one job draws all designs."""
    count = math.ceil(settings.num_samples / settings.shard_size)
    if count == 1:
        return []
    wanted = json.dumps(settings.deciding(), sort_keys=True)
    texts = (f"{wanted} {place} of {count}" for place in range(count))
    return [hashlib.sha256(text.encode()).hexdigest()[:16] for text in texts]


def shard_file(output_dir: Path, name: str) -> Path:
    """Return the file of a shard's designs."""
    return output_dir / "shards" / f"{name}.jsonl"


def part_of(lengths: np.ndarray, place: int, count: int) -> np.ndarray:
    """Return the numbers of a set's designs in a shard, in the order of drawing.

    All shards have about the same number of residues.

    Parameters
    ----------
    lengths
        Residues of each design of the set, ``(designs,)``.
    place, count
        The shard's place, from 0, and the number of shards.
    """
    order = np.argsort(lengths, kind="stable")
    residues = np.cumsum(lengths[order])
    total = residues[-1] if len(residues) else 0
    first, last = np.searchsorted(residues, total * np.arange(place, place + 2) / count, "right")
    return order[first:last]


def write_shard(path: Path, identity: str, records: Sequence[dict[int, Drawn]]) -> None:
    """Write the designs of a shard.

    Parameters
    ----------
    path
        The file.
    identity
        Everything that determines the designs, as text.
    records
        Designs of each set, by number, in the order of drawing.
    """
    with replacing(path) as temporary, temporary.open("w", encoding="ascii") as file:
        journal.append(file, {"settings": identity})
        for place, drawn in enumerate(records):
            for number, record in drawn.items():
                journal.append(file, {"set": place, "number": number, **record.to_json()})


def read_shard(path: Path, identity: str, numbers: Sequence[np.ndarray]) -> list[dict[int, Drawn]]:
    """Return the designs of a shard, as `write_shard` takes them.

    Parameters
    ----------
    path, identity
        As in `write_shard`.
    numbers
        Numbers of the shard's designs of each set, in the order of drawing.

    Raises
    ------
    UserError
        If the file is missing or damaged, or has designs of other settings or another model.
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
