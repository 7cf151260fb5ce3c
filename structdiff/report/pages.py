"""All pages of the report: the story and the tables.

The workflow writes the pages again if this module, or a module that it imports, has changed.
"""

from pathlib import Path

from structdiff.report.story import tell
from structdiff.report.tables import write_tables

__all__ = ["write_pages"]


def write_pages(results: Path, output_dir: Path) -> None:
    """Write ``story.html`` and a page for each table.

    Parameters
    ----------
    results
        Folder of a run, ``results/<run>``, with every stage done.
    output_dir
        Folder of the pages, ``<page>.html``.
    """
    write_tables(results, output_dir)
    (output_dir / "story.html").write_text(tell(results), encoding="utf-8")
