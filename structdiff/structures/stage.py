"""The structures stage: a structure for every peptide, from the cache or from the predictor.

``run(config, peptides, output_dir)`` writes ``index.parquet`` (which file holds which peptide),
``summary.tsv`` and ``failed.tsv``. Only what the cache lacks is predicted; a peptide without a
structure is no error, it trains on its sequence alone, and is counted.
"""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from structdiff.errors import UserError
from structdiff.structures.cache import Cache, write_index
from structdiff.structures.fold import plan
from structdiff.structures.fold import run as predict
from structdiff.structures.predictors import Failure, make_predictor

if TYPE_CHECKING:
    from structdiff.config import Config

__all__ = ["run"]

BASELINE_NOTE = "a baseline from the sequence, not a prediction: no pLDDT"


def run(config: "Config", peptides: Path, output_dir: Path) -> None:
    """Collect a structure of every peptide.

    Parameters
    ----------
    config
        The configuration; ``structures`` and ``data.use_predicted_structures`` count.
    peptides
        ``peptides.parquet``.
    output_dir
        Where the index and the tables go.

    Raises
    ------
    UserError
        If more peptides failed than ``structures.max_failures`` allows; all the others are saved
        and indexed by then.
    """
    from structdiff.peptides.table import read_peptides

    frame = read_peptides(peptides).frame
    ids, sequences = frame["id"].tolist(), frame["sequence"].tolist()
    output_dir.mkdir(parents=True, exist_ok=True)
    root = Path(config.structures.cache)
    if not config.data.use_predicted_structures:
        index = write_index(output_dir / "index.parquet", ids, sequences, None, "none", root)
        _write_failed(output_dir / "failed.tsv", [], {})
        rows = [("predictor", "none: data.use_predicted_structures is false")]
        _write_summary(output_dir / "summary.tsv", rows + _counts(index, []))
        print("structures: none, as data.use_predicted_structures is false", flush=True)
        return

    predictor = make_predictor(config)
    cache = Cache(root, predictor.key)
    planned = plan(cache, predictor, sequences)
    print(
        f"structures: {len(planned.located):,} of {len(sequences):,} peptides are in "
        f"{cache.folder}, {len(planned.missing):,} to ask '{predictor.name}' for"
        + (f" ({planned.adopted:,} taken over from a killed run)" if planned.adopted else ""),
        flush=True,
    )
    located, failures = predict(planned, cache, predictor, config.structures.shard_size)
    index = write_index(output_dir / "index.parquet", ids, sequences, located, predictor.name, root)
    failed = [failure for failure in failures if failure.kind == "failed"]
    _write_failed(output_dir / "failed.tsv", failed, dict(zip(sequences, ids, strict=True)))
    rows = [
        ("predictor", predictor.name),
        *([("note", BASELINE_NOTE)] if predictor.is_baseline else []),
        ("fold key", cache.folder.name),
        *((f"key: {name}", str(value)) for name, value in cache.key.items()),
        *_counts(index, failures),
        ("in the cache before", f"{len(planned.located)}"),
        ("predicted now", f"{len(located) - len(planned.located)}"),
    ]
    _write_summary(output_dir / "summary.tsv", rows)
    _report(index, failures, predictor)
    _judge(failed, config.structures.max_failures, output_dir)


def _counts(index: pd.DataFrame, failures: Sequence[Failure]) -> list[tuple[str, str]]:
    """Return the counts and the pLDDT statistics as rows of the summary."""
    has = index["file"].notna()
    plddt = index["mean_plddt"].dropna().to_numpy(dtype=float)
    kinds = [failure.kind for failure in failures]
    rows = [
        ("peptides", f"{len(index)}"),
        ("with structure", f"{has.sum()}"),
        ("without structure (trained on the sequence alone)", f"{(~has).sum()}"),
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
    ignored = [failure for failure in failures if failure.kind == "ignored"]
    rows += [(f"left out of {failure.source}", failure.reason) for failure in ignored[:20]]
    if len(ignored) > 20:
        rows.append(("left out of other files", f"{len(ignored) - 20}"))
    return rows


def _write_summary(path: Path, rows: Sequence[tuple[str, str]]) -> None:
    _write_tsv(path, [("what", "value"), *rows])


def _write_failed(path: Path, failed: Sequence[Failure], id_of: dict[str, str]) -> None:
    """Write each failure; one that concerns a file, not a peptide, bears the file's name as id."""
    rows = [
        (id_of.get(f.sequence, f.source or ""), f.sequence or "", f.reason)
        for f in sorted(failed, key=lambda f: (f.source or "", f.sequence or ""))
    ]
    _write_tsv(path, [("id", "sequence", "reason"), *rows])


def _write_tsv(path: Path, rows: Sequence[tuple[str, ...]]) -> None:
    scratch = path.with_name(f".{path.name}.tmp")
    with scratch.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter="\t", lineterminator="\n").writerows(rows)
    scratch.replace(path)


def _report(index: pd.DataFrame, failures: Sequence[Failure], predictor) -> None:
    """Say in a line or two how it went."""
    has = int(index["file"].notna().sum())
    mean = index["mean_plddt"].mean()
    print(
        f"structures: {has:,} of {len(index):,} peptides have a structure from '{predictor.name}'"
        + (f" ({BASELINE_NOTE})" if predictor.is_baseline else "")
        + (f", mean pLDDT {mean:.1f}" if mean == mean else "")
        + f"; {len(index) - has:,} train on their sequence alone",
        flush=True,
    )
    ignored = sum(failure.kind == "ignored" for failure in failures)
    if ignored:
        print(f"structures: {ignored:,} chains or models were left out: summary.tsv", flush=True)


def _judge(failed: Sequence[Failure], allowed: int, output_dir: Path) -> None:
    """Raise where more failed than is allowed."""
    if len(failed) <= allowed:
        return
    first = failed[0]
    raise UserError(
        f"{len(failed)} failed to give a structure, and structures.max_failures allows {allowed}; "
        f"the first: {first.source or first.sequence}: {first.reason}. All are named in "
        f"{output_dir / 'failed.tsv'}; everything else is saved. Repair or remove what failed, or "
        "set structures.max_failures higher"
    )
