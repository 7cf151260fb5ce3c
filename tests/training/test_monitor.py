"""Status, dashboard, curves and TensorBoard are right on live, killed, restarted, finished runs."""

import os
import signal
import time

import pytest
from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from structdiff.figures.overview import draw
from structdiff.system import gpus
from structdiff.system.errors import UserError
from structdiff.training import folder_lock, metrics, monitor

SLOW = (
    "import time; from structdiff.training import trainer; "
    "trainer.step_uniform = lambda *a, c=trainer.step_uniform: (time.sleep(0.3), c(*a))[1]"
)

pytestmark = pytest.mark.workflow


def _shown(show, *arguments):
    console = Console(record=True, width=120, file=open(os.devnull, "w"))  # noqa: PTH123, SIM115
    show(*arguments, console=console)
    return console.export_text()


def _steps(output_dir):
    return [x["step"] for x in metrics.read(output_dir / "metrics.jsonl") if x["event"] == "step"]


@pytest.fixture(scope="module")
def killed_and_restarted(start_module, make_config, tmp_path_factory):
    """Return looks at a run: live, killed after its fifth step of nine, and started again."""
    output_dir = tmp_path_factory.mktemp("monitored")
    config = make_config(validate_every=1)  # each validation saves
    process = start_module(config, output_dir, before=SLOW)
    while len(_steps(output_dir)) < 5:
        time.sleep(0.02)
    looks = {"live": (monitor.snapshot(output_dir), _shown(monitor.status, output_dir))}
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    looks["killed"] = (monitor.snapshot(output_dir), _shown(monitor.status, output_dir))
    drawn = draw(output_dir, output_dir / "killed.svg")
    process = start_module(config, output_dir)
    process.join()
    assert process.exitcode == 0
    looks["restarted"] = (monitor.snapshot(output_dir), _shown(monitor.status, output_dir))
    return output_dir, looks, drawn


def test_live(killed_and_restarted):
    _, looks, _ = killed_and_restarted
    now, shown = looks["live"]
    assert now.state == "running"
    assert now.seconds_left > 0
    assert now.last["step"] in (5, 6)
    for text in ("running (process", "step 5/9 (56 %)", "time left", "no GPU", "residues/s"):
        assert text in shown.replace("step 6/9 (67 %)", "step 5/9 (56 %)")
    assert "checkpoint_latest.pth" in shown


def test_killed(killed_and_restarted):
    _, looks, drawn = killed_and_restarted
    now, shown = looks["killed"]
    assert now.state == "crashed"
    assert now.seconds_left is None
    assert now.unsaved == now.last["step"] - 3  # the first epoch has three steps
    assert "crashed" in shown
    assert f"{now.unsaved} steps since the last save" in shown
    assert "time left" not in shown
    assert "<svg" in drawn.read_text()


def test_restarted_and_finished(killed_and_restarted):
    output_dir, looks, _ = killed_and_restarted
    now, shown = looks["restarted"]
    assert now.state == "finished"
    assert now.restarts == 1
    assert "step 9/9 (100 %)" in shown
    assert "validation" in shown
    assert now.validation["epoch"] == 3
    assert now.best["total"] == min(
        x["total"] for x in metrics.read(output_dir / "metrics.jsonl") if x["event"] == "validation"
    )
    assert _steps(output_dir) == list(range(1, 10))


def test_stopped_is_not_crashed(start, make_config, tmp_path):
    process = start(make_config(), tmp_path, before=SLOW)
    while len(_steps(tmp_path)) < 4:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGINT)
    process.join()
    now = monitor.snapshot(tmp_path)
    assert (now.state, now.unsaved, now.error) == ("stopped", 0, None)
    assert "│ state          stopped" in _shown(monitor.status, tmp_path)
    said = tmp_path.with_name(f"{tmp_path.name}.said").read_text().splitlines()
    path = tmp_path / "checkpoints" / "checkpoint_latest.pth"
    assert f"Stopped by SIGINT; saved at step {now.last['step']} in {path}" in said[-1]
    assert not any("Traceback" in line for line in said)


def test_the_error_that_ended_a_run_is_shown(start, make_config, tmp_path):
    spoil = "from structdiff.training import validation; validation.losses = None"
    process = start(make_config(), tmp_path, before=spoil)
    process.join()
    now = monitor.snapshot(tmp_path)
    assert now.state == "crashed"
    assert now.error == "TypeError: 'NoneType' object is not callable"
    assert now.error in _shown(monitor.status, tmp_path)


def test_a_damaged_line_is_shown(killed_and_restarted, tmp_path):
    output_dir, _, _ = killed_and_restarted
    content = (output_dir / "metrics.jsonl").read_bytes()
    (tmp_path / "metrics.jsonl").write_bytes(content.replace(b'"step": 2,', b'"step": 7,', 1))
    (damage,) = monitor.snapshot(tmp_path).damage
    assert "line 3: is damaged" in damage
    shown = _shown(monitor.status, tmp_path)
    assert "is damaged" in " ".join(shown.replace("│", " ").split())
    assert "step 9/9" in shown


def test_the_dashboard_ends_with_the_run(killed_and_restarted):
    output_dir, _, _ = killed_and_restarted
    assert "finished" in _shown(monitor.watch, output_dir, 0.1)


def test_the_dashboard_follows_a_live_run(start, make_config, tmp_path):
    process = start(make_config(), tmp_path, before=SLOW)
    while not _steps(tmp_path):
        time.sleep(0.02)
    console = Console(record=True, width=120, force_terminal=True, file=(tmp_path / "x").open("w"))
    monitor.watch(tmp_path, 0.1, console)
    process.join()
    text = (tmp_path / "x").read_text()
    assert "running" in text
    assert "finished" in text


def test_the_curves_span_the_restart(killed_and_restarted):
    from structdiff.figures.curves import Curves

    output_dir, _, _ = killed_and_restarted
    curves = Curves.read(output_dir / "metrics.jsonl")
    assert [line["step"] for line in curves.steps] == list(range(1, 10))
    assert curves.restarts == [3]
    assert draw(output_dir.parent / output_dir.name, None).name == "training_curves.png"
    assert draw(output_dir, output_dir / "logs").parent == output_dir / "logs"
    with pytest.raises(UserError, match=r"no such format; end it in \.png"):
        draw(output_dir, output_dir / "curves.xyz")


def test_tensorboard_reads_each_step_once(killed_and_restarted):
    output_dir, _, _ = killed_and_restarted
    board = EventAccumulator(str(output_dir / "tensorboard")).Reload()
    names = {f"{part}/{loss}" for part in ("train", "epoch", "validation") for loss in ("total",)}
    names |= {"lr", "grad_norm", "residues_per_second", "memory_bytes"}
    assert names <= set(board.Tags()["scalars"])
    noted = [x for x in metrics.read(output_dir / "metrics.jsonl") if x["event"] == "step"]
    for name in ("total", "lr", "grad_norm"):
        points = board.Scalars(f"train/{name}" if name == "total" else name)
        assert [point.step for point in points] == list(range(1, 10))
        values = [line[name] for line in noted]
        assert [point.value for point in points] == pytest.approx(values, rel=1e-6)
    assert [point.step for point in board.Scalars("validation/total")] == [3, 6, 9]
    samples = board.Tensors("samples/text_summary")
    assert [point.step for point in samples] == [3, 6, 9]
    assert samples[-1].tensor_proto.string_val[0].count(b"`") == 16


def test_nothing_trained_is_told(tmp_path):
    with pytest.raises(UserError, match="nothing has been trained here"):
        monitor.status(tmp_path)
    with folder_lock.hold(tmp_path):
        assert monitor.snapshot(tmp_path).state == "running"
        with pytest.raises(UserError, match="there is nothing to plot"):
            draw(tmp_path, None)


def test_a_gpu_that_does_not_tell_everything(tmp_path, monkeypatch):
    readings = [
        gpus.Reading(0, "GPU A", "a", 87, 3 * 2**30, 80 * 2**30, 55),
        gpus.Reading(1, "GPU B", "b", None, 0, 80 * 2**30, None),
    ]
    monkeypatch.setattr(gpus, "readings", lambda: readings)
    with folder_lock.hold(tmp_path):
        shown = _shown(monitor.status, tmp_path)
    assert "87 %" in shown
    assert "3.0 of 80.0 GiB" in shown
    assert "55 °C" in shown
    assert shown.count("unknown") == 2
