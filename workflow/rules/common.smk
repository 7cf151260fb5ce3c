# What the rules share: the checked configuration, the paths, and what a stage depends on.
#
# The run's whole configuration is written once, to results/<run>/config.yaml, and every command
# reads it there. That file is an `ancient` input, so it makes nothing rerun by itself; each rule
# carries the settings that its stage reads in `params`, so that exactly the stages whose settings
# (or whose code) changed run again.

import json
import shlex
import sys
from pathlib import Path

from snakemake_interface_common.exceptions import WorkflowError

from structdiff import config as settings
from structdiff.errors import UserError
from structdiff.fingerprint import constant, fingerprint

DEMO_TABLE = "resources/demo/peptides.csv"

# The commands run in the Python that runs Snakemake, and print line by line.
STRUCTDIFF = f"{shlex.quote(sys.executable)} -u -m structdiff"


def checked_configuration():
    """Return the typed configuration; a mistake in it stops the workflow at once."""
    files = [str(path) for path in workflow.config_settings.configfiles]
    source = " + ".join(files) or "config/config.yaml"
    try:
        return settings.parse(config, source)
    except UserError as error:
        raise WorkflowError(str(error)) from None


def input_table(key):
    """Return the path of a table that the configuration names, as a list of one or none.

    A missing one stops the workflow with the key and what to do; the demo's is made by a rule.
    """
    return present(f"data.{key}", getattr(CONFIG.data, key))


def present(key, path):
    """Return ``[path]``, or ``[]`` where a key is not set; stop where it names nothing."""
    if path is None:
        return []
    if path != DEMO_TABLE and not Path(path).exists():
        raise WorkflowError(
            f"{key}: {path}: no such file or folder (looked for it from {Path.cwd()}). "
            f"Set '{key}' in the configuration file to where it is."
        )
    return [path]


def part(section, *, only=None, without=()):
    """Return settings as canonical JSON: what a stage depends on, for its `params`."""
    values = section.model_dump(mode="json")
    kept = {
        name: value
        for name, value in values.items()
        if name not in without and (only is None or name in only)
    }
    return json.dumps(kept, sort_keys=True)


def in_report(path, caption, category, **labels):
    """Mark an output for the report; ``category`` bears its number, so that the order is ours."""
    return report(path, caption=f"../report/{caption}.rst", category=category, labels=labels)


CONFIG = checked_configuration()
RESULTS = settings.results_dir(CONFIG).as_posix()
SETTINGS_FILE = f"{RESULTS}/config.yaml"
PREDICTOR = settings.predictor_name(CONFIG)


localrules:
    all,
    config,
    demo_data,
    report,


rule config:
    output:
        SETTINGS_FILE,
    params:
        text=settings.dump(CONFIG),
    message:
        "Writing the configuration of this run, all defaults spelled out"
    log:
        f"{RESULTS}/logs/config.log",
    shell:
        "printf '%s' {params.text:q} > {output} 2> {log}"
