"""The first stage: read, clean and split the peptides, and measure what leaks.

``run(config, output_dir)`` writes into ``output_dir``, each file whole or not at all:
``peptides.parquet`` (what every later stage reads), ``rejected.tsv`` and ``merged.tsv`` (every row
that is not in it), ``summary.tsv`` (counts), ``split_report.tsv``, ``neighbours.parquet``,
``leakage.svg`` and ``leakage.png``, and ``assignment.parquet``: the split that each peptide of a
cluster split has got, which a later run in the same folder keeps. Remove it to split afresh.
"""

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from structdiff.peptides.formats import read_table
from structdiff.peptides.leakage import find_neighbours, plot_leakage, report_leakage
from structdiff.peptides.split import (
    SPLITS,
    cluster_names,
    find_clusters,
    split_at_random,
    split_by_cluster,
)
from structdiff.peptides.table import Cleaned, Peptides, clean, hashes, write_peptides
from structdiff.system.errors import UserError

if TYPE_CHECKING:
    from structdiff.config import Config, Data, Split

__all__ = ["run"]

ASSIGNMENT = "assignment.parquet"

_SETTINGS_KEY = b"structdiff.split"


def run(config: "Config", output_dir: Path) -> None:
    """Read, clean and split the peptides of a configuration.

    Parameters
    ----------
    config
        Its sections ``data`` and ``split`` are used.
    output_dir
        Folder for the files that the module's docstring lists; made if need be.

    Raises
    ------
    UserError
        If the tables or the settings leave nothing to train or validate on, or as
        `structdiff.peptides.formats.read_table` and `structdiff.peptides.table.clean`.
    """
    tables = [read_table(Path(path), config.data, key) for key, path in _inputs(config.data)]
    cleaned = clean(tables, config.data)
    recorded = _read_assignment(output_dir / ASSIGNMENT, config.split)
    frame = _split(cleaned, config.split, recorded)
    every, frame = frame, _limit(frame, config.data.limit)
    _check_splits(frame, config)
    neighbours = find_neighbours(frame)
    report = report_leakage(neighbours)
    summary = _summarise(cleaned, every, frame)
    by_cluster = config.split.method == "cluster"

    output_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output_dir, prefix=".writing-") as scratch:
        folder = Path(scratch)
        _write_tsv(cleaned.rejected, folder / "rejected.tsv")
        _write_tsv(cleaned.merged, folder / "merged.tsv")
        _write_tsv(summary, folder / "summary.tsv")
        _write_tsv(report, folder / "split_report.tsv")
        pq.write_table(pa.Table.from_pandas(neighbours), folder / "neighbours.parquet")
        plot_leakage(neighbours, config.split.threshold if by_cluster else None, folder / "leakage")
        if by_cluster:
            _write_assignment(recorded, every, config.split, folder / ASSIGNMENT)
        write_peptides(Peptides(frame, cleaned.labels), folder / "peptides.parquet")
        for path in sorted(folder.iterdir()):
            path.replace(output_dir / path.name)
    _print_summary(cleaned, frame, report, recorded, output_dir)


def _inputs(data: "Data") -> list[tuple[str, str]]:
    """Return (configuration key, path) of the tables, in the order of `SPLITS`."""
    if data.path:
        return [("data.path", data.path)]
    paths = [(f"data.{name}_path", getattr(data, f"{name}_path")) for name in SPLITS]
    return [(key, path) for key, path in paths if path]


def _split(cleaned: Cleaned, settings: "Split", recorded: Mapping[str, str]) -> pd.DataFrame:
    """Return the peptides with their cluster and split."""
    sequences = cleaned.frame["sequence"].tolist()
    cluster = np.arange(len(sequences))  # unless split by cluster, each stands for itself
    if settings.method == "cluster":
        cluster = find_clusters(sequences, settings.threshold)
        split = split_by_cluster(sequences, cluster, settings, recorded)
    elif settings.method == "random":
        split = split_at_random(sequences, settings)
    else:
        split = np.array(SPLITS)[cleaned.table]
    return cleaned.frame.assign(cluster=cluster_names(sequences, cluster)[1], split=split)


def _limit(frame: pd.DataFrame, limit: int | None) -> pd.DataFrame:
    """Return at most ``limit`` peptides, those with the smallest hash, in their order."""
    if limit is None or limit >= len(frame):
        return frame
    order = np.argsort(hashes(frame["sequence"], "limit"), kind="stable")
    return frame.iloc[np.sort(order[:limit])].reset_index(drop=True)


def _check_splits(frame: pd.DataFrame, config: "Config") -> None:
    """Raise `UserError` if there is nothing to train or to validate on."""
    settings = config.split
    for name in ("train", "val"):
        if (frame["split"] == name).any():
            continue
        where = f"{len(frame)} peptides in {frame['cluster'].nunique()} clusters"
        if settings.method == "predefined":
            raise UserError(
                f"the {name} split is empty: no peptide of data.{name}_path can be used (or is "
                "left by data.limit)"
            )
        if name == "train":
            remedies = ["lower split.val_fraction and split.test_fraction"]
        else:
            remedies = [f"raise split.val_fraction ({settings.val_fraction:g})"]
            if settings.method == "cluster":
                remedies.append(f"raise split.threshold ({settings.threshold:g}; smaller clusters)")
        remedies += ["set another split.seed", "add peptides"]
        if config.data.limit is not None:
            remedies.append(f"raise data.limit ({config.data.limit})")
        raise UserError(f"the {name} split is empty ({where}): " + ", or ".join(remedies))


def _settings(settings: "Split") -> bytes:
    """Return what a recorded assignment depends on, as JSON."""
    return json.dumps(settings.model_dump(mode="json"), sort_keys=True).encode()


def _read_assignment(path: Path, settings: "Split") -> dict[str, str]:
    """Return sequence → split of an earlier run with the same settings, or nothing."""
    if settings.method != "cluster" or not path.exists():
        return {}
    try:
        table = pq.read_table(path)
        if (table.schema.metadata or {}).get(_SETTINGS_KEY) != _settings(settings):
            return {}
        return dict(zip(table["sequence"].to_pylist(), table["split"].to_pylist(), strict=True))
    except (pa.ArrowException, OSError, KeyError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"{path}: the recorded split cannot be read ({reason}); remove the file to split afresh"
        ) from None


def _write_assignment(
    recorded: Mapping[str, str], frame: pd.DataFrame, settings: "Split", path: Path
) -> None:
    """Record the split of every peptide ever seen here, also of those no longer in the table."""
    current = dict(zip(frame["sequence"].tolist(), frame["split"].tolist(), strict=True))
    assignment = {**recorded, **current}
    table = pa.table({"sequence": list(assignment), "split": list(assignment.values())})
    table = table.replace_schema_metadata({_SETTINGS_KEY: _settings(settings)})
    pq.write_table(table, path, compression="zstd")


def _summarise(cleaned: Cleaned, every: pd.DataFrame, frame: pd.DataFrame) -> pd.DataFrame:
    """Return the counts of the stage: ``group``, ``name``, ``count``, ``share`` of the group."""
    counts = [("rows", "read", cleaned.rows, 1.0)]
    parts = {"kept": every, "merged": cleaned.merged, "rejected": cleaned.rejected}
    counts += [("rows", k, len(part), len(part) / cleaned.rows) for k, part in parts.items()]
    counts.append(("peptides", "used", len(frame), len(frame) / len(every)))
    for label in cleaned.labels:
        count = int(frame[label].sum())
        counts.append(("label", label, count, count / len(frame)))
    for name in SPLITS:
        count = int((frame["split"] == name).sum())
        counts.append(("split", name, count, count / len(frame)))
    sizes = frame["cluster"].value_counts()
    counts.append(("cluster", "clusters", len(sizes), len(sizes) / len(frame)))
    counts.append(("cluster", "largest", int(sizes.max()), sizes.max() / len(frame)))
    return pd.DataFrame(counts, columns=["group", "name", "count", "share"])


def _write_tsv(frame: pd.DataFrame, path: Path) -> None:
    frame.to_csv(path, sep="\t", index=False, float_format="%.4f", lineterminator="\n")


def _print_summary(
    cleaned: Cleaned,
    frame: pd.DataFrame,
    report: pd.DataFrame,
    recorded: Mapping[str, str],
    output_dir: Path,
) -> None:
    """Tell the person at the terminal what came out."""
    kept = len(cleaned.frame)
    print(
        f"peptides: {cleaned.rows:,} rows = {kept:,} kept + {len(cleaned.merged):,} merged "
        f"+ {len(cleaned.rejected):,} rejected"
        + (f" ({output_dir / 'rejected.tsv'} says why)" if len(cleaned.rejected) else "")
    )
    if len(frame) < kept:
        print(f"limit:    {len(frame):,} of {kept:,} peptides are used (data.limit)")
    for label in cleaned.labels:
        count = int(frame[label].sum())
        print(f"label:    {label} {count:,}" + ("" if count else " (no peptide has it!)"))
    parts = [f"{name} {(frame['split'] == name).mean():.1%}" for name in SPLITS]
    print(f"split:    {', '.join(parts)}; {frame['cluster'].nunique():,} clusters")
    if known := sum(sequence in recorded for sequence in frame["sequence"]):
        print(f"          {known:,} peptides keep the split recorded in {output_dir / ASSIGNMENT}")
    for row in report.to_dict("records"):
        print(
            f"leakage:  {row['set']}: {row['n']:,} peptides; nearest training peptide at median "
            f"similarity {row['median']:.2f}, {row['share_ge_0.7']:.1%} at ≥ 0.7"
        )
