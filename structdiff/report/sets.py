"""Pages about designs outside a run: files that were evaluated, and peptides that were chosen.

Each is a single self-contained file: ``write_comparison(folder)`` and ``write_choice(…)``.
"""

import json
from html import escape
from pathlib import Path

import pandas as pd

from structdiff.evaluation.columns import column_tooltips
from structdiff.evaluation.registry import all_metrics
from structdiff.report.page import SORT, page
from structdiff.report.tables import read_tsv, table
from structdiff.report.verdicts import figure, judged, tone
from structdiff.system.files import write_text

__all__ = ["write_choice", "write_comparison"]

LISTED = 200
"""Largest number of designs of each set on the page; ``designs.tsv`` has all."""

FIGURES = {
    "composition": "Amino acids of each file (bars) and of real peptides (marks).",
    "kmers": "Distance of k-mers from the reference, and the order of the residues.",
    "neighbours": "Similarity to the nearest peptide of the reference.",
    "properties": "Charge, hydrophobicity, moment and aliphatic index.",
}


def write_comparison(folder: Path) -> None:
    """Write ``index.html`` of files that `structdiff.evaluation.comparison` judged.

    Parameters
    ----------
    folder
        Folder that `compare_files` wrote.
    """
    results = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    verdicts = "; ".join(
        f'{escape(name)} <b class="{tone(result["verdict"])}">{escape(result["verdict"])}</b>'
        for name, result in results.items()
    )
    columns, rows = read_tsv(folder / "comparison.tsv")
    titles = {metric.title: metric.definition for metric in all_metrics()}
    drawn = "".join(
        figure(folder / f"{name}.png", name, caption) for name, caption in FIGURES.items()
    )
    heads, designs = read_tsv(folder / "designs.tsv")
    place = heads.index("set")
    shown = [
        row for name in results for row in [row for row in designs if row[place] == name][:LISTED]
    ]
    content = (
        f'<h1>Peptides, judged</h1>\n<p class="lead">{verdicts}.</p>'
        "<p>Each number means something only next to the same number of real peptides and of the "
        "peptides\u2019 own shuffles; none of them is activity.</p>"
        "<h2>Side by side</h2>"
        + table(columns[1:], [row[1:] for row in rows], titles)
        + "<h2>Verdicts</h2>"
        + "".join(judged(name, result) for name, result in results.items())
        + f"<h2>Figures</h2>{drawn}<h2>Peptides</h2>"
        + f'<p class="note">At most {LISTED} of each file; designs.tsv has all.</p>'
        + f'<div class="tall">{table(heads, shown, column_tooltips())}</div>'
    )
    write_text(folder / "index.html", page("Peptides, judged", f"{content}<script>{SORT}</script>"))


def write_choice(
    path: Path, chosen: pd.DataFrame, controls: pd.DataFrame, call: str, notes: list[str]
) -> None:
    """Write the page that shows which peptides were chosen, and how.

    Parameters
    ----------
    path
        The page to write.
    chosen
        Peptides with all their columns.
    controls
        Means of their scores next to those of other peptides and of shuffles.
    call
        The command that chose them.
    notes
        How many peptides each step left.
    """
    cells, means = (
        frame.astype(object).where(frame.notna(), "").astype(str).to_numpy().tolist()
        for frame in (chosen, controls)
    )
    steps = "".join(f"<li>{escape(note)}</li>" for note in notes)
    content = (
        f"<h1>{len(chosen)} peptides, chosen</h1><pre>{escape(call)}</pre><ul>{steps}</ul>"
        + table(list(chosen.columns), cells, column_tooltips())
        + "<h2>Means of their scores</h2><p>A share means something only next to that of the "
        "peptides\u2019 own shuffles and of real peptides; none of them is activity.</p>"
        + table(list(controls.columns), means, column_tooltips())
    )
    write_text(path, page("Peptides, chosen", f"{content}<script>{SORT}</script>"))
