"""Start and end of a workflow: lock the run, end the jobs of a killed Snakemake, say what is saved.

Only one Snakemake works on a run at a time. Snakemake's own lock remains when Snakemake is killed,
and must be removed with ``--unlock``. The profiles therefore switch it off, and `take_run` takes a
lock that the kernel frees when its holder ends. Jobs of a killed Snakemake would write the same
files as the new jobs, so `take_run` ends them first. It finds jobs on this machine by a mark in
their environment, and jobs in SLURM by their name, which is Snakemake's SLURM run ID. Other old
jobs stop writing by themselves (`structdiff.system.job`). A training saves its state when it is
ended, and the new job resumes from there. After Ctrl-C, `tell_if_interrupted` says what is saved.
"""

import atexit
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from structdiff.system.errors import UserError
from structdiff.system.job import LOCK, MARK
from structdiff.system.locks import hold

if TYPE_CHECKING:
    import psutil

__all__ = ["take_run", "tell_if_interrupted"]

SECONDS_TO_END = 180
"""Seconds that a job has to end after it is asked to; a training saves its state in this time."""

_RESUMED = {
    "train": "the training up to its last checkpoint",
    "fold_shard": "the structures that were folded so far",
    "design_shard": "the designs that were drawn so far",
}
"""What an interrupted job of each rule has saved."""

_held = ExitStack()
"""The locks that this process holds until it ends."""


def take_run(
    results: Path, run: str, logs: Sequence[str | Path], warn: Callable[[str], None]
) -> None:
    """Lock a run for this Snakemake, and end the jobs that a killed Snakemake has left.

    The lock is held until this process ends.

    Parameters
    ----------
    results
        Folder of the run.
    run
        Name of the run, for messages.
    logs
        Log files of this Snakemake, which contain the name of its jobs in SLURM.
    warn
        Function that shows a line to the user.

    Raises
    ------
    UserError
        If another Snakemake has the lock, its lock file is damaged, or SLURM does not answer or
        does not end old jobs.
    """
    path = results / LOCK
    lock = _held.enter_context(
        hold(
            path,
            lambda holder: (
                f"another Snakemake is at work on the run '{run}' ({holder}): wait for it, or stop "
                "it, or give this run another name (run: … in the configuration)"
            ),
        )
    )
    try:
        last = json.loads(lock.note or "{}")
    except ValueError:
        raise UserError(
            f"{path}: is damaged, so that jobs of an earlier Snakemake cannot be found; see to it "
            "that none of them still runs, and remove the file"
        ) from None
    if last.get("slurm"):
        _cancel_jobs(last["slurm"], path, warn)
    if last.get("mark"):
        _end_jobs(last["mark"], warn)
    slurm = re.search(r"SLURM run ID: (\S+)", _read(logs))
    lock.leave(json.dumps({"mark": os.environ[MARK], "slurm": slurm and slurm[1]}))


def tell_if_interrupted(results: str, logs: Sequence[str | Path]) -> None:
    """If the user stopped Snakemake, print what is saved, on stderr at the end of this process.

    Parameters
    ----------
    results
        Folder of the run.
    logs
        Log files of this Snakemake.
    """
    text = _read(logs)
    if "Terminating processes on user request" not in text:
        return
    finished = re.findall(r"^Finished jobid: \d+ \(Rule: (\w+)\)", text, re.M)
    stopped = re.findall(r"^Error in rule (\w+):", text, re.M)
    saved = [*dict.fromkeys(finished), *(_RESUMED[rule] for rule in stopped if rule in _RESUMED)]
    what = f"Saved in {results}: {', '.join(saved)}." if saved else "No job had been finished yet."
    line = f"Stopped. {what} The same command continues from there."
    atexit.register(print, line, file=sys.stderr)  # after Snakemake's own messages


def _read(logs: Sequence[str | Path]) -> str:
    return "".join(Path(log).read_text(encoding="utf-8") for log in logs)


def _end_jobs(mark: str, warn: Callable[[str], None]) -> None:
    """End the processes on this machine whose environment has ``mark``; wait until they are gone.

    A process that has not ended after `SECONDS_TO_END` is killed.
    """
    import psutil

    end = time.monotonic() + SECONDS_TO_END
    asked: set[int] = set()
    while processes := _marked(mark):
        if not asked:
            numbers = ", ".join(str(process.pid) for process in processes)
            warn(f"Ending jobs of a Snakemake that was killed: processes {numbers}")
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                if time.monotonic() > end:
                    process.kill()
                elif process.pid not in asked:
                    process.terminate()
                    process.resume()  # a stopped process receives the signal only then
        asked.update(process.pid for process in processes)
        psutil.wait_procs(processes, timeout=1)


def _marked(mark: str) -> "list[psutil.Process]":
    """Return the processes of this machine with ``mark``, without this process and its parents."""
    import psutil

    mine = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    return [
        process
        for process in psutil.process_iter(["environ", "status"])
        if (process.info["environ"] or {}).get(MARK) == mark
        and process.info["status"] != psutil.STATUS_ZOMBIE
        and process.pid not in mine
    ]


def _cancel_jobs(name: str, lock: Path, warn: Callable[[str], None]) -> None:
    """Cancel the jobs of an earlier Snakemake in SLURM, by their name; wait until they are gone.

    Raises `UserError` if SLURM does not answer, or has not ended the jobs after `SECONDS_TO_END`.
    The message names the file ``lock``, so that users without SLURM can remove it.
    """

    def left() -> list[str]:
        command = ["squeue", "--noheader", "--name", name, "--format", "%i"]
        answer = subprocess.run(command, check=False, capture_output=True, text=True)
        if answer.returncode:
            raise UserError(
                f"cannot ask SLURM whether jobs of an earlier Snakemake ({name}) still run: "
                f"{answer.stderr.strip()}. Start again when it answers; if there is no SLURM any "
                f"more, remove {lock}"
            )
        return answer.stdout.split()

    if not shutil.which("squeue") or not left():
        return
    warn(f"Cancelling jobs of a Snakemake that was killed: {', '.join(left())}")
    subprocess.run(["scancel", "--name", name], check=True)
    end = time.monotonic() + SECONDS_TO_END
    while jobs := left():
        if time.monotonic() > end:
            raise UserError(
                f"SLURM has not ended the jobs {', '.join(jobs)} of an earlier Snakemake after "
                f"{SECONDS_TO_END} s; start again when `squeue` no longer lists them"
            )
        time.sleep(1)
