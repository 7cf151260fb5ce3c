"""Build the documentation as a site.

``python docs/site/build.py FOLDER`` copies the pages to ``FOLDER/docs``, adds those that are made
from the code, and lets Zensical write ``FOLDER/site``. A warning, such as a dead link, is an error.
"""

import shutil
import subprocess
import sys
from pathlib import Path

import yaml
from reference import DOCS, GENERATED

import structdiff


def build(folder: Path) -> int:
    """Build the site in a folder, and return the exit status of Zensical."""
    pages = folder / "docs"
    for old in (pages, folder / "site"):
        shutil.rmtree(old, ignore_errors=True)
    shutil.copytree(DOCS, pages, ignore=shutil.ignore_patterns("site"))
    shutil.copytree(DOCS / "site" / "vendor", pages / "vendor")
    for name, page in GENERATED.items():
        (pages / name).write_text(page(), encoding="utf-8")
    settings = yaml.safe_load((DOCS / "site" / "site.yml").read_text(encoding="utf-8"))
    settings["copyright"] = f"StructDiff {structdiff.__version__}"
    python = settings["plugins"][-1]["mkdocstrings"]["handlers"]["python"]
    python["paths"] = [str(DOCS.parent)]
    (folder / "mkdocs.yml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    command = [sys.executable, "-m", "zensical", "build", "--strict", "--clean"]
    return subprocess.run(command, cwd=folder, check=False).returncode


if __name__ == "__main__":
    sys.exit(build(Path(sys.argv[1])))
