"""Pages with the tables and the settings of a run, for any browser and offline.

``write_tables(results, output_dir)`` writes one small page for each table. A click on the head of a
column sorts the table. ``table(columns, rows)`` returns such a table as HTML.
"""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path

from structdiff.report.page import SORT, page
from structdiff.system.errors import counted
from structdiff.system.files import is_number, read_rows

__all__ = ["MAX_ROWS", "PAGES", "table", "table_page", "write_tables"]

MAX_ROWS = 1000
"""Largest number of rows on a page; every page names the file with all rows."""

PAGES = {
    "peptides": "peptides/summary.tsv",
    "rejected": "peptides/rejected.tsv",
    "leakage": "peptides/split_report.tsv",
    "structures": "structures/summary.tsv",
    "failed": "structures/failed.tsv",
    "selection": "selection/selection.tsv",
    "generation": "generation/summary.tsv",
    "designs": "generation/designs.tsv",
    "candidates": "evaluation/candidates.tsv",
    "verdict": "evaluation/verdict.tsv",
    "metrics": "evaluation/metrics.tsv",
    "label_control": "evaluation/label_control.tsv",
    "tasks": "evaluation/tasks.tsv",
    "configuration": "config.yaml",
}
"""Files that the pages show, relative to the folder of the run, by the name of the page."""


def write_tables(results: Path, output_dir: Path) -> None:
    """Write a page for each of `PAGES`.

    Parameters
    ----------
    results
        Folder of a run, ``results/<run>``.
    output_dir
        Folder of the pages, ``<page>.html``.
    """
    output_dir.mkdir(parents=True, exist_ok=True)
    for name, file in PAGES.items():
        path = results / file
        if path.suffix == ".yaml":
            content = page(name, f"<pre>{escape(path.read_text(encoding='utf-8'))}</pre>")
        else:
            content = table_page(*read_rows(path), source=path)
        (output_dir / f"{name}.html").write_text(content, encoding="utf-8")


def table_page(columns: Sequence[str], rows: Sequence[Sequence[str]], source: Path) -> str:
    """Return a page with one table.

    Parameters
    ----------
    columns
        Heads of the columns.
    rows
        Cells of each row.
    source
        The file with the whole table; the page names it and shows at most `MAX_ROWS` rows.
    """
    shown = rows[:MAX_ROWS]
    note = counted(len(rows), "row")
    if len(shown) < len(rows):
        note += f", the first {len(shown):,} shown"
    return page(
        source.stem,
        f'<p class="note">{note} · {escape(source.as_posix())}</p>\n{table(columns, shown)}'
        f"<script>{SORT}</script>",
    )


def table(
    columns: Sequence[str], rows: Sequence[Sequence[str]], titles: Mapping[str, str] | None = None
) -> str:
    """Return a table as HTML, with escaped cells; a page with the script `SORT` can sort it.

    Parameters
    ----------
    columns
        Heads of the columns.
    rows
        Cells of each row.
    titles
        Tooltips, by the text of a head or of a cell in the first column.
    """
    titles = titles or {}
    heads = "".join(
        f'<th tabindex="0"{_title(column, titles)}>{escape(column)}</th>' for column in columns
    )
    classes = [_class(column, [row[i] for row in rows]) for i, column in enumerate(columns)]
    body = "\n".join(f"<tr>{_cells(row, classes, titles)}</tr>" for row in rows)
    return (
        f'<div class="wide"><table class="sortable"><thead><tr>{heads}</tr></thead>\n'
        f"<tbody>\n{body}\n</tbody></table></div>\n"
    )


def _title(text: str, titles: Mapping[str, str]) -> str:
    return f' title="{escape(titles[text])}"' if text in titles else ""


def _cells(row: Sequence[str], classes: Sequence[str], titles: Mapping[str, str]) -> str:
    return "".join(
        "<td"
        + (f' class="{name}"' if name else "")
        + ("" if number else _title(cell, titles))
        + f">{escape(cell)}</td>"
        for number, (cell, name) in enumerate(zip(row, classes, strict=True))
    )


def _class(column: str, cells: Iterable[str]) -> str:
    """Return the CSS class of a column: ``number``, ``sequence``, or empty for text."""
    if column == "sequence":
        return "sequence"
    filled = [cell for cell in cells if cell]
    return "number" if filled and all(map(is_number, filled)) else ""
