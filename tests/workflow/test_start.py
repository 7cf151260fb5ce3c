"""The start of the workflow: one Snakemake a run, and a killed one leaves nothing in the way."""

import os
import re
import signal
import subprocess
import time
from contextlib import suppress

import psutil
import pytest

from structdiff.system.locks import hold

pytestmark = [pytest.mark.workflow, pytest.mark.xdist_group("workflow")]

TARGET = "resources/demo/peptides.csv"


def test_a_second_snakemake_on_a_run_is_refused(workspace, configure):
    config = str(configure(workspace.directory / "config.yaml"))
    lock = workspace.results / ".snakemake.lock"
    with hold(lock, lambda name: f"{name} has it"):
        done = workspace.snakemake(TARGET, "--configfile", config)
        assert done.returncode != 0
        assert "another Snakemake is at work on the run 'tiny' (process " in done.stdout
        assert not (workspace.directory / TARGET).exists()
        # Another run in the same folder, and a look at this one, are no business of it.
        other = str(configure(workspace.directory / "other.yaml", run="other"))
        assert workspace.run(TARGET, "--configfile", other) == {"demo_data"}
        assert "split" in workspace.plan("--configfile", config)
    assert "split" in workspace.plan("--configfile", config)


def test_a_killed_snakemake_is_followed_without_unlocking(workspace, configure):
    config = str(configure(workspace.directory / "config.yaml"))
    process = workspace.start("--configfile", config)
    lock = workspace.results / ".snakemake.lock"
    while not (lock.exists() and lock.read_text()):
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    peptides = "results/tiny/peptides/peptides.parquet"
    assert "split" in workspace.run(peptides, "--configfile", config)
    assert (workspace.directory / peptides).is_file()


def jobs_of(process, command):
    """Return the processes below one that run a command of structdiff."""
    jobs = []
    for child in psutil.Process(process.pid).children(recursive=True):
        with suppress(psutil.Error):  # it has ended meanwhile
            if child.cmdline()[1:4] == ["-m", "structdiff", command]:
                jobs.append(child)
    return jobs


def contents(folder):
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder): path.read_bytes() for path in files}


def test_a_job_that_outlives_its_snakemake_overwrites_nothing(finished, configure, tmp_path):
    workspace = finished.copy(tmp_path)
    old = str(configure(tmp_path / "old.yaml", **{"generation.seed": 1}))
    process = workspace.start("--configfile", old, output=subprocess.DEVNULL)
    while not (jobs := jobs_of(process, "generate")):
        assert process.poll() is None, "designing was over before it was seen"
        time.sleep(0.05)
    (job,) = jobs
    job.suspend()
    process.kill()
    process.wait()
    assert job.status() == psutil.STATUS_STOPPED

    target = "results/tiny/generation/samples.parquet"
    done = workspace.snakemake(target, "--configfile", "config.yaml")
    assert done.returncode == 0, done.stdout
    ended = re.search(r"Ending jobs of a Snakemake that was killed: processes (.*)", done.stdout)
    assert str(job.pid) in ended[1].split(", ")
    assert not psutil.pid_exists(job.pid)
    expected = contents(finished.results / "generation")
    assert contents(workspace.results / "generation") == expected


def test_ctrl_c_ends_in_one_line_that_says_what_is_saved(finished, configure, tmp_path):
    workspace = finished.copy(tmp_path)
    changes = {"training.seed": 1, "training.num_epochs": 30}
    arguments = (
        "results/tiny/training/summary.json",
        "--configfile",
        str(configure(tmp_path / "config.yaml", **changes)),
    )
    with (tmp_path / "output").open("w") as output:
        process = workspace.start(*arguments, output=output, start_new_session=True)
        superseded = workspace.results / "training" / "superseded"
        while not superseded.exists():  # the trainer makes it when it can be stopped
            assert process.poll() is None
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)  # as the terminal does
        assert process.wait() != 0
    lines = (tmp_path / "output").read_text().splitlines()
    assert lines[-1] == (
        "Stopped. Saved in results/tiny: the training up to its last checkpoint. The same command "
        "continues from there."
    )
    assert "Traceback" not in "".join(lines)
    assert workspace.run(*arguments) == {"train"}
