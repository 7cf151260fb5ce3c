"""Run the command line as ``python -m structdiff``."""

from structdiff.cli import main

main()
