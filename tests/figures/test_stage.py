"""The curves: all files, right points, restarts marked, and an error where nothing was trained."""

import json

import pytest
from matplotlib import pyplot as plt

from structdiff.config import parse
from structdiff.figures import stage as figures
from structdiff.figures.curves import Curves
from structdiff.system.errors import UserError

CONFIG = parse({"run": "test", "data": {"path": "unused.csv"}})


def step(number, structure=0.5):
    return {
        "event": "step",
        "time": float(number),
        "step": number,
        "epoch": 1,
        "total": 2.0 + (structure or 0.0),
        "diffusion": 2.0,
        "structure": structure,
        "lr": 1e-4 * number,
        "grad_norm": 1.0,
        "residues_per_second": 1000.0,
        "memory_bytes": 1,
    }


def write(folder, lines):
    folder.mkdir(exist_ok=True)
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "metrics.jsonl").write_text(text)
    return folder


def history(structure=0.5):
    validation = {"total": 2.5, "diffusion": 2.0, "structure": structure}
    return [
        {"event": "start", "step": 0},
        *(step(number, structure) for number in range(1, 6)),
        {"event": "start", "step": 5},
        *(step(number, structure) for number in range(6, 11)),
        {"event": "validation", "epoch": 1, "step": 10, **validation},
    ]


@pytest.mark.parametrize("structure", [0.5, None])
def test_every_curve_is_written_as_svg_and_png(tmp_path, structure):
    training = write(tmp_path / "training", history(structure))
    figures.run(CONFIG, training, tmp_path / "figures")
    names = ("losses", "learning_rate", "gradient_norm", "throughput")
    wanted = {f"{name}.{suffix}" for name in names for suffix in ("svg", "png")}
    assert {path.name for path in (tmp_path / "figures").iterdir()} == wanted
    assert all(path.stat().st_size > 1000 for path in (tmp_path / "figures").iterdir())
    text = (tmp_path / "figures" / "losses.svg").read_text()
    assert ("no peptide has a structure" in text) == (structure is None)


def test_a_curve_goes_through_all_steps_and_marks_restarts(tmp_path):
    curves = Curves.read(write(tmp_path / "training", history()) / "metrics.jsonl")
    _, axes = plt.subplots()
    curves.learning_rate(axes)
    line, restart = axes.lines
    assert line.get_xdata().tolist() == list(range(1, 11))
    assert line.get_ydata() == pytest.approx([1e-4 * number for number in range(1, 11)])
    assert set(restart.get_xdata()) == {5}


@pytest.mark.parametrize(("count", "hidden"), [(10, 1), (200, 4)])
def test_the_first_steps_do_not_flatten_the_others(tmp_path, count, hidden):
    lines = [{**step(n), "total": 2.0 + (n % 3) / 10} for n in range(1, count + 1)]
    for line in lines[:hidden]:
        line["total"] = 1000.0
    curves = Curves.read(write(tmp_path / "training", lines) / "metrics.jsonl")
    _, axes = plt.subplots()
    curves.losses(axes, "total")
    low, high = axes.get_ylim()
    assert 1.9 < low < 2.0
    assert 2.2 < high < 2.3
    assert axes.get_ylabel() == f"per residue ({hidden} of {count} steps are above)"


def test_all_steps_are_shown_where_none_is_far_above(tmp_path):
    lines = [{**step(n), "total": 3.0 - n / 200} for n in range(1, 201)]
    curves = Curves.read(write(tmp_path / "training", lines) / "metrics.jsonl")
    _, axes = plt.subplots()
    curves.losses(axes, "total")
    assert axes.get_ylim()[1] >= 2.995
    assert axes.get_ylabel() == "per residue"


def test_curves_that_end_before_the_training_are_told(tmp_path, capsys):
    training = write(tmp_path / "training", history())
    (training / "summary.json").write_text('{"steps": 25}')
    Curves.read(training / "metrics.jsonl")
    assert "metrics.jsonl ends at step 10 of 25" in capsys.readouterr().err
    (training / "summary.json").write_text('{"steps": 10}')
    Curves.read(training / "metrics.jsonl")
    assert "metrics.jsonl lacks its last lines" in capsys.readouterr().err
    write(training, [*history(), {"event": "end", "step": 10, "epoch": 1, "best": {}}])
    Curves.read(training / "metrics.jsonl")
    assert capsys.readouterr().err == ""


def test_drawing_twice_gives_the_same_files(tmp_path):
    training = write(tmp_path / "training", history())
    for name in ("a", "b"):
        figures.run(CONFIG, training, tmp_path / name)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_nothing_trained_is_an_error(tmp_path):
    training = write(tmp_path / "training", [{"event": "start", "step": 0}])
    with pytest.raises(UserError, match="nothing to plot"):
        figures.run(CONFIG, training, tmp_path / "figures")
