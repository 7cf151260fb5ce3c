"""Asked to stop, a training saves and ends in time; there is only one trainer in a folder."""

import os
import signal
import socketserver
import subprocess
import sys
import threading
import time

import psutil
import pytest
import torch
import yaml

from structdiff.system.errors import UserError
from structdiff.training import folder_lock, launch, metrics, stage
from structdiff.training.checkpoint import read
from structdiff.training.interrupt import EXIT_STATUS, Interrupt

SLOW = (
    "import time; from structdiff.training import trainer; "
    "trainer.step_uniform = lambda *a, c=trainer.step_uniform: (time.sleep({seconds}), c(*a))[1]"
)


def _until(condition, process=None, seconds=300):
    """Wait until something is so, or until a process that should make it so has ended."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come to be in time"
        assert process is None or process.poll() is None, "the process has ended before"
        time.sleep(0.02)


def _wait_for_step(output_dir, step, process=None):
    """Wait until a run has noted a step."""
    _until(lambda: any(x["step"] >= step for x in _lines(output_dir, "step")), process)


def _lines(output_dir, event):
    return [x for x in metrics.read(output_dir / "metrics.jsonl") if x["event"] == event]


def _said(output_dir):
    path = output_dir.with_name(f"{output_dir.name}.said")
    return path.read_text() if path.exists() else ""


@pytest.mark.workflow
@pytest.mark.parametrize(
    "number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT]
)
def test_a_signal_saves_and_stops(
    start, make_config, uninterrupted, assert_identical, tmp_path, number
):
    no_nohup = "import signal; signal.signal(signal.SIGHUP, signal.SIG_DFL); "
    process = start(make_config(), tmp_path, before=no_nohup + SLOW.format(seconds=0.2))
    _wait_for_step(tmp_path, 4)
    os.kill(process.pid, number)
    process.join()
    assert process.exitcode == EXIT_STATUS
    noted = metrics.read(tmp_path / "metrics.jsonl")[-1]["step"]
    assert read(tmp_path / "checkpoints" / "checkpoint_latest.pth")["step"] == noted
    assert not (tmp_path / "summary.json").exists()
    process = start(make_config(), tmp_path)
    process.join()
    assert process.exitcode == 0
    assert_identical(uninterrupted, tmp_path)


@pytest.mark.workflow
def test_a_signal_during_validation_saves_and_stops(
    start, make_config, uninterrupted, assert_identical, tmp_path
):
    slow = (
        "import os, signal; from structdiff.training.trainer import Trainer; "
        "Trainer.validate = lambda self, i, v=Trainer.validate: "
        "(os.kill(os.getpid(), signal.SIGTERM), v(self, i))[1]"
    )
    process = start(make_config(), tmp_path, before=slow)
    process.join()
    assert process.exitcode == EXIT_STATUS
    assert [x["event"] for x in metrics.read(tmp_path / "metrics.jsonl")][-1] == "stop"
    state = read(tmp_path / "checkpoints" / "checkpoint_latest.pth")
    assert (state["step"], state["epoch"], state["validation"]) == (6, 1, None)
    process = start(make_config(), tmp_path)
    process.join()
    assert process.exitcode == 0
    assert_identical(uninterrupted, tmp_path)


@pytest.mark.workflow
def test_a_second_trainer_is_refused_while_the_first_is_alive(start, make_config, tmp_path):
    output_dir = tmp_path / "out"
    first = start(make_config(), output_dir, before=SLOW.format(seconds=5))
    _until(lambda: folder_lock.holder(output_dir) is not None)
    assert folder_lock.holder(output_dir).startswith(f"process {first.pid} on ")
    second = start(make_config(), output_dir)
    second.join()
    assert second.exitcode == 1  # no command line here, that prints it and exits with 2
    assert f"another trainer is at work here (process {first.pid} on" in _said(output_dir)
    os.kill(first.pid, signal.SIGKILL)
    first.join()
    assert folder_lock.holder(output_dir) is None
    third = start(make_config(), output_dir)
    third.join()
    assert third.exitcode == 0


def test_the_lock_in_one_process(tmp_path):
    with (
        folder_lock.hold(tmp_path),
        pytest.raises(UserError, match="another trainer"),
        folder_lock.hold(tmp_path),
    ):
        pass
    with folder_lock.hold(tmp_path):
        assert folder_lock.holder(tmp_path) is not None


def test_handlers_are_put_back():
    before = signal.getsignal(signal.SIGTERM)
    with Interrupt() as interrupt:
        assert not interrupt.requested
        os.kill(os.getpid(), signal.SIGUSR1)
        assert interrupt.requested
        assert interrupt.name == "SIGUSR1"
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_hangup_that_nohup_ignores_stays_ignored(monkeypatch):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Interrupt() as interrupt:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not interrupt.requested
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.workflow
def test_who_waits_goes_on_when_the_first_is_gone(
    start, make_config, uninterrupted, assert_identical, tmp_path
):
    output_dir = tmp_path / "out"
    first = start(make_config(), output_dir, before=SLOW.format(seconds=0.3))
    _wait_for_step(output_dir, 4)
    second = start(make_config(), output_dir, wait=True)
    _until(lambda: "waiting for it to end" in _said(output_dir))
    os.kill(first.pid, signal.SIGKILL)
    second.join()
    assert second.exitcode == 0
    assert_identical(uninterrupted, output_dir)


def _command(config, peptides, output_dir, tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(config.model_dump(mode="json")))
    options = ["--config", file, "--peptides", peptides, "--output-dir", output_dir]
    return [sys.executable, "-m", "structdiff", "train", *map(str, options)]


def _curve(output_dir):
    return [(line["step"], line["total"]) for line in _lines(output_dir, "step")]


@pytest.mark.workflow
def test_two_processes_through_the_command_line(start, make_config, peptides, tmp_path):
    """SIGUSR1, the death of a worker, SIGTERM, then one process to the end: as if undisturbed."""
    undisturbed = start(make_config(num_epochs=20), tmp_path / "undisturbed")
    output_dir = tmp_path / "out"
    config = make_config(num_epochs=20, num_gpus=2, gradient_accumulation_steps=2)
    command = _command(config, peptides, output_dir, tmp_path)

    def run_until(step, number, before=lambda process: None):
        process = subprocess.Popen(command)
        try:
            _wait_for_step(output_dir, step, process)
            before(process)
            process.send_signal(number)
            assert process.wait(300) == EXIT_STATUS
        finally:
            process.terminate()
        state = read(output_dir / "checkpoints" / "checkpoint_latest.pth")
        assert state["step"] == metrics.read(output_dir / "metrics.jsonl")[-1]["step"] < 60
        assert state["world_size"] == 2
        return state["step"]

    def kill_a_worker(process):
        starts = _lines(output_dir, "start")
        os.kill(int(folder_lock.holder(output_dir).split()[1]), signal.SIGKILL)
        # torchrun starts both again
        _until(lambda: _lines(output_dir, "start") != starts, process)

    stopped = run_until(2, signal.SIGUSR1)
    run_until(stopped + 2, signal.SIGTERM, kill_a_worker)
    subprocess.run([*command, "--num-gpus", "1"], check=True)
    undisturbed.join()
    torch.testing.assert_close(
        torch.tensor(_curve(output_dir)),
        torch.tensor(_curve(tmp_path / "undisturbed")),
        rtol=1e-3,
        atol=1e-4,
    )


@pytest.mark.workflow
@pytest.mark.parametrize(
    ("error", "message"),
    [
        ("UserError('peptide 7 of the table is damaged')", "peptide 7 of the table is damaged"),
        ("OSError(28, 'No space left', 'events')", "events: cannot be written (No space left)"),
    ],
)
def test_a_users_error_in_one_process_ends_all(make_config, peptides, tmp_path, error, message):
    """The other process waits in a collective of a step that the main one never does."""
    spoil = tmp_path / "sitecustomize.py"
    spoil.write_text(
        "import os, sys\n"
        "if os.environ.get('RANK') == '0':\n"
        "    from structdiff.system.errors import UserError\n"
        "    from structdiff.training import trainer\n"
        "    def step(self, *_, done=trainer.Trainer.step):\n"
        "        if self.progress.step == 3:\n"
        f"            raise {error}\n"
        "        return done(self, *_)\n"
        "    trainer.Trainer.step = step\n"
    )
    output_dir = tmp_path / "out"
    config = make_config(num_epochs=20, num_gpus=2, gradient_accumulation_steps=2)
    process = subprocess.Popen(
        _command(config, peptides, output_dir, tmp_path),
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        stderr=subprocess.PIPE,
        text=True,
    )

    def workers():
        children = psutil.Process(process.pid).children(recursive=True)
        return [x for x in children if "structdiff.training.worker" in x.cmdline()]

    _until(lambda: len(workers()) == 2)
    children = workers()
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 2
    assert errors.count(message) == 1
    assert "Traceback" not in errors
    assert not psutil.wait_procs(children, timeout=300)[1]
    assert len(_lines(output_dir, "start")) == 1  # nothing was started again


def test_nodes_that_cannot_meet_are_told_what_to_change(
    make_config, peptides, tmp_path, monkeypatch
):
    """The port is that of a server which is not ours."""
    monkeypatch.setattr(launch, "SECONDS_TO_MEET", 2)
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    with socketserver.TCPServer(("127.0.0.1", 0), socketserver.BaseRequestHandler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        port = server.server_address[1]
        monkeypatch.setenv("MASTER_PORT", str(port))
        message = rf"cannot meet at 127.0.0.1:{port}.*set MASTER_PORT to a free one"
        with pytest.raises(UserError, match=message):
            stage.run(make_config(num_nodes=2), peptides, None, tmp_path / "out")
        server.shutdown()
    monkeypatch.setenv("MASTER_PORT", "http")
    with pytest.raises(UserError, match="MASTER_PORT is 'http', which is not a number"):
        stage.run(make_config(num_nodes=2), peptides, None, tmp_path / "out")


def test_several_nodes_without_a_meeting_point(make_config, peptides, tmp_path, monkeypatch):
    for name in ("MASTER_ADDR", "SLURM_STEP_NODELIST"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UserError, match="nothing says where the nodes meet"):
        stage.run(make_config(num_nodes=2), peptides, None, tmp_path / "out")


def test_more_gpus_than_there_are(make_config, peptides, tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    with pytest.raises(UserError, match=r"2 GPUs are asked for, but 1 are there.*set training"):
        stage.run(make_config(), peptides, None, tmp_path / "out", num_gpus=2)
