"""Plan of a prediction: the missing peptides, divided into shards for parallel jobs.

The name of a shard is a hash of its sequences and of the name of the cache folder, so that the same
work has the same name in every run. If two runs need the same shard at the same time, one folds it
and the other waits.

`write_plan` writes ``plan.tsv`` (columns shard and sequence), and `read_plan` verifies it. The job
of a shard ends with `settle`, which writes the shard's failures to ``shards/<name>.jsonl`` next to
the plan.
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from structdiff.structures.predictors import Failure
from structdiff.system.errors import UserError
from structdiff.system.files import write_text

__all__ = ["divide", "read_failures", "read_plan", "settle", "write_plan"]


def divide(missing: Sequence[str], size: int, folder: str) -> dict[str, list[str]]:
    """Divide peptides into shards of about equal work.

    Parameters
    ----------
    missing
        Sequences to predict, sorted by length.
    size
        Largest number of peptides in a shard.
    folder
        Name of the cache folder.

    Returns
    -------
    dict
        Sequences of each shard by the shard's name. With n shards, each has every n-th peptide, so
        that all shards have the same mixture of lengths.
    """
    count = math.ceil(len(missing) / size)
    parts = [list(missing[first::count]) for first in range(count)]
    return {_name(folder, part): part for part in parts}


def _name(folder: str, sequences: Sequence[str]) -> str:
    text = "\n".join([folder, *sorted(sequences)])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def write_plan(path: Path, shards: Mapping[str, Sequence[str]]) -> None:
    """Write a plan, the sequences of each shard by its name, to ``path``.

    The failures that the shards of an earlier plan have written next to it are removed.
    """
    for left in _results(path).glob("*.jsonl"):
        left.unlink()
    rows = "".join(f"{name}\t{sequence}\n" for name, part in shards.items() for sequence in part)
    write_text(path, f"{_header(rows)}\n{rows}")


def read_plan(path: Path) -> dict[str, list[str]]:
    """Return the sequences of each shard of a plan, by the shard's name.

    Raises
    ------
    UserError
        If the file is missing, damaged or not a plan.
    """
    try:
        header, _, rows = path.read_bytes().decode("ascii").partition("\n")
        if header != _header(rows):
            raise ValueError("its checksum does not match: it was changed, cut off or damaged")
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path}: is not a whole plan of `structdiff structures plan` ({error}); make it again "
            "(the workflow: with `--forcerun plan_folding`)"
        ) from None
    shards: dict[str, list[str]] = {}
    for row in rows.splitlines():
        name, _, sequence = row.partition("\t")
        shards.setdefault(name, []).append(sequence)
    return shards


def _header(rows: str) -> str:
    """Return the first line of a plan: column names and a checksum of the other lines.

    ``rows`` is the text of the other lines.
    """
    return f"shard\tsequence\tsha256:{hashlib.sha256(rows.encode()).hexdigest()}"


def settle(plan: Path, name: str, failures: Sequence[Failure]) -> None:
    """Mark a shard as done by writing the file of its failures, which is empty if it has none."""
    lines = (json.dumps(asdict(failure), sort_keys=True) + "\n" for failure in failures)
    write_text(_results(plan) / f"{name}.jsonl", "".join(lines))


def read_failures(plan: Path) -> list[Failure]:
    """Return the failures of all shards of a plan.

    Raises
    ------
    UserError
        If a shard is not done yet, or the plan or a file of failures is damaged or missing.
    """
    failures = []
    for name in read_plan(plan):
        path = _results(plan) / f"{name}.jsonl"
        try:
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        except FileNotFoundError:
            raise UserError(
                f"{plan}: shard {name} is not folded yet; run `structdiff structures shard` for "
                "it, or let the workflow do it"
            ) from None
        try:
            failures += [Failure(**json.loads(line)) for line in lines]
        except (ValueError, TypeError):
            raise UserError(f"{path}: is damaged; remove it, and fold the shard again") from None
    return failures


def _results(plan: Path) -> Path:
    return plan.parent / "shards"
