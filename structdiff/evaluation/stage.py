"""The evaluation stage: the designs of each entry beside real, shuffled and random peptides.

``run(config, samples, peptides, structures, output_dir)`` writes ``metrics.json`` and
``metrics.tsv`` (every metric beside its controls; a missing one is null with its reason),
``verdict.tsv`` (what is wrong with each set), ``candidates.tsv`` (the designs, ranked) and a figure
for each of `structdiff.evaluation.plots.FIGURES`.
"""

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from structdiff.errors import UserError
from structdiff.evaluation.assess import METRICS, Real, Result, Settings, assess
from structdiff.evaluation.controls import COLUMNS
from structdiff.evaluation.metric import Missing, Value
from structdiff.evaluation.plots import FIGURES
from structdiff.evaluation.structure import Chains
from structdiff.peptides.table import read_peptides
from structdiff.plotting import save_figure
from structdiff.progress import Progress

if TYPE_CHECKING:
    from structdiff.config import Config

__all__ = ["run"]

_SAMPLE_COLUMNS = ("id", "sequence", "label", "length", "backbone")


def run(
    config: "Config", samples: Path, peptides: Path, structures: Path | None, output_dir: Path
) -> None:
    """Measure, judge and rank the designs.

    Parameters
    ----------
    config
        The configuration; ``evaluation`` and the allowed lengths of ``data`` count.
    samples
        ``samples.parquet`` of the generation stage.
    peptides
        ``peptides.parquet`` of the peptides stage.
    structures
        ``index.parquet`` of the structures stage; None where there is none.
    output_dir
        Where the files go.

    Raises
    ------
    UserError
        If a file is missing or is not what it should be, or if there is no design.
    """
    designs = _read_designs(samples)
    table = read_peptides(peptides)
    chains, rows = _read_structures(config, structures)
    real = Real(table.frame, table.labels, chains, rows)
    settings = Settings(
        novelty_threshold=config.evaluation.novelty_threshold,
        num_control=config.evaluation.num_control,
        seed=config.evaluation.seed,
        min_length=config.data.min_length,
        max_length=config.data.max_length,
    )
    results = []
    entries = designs["label"].unique().tolist()
    with Progress("evaluation", len(entries), "sets of designs") as progress:
        for entry in entries:
            result = assess(entry, designs[designs["label"] == entry], real, settings)
            print(f"{entry}: {result.verdict.sentence()}", flush=True)
            results.append(result)
            progress.advance(note=entry)
    output_dir.mkdir(parents=True, exist_ok=True)
    _write(results, output_dir)
    _draw(results, config.evaluation.novelty_threshold, output_dir)


def _read_designs(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise UserError(f"{path}: no such file; `structdiff generate` writes samples.parquet")
    try:
        table = pq.read_table(path, columns=list(_SAMPLE_COLUMNS))
    except (pa.ArrowException, OSError) as error:
        raise UserError(
            f"{path}: is no samples.parquet of `structdiff generate` ({error})"
        ) from None
    if not len(table):
        raise UserError(f"{path}: holds no design, so there is nothing to evaluate")
    return table.to_pandas()


def _read_structures(
    config: "Config", index: Path | None
) -> tuple[Chains | Missing, dict[str, int]]:
    """Return the structures that the model was trained on, and each peptide's row among them."""
    from structdiff.structures.index import read_backbones

    if index is None or not config.data.use_predicted_structures:
        return Missing("the model was trained without structures"), {}
    found = read_backbones(index)
    if not found.sequences:
        return Missing("no peptide has a structure, so the model learnt none"), {}
    chains = Chains(found.sequences, found.offsets, found.positions)
    return chains, {name: row for row, name in enumerate(found.ids)}


def _write(results: list[Result], output_dir: Path) -> None:
    """Write the tables."""
    text = json.dumps({r.entry: _as_json(r) for r in results}, indent=2, allow_nan=False)
    (output_dir / "metrics.json").write_text(text + "\n", encoding="utf-8")
    rows = [row for result in results for row in _metric_rows(result)]
    verdicts = [
        {"set": r.entry, "verdict": r.verdict.word, "because": r.verdict.sentence()}
        for r in results
    ]
    for name, frame in {
        "metrics": pd.DataFrame(rows),
        "verdict": pd.DataFrame(verdicts),
        "candidates": pd.concat([result.candidates for result in results], ignore_index=True),
    }.items():
        frame.to_csv(output_dir / f"{name}.tsv", sep="\t", index=False)


def _as_json(result: Result) -> dict[str, Any]:
    """Return what is known of a set as plain values; null where a value is missing."""
    notes = result.notes()
    return {
        "verdict": result.verdict.word,
        "faults": list(result.verdict.faults),
        "findings": [
            {
                "fault": finding.rule.fault,
                "metric": finding.rule.metric,
                "passed": finding.passed,
                "limit": finding.limit,
                "sentence": finding.sentence(),
            }
            for finding in result.verdict.findings
        ],
        "metrics": {
            metric.key: {
                "title": metric.title,
                **{column: _known(result.values[metric.key][column]) for column in COLUMNS},
                "missing": notes[metric.key] or None,
            }
            for metric in METRICS
        },
    }


def _metric_rows(result: Result) -> list[dict[str, Any]]:
    """Return a set's rows of ``metrics.tsv``, values to four significant digits."""
    notes = result.notes()
    rows = []
    for metric in METRICS:
        known = {name: _known(result.values[metric.key][key]) for key, name in COLUMNS.items()}
        shown = {name: "" if value is None else f"{value:.4g}" for name, value in known.items()}
        about = {"set": result.entry, "group": metric.group, "metric": metric.title}
        rows.append({**about, **shown, "good": metric.good, "missing": notes[metric.key]})
    return rows


def _known(value: Value) -> float | None:
    return None if isinstance(value, Missing) else float(value)


def _draw(results: list[Result], threshold: float, output_dir: Path) -> None:
    """Draw every figure, as SVG and PNG."""
    for name, plot in FIGURES.items():
        draw = partial(plot, threshold=threshold) if name == "neighbours" else plot
        save_figure(draw(results), output_dir / name)
