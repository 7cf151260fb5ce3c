"""Leases of GPUs: simulated devices, real processes, and what a killed one gives back."""

import os
import subprocess
import sys
import threading

import pytest

from structdiff.system import gpus
from structdiff.system.errors import UserError
from structdiff.system.gpus import VISIBLE, lease, visible

HOLDER = """
import os, sys, time
from pathlib import Path
from structdiff.system.gpus import lease
count, directory, seconds = int(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3])
with lease(count, ["0", "1", "2"], directory, tell=lambda text: print("waits", flush=True)) as mine:
    assert os.environ["CUDA_VISIBLE_DEVICES"] == ",".join(mine)
    print(",".join(mine), flush=True)
    marks = [directory / f"in-use-{gpu}" for gpu in mine]
    if seconds < 1:  # fails where another job is using the same GPU
        for mark in marks:
            mark.touch(exist_ok=False)
    time.sleep(seconds)
    for mark in marks:
        mark.unlink(missing_ok=True)
"""


@pytest.fixture(autouse=True)
def unset(monkeypatch):
    monkeypatch.delenv(VISIBLE, raising=False)


@pytest.fixture
def start(tmp_path):
    """Return a function that starts a process which holds some of three GPUs."""
    processes = []

    def start(count, seconds=60.0):
        command = [sys.executable, "-c", HOLDER, str(count), str(tmp_path), str(seconds)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.wait()


def held(process):
    return process.stdout.readline().strip()


def test_concurrent_jobs_hold_different_gpus(start):
    jobs = [start(1) for _ in range(3)]
    assert sorted(held(job) for job in jobs) == ["0", "1", "2"]


def test_a_killed_job_frees_its_gpu(start):
    first = start(2)
    assert held(first) == "0,1"
    second = start(2)
    assert held(second) == "waits"
    first.kill()
    assert held(second) == "0,1"


def test_all_or_none_is_taken(start):
    """A job that waits for three leaves the third one to others."""
    assert held(start(2)) == "0,1"
    assert held(start(3)) == "waits"
    assert held(start(1)) == "2"


def test_many_jobs_never_share(start):
    jobs = [start(1 + number % 2, seconds=0.2) for number in range(6)]
    assert [job.wait(timeout=20) for job in jobs] == [0] * 6


def test_a_choice_that_is_made_already_stands(monkeypatch, tmp_path):
    monkeypatch.setenv(VISIBLE, "5,7")
    with lease(1, directory=tmp_path / "locks") as mine:
        assert mine == ["5", "7"]
    assert not (tmp_path / "locks").exists()
    with pytest.raises(UserError, match=r"3 GPUs are asked for, but 2 are there \(CUDA_VISIBLE"):
        lease(3).__enter__()


def test_no_gpu_is_no_lease(monkeypatch, tmp_path):
    monkeypatch.setenv(VISIBLE, "")
    with lease(1, directory=tmp_path / "locks") as mine:
        assert mine == []
    assert not (tmp_path / "locks").exists()


@pytest.mark.parametrize(
    ("chosen", "devices"),
    [("-1", []), ("NoDevFiles", []), ("", []), ("0,-1,1", ["0"]), ("GPU-1, 2", ["GPU-1", "2"])],
)
def test_the_choice_is_read_as_cuda_reads_it(monkeypatch, chosen, devices):
    monkeypatch.setenv(VISIBLE, chosen)
    assert visible() == devices


def test_more_than_there_are_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"4 GPUs are asked for, but 2 are there; set training"):
        lease(4, ["0", "1"], tmp_path).__enter__()


def test_the_environment_is_as_before(tmp_path):
    with lease(1, ["0"], tmp_path):
        assert os.environ[VISIBLE] == "0"
    assert VISIBLE not in os.environ


def test_threads_of_one_process_do_not_share_either(tmp_path):
    taken = []

    def hold():
        with gpus.ExitStack() as stack:
            mine = gpus._take(1, ["0", "1"], tmp_path, stack)
            taken.append(mine)
            barrier.wait()

    barrier = threading.Barrier(3)
    threads = [threading.Thread(target=hold) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(mine[0] for mine in taken if mine) == ["0", "1"] and None in taken


def test_a_machine_without_a_driver_has_no_gpus():
    assert all(reading.memory_total > 0 for reading in gpus.readings())
