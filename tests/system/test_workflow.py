"""The start and the end of a workflow: what is refused, ended, cancelled and said."""

import json
import os
import subprocess
import sys

import psutil
import pytest

from structdiff.system import workflow
from structdiff.system.errors import UserError
from structdiff.system.files import replacing_several, write_text
from structdiff.system.job import mark_jobs
from structdiff.system.locks import hold

SLEEP = "import time; print('ready', flush=True); time.sleep(600)"
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + SLEEP


@pytest.fixture
def warnings():
    return []


@pytest.fixture
def take(tmp_path, monkeypatch, warnings):
    """Return a function that takes the run as a Snakemake with these lines in its log would."""
    monkeypatch.setenv("STRUCTDIFF_SNAKEMAKE", "")

    def take(log: str = "") -> None:
        workflow._held.close()  # the one before has ended
        (tmp_path / "log").write_text(log)
        workflow.take_run(tmp_path, "tiny", [tmp_path / "log"], warnings.append)

    yield take
    workflow._held.close()


def job(code: str) -> subprocess.Popen:
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"ready\n"
    return process


def test_a_second_snakemake_is_refused_with_the_name_of_the_first(take, tmp_path):
    with (
        hold(tmp_path / ".snakemake.lock", lambda name: name),
        pytest.raises(UserError, match=f"on the run 'tiny' \\(process {os.getpid()} on "),
    ):
        take()


def test_a_damaged_lock_file_is_named(take, tmp_path):
    mark_jobs()
    (tmp_path / ".snakemake.lock").write_text('process 1 on x\n{"mark": "0a')  # a full disk
    with pytest.raises(UserError, match=r"\.snakemake\.lock: is damaged.*and remove the file"):
        take()


@pytest.mark.parametrize("stopped", [False, True])
def test_jobs_of_the_snakemake_before_are_ended_and_no_others(take, warnings, stopped):
    mark_jobs()
    take()
    first, second = job(SLEEP), job(SLEEP)
    if stopped:
        psutil.Process(first.pid).suspend()
    mark_jobs()
    other = job(SLEEP)
    take()
    (warning,) = warnings
    assert "Ending jobs of a Snakemake that was killed: processes " in warning
    assert {str(first.pid), str(second.pid)} == set(warning.partition("processes ")[2].split(", "))
    assert not psutil.pid_exists(first.pid) and not psutil.pid_exists(second.pid)
    assert psutil.pid_exists(other.pid)
    other.kill()
    other.wait()


def test_a_job_that_does_not_end_is_killed(take, monkeypatch):
    monkeypatch.setattr(workflow, "SECONDS_TO_END", 0.1)
    mark_jobs()
    take()
    stubborn = job(STUBBORN)
    take()
    assert not psutil.pid_exists(stubborn.pid)


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """A SLURM of two scripts: scancel empties the queue, squeue shows it."""
    folder = tmp_path / "bin"
    folder.mkdir()
    queue = folder / "queue"
    queue.write_text("17\n18\n")
    scripts = {"squeue": f"cat {queue}", "scancel": f"echo $* > {folder}/asked; : > {queue}"}
    for name, line in scripts.items():
        (folder / name).write_text(f"#!/bin/sh\n{line}\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    return folder


def test_jobs_in_the_queue_are_cancelled_by_the_name_of_their_run(take, slurm, warnings):
    mark_jobs()
    take("SLURM run ID: 0123-abc\n")
    take()
    assert warnings == ["Cancelling jobs of a Snakemake that was killed: 17, 18"]
    assert (slurm / "asked").read_text() == "--name 0123-abc\n"
    take()
    assert len(warnings) == 1


def test_a_slurm_that_does_not_answer_stops_the_start(take, slurm):
    mark_jobs()
    take("SLURM run ID: 0123-abc\n")
    (slurm / "squeue").write_text("#!/bin/sh\necho no controller >&2; exit 1\n")
    with pytest.raises(UserError, match=r"no controller.*remove .*\.snakemake\.lock"):
        take()


@pytest.mark.parametrize(
    ("log", "said"),
    [
        ("", ""),
        ("Error in rule train:\n", ""),
        (
            "Finished jobid: 3 (Rule: split)\nFinished jobid: 4 (Rule: fold_shard)\n"
            "Finished jobid: 5 (Rule: fold_shard)\n"
            "Terminating processes on user request, this might take some time.\n"
            "Error in rule train:\n",
            "Stopped. Saved in results/tiny: split, fold_shard, the training up to its last "
            "checkpoint. The same command continues from there.\n",
        ),
        (
            "Terminating processes on user request, this might take some time.\n",
            "Stopped. No job had been finished yet. The same command continues from there.\n",
        ),
    ],
    ids=["the end", "a failure", "stopped", "stopped at once"],
)
def test_only_an_interrupted_workflow_says_what_is_saved(tmp_path, log, said):
    (tmp_path / "log").write_text(log)
    code = (
        "from structdiff.system.workflow import tell_if_interrupted; "
        f"tell_if_interrupted('results/tiny', [{json.dumps(str(tmp_path / 'log'))}])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == said


def test_a_job_left_from_another_snakemake_writes_nothing(take, tmp_path, monkeypatch):
    """One that the new Snakemake cannot see: in another container, or on another machine."""
    monkeypatch.setenv("STRUCTDIFF_SNAKEMAKE", "new")
    take()
    write_text(tmp_path / "stage" / "result", "of the new one")
    monkeypatch.setenv("STRUCTDIFF_SNAKEMAKE", "old")
    with pytest.raises(UserError, match="not written, because another Snakemake has taken over"):
        write_text(tmp_path / "stage" / "result", "of the old one")
    several = replacing_several(tmp_path / "stage")
    with pytest.raises(UserError, match="left from one that was killed"), several as folder:
        (folder / "result").write_text("of the old one")
    assert (tmp_path / "stage" / "result").read_text() == "of the new one"
    monkeypatch.delenv("STRUCTDIFF_SNAKEMAKE")
    write_text(tmp_path / "stage" / "result", "by hand")
