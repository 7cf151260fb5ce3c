"""Pages for the report: tables, designs and settings as HTML that any browser shows offline.

Snakemake's report shows pictures and HTML in place, and offers everything else for download. So
``python -m structdiff.report --results results/demo --output-dir results/demo/report`` makes one
small page of each table: sortable by a click on a column's head, with nothing to load.
"""

import argparse
import csv
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

__all__ = ["PAGES", "run", "table_page"]

MAX_ROWS = 1000
"""Rows that a page shows; a longer table says how many there are and where."""

PAGES = {
    "peptides": "peptides/summary.tsv",
    "rejected": "peptides/rejected.tsv",
    "leakage": "peptides/split_report.tsv",
    "structures": "structures/summary.tsv",
    "failed": "structures/failed.tsv",
    "selection": "selection/selection.tsv",
    "generation": "generation/summary.tsv",
    "designs": "generation/samples.parquet",
    "candidates": "evaluation/candidates.tsv",
    "verdict": "evaluation/verdict.tsv",
    "metrics": "evaluation/metrics.tsv",
    "label_control": "evaluation/label_control.tsv",
    "tasks": "evaluation/tasks.tsv",
    "configuration": "config.yaml",
}
"""Name of each page and the result that it shows."""

_STYLE = """
body { font: 14px/1.45 system-ui, sans-serif; color: #1f2933; background: #fff; margin: 1.5rem; }
table { border-collapse: collapse; }
th { position: sticky; top: 0; background: #eef2f6; cursor: pointer; text-align: left; }
th, td { padding: .35rem .7rem; border-bottom: 1px solid #dde3ea; vertical-align: top; }
th:hover { background: #dde6ef; }
th[aria-sort=ascending]::after { content: " ▲"; }
th[aria-sort=descending]::after { content: " ▼"; }
td.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
td.sequence { font-family: ui-monospace, monospace; overflow-wrap: anywhere; min-width: 14rem; }
td:empty::after { content: "–"; color: #8895a3; }
tbody tr:nth-child(even) { background: #f8fafc; }
.note { color: #52606d; }
pre { font: 13px/1.5 ui-monospace, monospace; }
"""

_SORT = """
for (const head of document.querySelectorAll('th')) head.onclick = () => {
  const down = head.ariaSort === 'ascending', column = head.cellIndex;
  for (const other of head.parentNode.cells) other.ariaSort = null;
  head.ariaSort = down ? 'descending' : 'ascending';
  const body = document.querySelector('tbody'), sign = down ? -1 : 1;
  const key = row => row.cells[column].textContent;
  const order = (a, b) => {
    if (key(a) === '' || key(b) === '') return (key(a) === '') - (key(b) === '');
    const difference = Number(key(a)) - Number(key(b));
    return sign * (Number.isNaN(difference) ? key(a).localeCompare(key(b)) : difference);
  };
  body.append(...[...body.rows].sort(order));
};
"""


def run(results: Path, output_dir: Path) -> None:
    """Write a page for each of `PAGES`.

    Parameters
    ----------
    results
        Folder of a run, ``results/<run>``.
    output_dir
        Where ``<page>.html`` goes.
    """
    output_dir.mkdir(parents=True, exist_ok=True)
    for name, file in PAGES.items():
        path = results / file
        if path.suffix == ".yaml":
            page = _page(f"<pre>{escape(path.read_text(encoding='utf-8'))}</pre>")
        elif path.suffix == ".parquet":
            page = table_page(*_read_designs(path), source=path)
        else:
            page = table_page(*_read_tsv(path), source=path)
        (output_dir / f"{name}.html").write_text(page, encoding="utf-8")


def table_page(columns: Sequence[str], rows: Sequence[Sequence[str]], source: Path) -> str:
    """Return a page with one table.

    Parameters
    ----------
    columns
        Heads of the columns.
    rows
        Cells of each row.
    source
        The file that holds the whole table; its path is named above it.
    """
    shown = rows[:MAX_ROWS]
    note = f"{len(rows):,} row{'' if len(rows) == 1 else 's'}"
    if len(shown) < len(rows):
        note += f", the first {len(shown):,} shown"
    heads = "".join(f"<th>{escape(column)}</th>" for column in columns)
    classes = [_class(column, [row[i] for row in shown]) for i, column in enumerate(columns)]
    body = "\n".join(f"<tr>{_cells(row, classes)}</tr>" for row in shown)
    return _page(
        f'<p class="note">{note} · {escape(source.as_posix())}</p>\n'
        f"<table><thead><tr>{heads}</tr></thead>\n<tbody>\n{body}\n</tbody></table>\n"
        f"<script>{_SORT}</script>"
    )


def _page(content: str) -> str:
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>StructDiff</title>'
        f"<style>{_STYLE}</style></head>\n<body>\n{content}\n</body></html>\n"
    )


def _cells(row: Sequence[str], classes: Sequence[str]) -> str:
    return "".join(
        f'<td class="{name}">{escape(cell)}</td>' if name else f"<td>{escape(cell)}</td>"
        for cell, name in zip(row, classes, strict=True)
    )


def _class(column: str, cells: Iterable[str]) -> str:
    """Return how a column is set: as numbers, as sequences, or as text ('')."""
    if column == "sequence":
        return "sequence"
    filled = [cell for cell in cells if cell]
    return "number" if filled and all(map(_is_number, filled)) else ""


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _read_tsv(path: Path) -> tuple[list[str], list[list[str]]]:
    with path.open(encoding="utf-8", newline="") as file:
        columns, *rows = csv.reader(file, delimiter="\t")
    return columns, rows


def _read_designs(path: Path) -> tuple[list[str], list[list[str]]]:
    """Return the designs without their coordinates."""
    from pyarrow import parquet

    columns = ["id", "label", "length", "sequence", "pdb"]
    table = parquet.read_table(path, columns=columns)
    return columns, [[str(record[name]) for name in columns] for record in table.to_pylist()]


def _main() -> None:
    parser = argparse.ArgumentParser(prog="python -m structdiff.report", description=__doc__)
    parser.add_argument("--results", type=Path, required=True, help="folder of the run")
    parser.add_argument("--output-dir", type=Path, required=True, help="where the pages go")
    arguments = parser.parse_args()
    run(arguments.results, arguments.output_dir)


if __name__ == "__main__":
    _main()
