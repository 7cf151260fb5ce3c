"""Pages about designs outside a run: evaluated files, chosen peptides, and mutational scans.

``write_comparison(folder, sources)``, ``write_choice(…)`` and ``write_scan(folder)`` each write one
self-contained HTML file.
"""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from html import escape
from pathlib import Path

import pandas as pd

from structdiff.evaluation.columns import column_tooltips
from structdiff.evaluation.registry import all_metrics
from structdiff.protein.ends import ends_of
from structdiff.report.gallery import (
    CARDS,
    Card,
    CardSet,
    candidate_set,
    ends_in,
    find_structures,
    gallery,
)
from structdiff.report.page import SORT, page
from structdiff.report.tables import table
from structdiff.report.verdicts import figure, judged, verdict_line
from structdiff.report.viewer import Backbone
from structdiff.system.errors import counted
from structdiff.system.files import read_rows, read_tsv, write_text

__all__ = ["write_choice", "write_comparison", "write_scan"]

LISTED = 200
"""Largest number of rows of a set, or of all scans, on a page; the TSV file next to it has all."""

IN_SHORT = (
    *("count", "uniqueness", "copies", "exact_copies", "js1", "js2", "js3", "order", "called"),
    *("macrel", "macrel_uplift"),
)
"""Keys of the metrics in the table at the top of the page of evaluated files."""

FIGURES = {
    "composition": "Amino acids of each file (bars) and of real peptides (marks).",
    "kmers": "Distance of k-mers from the reference, and the order of the residues.",
    "neighbours": "Similarity to the nearest peptide of the reference.",
    "properties": "Charge, hydrophobicity, moment and aliphatic index.",
}


def write_comparison(folder: Path, sources: Mapping[str, Path]) -> None:
    """Write ``index.html``, the page about files that `structdiff.evaluation.comparison` evaluated.

    Parameters
    ----------
    folder
        Folder of the results of `compare_files`; the page is written into it.
    sources
        File or folder of each set, by the name of the set. Structures in the folder, or next to the
        file, are shown.
    """
    results = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    verdicts = verdict_line(results)
    columns, rows = read_rows(folder / "comparison.tsv")
    candidates = read_tsv(folder / "candidates.tsv")
    sets = [candidate_set(name, result["verdict"], candidates) for name, result in results.items()]
    found = [find_structures(sources[part.name], part.cards) for part in sets]
    sets, backbones = _told_apart(sets, found)
    titles = {metric.title: metric.definition for metric in all_metrics()}
    drawn = "".join(
        figure(folder / f"{name}.png", name, caption) for name, caption in FIGURES.items()
    )
    heads, designs = read_rows(folder / "designs.tsv")
    place = heads.index("set")
    shown = [
        row for name in results for row in [row for row in designs if row[place] == name][:LISTED]
    ]
    content = (
        f'<h1>Peptides, judged</h1>\n<p class="lead">{verdicts}.</p>'
        "<p>Each number means something only next to the same number of real peptides and of the "
        "peptides\u2019 own shuffles; none of them is activity.</p>"
        f"<h2>In short</h2>{_in_short(columns, rows, titles)}<h2>Every metric</h2>"
        + table(columns[1:], [_rounded(row[1:]) for row in rows], titles)
        + "<h2>Verdicts</h2>"
        + "".join(judged(name, result) for name, result in results.items())
        + f"<h2>Figures</h2>{drawn}<h2>The first peptides of each file</h2>"
        + gallery(sets, backbones)
        + "<h2>Peptides</h2>"
        + f'<p class="note">At most {LISTED} of each file; designs.tsv has all.</p>'
        + f'<div class="tall">{table(heads, shown, column_tooltips())}</div>'
    )
    write_text(folder / "index.html", page("Peptides, judged", f"{content}<script>{SORT}</script>"))


def _told_apart(
    sets: list[CardSet], found: list[dict[str, Backbone]]
) -> tuple[list[CardSet], dict[str, Backbone]]:
    """Make the ids of the cards unique: return the sets, and the structures of all sets by id.

    The name of the set is appended to an id that several sets have. ``found`` has, for each set,
    the structures by the id of the peptide.
    """
    counts = Counter(name for part in sets for name in {card.id for card in part.cards})
    renamed: list[CardSet] = []
    backbones: dict[str, Backbone] = {}
    for part, structures in zip(sets, found, strict=True):
        names = {
            card.id: card.id if counts[card.id] == 1 else f"{card.id} ({part.name})"
            for card in part.cards
        }
        cards = [replace(card, id=names[card.id]) for card in part.cards]
        renamed.append(replace(part, cards=cards))
        backbones |= {names[name]: backbone for name, backbone in structures.items()}
    return renamed, backbones


def _in_short(columns: list[str], rows: list[list[str]], titles: dict[str, str]) -> str:
    """Return an HTML table of the metrics in `IN_SHORT`, without the columns of shuffled peptides.

    ``columns`` and ``rows`` are the heads and the rows of ``comparison.tsv``; ``titles`` are the
    tooltips, by the title of the metric.
    """
    chosen = [metric.title for metric in all_metrics() if metric.key in IN_SHORT]
    kept = [1, *(n for n, name in enumerate(columns) if n > 1 and not name.endswith(", shuffled"))]
    lines = [_rounded([row[n] for n in kept]) for row in rows if row[1] in chosen]
    return table([columns[n] for n in kept], lines, titles)


def _rounded(row: list[str]) -> list[str]:
    """Return a row with its numbers rounded to three decimals; its first cell is a name."""
    return [
        row[0],
        *(f"{float(cell):.3f}".rstrip("0").rstrip(".") if cell else "" for cell in row[1:]),
    ]


def write_choice(
    path: Path,
    chosen: pd.DataFrame,
    controls: pd.DataFrame,
    call: str,
    notes: list[str],
    source: Path,
) -> None:
    """Write the page of `structdiff pick`: the chosen peptides, and how they were chosen.

    Parameters
    ----------
    path
        The page to write.
    chosen
        The chosen peptides, with all columns.
    controls
        Mean scores of the chosen peptides, of their shuffles and of other peptides.
    call
        The command with which they were chosen.
    notes
        Sentences about the steps of the choice, such as the number of peptides after each.
    source
        File or folder with all designs. Structures in the folder, or next to the file, are shown;
        verdicts only if it is a folder.
    """
    cells, means = (
        frame.astype(object).where(frame.notna(), "").astype(str).to_numpy().tolist()
        for frame in (chosen, controls)
    )
    steps = "".join(f"<li>{escape(note)}</li>" for note in notes)
    content = (
        f"<h1>{counted(len(chosen), 'peptide')}, chosen</h1>"
        f"<pre>{escape(call)}</pre><ul>{steps}</ul>"
        + _chosen_cards(chosen, source)
        + "<h2>All columns</h2>"
        + table(list(chosen.columns), cells, column_tooltips())
        + "<h2>Means of their scores</h2><p>A share means something only next to that of the "
        "peptides\u2019 own shuffles and of real peptides; none of them is activity.</p>"
        + table(list(controls.columns), means, column_tooltips())
    )
    write_text(path, page("Peptides, chosen", f"{content}<script>{SORT}</script>"))


def write_scan(folder: Path) -> None:
    """Write ``index.html``, the page about the mutational scans in a folder.

    If the folder also has ``designs.tsv``, the page shows its designs as analogues.

    Parameters
    ----------
    folder
        Folder that `structdiff.generation.scan.write_scans` wrote; the page is written into it.
    """
    columns, rows = read_rows(folder / "scan.tsv")
    odds = columns.index("log_odds")
    rows.sort(key=lambda row: -float(row[odds]))
    drawn = "".join(
        figure(
            folder / f"{name}_scan.png",
            f"mutational scan of {name}",
            f"{name}: log-likelihood of each residue against the parent\u2019s, given all others. "
            "Blue is likelier than the parent, red less likely; dots are the parent.",
        )
        for name in dict.fromkeys(row[0] for row in sorted(rows))
    )
    content = (
        "<h1>Mutational scan</h1><p>The model hides one residue at a time and predicts it from the "
        "others. It says what looks like a real peptide; it measures no activity.</p>"
        f"{drawn}{_analogues(folder)}"
        f'<h2>The likeliest substitutions</h2><p class="note">At most {LISTED}; scan.tsv has all. '
        "log_odds: nats against the parent\u2019s residue; probability: of the residue at its "
        f'position.</p><div class="tall">{table(columns, rows[:LISTED])}</div>'
    )
    write_text(folder / "index.html", page("Mutational scan", f"{content}<script>{SORT}</script>"))


def _analogues(folder: Path) -> str:
    """Return HTML about the analogues in a folder: cards, a logo and a table of the mutations.

    If the folder has no analogues, the result is empty.
    """
    path = folder / "designs.tsv"
    designs = read_tsv(path) if path.is_file() else []
    if not designs or "mutations" not in designs[0]:
        return ""
    cards = [
        Card(
            row["id"],
            row["sequence"],
            f"{number}. {row['id']}",
            f"changed: {row['mutations']}",
            row["synthesis_warnings"] or "no synthesis warning",
            ends_in(row),
        )
        for number, row in enumerate(designs[:CARDS], start=1)
    ]
    names = ["id", "sequence", "mutations", "mutation_count"]
    cells = [[row[name] for name in names] for row in designs[:LISTED]]
    sets = [CardSet("analogues", "", [row["sequence"] for row in designs], cards)]
    return (
        f"<h2>Analogues of {escape(ends_in(designs[0]).marked(designs[0]['origin']))}</h2>"
        f"{gallery(sets, find_structures(folder, cards))}"
        f'<p class="note">At most {LISTED}; designs.tsv has all.</p>'
        f'<div class="tall">{table(names, cells, column_tooltips())}</div>'
    )


def _chosen_cards(chosen: pd.DataFrame, source: Path) -> str:
    """Return HTML with the gallery of the chosen peptides, grouped by their column ``set``.

    Structures and verdicts are read from ``source``, the file or folder with all designs.
    """
    verdicts = {}
    for path in (source / "evaluation" / "metrics.json", source / "metrics.json"):
        if path.is_file():
            results = json.loads(path.read_text(encoding="utf-8"))
            verdicts = {name: result["verdict"] for name, result in results.items()}
    ends = ends_of(chosen)
    names = pd.Series("chosen", chosen.index)
    if "set" in chosen:
        names = chosen["set"].fillna("no set")
    sets = []
    for name, rows in chosen.groupby(names, sort=False):
        cards = [
            Card(
                row["id"],
                row["sequence"],
                f"{number + 1}. {row['id']}",
                f"{row['length']} residues, {row['molecular_weight']:,.2f} Da, charge "
                f"{row['charge']:+.1f}",
                row["synthesis_warnings"] or "no synthesis warning",
                ends[number],
            )
            for number, row in rows.iterrows()
        ]
        sets.append(CardSet(str(name), verdicts.get(name, ""), rows["sequence"].tolist(), cards))
    return gallery(sets, find_structures(source, [card for part in sets for card in part.cards]))
