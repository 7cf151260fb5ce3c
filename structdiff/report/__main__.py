"""Write the report's pages: ``python -m structdiff.report --results … --output-dir …``."""

import argparse
from pathlib import Path

from structdiff.report.pages import write_pages


def main() -> None:
    """Read the arguments and write the pages."""
    parser = argparse.ArgumentParser(prog="python -m structdiff.report", description=__doc__)
    parser.add_argument("--results", type=Path, required=True, help="folder of the run")
    parser.add_argument("--output-dir", type=Path, required=True, help="where the pages go")
    arguments = parser.parse_args()
    write_pages(arguments.results, arguments.output_dir)


main()
