"""The peptides stage: read, clean and split the peptides, and measure leakage.

``run(config, output_dir, seen)`` writes these files into ``output_dir``, each atomically:

- ``peptides.parquet``: the unique peptides with their split, which every later stage reads
- ``rejected.tsv`` and ``merged.tsv``: the input rows that are rejected, or merged into another row
- ``summary.tsv``: counts
- ``labels.tsv``: for each label and split, the numbers of peptides that have the label, lack it, or
  may have it (unknown)
- ``warnings.tsv``: labels and properties that are hard to learn
- ``neighbours.parquet``, ``split_report.tsv``, ``leakage.svg`` and ``leakage.png``: the similarity
  of held-out peptides to training peptides
- ``assignment.parquet``, with a cluster split only: the split of each peptide, which a later run in
  the same folder keeps; remove it to split again from the start

Peptides that a starting model has ``seen`` are put into train, with their clusters, except in a
predefined split. The tables about rows (``rejected.tsv``, ``merged.tsv``, ``summary.tsv``) are
written before a later check can fail; the other files of an earlier split, except
``assignment.parquet``, are then removed.
"""

import itertools
import json
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as pa

from structdiff.peptides import SPLITS
from structdiff.peptides.formats import read_table
from structdiff.peptides.labels import count_labels, has_label
from structdiff.peptides.leakage import find_neighbours, plot_leakage, report_leakage
from structdiff.peptides.outlook import design_warnings, label_warnings
from structdiff.peptides.properties import check_properties
from structdiff.peptides.seen import PIECE, SeenPeptides, hashes
from structdiff.peptides.split import (
    cluster_names,
    find_clusters,
    split_at_random,
    split_by_cluster,
)
from structdiff.peptides.table import (
    Cleaned,
    Peptides,
    Rows,
    clean,
    reasons,
    sort_rows,
    write_peptides,
)
from structdiff.protein.ends import FLAGS
from structdiff.system.errors import UserError
from structdiff.system.files import replacing_several, write_frame
from structdiff.system.parquet import DamagedError, read_sealed, write_sealed

if TYPE_CHECKING:
    from structdiff.config import Config, Data, Split

__all__ = ["inputs", "run"]

ASSIGNMENT = "assignment.parquet"

_OF_THE_SPLIT = (
    "labels.tsv",
    "warnings.tsv",
    "split_report.tsv",
    "neighbours.parquet",
    "leakage.svg",
    "leakage.png",
    "peptides.parquet",
)
"""Files that are written last; those of an earlier split would not fit the new tables of rows."""

SHOWN = 20
"""Largest number of labels, and of warnings, that are printed."""

_SETTINGS_KEY = b"structdiff.split"

_write = partial(write_frame, float_format="%.4f")
"""Write a table of this stage: shares and similarities have four decimals."""


def run(config: "Config", output_dir: Path, seen: SeenPeptides | None = None) -> Peptides:
    """Read, clean and split the peptides of a configuration, and return the split peptides.

    Parameters
    ----------
    config
        Its sections ``data`` and ``split`` are used, and ``generation`` for early warnings.
    output_dir
        Folder for the files listed at the top of this module; created if needed.
    seen
        Peptides that the starting model has seen; None if there is no starting model, or if its
        peptides are not known.

    Raises
    ------
    UserError
        If no peptide is left to train or to validate on, no requested design is possible, or a
        property cannot be learnt; also for the reasons of `structdiff.peptides.formats.read_table`
        and `structdiff.peptides.table.clean`.
    """
    tables = [read_table(Path(path), config.data, key) for key, path in inputs(config.data)]
    rows = sort_rows(tables, config.data)
    for name in _OF_THE_SPLIT:
        (output_dir / name).unlink(missing_ok=True)
    with replacing_several(output_dir) as folder:
        _write(folder / "rejected.tsv", rows.rejected.drop(columns="unit"))
        _write(folder / "merged.tsv", rows.merged)
        _write(folder / "summary.tsv", _table(_count_rows(rows)))
    _print_rows(rows, output_dir)

    cleaned = clean(tables, rows, config.data)
    recorded = _read_assignment(output_dir / ASSIGNMENT, config.split)
    frame = _split(cleaned, config.split, recorded, seen)
    every, frame = frame, _limit(frame, config.data.limit)
    _check_splits(frame, config, seen)
    about_labels = pd.concat([cleaned.contradictions, label_warnings(frame, cleaned.labels)])
    about_properties = check_properties(frame, cleaned.properties)
    about_designs = design_warnings(frame, cleaned.labels, config.generation, cleaned.properties)
    neighbours = find_neighbours(frame)
    report = report_leakage(neighbours, seen)
    label_counts = count_labels(frame, cleaned.labels)
    by_cluster = config.split.method == "cluster"

    with replacing_several(output_dir) as folder:
        _write(folder / "summary.tsv", _summarise(rows, label_counts, every, frame, seen))
        _write(folder / "labels.tsv", label_counts)
        _write(folder / "warnings.tsv", pd.concat([about_labels, about_properties]))
        _write(folder / "split_report.tsv", report)
        write_sealed(pa.Table.from_pandas(neighbours), folder / "neighbours.parquet")
        plot_leakage(neighbours, config.split.threshold if by_cluster else None, folder / "leakage")
        if by_cluster:
            drawn = every if seen is None else _without_seen(every, seen)
            _write_assignment(recorded, drawn, config.split, folder / ASSIGNMENT)
        peptides = Peptides(frame, cleaned.labels, cleaned.properties)
        write_peptides(peptides, folder / "peptides.parquet")
    _print_split(cleaned, frame, label_counts, report, recorded, output_dir)
    if seen is not None:
        _print_seen(frame, report, seen)
    messages = [f"label '{row.label}': {row.warning}" for row in about_labels.itertuples()]
    messages += [f"property '{row.label}': {row.warning}" for row in about_properties.itertuples()]
    for line in _shortened([*messages, *about_designs]):
        print(f"warning:  {line}")
    return peptides


def _shortened(lines: list[str]) -> list[str]:
    """Return the first `SHOWN` lines and, if there are more, a line that says how many more."""
    more = len(lines) - SHOWN
    return [*lines[:SHOWN], f"and {more:,} more"] if more > 0 else lines


def inputs(data: "Data") -> list[tuple[str, str]]:
    """Return the configuration key and the path of each input table, in the order of `SPLITS`."""
    if data.path:
        return [("data.path", data.path)]
    paths = [(f"data.{name}_path", getattr(data, f"{name}_path")) for name in SPLITS]
    return [(key, path) for key, path in paths if path]


def _split(
    cleaned: Cleaned,
    settings: "Split",
    recorded: Mapping[str, str],
    seen: SeenPeptides | None,
) -> pd.DataFrame:
    """Return the peptides with the columns ``cluster`` and ``split``.

    Peptides that the starting model has seen are in train, except in a predefined split.
    """
    sequences = cleaned.frame["sequence"].tolist()
    known = np.zeros(len(sequences), dtype=bool) if seen is None else seen.includes(sequences)
    cluster = np.arange(len(sequences))  # one cluster for each peptide
    if settings.method == "cluster":
        cluster = find_clusters(sequences, settings.threshold)
        trained = dict.fromkeys(itertools.compress(sequences, known), "train")
        split = split_by_cluster(sequences, cluster, settings, {**recorded, **trained})
    elif settings.method == "random":
        split = np.where(known, "train", split_at_random(sequences, settings))
    else:
        split = np.array(SPLITS)[cleaned.table]
    return cleaned.frame.assign(cluster=cluster_names(sequences, cluster)[1], split=split)


def _limit(frame: pd.DataFrame, limit: int | None) -> pd.DataFrame:
    """Return the ``limit`` peptides with the smallest hashes, in the order of ``frame``.

    All peptides are returned if there are no more than ``limit``, or if ``limit`` is None.
    """
    if limit is None or limit >= len(frame):
        return frame
    order = np.argsort(hashes(frame["sequence"], "limit"), kind="stable")
    return frame.iloc[np.sort(order[:limit])].reset_index(drop=True)


def _check_splits(frame: pd.DataFrame, config: "Config", seen: SeenPeptides | None) -> None:
    """Raise `UserError` if the train split or the val split is empty."""
    settings = config.split
    for name in ("train", "val"):
        if (frame["split"] == name).any():
            continue
        where = f"{len(frame)} peptides in {frame['cluster'].nunique()} clusters"
        if seen is not None and (known := int(seen.includes(frame["sequence"]).sum())):
            where += f"; the starting model has seen {known} of them, which are in train"
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
    """Return the settings that a recorded assignment depends on, as JSON."""
    return json.dumps(settings.model_dump(mode="json"), sort_keys=True).encode()


def _read_assignment(path: Path, settings: "Split") -> dict[str, str]:
    """Return the split of each sequence in an earlier run, by sequence.

    The result is empty if no earlier run with the same settings is recorded.
    """
    if settings.method != "cluster" or not path.exists():
        return {}
    try:
        table = read_sealed(path)
        if (table.schema.metadata or {}).get(_SETTINGS_KEY) != _settings(settings):
            return {}
        return dict(zip(table["sequence"].to_pylist(), table["split"].to_pylist(), strict=True))
    except (DamagedError, OSError, KeyError) as error:
        raise UserError(
            f"{path}: the recorded split cannot be read ({error}); remove the file to "
            "split again from nothing"
        ) from None


def _without_seen(frame: pd.DataFrame, seen: SeenPeptides) -> pd.DataFrame:
    """Return the peptides of the clusters in which the starting model has seen no peptide.

    All other clusters are in train because of the starting model. Their split is not recorded: a
    later run without that model splits them as if it had never been used.
    """
    known = frame.loc[seen.includes(frame["sequence"]), "cluster"]
    return frame[~frame["cluster"].isin(known)]


def _write_assignment(
    recorded: Mapping[str, str], frame: pd.DataFrame, settings: "Split", path: Path
) -> None:
    """Record the split of each peptide; keep the records of peptides that the table now lacks."""
    current = dict(zip(frame["sequence"].tolist(), frame["split"].tolist(), strict=True))
    assignment = {**recorded, **current}
    table = pa.table({"sequence": list(assignment), "split": list(assignment.values())})
    table = table.replace_schema_metadata({_SETTINGS_KEY: _settings(settings)})
    write_sealed(table, path, compression="zstd")


def _count_rows(rows: Rows) -> list[tuple[str, str, int, float]]:
    """Return counts of the rows that were read: group, name, count and share of all rows."""
    parts = {
        "read": rows.count,
        "kept": len(rows.first),
        "merged": len(rows.merged),
        "rejected": len(rows.rejected),
        **({"stop sign dropped": rows.stops} if rows.stops else {}),
    }
    return [("rows", name, count, count / rows.count) for name, count in parts.items()]


def _summarise(
    rows: Rows,
    labels: pd.DataFrame,
    every: pd.DataFrame,
    frame: pd.DataFrame,
    seen: SeenPeptides | None,
) -> pd.DataFrame:
    """Return the content of ``summary.tsv``: ``group``, ``name``, ``count``, ``share``.

    ``labels`` is the table of `count_labels`, ``every`` has all unique peptides, and ``frame`` has
    the peptides that `data.limit` leaves. Shares of rows are shares of all rows that were read. The
    share of used peptides is a share of ``every``; all other shares are shares of ``frame``.
    """
    counts = _count_rows(rows)
    counts.append(("peptides", "used", len(frame), len(frame) / len(every)))
    overall = labels[labels["split"] == "all"]
    for label, count in zip(overall["label"], overall["present"], strict=True):
        counts.append(("label", label, count, count / len(frame)))
    for name in SPLITS:
        count = int((frame["split"] == name).sum())
        counts.append(("split", name, count, count / len(frame)))
    sizes = frame["cluster"].value_counts()
    counts.append(("cluster", "clusters", len(sizes), len(sizes) / len(frame)))
    counts.append(("cluster", "largest", int(sizes.max()), sizes.max() / len(frame)))
    if seen is not None:
        known = int(seen.includes(frame["sequence"]).sum())
        counts.append(("peptides", "seen by the starting model", known, known / len(frame)))
    return _table(counts)


def _count_in_words(row: dict) -> str:
    """Return a label's counts as text, such as ``antimicrobial 3 (absent 5, unknown 2)``.

    The part in brackets is left out if the label is known for every peptide.
    """
    more = f" (absent {row['absent']:,}, unknown {row['unknown']:,})" if row["unknown"] else ""
    return f"{row['label']} {row['present']:,}{more}"


def _table(counts: list[tuple[str, str, int, float]]) -> pd.DataFrame:
    return pd.DataFrame(counts, columns=["group", "name", "count", "share"])


def _print_rows(rows: Rows, output_dir: Path) -> None:
    """Print the numbers of kept, merged and rejected rows, with the reasons for rejection."""
    print(
        f"peptides: {rows.count:,} rows = {len(rows.first):,} kept + {len(rows.merged):,} merged "
        f"+ {len(rows.rejected):,} rejected"
        + (f" ({output_dir / 'rejected.tsv'} says why)" if len(rows.rejected) else ""),
    )
    for line in reasons(rows.rejected):
        print(f"          {line}")
    if rows.stops:
        print(f"          {rows.stops:,} sequences ended in a stop sign (*), which was dropped")
    if rows.lower:
        print(
            f"          {rows.lower:,} sequences in lower case were read as L residues; if lower "
            "case means D residues there, remove these rows"
        )
    sys.stdout.flush()


def _print_split(
    cleaned: Cleaned,
    frame: pd.DataFrame,
    labels: pd.DataFrame,
    report: pd.DataFrame,
    recorded: Mapping[str, str],
    output_dir: Path,
) -> None:
    """Print the numbers of peptides by label, property and split, and the leakage."""
    if len(frame) < len(cleaned.frame):
        kept = len(cleaned.frame)
        print(f"limit:    {len(frame):,} of {kept:,} peptides are used (data.limit)")
    overall = labels[labels["split"] == "all"].to_dict("records")
    for line in _shortened([_count_in_words(row) for row in overall]):
        print(f"label:    {line}")
    for name, (unit, scale) in cleaned.properties.items():
        known = frame[name].dropna()
        print(
            f"property: {name} of {len(known):,} peptides, {known.min():.4g} to {known.max():.4g} "
            f"{unit} ({scale})"
        )
    parts = [f"{name} {(frame['split'] == name).mean():.1%}" for name in SPLITS]
    print(f"split:    {', '.join(parts)}; {frame['cluster'].nunique():,} clusters")
    if unmoved := int((frame["sequence"].map(recorded) == frame["split"]).sum()):
        print(
            f"          {unmoved:,} peptides keep the split recorded in {output_dir / ASSIGNMENT}"
        )
    for flag in FLAGS:
        if flag in frame and (count := int(has_label(frame, flag).sum())):
            print(f"ends:     {count:,} peptides are {flag}")
    for row in report.to_dict("records"):
        print(
            f"leakage:  {row['set']}: {row['n']:,} peptides; nearest training peptide at median "
            f"similarity {row['median']:.2f}, {row['share_ge_0.7']:.1%} at ≥ 0.7"
        )


def _print_seen(frame: pd.DataFrame, report: pd.DataFrame, seen: SeenPeptides) -> None:
    """Print how many peptides, and how many held-out ones, the starting model has seen."""
    known = seen.includes(frame["sequence"])
    held_out = int((known & (frame["split"] != "train")).sum())
    if not known.any():
        where = ""
    elif held_out:
        where = f", {held_out:,} of them held out"
    else:
        where = "; they are in train"
    print(f"start:    the starting model has seen {known.sum():,} of the peptides{where}")
    for row in report.dropna(subset="seen_pieces").to_dict("records"):
        print(
            f"start:    {row['set']}: {row['seen_pieces']:.1%} of the pieces of {PIECE} residues "
            "are in peptides that it has seen"
        )
