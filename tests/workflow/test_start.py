"""The start of the workflow: one Snakemake a run, and a killed one leaves nothing in the way."""

import fcntl
import json
import signal
import time

import pytest

pytestmark = [pytest.mark.workflow, pytest.mark.xdist_group("workflow")]

TARGET = "resources/demo/peptides.csv"


def test_a_second_snakemake_on_a_run_is_refused(workspace, configure):
    config = str(configure(workspace.directory / "config.yaml"))
    workspace.results.mkdir(parents=True)
    with (workspace.results / ".snakemake.lock").open("w") as file:
        json.dump({"process": 4321, "host": "login1"}, file)
        file.flush()
        fcntl.flock(file, fcntl.LOCK_EX)
        done = workspace.snakemake(TARGET, "--configfile", config)
        assert done.returncode != 0
        assert (
            "another Snakemake is at work on the run 'tiny' (process 4321 on login1)" in done.stdout
        )
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
