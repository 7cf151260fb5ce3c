# What is done when the workflow starts, before its first job.
#
# One Snakemake at a time works on a run. Snakemake's own lock stays behind when Snakemake is killed,
# and then wants `--unlock`; so the profiles switch it off, and here the kernel keeps one that ends
# with the process. Jobs that a killed Snakemake has left in SLURM's queue are cancelled: they would
# write the same files as those that start now. A training saves its state and goes on from there.

import fcntl
import shutil
import socket
import subprocess
import time

from snakemake.logging import logger

SECONDS_TO_CANCEL = 180

#: Open as long as this process lives: the lock on the run.
RUN_LOCK = []


def hold_run(logs):
    """Take the run for this Snakemake, and end what a killed one has left of it in SLURM.

    ``logs`` are Snakemake's own of this call; they name the jobs that will be submitted.
    """
    path = Path(RESULTS) / ".snakemake.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.open("a+", encoding="utf-8")
    file.seek(0)
    holder = json.loads(file.read() or "{}")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise WorkflowError(
            f"another Snakemake is at work on the run '{CONFIG.run}' (process "
            f"{holder.get('process')} on {holder.get('host')}): wait for it, or stop it, or give "
            "this run another name (run: … in the configuration)"
        ) from None
    except OSError as error:
        logger.warning(
            f"{path}: this file system has no locks ({error.strerror}); see to it that only one "
            "Snakemake works on a run"
        )
    RUN_LOCK.append(file)
    if holder.get("slurm"):
        cancel_jobs(holder["slurm"])
    said = "".join(Path(log).read_text(encoding="utf-8") for log in logs)
    slurm = re.search(r"SLURM run ID: (\S+)", said)
    file.truncate(0)
    json.dump(
        {
            "process": os.getpid(),
            "host": socket.gethostname(),
            "slurm": slurm and slurm.group(1),
        },
        file,
    )
    file.flush()


def cancel_jobs(name):
    """Cancel the jobs of an earlier Snakemake that bear a name, and wait until they are gone."""

    def left():
        command = ["squeue", "--noheader", "--name", name, "--format", "%i"]
        answer = subprocess.run(command, check=False, capture_output=True, text=True)
        if answer.returncode:
            raise WorkflowError(
                f"cannot ask SLURM whether jobs of an earlier Snakemake ({name}) still run: "
                f"{answer.stderr.strip()}. Start again when it answers; if there is no SLURM any "
                f"more, remove {RESULTS}/.snakemake.lock"
            )
        return answer.stdout.split()

    if not shutil.which("squeue") or not left():
        return
    logger.warning(f"Cancelling jobs of a Snakemake that was killed: {', '.join(left())}")
    subprocess.run(["scancel", "--name", name], check=True)
    end = time.monotonic() + SECONDS_TO_CANCEL
    while left():
        if time.monotonic() > end:
            raise WorkflowError(
                f"SLURM has not ended the jobs {', '.join(left())} of an earlier Snakemake after "
                f"{SECONDS_TO_CANCEL} s; start again when `squeue` no longer lists them"
            )
        time.sleep(1)
