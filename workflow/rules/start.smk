# What is done before the first job of the workflow and after the last one.
#
# Snakemake calls one `onstart`, `onsuccess` and `onerror` only, and ignores the handlers of a module.
# So this file sets the handlers itself, and they call the handlers of the Snakefile that uses it.

from snakemake.logging import logger

from structdiff.system import records
from structdiff.system import workflow as session
from structdiff.system.job import mark_jobs
from structdiff.system.run_folder import WARNING

if workflow.is_main_process:
    mark_jobs()
    if IS_HOSTED and (names := other_rules()):
        logger.warning(
            f"{WARNING}The rules of {workflow.current_basedir} are of another version than the package in "
            f"{ROOT} ({', '.join(names)} differ). Install the version that the Snakefile names"
        )
    records.restore(Path(RESULTS))
    if unknown := records.unknown(getattr(rules, stage).output[0] for stage in STAGES):
        logger.warning(
            f"{WARNING}It is not known with which settings these files were made: {', '.join(unknown)}. They "
            "were probably copied without .snakemake and .records.json. If they belong to this "
            "configuration, say so with --touch; if not, make them again with --forcerun split"
        )


def start(logs, then=workflow._onstart):
    """Lock the run for this Snakemake, write its settings and call the next handler."""
    try:
        session.take_run(Path(RESULTS), CONFIG.run, logs, logger.warning)
    except UserError as error:
        raise WorkflowError(str(error)) from None
    records.forget(Path(RESULTS))
    write_settings()
    then(logs)


def end(logs, then):
    """Save Snakemake's records next to the results, and print after Ctrl-C what is saved."""
    records.save(Path(RESULTS))
    session.tell_if_interrupted(RESULTS, logs)
    then(logs)


workflow._onstart = start
workflow._onsuccess = functools.partial(end, then=workflow._onsuccess)
workflow._onerror = functools.partial(end, then=workflow._onerror)
