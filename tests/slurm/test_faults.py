"""What clusters do to a training: it is resumed, never restarted, by one more call at most."""

import shutil
import time

import psutil
import pytest

from structdiff.training import metrics

from .cluster import wait
from .conftest import ON_SLURM

pytestmark = pytest.mark.slurm

TARGET = "results/tiny/training/summary.json"
LONG = {"training.num_epochs": 10, "training.validate_every": 5, "training.save_every": 5}

ONE_PROCESS = {
    "training.num_gpus": 1,
    "training.batch_size": 16,
    "training.gradient_accumulation_steps": 1,
}
TWO_NODES = {"training.num_nodes": 2, "training.batch_size": 2}


@pytest.fixture
def untrained(pipeline, change, tmp_path):
    """Return a function that makes a working directory with all that training needs."""

    def make(**shape):
        workspace = pipeline.workspace.copy(tmp_path)
        shutil.rmtree(workspace.results / "training")
        change(workspace, **{**LONG, **shape})
        return workspace

    return make


def start(workspace):
    """Start Snakemake on the training alone."""
    with (workspace.directory / "output.txt").open("a") as output:
        return workspace.start(TARGET, *ON_SLURM, profile="slurm", output=output)


def noted(workspace, event):
    lines = metrics.read(workspace.results / "training" / "metrics.jsonl")
    return [line["step"] for line in lines if line["event"] == event]


def in_mid_training(workspace, process):
    """Wait until the second epoch is under way."""
    step = 4
    wait(lambda: process.poll() is not None or step in noted(workspace, "step"), "training", 300)
    assert process.poll() is None, output(workspace)


def output(workspace):
    return (workspace.directory / "output.txt").read_text()


def assert_resumed(workspace, process):
    """Assert that Snakemake ended well, and that no step was done anew from the start."""
    assert process.wait(600) == 0, output(workspace)
    steps = noted(workspace, "step")
    assert steps == list(range(1, steps[-1] + 1))
    assert noted(workspace, "end") == steps[-1:]
    first, *later = noted(workspace, "start")
    assert first == 0
    assert all(step > 0 for step in later)
    return later


def test_a_requeued_job_goes_on(untrained, cluster):
    workspace = untrained()
    process = start(workspace)
    in_mid_training(workspace, process)
    (job,) = cluster.jobs("train", workspace.directory)
    cluster.run("scontrol", "requeue", job["JobId"])
    assert len(assert_resumed(workspace, process)) == 1
    (job,) = cluster.jobs("train", workspace.directory)
    assert job["Restarts"] == "1"


def test_a_signal_saves_and_the_next_attempt_goes_on_at_that_step(untrained, cluster):
    workspace = untrained(**TWO_NODES)
    process = start(workspace)
    in_mid_training(workspace, process)
    (job,) = cluster.jobs("train", workspace.directory)
    cluster.run("scancel", "--signal=TERM", job["JobId"])
    wait(lambda: len(cluster.jobs("train", workspace.directory)) == 2, "second attempt", 300)
    stopped = noted(workspace, "step")[-1]
    assert assert_resumed(workspace, process) == [stopped]
    states = [job["JobState"] for job in cluster.jobs("train", workspace.directory)]
    assert states == ["FAILED", "COMPLETED"]


def test_after_a_killed_snakemake_one_call_finishes(untrained, cluster):
    workspace = untrained()
    process = start(workspace)
    in_mid_training(workspace, process)
    process.kill()
    process.wait()
    second = start(workspace)
    assert len(assert_resumed(workspace, second)) == 1
    assert "Cancelling jobs of a Snakemake that was killed" in output(workspace)
    states = [job["JobState"] for job in cluster.jobs("train", workspace.directory)]
    assert states == ["CANCELLED", "COMPLETED"]


@pytest.fixture
def mended(cluster):
    """Start again what a test has killed."""
    yield
    for node, state in cluster.states().items():
        if state != "idle":
            cluster.start_node(node)
    wait(lambda: set(cluster.states().values()) == {"idle"}, "idle nodes", 60)


@pytest.mark.parametrize("whole_node", [True, False], ids=["node", "daemon"])
def test_training_outlives_a_killed_slurmd(untrained, cluster, mended, whole_node):
    workspace = untrained(**ONE_PROCESS, **{"training.validate_every": 1})
    process = start(workspace)
    in_mid_training(workspace, process)
    wait(lambda: noted(workspace, "save"), "a checkpoint", 60)
    (job,) = cluster.jobs("train", workspace.directory)
    cluster.kill_node(job["NodeList"])
    if whole_node:
        kill_all_of(job["JobId"])
    # Requeued on the other node, the job resumes. A trainer that lives on ends before the node is
    # found dead, or the requeued job waits for it.
    assert len(assert_resumed(workspace, process)) == (1 if whole_node else 0)
    (after,) = cluster.jobs("train", workspace.directory)
    if whole_node:
        assert after["NodeList"] != job["NodeList"]


def kill_all_of(job):
    """Kill every process of a job, those of SLURM first."""
    for process in psutil.process_iter():
        if " ".join(process.cmdline()).startswith(f"slurmstepd: [{job}."):
            process.kill()
    time.sleep(0.1)
    for process in psutil.process_iter():
        try:
            if process.environ().get("SLURM_JOB_ID") == job:
                process.kill()
        except psutil.Error:
            continue
