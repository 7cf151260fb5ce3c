# What the rules share: the checked configuration, the paths, and what a stage depends on.
#
# The whole configuration of the run is written to results/<run>/config.yaml when the workflow starts,
# and every command reads it there. It is not an input of any rule. Each rule has in its `params` the
# settings that its stage reads, its code and the content of its input files, so that exactly the
# stages run again for which one of these has changed.

import functools
import importlib.util
import json
import os
import sys
from importlib.metadata import distributions
from pathlib import Path
from shlex import quote

from snakemake.settings.types import DeploymentMethod
from snakemake_interface_common.exceptions import WorkflowError

if not importlib.util.find_spec("structdiff"):
    raise WorkflowError(
        f"StructDiff is not installed in the Python that runs Snakemake ({sys.executable}), and the "
        "rules import it: install it there with pip, in the version of this workflow."
    )

from structdiff import config as settings
from structdiff.generation.sharding import shard_names
from structdiff.structures.shards import read_plan
from structdiff.system.errors import UserError
from structdiff.system.files import write_text
from structdiff.system.fingerprint import Digests, constant, fingerprint
from structdiff.system.naming import file_names
from structdiff.system.run_folder import import_folder, workflow_root

DEMO_TABLE = "resources/demo/peptides.csv"
# A workflow that is read from a repository or a URL is not on this machine: what the installed
# package has is used for its scripts and its report.
ROOT = Path(workflow.current_basedir.get_path_or_uri(secret_free=True)).parents[1]
IS_HOSTED = not (ROOT / "workflow" / "scripts").is_dir()
if IS_HOSTED:
    ROOT = workflow_root()
CODE = ROOT if (ROOT / "structdiff").is_dir() else import_folder(Path(".snakemake").absolute())

# The commands run in the Python that runs Snakemake (or in the conda environment of `--sdm conda`),
# with the code of this checkout or of the installed package, and print line by line.
os.environ.update(
    {
        name: os.pathsep.join(filter(None, [str(first), os.environ.get(name)]))
        for name, first in [("PATH", Path(sys.executable).parent), ("PYTHONPATH", CODE)]
    },
    PYTHONUNBUFFERED="1",
    STRUCTDIFF_WORKFLOW=str(ROOT / "workflow"),
)
# The conda environment has no StructDiff of its own, and Snakemake removes PYTHONPATH from it.
if DeploymentMethod.CONDA in workflow.deployment_settings.deployment_method:
    shell._process_prefix = f"{shell._get_process_prefix()}export PYTHONPATH={quote(str(CODE))}; "


def other_rules():
    """Return the names of hosted files of rules that are not as in the installed package."""

    def is_as_installed(source):
        installed = ROOT / "workflow" / "rules" / source.get_filename()
        hosted = workflow.sourcecache.open(source).read()  # without its last end of line
        return (
            installed.is_file() and installed.read_text(encoding="utf-8").strip() == hosted.strip()
        )

    rules = [file for file in workflow.included if file.get_basedir() == workflow.current_basedir]
    return [source.get_filename() for source in rules if not is_as_installed(source)]


def checked_configuration():
    """Return the typed configuration; a mistake in it stops the workflow at once."""
    files = [str(path) for path in workflow.configfiles]
    source = " + ".join(files) or "config/config.yaml"
    try:
        for path in files:  # Snakemake's own loader takes the last of two equal keys
            settings.read_yaml(Path(path))
        return settings.parse(config, source)
    except UserError as error:
        raise WorkflowError(str(error)) from None


def input_table(key):
    """Return the path of a table that the configuration names, as a list of one or none.

    A missing one stops the workflow with the key and what to do; the demo's is made by a rule.
    """
    return present(f"data.{key}", getattr(CONFIG.data, key))


def present(key, path):
    """Return ``[path]``, or ``[]`` if the key is not set.

    A path that is missing, or in the folder of this run's results, is an error.
    """
    if path is None:
        return []
    if set("{}") & set(str(path)):
        raise WorkflowError(
            f"{key}: {path}: Snakemake takes braces in a path for a wildcard; rename the file or "
            f"folder and set '{key}' in the configuration file."
        )
    if Path(path).resolve().is_relative_to(Path(RESULTS).resolve()):
        raise WorkflowError(
            f"{key}: {path}: is in the folder of this run's own results, which the run may replace. "
            f"Give this run another name than {CONFIG.run} (key 'run'), or copy the file."
        )
    if path != DEMO_TABLE and not Path(path).exists():
        raise WorkflowError(
            f"{key}: {path}: no such file or folder (looked for it from {Path.cwd()}). "
            f"Set '{key}' in the configuration file to where it is."
        )
    return [path]


@functools.cache
def content(*paths):
    """Return the digests of the content of input files, for `params`; times do not count."""
    digests = [DIGESTS.content(path) for path in paths]
    DIGESTS.save()
    return digests


def versions(*packages):
    """Return the installed version of each package, or None, for `params`."""
    return [next((d.version for d in distributions(name=name)), None) for name in packages]


def write_settings():
    """Write the configuration of this run, with all defaults, where the commands read it."""
    write_text(Path(SETTINGS_FILE), settings.dump(CONFIG))


def design_entries():
    """Return the sets of designs and the names of their FASTA files, if known beforehand.

    Labels that are listed in one column of the table are known only when it has been read.
    """
    labels = CONFIG.data.label_columns or (None if CONFIG.data.label_column else ["none"])
    entries = CONFIG.generation.labels or labels or []
    return file_names(entries)


def part(section, *, only=None, without=()):
    """Return settings as canonical JSON: what a stage depends on, for its `params`."""
    values = section.deciding()
    kept = {
        name: value
        for name, value in values.items()
        if name not in without and (only is None or name in only)
    }
    return json.dumps(kept, sort_keys=True)


def folder(wildcards, output):
    """Return the folder that a stage writes to: a rule's `params`."""
    return Path(output[0]).parent.as_posix()


def page(name):
    """Return the path of a page of the report."""
    return f"{RESULTS}/report/{name}.html"


def in_report(path, caption, category, name):
    """Mark an output for the report.

    ``category`` begins with its number, which decides the order. There is one label only: of a
    second one with two values the report of Snakemake 9 makes a switch, and fails if there are no
    pairs.
    """
    labels = {"result": name}
    return report(path, caption=f"../report/{caption}.rst", category=category, labels=labels)


def folded_shards(wildcards):
    """Return the outputs of the shards, which are known only when the folding plan is made."""
    try:
        plan = read_plan(Path(checkpoints.plan_folding.get().output.plan))
    except UserError as error:
        raise WorkflowError(str(error)) from None
    return [f"{RESULTS}/structures/shards/{name}.jsonl" for name in plan]


CONFIG = checked_configuration()
RESULTS = settings.results_dir(CONFIG).as_posix()
SETTINGS_FILE = f"{RESULTS}/config.yaml"
DIGESTS = Digests(Path(RESULTS) / ".digests.json")
PREDICTOR = CONFIG.structures.predictor
PRETRAINED = Path(settings.__file__).parent / "pretrained" / "model.safetensors"
# The package's own model is not an input, because its path differs between installations.
INIT = CONFIG.training.init
START = present("training.init", None if INIT == "released" else INIT)
START_CONTENT = content(*([PRETRAINED] if INIT == "released" else START))
