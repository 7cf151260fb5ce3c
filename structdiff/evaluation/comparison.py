"""Evaluate and compare files of peptides without a run: ``structdiff evaluate --designs``.

``compare_files(designs, reference, label, output_dir)`` computes for each file what a run computes
for its designs: controls, verdict, ranked candidates and figures. The reference is a table of real
peptides; the default is the peptides of APD3 and CancerPPD that come with modlAMP. A design is a
copy if it is similar to any peptide of the reference, or to a training peptide if the reference has
a column ``split``. A reference without this column is split by clusters, as in a run, so that the
held-out peptides (a control) and the training peptides, with which they are compared, are of
different families.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from structdiff.config import Data, Evaluation, Split
from structdiff.evaluation.assess import Real, Result, assess
from structdiff.evaluation.classifiers import LabelClassifier
from structdiff.evaluation.columns import add_columns, mean_scores
from structdiff.evaluation.judges import Judges, find_macrel
from structdiff.evaluation.metric import CONTROLS
from structdiff.evaluation.peptide_set import Settings
from structdiff.evaluation.reading import left_out, read_any, with_reasons, with_usual_names
from structdiff.evaluation.registry import all_metrics
from structdiff.evaluation.sequence_features import is_valid
from structdiff.evaluation.stage import draw_figures, print_reliability, write_results
from structdiff.evaluation.value import Unavailable
from structdiff.generation.output import OF_DESIGNS, SCORES
from structdiff.generation.scoring import log_likelihoods
from structdiff.peptides import SPLITS
from structdiff.peptides.demo import SETS, demo_peptides
from structdiff.peptides.query import parse_query
from structdiff.peptides.split import find_clusters, split_by_cluster
from structdiff.pretrained import load_model
from structdiff.protein.ends import FLAGS, identity
from structdiff.system.errors import UserError, counted, warn
from structdiff.system.files import write_frame
from structdiff.system.progress import Progress

__all__ = ["SHORTEST", "compare_files", "set_names"]

SHORTEST, LONGEST = Data().min_length, Data().max_length
"""Smallest and largest number of residues of a valid peptide."""

DEFAULTS = Evaluation()


def compare_files(
    designs: Sequence[Path],
    reference: Path | None,
    label: str,
    output_dir: Path,
    model: Path | None = None,
) -> list[Result]:
    """Evaluate files of peptides, write tables and figures, and return the result of each file.

    It writes ``metrics.json``, ``metrics.tsv``, ``verdict.tsv``, ``candidates.tsv`` and the figures
    as in a run, and three more tables. ``candidates.tsv`` also has the other columns of each file;
    ``comparison.tsv`` has every metric and the mean scores for each file, for its shuffled
    sequences, and for held-out real peptides (at most as many as the file has). ``designs.tsv`` has
    the columns of `structdiff.evaluation.columns` for each valid peptide; ``rejected.tsv`` says why
    the other peptides are left out.

    Parameters
    ----------
    designs
        Files or folders that `structdiff.evaluation.reading.read_any` can read; each is one set.
    reference
        Table of real peptides with a column of 1, 0 and blank (unknown) for each label, and
        optionally ``split``; None for modlAMP's peptides.
    label
        Label query. The files are compared with the real peptides that have the labels of the
        query, or with all real peptides if the query is ``none``.
    output_dir
        Folder to write to.
    model
        ``model.safetensors`` or None. With a model, the log-likelihood of each peptide under it is
        a column, and peptides that it was trained on count as copies.

    Raises
    ------
    UserError
        If a file or the query cannot be read, the query asks for a property or a length, a file has
        no valid peptide, the reference has fewer than two valid peptides, an unknown split or no
        column for a label of the query, or ``output_dir`` is a folder of designs.
    """
    for name in OF_DESIGNS:
        if (output_dir / name).exists():
            raise UserError(
                f"--output-dir {output_dir}: is a folder of designs ({name}), whose tables would "
                "be replaced; name another folder"
            )
    tables = {name: read_any(path) for name, path in set_names(designs).items()}
    rejected = pd.concat([_rejected(name, table) for name, table in tables.items()])
    real = _read_reference(reference)
    macrel = find_macrel()
    absent = Unavailable("is not measured of files of peptides")
    query = parse_query(label, real.labels)
    unknown = [name for name in query.labels + query.unwanted if name not in real.labels]
    if unknown:
        raise UserError(
            f"--label '{label}': the reference has no label '{unknown[0]}'; its labels: "
            f"{', '.join(real.labels) or 'none'} (columns of 1, 0 and blank cells)"
        )
    if query.ranges or query.length is not None:
        raise UserError(
            f"--label '{label}': the real peptides are chosen by labels only, not by numbers; "
            "leave these out"
        )
    asked = [name for name in real.labels if name in query.labels + query.unwanted]
    labels = LabelClassifier.fit(real.frame, asked, 0)
    print_reliability(labels)
    judges = Judges(labels, macrel, absent, absent, 1)
    settings = Settings(
        DEFAULTS.novelty_threshold, DEFAULTS.num_control, DEFAULTS.seed, SHORTEST, LONGEST
    )
    output_dir.mkdir(parents=True, exist_ok=True)
    known = dict(zip(real.frame["sequence"], real.frame["id"], strict=True))
    likelihood = None
    if model is not None:
        trained_model = load_model(model)
        likelihood = partial(log_likelihoods, trained_model)
        real = replace(real, seen=trained_model.seen)
    results, described = [], []
    with Progress("evaluation", len(tables), "files") as progress:
        for name, table in tables.items():
            result = assess(label, _as_designs(table, label), real, judges, settings)
            candidates = _with_own_columns(result.candidates.assign(set=name), table)
            results.append(replace(result, entry=name, candidates=candidates))
            print(f"{name}: {result.verdict.sentence()}", flush=True)
            valid = table[[is_valid(s, SHORTEST, LONGEST) for s in table["sequence"]]]
            kept = valid.drop(columns=["backbone", "set"], errors="ignore")
            described.append(
                add_columns(kept, known, macrel, likelihood, real.seen).assign(set=name)
            )
            progress.advance(note=name)
    write_frame(output_dir / "rejected.tsv", rejected)
    write_results(results, output_dir)
    draw_figures(results, settings.novelty_threshold, output_dir)
    every = pd.concat(described, ignore_index=True)
    sets = {name: every.loc[every["set"] == name, "sequence"].tolist() for name in tables}
    for result in results:
        for control in ("held_out", "shuffled"):
            peptides = result.sets[control]
            name = f"{result.entry}, {CONTROLS[control]}"
            sets[name] = [] if isinstance(peptides, Unavailable) else peptides
    scores = mean_scores(sets, macrel, likelihood)
    scores = scores.assign(group="columns", metric="Mean " + scores.pop("column"))
    write_frame(
        output_dir / "comparison.tsv",
        pd.concat([_side_by_side(results), scores], ignore_index=True),
    )
    write_frame(output_dir / "designs.tsv", every[["set", *every.columns.drop("set")]])
    return results


def set_names(paths: Sequence[Path]) -> dict[str, Path]:
    """Return the path of each set, by the name of the set.

    The name is the stem of a file or the name of a folder. Sets that would share a name are named
    by their whole paths.
    """
    stems = [path.stem if path.is_file() else path.resolve().name for path in paths]
    return {
        (stem if stems.count(stem) == 1 else str(path)): path
        for stem, path in zip(stems, paths, strict=True)
    }


def _rejected(name: str, table: pd.DataFrame) -> pd.DataFrame:
    """Return a table of the peptides of a set that cannot be evaluated, for ``rejected.tsv``.

    Its columns are ``set`` (the name of the set), ``id`` and ``reason``. A warning names the first
    of these peptides. `UserError` is raised if no peptide can be evaluated.
    """
    reasons = left_out(table, SHORTEST, LONGEST)
    if len(reasons) == len(table):
        raise UserError(
            f"{name}: has no peptide that can be evaluated: {with_reasons(table, reasons)}"
        )
    if len(reasons):
        warn(
            f"{name}: {len(reasons):,} of {len(table):,} peptides left out "
            f"(rejected.tsv has all): {with_reasons(table, reasons)}"
        )
    ids = table.loc[reasons.index, "id"]
    return pd.DataFrame({"set": name, "id": ids, "reason": reasons})


def _as_designs(table: pd.DataFrame, label: str) -> pd.DataFrame:
    """Return a table of designs with the columns that `assess` needs.

    These are ``id``, ``sequence``, ``label`` (the label query), ``length``, ``backbone`` (None if
    ``table`` has no backbones), and the ends and the model's scores that ``table`` has.
    """
    return pd.DataFrame(
        {
            "id": table["id"],
            "sequence": table["sequence"],
            "label": label,
            "length": table["sequence"].str.len(),
            "backbone": table.get("backbone"),
            **{name: table[name] for name in (*FLAGS, *SCORES) if name in table},
        }
    )


def _with_own_columns(candidates: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    """Return the candidates with all columns that only ``table`` has, except ``backbone``.

    ``table`` is the table of peptides that was read.
    """
    keys = ["id", *identity(table)]
    names = [name for name in table if name not in candidates and name != "backbone"]
    own = table[[*keys, *names]].drop_duplicates(keys)
    return candidates.merge(own, how="left", on=keys)


def _read_reference(path: Path | None) -> Real:
    """Read the reference: the real peptides, split into training and held-out peptides.

    ``path`` is a table, or None for modlAMP's peptides.
    """
    if path is None:
        table = pd.DataFrame(demo_peptides())
        source = "the peptides of APD3 and CancerPPD that modlAMP carries"
    else:
        table, source = read_any(path), str(path)
        if "split" not in table:
            table = with_usual_names(table, path, ("split",))
    usable = table["sequence"].map(lambda s: is_valid(s, SHORTEST, LONGEST))
    table = table[usable]
    frame = table.drop_duplicates("sequence").reset_index(drop=True)
    if len(frame) < 2:
        raise UserError(f"{source}: has no two peptides of {SHORTEST} to {LONGEST} residues")
    labels = list(SETS) if path is None else _labels(table)
    for label in labels:  # of repeated sequences, as `structdiff split` merges them
        states = table[label].astype("boolean").groupby(table["sequence"], sort=False)
        frame[label] = states.max().array
    has_split = "split" in frame
    if has_split:
        _check_split(frame["split"], source)
    else:
        sequences = frame["sequence"].tolist()
        settings = Split()
        cluster = find_clusters(sequences, settings.threshold)
        frame["split"] = split_by_cluster(sequences, cluster, settings)
    print(
        f"reference: {len(frame):,} peptides of {source}, {(frame['split'] != 'train').sum():,} "
        "of them held out",
        flush=True,
    )
    no_structures = Unavailable("files of peptides have no structures")
    return Real(frame, labels, no_structures, {}, all_known=not has_split)


def _check_split(split: pd.Series, source: str) -> None:
    """Raise `UserError` if a peptide is not in train, val or test, or if none is in train."""
    wrong = split[~split.isin(SPLITS)]
    if len(wrong):
        value = "is blank" if pd.isna(wrong.iloc[0]) else f"holds '{wrong.iloc[0]}'"
        raise UserError(
            f"{source}: the column 'split' {value} in {counted(len(wrong), 'row')}; write one of "
            f"{', '.join(SPLITS)}, or remove the column"
        )
    if not (split == "train").any():
        raise UserError(
            f"{source}: no peptide has 'train' in the column 'split'; remove the column"
        )


def _labels(frame: pd.DataFrame) -> list[str]:
    """Return the names of the label columns: columns of 1, 0 and blank cells, not all blank."""
    return [
        str(name)
        for name in frame.columns
        if name not in ("id", "sequence", "split")
        and frame[name].notna().any()
        and set(frame[name].dropna().unique()) <= {0, 1}
    ]


def _side_by_side(results: Sequence[Result]) -> pd.DataFrame:
    """Return the table of the metrics of all files: a row for each metric that has any value.

    Its columns are ``group``, ``metric``, one column for each file, and then two columns for each
    file: held-out real peptides (at most as many as the file has) and the file's shuffled peptides.
    """
    rows = []
    for metric in all_metrics():
        columns = {result.entry: result.values[metric.key]["generated"] for result in results}
        columns |= {
            f"{result.entry}, {CONTROLS[control]}": result.values[metric.key][control]
            for result in results
            for control in ("held_out", "shuffled")
        }
        values = {
            name: np.nan if isinstance(value, Unavailable) else value
            for name, value in columns.items()
        }
        if not np.isnan(list(values.values())).all():
            rows.append({"group": metric.group, "metric": metric.title, **values})
    return pd.DataFrame(rows)
