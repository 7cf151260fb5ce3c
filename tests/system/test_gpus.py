"""Leases of GPUs: simulated devices, real processes, and what a killed one gives back."""

import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from structdiff.system import gpus
from structdiff.system.errors import UserError
from structdiff.system.gpus import VISIBLE, choose_device, lease, visible

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
    assert [job.wait(timeout=300) for job in jobs] == [0] * 6


def test_a_choice_that_is_made_already_stands(monkeypatch, tmp_path):
    for chosen, devices in ("", []), ("5,7", ["5", "7"]):
        monkeypatch.setenv(VISIBLE, chosen)
        with lease(1, directory=tmp_path / "locks") as mine:
            assert mine == devices
    assert not (tmp_path / "locks").exists()
    with pytest.raises(UserError, match=r"3 GPUs are asked for, but 2 are there \(CUDA_VISIBLE"):
        lease(3).__enter__()


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


def test_threads_of_one_process_do_not_share_either(tmp_path):
    taken = []

    def hold():
        with gpus.ExitStack() as stack:
            folder = gpus._open_folder(tmp_path)
            stack.callback(os.close, folder)
            mine = gpus._take(1, ["0", "1"], tmp_path, folder, stack)
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


def test_a_lock_file_behind_a_link_is_refused_and_its_target_left_alone(tmp_path):
    target, folder = tmp_path / "precious", tmp_path / "locks"
    folder.mkdir()
    (folder / "gpu-0.lock").symlink_to(target)  # dangling: the old way made the target
    with pytest.raises(UserError, match=r"gpu-0\.lock: cannot be opened.*set TMPDIR"):
        lease(1, ["0"], folder).__enter__()
    assert not target.exists()
    target.write_text("text")
    target.chmod(0o600)
    with pytest.raises(UserError, match=r"gpu-0\.lock: cannot be opened"):
        lease(1, ["0"], folder).__enter__()
    (folder / "gpu-0.lock").unlink()
    os.link(target, folder / "gpu-0.lock")
    with pytest.raises(UserError, match=r"gpu-0\.lock: is not a file of its own"):
        lease(1, ["0"], folder).__enter__()
    assert target.read_text() == "text"
    assert target.stat().st_mode & 0o777 == 0o600


def test_a_folder_behind_a_link_is_refused(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "locks").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="is a link, or is not a folder"):
        lease(1, ["0"], tmp_path / "locks").__enter__()
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_folder_in_which_others_can_swap_files_is_refused(tmp_path):
    (tmp_path / "locks").mkdir()
    (tmp_path / "locks").chmod(0o777)
    with pytest.raises(UserError, match="can be changed by other users, and is not sticky"):
        lease(1, ["0"], tmp_path / "locks").__enter__()


def test_the_folder_of_another_user_is_refused(tmp_path, monkeypatch):
    (tmp_path / "locks").mkdir()
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    status = os.stat_result([0o40755, 1, 1, 2, 54321, 0, 0, 0, 0, 0])
    monkeypatch.setattr(os, "fstat", lambda handle: status)
    with pytest.raises(UserError, match="is another user's"):
        lease(1, ["0"], tmp_path / "locks").__enter__()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs two users")
def test_two_users_share_the_leases(tmp_path):
    """The second, who is not root, waits for the first one's GPU and takes the other."""
    code = (
        "import os, sys; from pathlib import Path; from structdiff.system.gpus import lease; "
        "os.setgroups([]); os.setgid(65534); os.setuid(65534); "
        "held = lease(1, ['0', '1'], Path(sys.argv[1]), tell=sys.exit); print(held.__enter__())"
    )
    for folder in (tmp_path, *tmp_path.parents):
        if folder == Path(tempfile.gettempdir()):
            break
        folder.chmod(0o755)
    with lease(1, ["0", "1"], tmp_path / "locks") as first:
        command = [sys.executable, "-c", code, tmp_path / "locks"]
        environment = {name: value for name, value in os.environ.items() if name != VISIBLE}
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert (first, done.stdout.strip()) == (["0"], "['1']"), done.stderr


NO_LOCKS = """
import errno, fcntl
def flock(*arguments):
    raise OSError(errno.ENOLCK, "No locks available")
fcntl.flock = flock
"""


def test_without_file_locks_it_says_so_and_works(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(NO_LOCKS)
    command = [sys.executable, "-c", HOLDER, "1", str(tmp_path / "locks"), "0"]
    (tmp_path / "locks").mkdir()
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "without file locks" in done.stderr
    assert f"{VISIBLE}" in done.stderr


class NVMLError(Exception):
    """As pynvml's."""


class FakeNVML:
    """NVML of a machine of some GPUs; what a GPU lacks, cannot be told."""

    NVML_TEMPERATURE_GPU = 0
    NVMLError = NVMLError

    def __init__(self, *devices):
        self.devices = devices

    def nvmlInit(self):
        pass

    nvmlShutdown = nvmlInit

    def nvmlDeviceGetCount(self):
        return len(self.devices)

    def nvmlDeviceGetHandleByIndex(self, index):
        if self.devices[index] is None:
            raise NVMLError("GPU is lost")
        return self.devices[index]

    def nvmlDeviceGetMigMode(self, handle):
        return [int("instances" in handle)] * 2

    def nvmlDeviceGetMaxMigDeviceCount(self, handle):
        return 7

    def nvmlDeviceGetMigDeviceHandleByIndex(self, handle, number):
        return self._get(dict(enumerate(handle["instances"])), number)

    def nvmlDeviceGetUUID(self, handle):
        return self._get(handle, "uuid")

    def nvmlDeviceGetName(self, handle):
        return self._get(handle, "name")

    def nvmlDeviceGetMemoryInfo(self, handle):
        used, total = self._get(handle, "memory")
        return SimpleNamespace(used=used, total=total)

    def nvmlDeviceGetUtilizationRates(self, handle):
        return SimpleNamespace(gpu=self._get(handle, "utilization"))

    def nvmlDeviceGetTemperature(self, handle, kind):
        return self._get(handle, "temperature")

    def nvmlSystemGetDriverVersion(self):
        return "535.104"

    def nvmlSystemGetCudaDriverVersion(self):
        return 12020

    @staticmethod
    def _get(values, key):
        if key not in values:
            raise NVMLError("not supported")
        return values[key]


def gpu(number, **changes):
    """Return a simulated GPU; a value of None is not told."""
    values = {"uuid": f"GPU-{number}", "name": "H100", "memory": (0, 80), "utilization": 0}
    values |= {"temperature": 30, **changes}
    return {name: value for name, value in values.items() if value is not None}


@pytest.fixture
def simulate(monkeypatch):
    """Return a function that puts some GPUs into the machine."""

    def simulate(*devices):
        monkeypatch.setitem(sys.modules, "pynvml", FakeNVML(*devices))

    return simulate


def test_a_lost_gpu_of_eight_is_left_out(simulate):
    simulate(*(None if number == 3 else gpu(number) for number in range(8)))
    assert visible() == [f"GPU-{number}" for number in range(8) if number != 3]


def test_the_instances_of_a_partitioned_gpu_are_listed(simulate):
    instances = [gpu(0, uuid=f"MIG-{n}", utilization=None, temperature=None) for n in (0, 1)]
    simulate(gpu(0, instances=instances), gpu(1))
    assert visible() == ["MIG-0", "MIG-1", "GPU-1"]
    first, _, last = gpus.readings()
    assert (first.utilization, first.index, last.index) == (None, 0, 1)


def test_a_gpu_that_shares_the_machines_memory(simulate):
    simulate(gpu(0, memory=None))
    (reading,) = gpus.readings()
    assert (reading.memory_used, reading.memory_total, reading.busy) == (None, None, False)


def test_a_gpu_that_the_job_may_not_see_is_left_out(simulate):
    simulate(gpu(0, uuid=None), gpu(1))
    assert visible() == ["GPU-1"]


def test_idle_gpus_come_first(simulate, tmp_path):
    simulate(gpu(0, memory=(60, 80)), gpu(1, utilization=95), gpu(2), gpu(3))
    assert visible() == ["GPU-2", "GPU-3", "GPU-0", "GPU-1"]
    with lease(2, directory=tmp_path) as mine:
        assert mine == ["GPU-2", "GPU-3"]
        assert os.environ[VISIBLE] == "GPU-2,GPU-3"
    assert VISIBLE not in os.environ


@pytest.mark.parametrize(
    ("built", "message"),
    [
        (
            "13.0",
            r"built for CUDA 13\.0, and the driver 535\.104 supports CUDA 12\.2.*newer",
        ),
        (None, r"built for CPUs only, and .*a build of torch for CUDA"),
    ],
)
def test_gpus_that_torch_cannot_use_are_an_error(simulate, monkeypatch, built, message):
    simulate(gpu(0))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", built)
    with pytest.raises(UserError, match=rf"has GPUs \(H100\).*{message}.*{VISIBLE}= \(empty\)"):
        choose_device()
    monkeypatch.setenv(VISIBLE, "")
    assert choose_device() == torch.device("cpu")


def test_the_device_of_a_process(simulate, monkeypatch):
    simulate()
    assert choose_device() == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert choose_device(1) == torch.device("cuda", 1)
    with pytest.raises(UserError, match=r"process 3 on this node has no GPU: 2 visible"):
        choose_device(2)


def test_torch_uses_the_cores_of_the_quota(monkeypatch):
    monkeypatch.setattr(gpus, "granted_cores", lambda: 2)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setenv(VISIBLE, "")
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(8)
        choose_device()
        assert torch.get_num_threads() == 2
        torch.set_num_threads(1)  # what the caller has set stays
        choose_device()
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


LEASE = """
from structdiff.system.gpus import lease
with lease(1) as leased:
    import torch
    names = [torch.cuda.get_device_properties(n).uuid for n in range(torch.cuda.device_count())]
    print(*leased, *(f"GPU-{name}" for name in names))
"""


def test_a_process_sees_the_gpu_that_it_leased_and_no_other(device, device_environment):
    if device.type == "cuda":
        device_environment.pop(gpus.VISIBLE, None)
    command = [sys.executable, "-c", LEASE]
    done = subprocess.run(
        command, env=device_environment, capture_output=True, text=True, check=True
    )
    names = done.stdout.split()
    if device.type == "cpu":
        assert names == []
    else:
        leased, seen = names
        assert leased == seen or leased.startswith("MIG-")
