"""Run folders: find the workflow of the package, create a folder that uses it, show its plan.

`workflow_root` finds the workflow: ``structdiff/bundle`` in an installed wheel, the folder above
the package in a checkout. `create` makes a folder with a configuration, a profile and a Snakefile
that uses the workflow as a module. `short_plan` shortens the output of a dry run to a table.
"""

import hashlib
import re
import shutil
from contextlib import suppress
from pathlib import Path

from structdiff.system.errors import UserError

__all__ = [
    "WARNING",
    "configurations",
    "create",
    "import_folder",
    "profile_folder",
    "profiles",
    "short_plan",
    "workflow_root",
]

PACKAGE = Path(__file__).resolve().parents[1]

SNAKEFILE = """\
# The workflow of the installed package, as a module. `structdiff run` starts it, and
# `structdiff run -n` shows what would run. Rules of your own can follow below.
from structdiff.system.run_folder import workflow_root


configfile: "config/config.yaml"


module structdiff:
    snakefile:
        str(workflow_root() / "Snakefile")
    config:
        config


use rule * from structdiff
"""

WARNING = "Warning: "
"""Start of a line with which the workflow warns, before the first job; `short_plan` keeps it."""

MAX_LINES = 40
"""Largest number of lines of a plan, so that it fits on a screen."""

_WHY = {
    "output files have to be generated": "not made yet",
    "incomplete output files": "was interrupted",
    "updated input files": "an input file is newer",
    "set of input files has changed since last execution": "other input files",
    "params have changed since last execution": "settings, code or input changed",
    "code has changed since last execution": "its command changed",
    "software environment definition has changed since last execution": "other software",
    "forced": "asked for by --force",
    "input files updated by another job": "follows a job above",
}
"""Text that is shown for each of Snakemake's reasons to run a job, causes before consequences."""


def workflow_root() -> Path:
    """Return the folder with the Snakefile, the profiles and the configurations.

    Raises
    ------
    UserError
        If the package came without its workflow.
    """
    for folder in (PACKAGE / "bundle", PACKAGE.parent):
        if (folder / "workflow" / "rules").is_dir():
            return folder
    raise UserError(
        f"{PACKAGE}: this installation has no workflow; install StructDiff again, from its wheel"
    )


def import_folder(folder: Path) -> Path:
    """Create a folder with a link to this package only, and return the path of the new folder.

    The Python of another environment imports this package from the new folder, which is inside
    ``folder``. It must not import from the folder in which this package is installed, because the
    other packages there belong to this environment.
    """
    name = hashlib.sha256(str(PACKAGE).encode()).hexdigest()[:8]
    link = folder / "package" / name / PACKAGE.name
    link.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError):
        link.symlink_to(PACKAGE)
    return link.parent


def configurations() -> dict[str, Path]:
    """Return the configuration files of the package by name; ``config.yaml`` is named ``demo``."""
    files = sorted((workflow_root() / "config").glob("*.yaml"))
    return {"demo" if path.stem == "config" else path.stem: path for path in files}


def profiles() -> dict[str, Path]:
    """Return the folders of the profiles that come with the package, by name."""
    return {path.parent.name: path.parent for path in (workflow_root() / "profiles").glob("*/*")}


def create(folder: Path, config: str, profile: str) -> None:
    """Create a run folder with a Snakefile, config/ and profiles/<profile>/.

    Parameters
    ----------
    folder
        A new or empty folder.
    config, profile
        Names of a configuration and of a profile of the package.

    Raises
    ------
    UserError
        If the folder is not empty, or there is no configuration or profile of that name.
    """
    config_file = _chosen("--config", config, configurations())
    profile_file = _chosen("--profile", profile, profiles()) / "config.yaml"
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder}: there is something already; name a new or an empty folder")
    for source, name in [
        (config_file, "config/config.yaml"),
        (config_file.with_name("README.md"), "config/README.md"),
        (profile_file, f"profiles/{profile}/config.yaml"),
    ]:
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
    text = (folder / "config" / "config.yaml").read_text(encoding="utf-8")
    schema = workflow_root() / "workflow" / "schemas" / "config.schema.json"
    text = text.replace("$schema=../workflow/schemas/config.schema.json", f"$schema={schema}")
    (folder / "config" / "config.yaml").write_text(text, encoding="utf-8")
    (folder / "Snakefile").write_text(SNAKEFILE, encoding="utf-8")


def _chosen(option: str, name: str, known: dict[str, Path]) -> Path:
    if name not in known:
        raise UserError(f"{option}: there is no '{name}'; known: {', '.join(sorted(known))}")
    return known[name]


def profile_folder(folder: Path, profile: str | None) -> Path:
    """Return the folder of a profile, relative to the run folder ``folder``.

    ``profile`` is the name of a folder in ``profiles/``, or the path of a folder, which is returned
    unchanged. None means the only profile of the run folder, or ``local`` if there are several.

    Raises
    ------
    UserError
        If the folder is not a run folder, or has no such profile.
    """
    if not any((folder / name).is_file() for name in ("Snakefile", "workflow/Snakefile")):
        raise UserError(
            f"{folder}: there is no Snakefile here; `structdiff init DIR` lays out a folder for a "
            "run, and `structdiff run` is given in it"
        )
    known = {path.parent.name: path.parent for path in folder.glob("profiles/*/config.yaml")}
    if profile is None:
        profile = next(iter(known)) if len(known) == 1 else "local"
    named = Path(profile)
    if (folder / named / "config.yaml").is_file():
        return named
    return _chosen("--profile", profile, known).relative_to(folder)


def short_plan(output: str) -> str | None:
    """Return the plan of Snakemake's dry run as a table of at most `MAX_LINES` lines.

    The warnings of the workflow come before it.

    Parameters
    ----------
    output
        Output of Snakemake.

    Returns
    -------
    str or None
        The warnings of the workflow and the table; None if the output is not a plan in the format
        of Snakemake 9.
    """
    warnings = re.findall(f"^{WARNING}.+$", output, re.M)
    if "Nothing to be done" in output:
        state = "all results are there" if warnings else "all results are there and up to date"
        return "\n".join([*warnings, f"Nothing to do: {state}."])
    tables = re.findall(r"^Job stats:\njob +count\n-[- ]+\n(.*?)^total +(\d+)", output, re.M | re.S)
    reasons = re.findall(r"^    ([a-z][^:\n]+):\n        (.+)$", output, re.M)
    if not tables or not reasons:
        return None
    counts = [line.rsplit(maxsplit=1) for line in tables[-1][0].splitlines()]
    why: dict[str, list[str]] = {}
    for reason in sorted((reason for reason, _ in reasons), key=_rank):
        for rule in dict(reasons)[reason].split(", "):
            why.setdefault(rule, []).append(_WHY.get(reason, reason))
    rows = [(rule, count, why.get(rule, [""])[0]) for rule, count in counts if rule != "all"]
    width = max(map(len, ["stage", *(rule for rule, _, _ in rows)]))
    lines = [f"{'stage':{width}}  jobs  why"]
    lines += [f"{rule:{width}}  {count:>4}  {reason}" for rule, count, reason in rows]
    if len(lines) > MAX_LINES - 4:
        lines[MAX_LINES - 5 :] = [f"… and {len(lines) - MAX_LINES + 5} more stages"]
    jobs = sum(int(count) for _, count, _ in rows)
    lines.append(f"{jobs} jobs in {len(rows)} stages. `structdiff run` starts them.")
    if any(rule.endswith("plan_folding") for rule, _, _ in rows):
        lines.append(
            "Folding may add jobs: how many peptides the cache lacks is known after the split."
        )
    return "\n".join([*warnings, *lines])


def _rank(reason: str) -> int:
    """Return the position of a reason in `_WHY`, for sorting; 0 for an unknown reason."""
    return list(_WHY).index(reason) if reason in _WHY else 0
