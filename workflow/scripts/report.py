"""Write Snakemake's report of a run, opened at its story.

``python workflow/scripts/report.py results/demo/config.yaml results/demo/report.html``: the report
of the Snakefile of this folder, also where the workflow is used as a module of another one.
"""

import subprocess
import sys
from pathlib import Path

from structdiff.report.frame import open_at_story

WORKFLOW = Path(__file__).resolve().parents[1]
STAGES = ["split", "fold", "train", "select", "plot", "generate", "evaluate", "pages"]


def main(config: str, report: str) -> None:
    """Write ``report`` for the run whose settings are in ``config``."""
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(WORKFLOW.parent / "Snakefile")]
    command += ["--configfile", config, "--nolock", "--report", report]
    command += ["--report-stylesheet", str(WORKFLOW / "report" / "report.css"), "--", *STAGES]
    status = subprocess.run(command, check=False).returncode
    if status:
        sys.exit(status)
    open_at_story(Path(report))


main(*sys.argv[1:])
