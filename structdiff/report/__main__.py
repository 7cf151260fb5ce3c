"""Write the report's pages: ``python -m structdiff.report --results … --output-dir …``.

The workflow writes the pages again if this module, or a module that it imports, has changed.
"""

import argparse
from pathlib import Path

from structdiff.report.story import tell
from structdiff.report.tables import write_tables


def main() -> None:
    """Write ``story.html`` and a page for each table of a run into a folder."""
    parser = argparse.ArgumentParser(prog="python -m structdiff.report")
    parser.add_argument("--results", type=Path, required=True, help="folder of the run")
    parser.add_argument("--output-dir", type=Path, required=True, help="where the pages go")
    arguments = parser.parse_args()
    write_tables(arguments.results, arguments.output_dir)
    (arguments.output_dir / "story.html").write_text(tell(arguments.results), encoding="utf-8")


main()
