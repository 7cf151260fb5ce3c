# StructDiff: from a table of peptides to a trained model, designed peptides and a report.
#
#   snakemake --profile profiles/local                                    the demo, on a laptop
#   snakemake --profile profiles/local --configfile my.yaml               your own run
#   snakemake --profile profiles/slurm --configfile config/peptides.yaml  on a cluster
#
# A stage has one name everywhere: workflow/rules/<stage>.smk has its rules, structdiff/<stage> its
# code, results/<run>/<stage>/ its results. config/README.md explains the configuration.

from pathlib import Path

from snakemake.utils import min_version

min_version("9.0")

# Without --configfile: the configuration of this folder, or else the demo.
if not workflow.config_settings.configfiles:
    default = "config/config.yaml"

    configfile: default if Path(default).is_file() else workflow.source_path(default)


report: "workflow/report/workflow.rst"


# The rules that end the stages: their results are in the report.
STAGES = ["split", "fold", "train", "select", "plot", "generate", "evaluate"]


include: "workflow/rules/common.smk"
include: "workflow/rules/peptides.smk"
include: "workflow/rules/structures.smk"
include: "workflow/rules/training.smk"
include: "workflow/rules/selection.smk"
include: "workflow/rules/figures.smk"
include: "workflow/rules/generation.smk"
include: "workflow/rules/evaluation.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/start.smk"


localrules:
    all,
    demo_data,
    pages,
    report,


# All files of all stages, so that one that is deleted, or lost with a killed job, is made again.
rule all:
    default_target: True
    input:
        rules.report.input,
        rules.report.output,
