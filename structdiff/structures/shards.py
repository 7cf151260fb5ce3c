"""The missing peptides, divided into shards that jobs fold side by side.

A shard bears the hash of its peptides and of the cache folder that they go to as its name, so that
the same work has the same name in every run: two runs that miss the same peptides wait for each
other instead of folding them twice.

``write_plan`` writes ``plan.tsv`` (shard, sequence). Each shard's job ends by `settle`, which
writes ``shards/<name>.jsonl`` beside the plan: the failures of the shard, none as a rule.
"""

import csv
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from structdiff.structures.predictors import Failure
from structdiff.system.errors import UserError
from structdiff.system.files import write_text, write_tsv

__all__ = ["divide", "read_failures", "read_plan", "settle", "write_plan"]

_HEADER = ("shard", "sequence")


def divide(missing: Sequence[str], size: int, folder: str) -> dict[str, list[str]]:
    """Divide peptides into shards of equal work.

    Parameters
    ----------
    missing
        Sequences, sorted by length.
    size
        Peptides in a shard at most.
    folder
        Name of the cache folder.

    Returns
    -------
    dict
        Sequences of each shard, by its name. Each takes every n-th peptide, so that all have the
        same mixture of lengths.
    """
    count = math.ceil(len(missing) / size)
    parts = [list(missing[first::count]) for first in range(count)]
    return {_name(folder, part): part for part in parts}


def _name(folder: str, sequences: Sequence[str]) -> str:
    text = "\n".join([folder, *sorted(sequences)])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def write_plan(path: Path, shards: Mapping[str, Sequence[str]]) -> None:
    """Write a plan; no shard of it is settled, whatever an earlier plan has left beside it."""
    for left in _results(path).glob("*.jsonl"):
        left.unlink()
    rows = [(name, sequence) for name, part in shards.items() for sequence in part]
    write_tsv(path, _HEADER, rows)


def read_plan(path: Path) -> dict[str, list[str]]:
    """Return the sequences of each shard of a plan.

    Raises
    ------
    UserError
        If the file is missing or is no plan.
    """
    shards: dict[str, list[str]] = {}
    try:
        with path.open(newline="", encoding="ascii") as file:
            rows = csv.reader(file, delimiter="\t")
            if tuple(next(rows, ())) != _HEADER:
                raise ValueError("its first line is not that of a plan")
            for name, sequence in rows:
                shards.setdefault(name, []).append(sequence)
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path}: is no plan that `structdiff structures plan` wrote ({error}); make it anew"
        ) from None
    return shards


def settle(plan: Path, name: str, failures: Sequence[Failure]) -> None:
    """Write that a shard is done and what failed in it."""
    lines = (json.dumps(asdict(failure), sort_keys=True) + "\n" for failure in failures)
    write_text(_results(plan) / f"{name}.jsonl", "".join(lines))


def read_failures(plan: Path) -> list[Failure]:
    """Return the failures of all shards that are settled.

    Raises
    ------
    UserError
        If one of the plan is not.
    """
    failures = []
    for name in read_plan(plan):
        path = _results(plan) / f"{name}.jsonl"
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            raise UserError(
                f"{plan}: shard {name} is not folded yet; run `structdiff structures shard` for "
                "it, or let the workflow do it"
            ) from None
        failures += [Failure(**json.loads(line)) for line in lines]
    return failures


def _results(plan: Path) -> Path:
    return plan.parent / "shards"
