"""The evaluation stage: compare the designs with real, shuffled and random peptides.

``run(config, samples, peptides, structures, model, output_dir)`` writes ``metrics.json`` and
``metrics.tsv`` (every metric of the designs and of the controls; a missing value is null or blank,
and has a reason), ``verdict.tsv`` (what is wrong with each set), ``candidates.tsv`` (the designs,
ranked), ``label_control.tsv`` (share of each set for which a classifier predicts each label),
``tasks.tsv`` (folding, inverse folding and refolding by the model) and the figures of
`structdiff.evaluation.plots`.
"""

from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch

from structdiff.evaluation.assess import Real, Result, assess, with_backbones
from structdiff.evaluation.backbone_geometry import Chains
from structdiff.evaluation.classifiers import LabelClassifier, control_table
from structdiff.evaluation.controls import COLUMNS
from structdiff.evaluation.judges import Judges, find_macrel, load_esm2
from structdiff.evaluation.model_tasks import COLUMNS as TASK_COLUMNS
from structdiff.evaluation.model_tasks import PeptidesWithStructures, assess_tasks
from structdiff.evaluation.peptide_set import Settings
from structdiff.evaluation.registry import all_metrics
from structdiff.evaluation.value import Unavailable, Value
from structdiff.generation.output import read_samples
from structdiff.peptides.query import parse_query
from structdiff.peptides.table import read_peptides
from structdiff.pretrained import load_model
from structdiff.system.cores import granted_cores
from structdiff.system.errors import UserError
from structdiff.system.files import write_frame, write_json
from structdiff.system.progress import Progress
from structdiff.system.workers import in_order

if TYPE_CHECKING:
    from structdiff.config import Config
    from structdiff.peptides.seen import SeenPeptides
    from structdiff.peptides.table import Peptides
    from structdiff.pretrained import TrainedModel
    from structdiff.structures.index import Backbones

__all__ = ["draw_figures", "run", "write_results"]


def run(
    config: "Config",
    samples: Path,
    peptides: Path,
    structures: Path | None,
    model: Path | None,
    output_dir: Path,
) -> None:
    """Measure, judge and rank the designs, and write the tables and figures.

    Parameters
    ----------
    config
        The configuration. The stage uses ``evaluation``, ``structures`` (to load ESMFold as a
        judge), and ``min_length``, ``max_length`` and ``use_predicted_structures`` of ``data``.
    samples, peptides
        ``samples.parquet`` of the generation stage, ``peptides.parquet`` of the peptides stage.
    structures
        ``index.parquet`` of the structures stage; None for a model without structures.
    model
        ``model.safetensors`` of the selection stage; None leaves out the model's tasks.
    output_dir
        Folder to write to.

    Raises
    ------
    UserError
        If a file is missing or has another format, there is no design, or a label is unknown.
    """
    from structdiff.evaluation.plots import plot_tasks
    from structdiff.system.gpus import choose_device, lease
    from structdiff.system.plotting import save_figure

    designs = read_samples(samples)
    if not len(designs):
        raise UserError(f"{samples}: has no design, so there is nothing to evaluate")
    table = read_peptides(peptides)
    backbones = _read_structures(config, structures)
    chains = config.evaluation.experimental
    experimental = None if chains is None else PeptidesWithStructures.experimental(Path(chains))
    output_dir.mkdir(parents=True, exist_ok=True)
    with lease(1):
        device = choose_device()
        released = None if model is None else load_model(model, device)
        judges = _gather(config, table, device)
        real = _real(table, backbones, None if released is None else released.seen)
        results = _assess(config, designs, real, judges)
        model_tasks = _tasks(config, released, table, backbones, experimental, results)
    write_results(results, output_dir)
    write_frame(output_dir / "label_control.tsv", _label_control(judges, results))
    write_frame(output_dir / "tasks.tsv", model_tasks)
    save_figure(plot_tasks(model_tasks), output_dir / "tasks")
    draw_figures(results, config.evaluation.novelty_threshold, output_dir)


def _gather(config: "Config", table: "Peptides", device: torch.device) -> Judges:
    """Return the independent judges, and print how reliable the classifiers of labels are."""
    from structdiff.structures.predictors import Predictor, make_predictor

    settings = config.evaluation
    esm2 = load_esm2(settings.esm2_weights, device)
    labels = LabelClassifier.fit(table.frame, table.labels, settings.seed)
    print_reliability(labels)
    predictor = config.structures.predictor
    esmfold: Predictor | Unavailable = Unavailable(
        f"structures.predictor is {predictor}, not esmfold"
    )
    if predictor == "esmfold":
        esmfold = make_predictor(config)
    return Judges(labels, find_macrel(), esm2, esmfold, settings.num_folded)


def print_reliability(classifier: LabelClassifier) -> None:
    """Print each label's held-out AUROC, or why the label has no classifier."""
    for name, trees in classifier.trees.items():
        message = (
            trees.reason if isinstance(trees, Unavailable) else f"held-out AUROC {trees.auroc:.3f}"
        )
        print(f"classifier of '{name}': {message}", flush=True)


def _assess(config: "Config", designs: pd.DataFrame, real: Real, judges: Judges) -> list[Result]:
    """Measure, judge and rank each set of designs, and print each verdict.

    A set is the designs with the same label query in ``label``.
    """
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
            result = assess(entry, designs[designs["label"] == entry], real, judges, settings)
            print(f"{entry}: {result.verdict.sentence()}", flush=True)
            results.append(result)
            progress.advance(note=entry)
    return results


def _read_structures(config: "Config", index: Path | None) -> "Backbones | Unavailable":
    """Return the structures of training and held-out peptides, or why there are none."""
    from structdiff.structures.index import read_backbones

    if index is None or not config.data.use_predicted_structures:
        return Unavailable("the model was trained without structures")
    backbones = read_backbones(index)
    if not backbones.sequences:
        return Unavailable("no peptide has a structure, so the model was trained without")
    return backbones


def _real(
    table: "Peptides", backbones: "Backbones | Unavailable", seen: "SeenPeptides | None"
) -> Real:
    if isinstance(backbones, Unavailable):
        return Real(table.frame, table.labels, backbones, {}, seen)
    chains = Chains(backbones.sequences, backbones.offsets, backbones.positions)
    rows = {name: row for row, name in enumerate(backbones.ids)}
    return Real(table.frame, table.labels, chains, rows, seen)


def _label_control(judges: Judges, results: list[Result]) -> pd.DataFrame:
    sets = {r.entry: (r.valid, r.features["generated"].descriptors(r.valid)) for r in results}
    known = judges.labels.trees
    wanted = {result.entry: parse_query(result.entry, known).labels for result in results}
    return control_table(judges.labels, sets, wanted)


def _tasks(
    config: "Config",
    model: "TrainedModel | None",
    table: "Peptides",
    backbones: "Backbones | Unavailable",
    experimental: PeptidesWithStructures | None,
    results: list[Result],
) -> pd.DataFrame:
    """Return the table ``tasks.tsv``: folding, inverse folding and refolding by the model."""
    if model is None:
        return pd.DataFrame([{"missing": "no model was given"}], columns=list(TASK_COLUMNS))
    held_out: PeptidesWithStructures | Unavailable
    if isinstance(backbones, Unavailable):
        held_out = backbones
    else:
        held_out = PeptidesWithStructures.held_out(table.frame, backbones)
        if not held_out.sequences:
            held_out = Unavailable("no held-out peptide has a structure")
    designs = {}
    for result in results:
        sequences, designed = with_backbones(result.designs)
        no_plddt = np.full(len(sequences), np.nan)
        designs[result.entry] = PeptidesWithStructures(sequences, designed, no_plddt)
    return assess_tasks(
        model,
        held_out,
        designs,
        experimental=experimental,
        limit=config.evaluation.num_folded,
        seed=config.evaluation.seed,
    )


def write_results(results: list[Result], output_dir: Path) -> None:
    """Write ``metrics.json``, ``metrics.tsv``, ``verdict.tsv`` and ``candidates.tsv``."""
    write_json(output_dir / "metrics.json", {r.entry: _as_json(r) for r in results})
    rows = [row for result in results for row in _metric_rows(result)]
    verdicts = [
        {"set": r.entry, "verdict": r.verdict.word, "because": r.verdict.sentence()}
        for r in results
    ]
    candidates = pd.concat([result.candidates for result in results], ignore_index=True)
    write_frame(output_dir / "metrics.tsv", pd.DataFrame(rows))
    write_frame(output_dir / "verdict.tsv", pd.DataFrame(verdicts))
    write_frame(output_dir / "candidates.tsv", candidates)


def _as_json(result: Result) -> dict[str, Any]:
    """Return a set's entry of ``metrics.json``; a missing value is None (null in JSON)."""
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
                **{column: _number(result.values[metric.key][column]) for column in COLUMNS},
                "missing": notes[metric.key] or None,
            }
            for metric in all_metrics()
        },
    }


def _metric_rows(result: Result) -> list[dict[str, Any]]:
    """Return a set's rows of ``metrics.tsv``, one for each metric, with four significant digits."""
    notes = result.notes()
    rows = []
    for metric in all_metrics():
        values = {name: _number(result.values[metric.key][key]) for key, name in COLUMNS.items()}
        shown = {name: "" if value is None else f"{value:.4g}" for name, value in values.items()}
        about = {"set": result.entry, "group": metric.group, "metric": metric.title}
        rows.append({**about, **shown, "good": metric.good, "missing": notes[metric.key]})
    return rows


def _number(value: Value) -> float | None:
    return None if isinstance(value, Unavailable) else float(value)


def draw_figures(results: list[Result], threshold: float, output_dir: Path) -> None:
    """Draw every figure of `structdiff.evaluation.plots.FIGURES` as SVG and PNG.

    At most one process runs for each granted core. A design is a copy if its similarity (0–1) to a
    training peptide is at least ``threshold``.
    """
    from structdiff.evaluation.plots import FIGURES
    from structdiff.system.plotting import save_figure

    def draw(name: str) -> None:
        options = {"threshold": threshold} if name == "neighbours" else {}
        save_figure(FIGURES[name](results, **options), output_dir / name)

    deque(in_order(draw, list(FIGURES), granted_cores()), maxlen=0)
