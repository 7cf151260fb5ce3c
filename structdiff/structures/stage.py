"""The structures stage: a structure for every peptide, from the cache or from the predictor.

``run(config, peptides, output_dir)`` writes ``index.parquet`` (which file holds which peptide),
``summary.tsv``, ``failed.tsv`` and ``without_structure.tsv``. Only structures that the cache lacks
are predicted. A peptide without a structure is not an error: the peptide is listed, and training
uses only its sequence.

The workflow does the same in three steps, so that many jobs fold in parallel: `make_plan`, then
`run_shard` for each shard of the plan, then `run` with the plan. Given a plan, `run` predicts
nothing.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from structdiff.structures import shards
from structdiff.structures.cache import Cache
from structdiff.structures.fold import Plan, fold, plan
from structdiff.structures.index import write_index
from structdiff.structures.predictors import Failure, Predictor, make_predictor
from structdiff.system.errors import UserError, counted
from structdiff.system.files import write_tsv

if TYPE_CHECKING:
    from structdiff.config import Config

__all__ = ["collect", "make_plan", "run", "run_shard"]

_CHAIN = re.compile(r"chain '[^']*': ")
_NUMBER = re.compile(r"\b\d+(\.\d+)?\b")

SUMMARY = ("what", "value")
"""Columns of ``summary.tsv``."""

BASELINE_NOTE = "a baseline from the sequence, not a prediction: no pLDDT"


def make_plan(config: "Config", peptides: Path, plan_file: Path) -> None:
    """Write the plan: the peptides that the cache lacks, divided into shards.

    Parameters
    ----------
    config
        The configuration; uses ``structures`` and ``data.use_predicted_structures``.
    peptides
        Path of ``peptides.parquet``.
    plan_file
        The plan to write (TSV, see `structdiff.structures.shards`).

    Raises
    ------
    UserError
        If the peptides cannot be read, the predictor cannot be used, or the cache or the plan
        cannot be written to.
    """
    divided: dict[str, list[str]] = {}
    if config.data.use_predicted_structures:
        _, sequences = _read(peptides)
        predictor = make_predictor(config)
        cache = Cache(config.structures.cache, predictor.key)
        planned = plan(cache, predictor, sequences)
        _announce(planned, cache, predictor, len(sequences))
        divided = _divide(config, cache, predictor, planned.missing)
    shards.write_plan(plan_file, divided)
    print(f"structures: {counted(len(divided), 'shard')} planned", flush=True)


def run_shard(config: "Config", plan_file: Path, name: str) -> None:
    """Fold the shard ``name`` of a plan into the cache, and write its failures next to the plan.

    Raises
    ------
    UserError
        If the plan cannot be read or has no such shard, the predictor cannot be used, or the cache
        cannot be written to.
    """
    try:
        sequences = shards.read_plan(plan_file)[name]
    except KeyError:
        raise UserError(f"{plan_file}: has no shard {name}") from None
    predictor = make_predictor(config)
    failures = fold(Cache(config.structures.cache, predictor.key), predictor, name, sequences)
    for failure in failures:
        if failure.kind == "failed":
            who = failure.source or failure.sequence
            print(f"structures: {who} failed: {failure.reason}", flush=True)
    shards.settle(plan_file, name, failures)


def run(
    config: "Config",
    peptides: Path,
    output_dir: Path,
    plan_file: Path | None = None,
) -> None:
    """Collect a structure for every peptide of a ``peptides.parquet``.

    ``peptides`` is the path of this file; `collect` explains the other parameters and the errors. A
    `UserError` is also raised if more peptides and files failed than ``structures.max_failures``
    allows; all files are written first.
    """
    failed = collect(config, *_read(peptides), output_dir, plan_file)
    allowed = config.structures.max_failures
    if len(failed) > allowed:
        first = failed[0]
        raise UserError(
            f"{len(failed)} failed to give a structure, and structures.max_failures allows "
            f"{allowed}; the first: {first.source or first.sequence}: {first.reason}. All are "
            f"named in {output_dir / 'failed.tsv'}; everything else is saved. Repair or remove "
            "what failed and run again (the workflow: with `--forcerun plan_folding`), or set "
            "structures.max_failures higher"
        )


def collect(
    config: "Config",
    ids: list[str],
    sequences: list[str],
    output_dir: Path,
    plan_file: Path | None = None,
) -> list[Failure]:
    """Find or predict a structure for every peptide; write the index and the tables.

    Parameters
    ----------
    config
        The configuration; uses ``structures`` and ``data.use_predicted_structures``.
    ids, sequences
        Ids and sequences of the peptides; equal sequences are predicted once.
    output_dir
        Folder of the index and of the tables ``summary.tsv``, ``failed.tsv`` and
        ``without_structure.tsv``.
    plan_file
        A plan whose shards are all folded; nothing is predicted then. If it is None, this function
        predicts the missing structures.

    Returns
    -------
    list of Failure
        The peptides and files that failed.

    Raises
    ------
    UserError
        If the predictor or the plan cannot be used, the cache cannot be written to, or a structure
        has disappeared from the cache since it was planned.
    """
    output_dir.mkdir(parents=True, exist_ok=True)
    root = Path(config.structures.cache)
    if not config.data.use_predicted_structures:
        index = write_index(output_dir / "index.parquet", ids, sequences, None, "none", root)
        _write_failed(output_dir / "failed.tsv", [], [], [])
        _write_without(output_dir / "without_structure.tsv", index.iloc[:0], [])
        rows = [("predictor", "none: data.use_predicted_structures is false")]
        write_tsv(output_dir / "summary.tsv", SUMMARY, rows + _counts(index, []))
        print("structures: none, as data.use_predicted_structures is false", flush=True)
        return []

    predictor = make_predictor(config)
    cache = Cache(root, predictor.key)
    planned = plan(cache, predictor, sequences)
    if plan_file is None:
        _announce(planned, cache, predictor, len(set(sequences)))
        asked = set(planned.missing)
        failures = []
        for name, part in _divide(config, cache, predictor, planned.missing).items():
            failures += fold(cache, predictor, name, part)
        if asked:
            planned = replace(plan(cache, predictor, sequences), adopted=planned.adopted)
    else:
        asked = {name for part in shards.read_plan(plan_file).values() for name in part}
        failures = shards.read_failures(plan_file)
    failures = _without(planned, sequences, failures)
    located = planned.located
    index = write_index(output_dir / "index.parquet", ids, sequences, located, predictor.name, root)
    failed = [failure for failure in failures if failure.kind == "failed"]
    _write_failed(output_dir / "failed.tsv", failed, ids, sequences)
    _write_without(output_dir / "without_structure.tsv", index, failures)
    now = int(located.index.isin(asked).sum())
    rows = [
        ("predictor", predictor.name),
        *([("note", BASELINE_NOTE)] if predictor.is_baseline else []),
        ("fold key", cache.folder.name),
        *((f"key: {name}", str(value)) for name, value in cache.key.items()),
        *_counts(index, failures),
        ("in the cache before", f"{len(located) - now}"),
        ("predicted now", f"{now}"),
    ]
    write_tsv(output_dir / "summary.tsv", SUMMARY, rows)
    _report(index, failures, predictor)
    return failed


def _read(peptides: Path) -> tuple[list[str], list[str]]:
    """Return the ids and the sequences in a ``peptides.parquet``."""
    from structdiff.peptides.table import read_peptides

    frame = read_peptides(peptides).frame
    return frame["id"].tolist(), frame["sequence"].tolist()


def _divide(
    config: "Config", cache: Cache, predictor: Predictor, missing: Sequence[str]
) -> dict[str, list[str]]:
    """Return the sequences of each shard by its name; one shard if the predictor is not expensive.

    ``missing`` are the sequences to predict, sorted by length.
    """
    size = config.structures.shard_size if predictor.is_expensive else max(1, len(missing))
    return shards.divide(missing, size, cache.folder.name)


def _announce(planned: Plan, cache: Cache, predictor: Predictor, peptides: int) -> None:
    print(
        f"structures: {len(planned.located):,} of {peptides:,} peptides are in "
        f"{cache.folder}, {len(planned.missing):,} to ask '{predictor.name}' for"
        + (f" ({planned.adopted:,} taken over from a killed run)" if planned.adopted else ""),
        flush=True,
    )


def _without(planned: Plan, sequences: Sequence[str], failures: Sequence[Failure]) -> list[Failure]:
    """Return the distinct failures and remarks that concern this run's peptides, or any file.

    They come from ``planned``, which has those of earlier runs, and from ``failures`` of this run.

    Raises
    ------
    UserError
        If a peptide has no structure and no failure, because its cache file has disappeared.
    """
    lost = set(sequences).difference(planned.located.index)
    everything = dict.fromkeys([*planned.failures, *failures])
    kept = [failure for failure in everything if failure.concerns(planned.located.index, lost)]
    lost.difference_update(failure.sequence for failure in kept)
    if lost:
        raise UserError(
            f"structures.cache: {len(lost)} peptides, such as {min(lost)}, are not in the cache "
            "any more: a file was removed or damaged since they were planned. Run `structdiff "
            "fold` again (the workflow: with `--forcerun plan_folding`)"
        )
    return kept


def _counts(index: pd.DataFrame, failures: Sequence[Failure]) -> list[tuple[str, str]]:
    """Return the rows ``(what, value)`` of ``summary.tsv``.

    The values are numbers of peptides and of failures, and statistics of the pLDDT.
    """
    has = index["file"].notna()
    plddt = index["mean_plddt"].dropna().to_numpy(dtype=float)
    kinds = [failure.kind for failure in failures]
    rows = [
        ("peptides", f"{len(index)}"),
        ("with structure", f"{has.sum()}"),
        ("without structure (without_structure.tsv)", f"{(~has).sum()}"),
        ("failed (failed.tsv)", f"{kinds.count('failed')}"),
        ("peptides with pLDDT", f"{len(plddt)}"),
    ]
    if len(plddt):
        low, median, high = np.quantile(plddt, (0.05, 0.5, 0.95))
        rows += [
            ("mean pLDDT of a peptide, mean", f"{plddt.mean():.1f}"),
            ("mean pLDDT of a peptide, 5 % quantile", f"{low:.1f}"),
            ("mean pLDDT of a peptide, median", f"{median:.1f}"),
            ("mean pLDDT of a peptide, 95 % quantile", f"{high:.1f}"),
            ("share of peptides with mean pLDDT ≥ 70", f"{(plddt >= 70).mean():.3f}"),
            ("share of peptides with mean pLDDT ≥ 90", f"{(plddt >= 90).mean():.3f}"),
        ]
    return rows + _by_reason(failures)


def _by_reason(failures: Sequence[Failure]) -> list[tuple[str, str]]:
    """Return a row ``(what, value)`` of ``summary.tsv`` for each reason of a failure or remark.

    The value is how often the reason occurs, with an example. Reasons of failures that differ only
    in numbers or chain names share a row.
    """
    counts: dict[tuple[str, str], int] = {}
    examples: dict[tuple[str, str], str] = {}
    for failure in failures:
        reason = failure.reason
        if failure.kind != "noted":
            reason = _NUMBER.sub("#", _CHAIN.sub("", reason))
        key = (str(failure.kind), reason)
        counts[key] = counts.get(key, 0) + failure.count
        examples.setdefault(key, failure.source or failure.sequence or "")
    rows = []
    for (kind, reason), count in sorted(counts.items(), key=lambda item: (item[0][0], -item[1])):
        example = examples[kind, reason]
        such_as = f", such as {example}" if example else ""
        rows.append((f"{kind}: {reason}", f"{count}{such_as}"))
    return rows


def _write_failed(
    path: Path, failed: Sequence[Failure], ids: Sequence[str], sequences: Sequence[str]
) -> None:
    """Write the table of failures; its column ``id`` is a peptide's id or a failed file's name.

    ``ids`` and ``sequences`` have an entry for each peptide of the run.
    """
    names: dict[str, list[str]] = {}
    for name, sequence in zip(ids, sequences, strict=True):
        names.setdefault(sequence, []).append(name)
    rows = [
        (name, f.sequence or "", f.reason)
        for f in sorted(failed, key=lambda f: (f.source or "", f.sequence or ""))
        for name in names.get(f.sequence or "", [f.source or ""])
    ]
    write_tsv(path, ("id", "sequence", "reason"), rows)


def _write_without(path: Path, index: pd.DataFrame, failures: Sequence[Failure]) -> None:
    """Write a table of the peptides without a structure; an unknown reason is an empty field."""
    reasons = {failure.sequence: failure.reason for failure in failures}
    lacking = index[index["file"].isna()]
    rows = [
        (name, sequence, reasons.get(sequence, ""))
        for name, sequence in zip(lacking["id"], lacking["sequence"], strict=True)
    ]
    write_tsv(path, ("id", "sequence", "reason"), rows)


def _report(index: pd.DataFrame, failures: Sequence[Failure], predictor) -> None:
    """Print how many peptides have a structure, and their mean pLDDT."""
    has = int(index["file"].notna().sum())
    mean = index["mean_plddt"].mean()
    print(
        f"structures: {has:,} of {len(index):,} peptides have a structure from '{predictor.name}'"
        + (f" ({BASELINE_NOTE})" if predictor.is_baseline else "")
        + (f", mean pLDDT {mean:.1f}" if mean == mean else "")
        + f"; {len(index) - has:,} have none (without_structure.tsv)",
        flush=True,
    )
    ignored = sum(failure.kind == "ignored" for failure in failures)
    if ignored:
        print(
            f"structures: {ignored:,} chains, models or files were left out: summary.tsv",
            flush=True,
        )
