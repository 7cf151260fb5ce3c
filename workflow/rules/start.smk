# What is done when the workflow starts, before its first job.
#
# Snakemake calls one `onstart` only, and ignores that of a module. So this file sets it itself, and
# calls the `onstart` that a Snakefile defines above the module.

from snakemake.logging import logger

from structdiff.system import workflow as start_up

if workflow.is_main_process:
    start_up.mark_jobs()


def start(logs, then=workflow._onstart):
    """Take the run for this Snakemake, and write its settings."""
    try:
        start_up.take_run(Path(RESULTS), CONFIG.run, logs, logger.warning)
    except UserError as error:
        raise WorkflowError(str(error)) from None
    write_settings()
    then(logs)


workflow._onstart = start
