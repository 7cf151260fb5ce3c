"""Write Snakemake's report of a run, changed so that it opens at the story.

``python workflow/scripts/report.py CONFIG REPORT RULE …`` writes the report of the named rules. The
rules are the rules of our own Snakefile, also if another workflow uses it as a module.
"""

import subprocess
import sys
from pathlib import Path

from structdiff.report.frame import open_at_story

WORKFLOW = Path(__file__).resolve().parents[1]


def main(config: str, report: str, *stages: str) -> None:
    """Write ``report`` with the results of ``stages``, for the settings in ``config``."""
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(WORKFLOW.parent / "Snakefile")]
    command += ["--configfile", config, "--nolock", "--report", report]
    command += ["--report-stylesheet", str(WORKFLOW / "report" / "report.css"), "--", *stages]
    status = subprocess.run(command, check=False).returncode
    if status:
        sys.exit(status)
    open_at_story(Path(report))


main(*sys.argv[1:])
