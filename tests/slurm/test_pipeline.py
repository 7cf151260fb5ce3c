"""The whole pipeline as SLURM jobs; the same rule trains on one node and on two."""

import json

import pytest

from structdiff.training import metrics

from .conftest import watch

pytestmark = pytest.mark.slurm

JOBS = "split plan_folding fold_shard fold train select plot generate evaluate"
SUMMARY = "results/tiny/training/summary.json"


def test_all_stages_are_jobs_that_end_well(pipeline, cluster):
    for rule in JOBS.split():
        states = {job["JobState"] for job in cluster.jobs(rule, pipeline.workspace.directory)}
        assert states == {"COMPLETED"}, rule
    assert (pipeline.workspace.results / "report.html").is_file()


def test_shards_are_tasks_of_one_array_with_a_gpu_each(pipeline, cluster):
    jobs = cluster.jobs("fold_shard", pipeline.workspace.directory)
    assert len({job["ArrayJobId"] for job in jobs}) == 1
    assert {job["ArrayTaskId"] for job in jobs} == {"1", "2", "3"}
    assert {job["TresPerJob"] for job in jobs} == {"gres:gpu:1"}
    assert {task for task, _ in pipeline.seen["fold"]} == {"1", "2", "3"}
    assert {devices for _, devices in pipeline.seen["fold"]} <= {"0", "1"}


def test_training_on_one_node_has_a_process_for_each_gpu(pipeline):
    nodes = {node for node, _, _ in pipeline.seen["train"]}
    assert len(nodes) == 1
    assert {(rank, devices) for _, rank, devices in pipeline.seen["train"]} == {
        ("0", "0,1"),
        ("1", "0,1"),
    }
    starts = [
        line
        for line in metrics.read(pipeline.workspace.results / "training" / "metrics.jsonl")
        if line["event"] == "start"
    ]
    assert [line["world_size"] for line in starts] == [2]


@pytest.mark.parametrize("profile", ["slurm", "local"])
def test_another_profile_reruns_nothing(pipeline, profile):
    assert pipeline.workspace.plan("--configfile", "config.yaml", profile=profile) == set()


def test_training_goes_on_with_two_nodes_of_two_processes(pipeline, change, tmp_path):
    """More epochs, on another shape of the cluster: the same run goes on."""
    workspace = pipeline.workspace.copy(tmp_path)
    nodes = {"training.num_nodes": 2, "training.batch_size": 2}
    change(workspace, **nodes)
    # The product is the same: only the report's page of settings is not.
    assert workspace.plan("--configfile", "config.yaml") == {"pages", "report"}
    before = json.loads((workspace.directory / SUMMARY).read_text())
    change(workspace, **nodes, **{"training.num_epochs": 4})
    seen = watch(workspace, SUMMARY)
    assert seen["train"] == {(n, r, "0,1") for n in ("n1", "n2") for r in ("0", "1")}
    lines = metrics.read(workspace.results / "training" / "metrics.jsonl")
    starts = [line for line in lines if line["event"] == "start"]
    assert [line["world_size"] for line in starts] == [2, 4]
    assert starts[1]["step"] == before["steps"]
    steps = [line["step"] for line in lines if line["event"] == "step"]
    assert steps == list(range(1, 2 * before["steps"] + 1))
