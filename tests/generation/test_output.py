"""Files of designs: whole after an interruption, resumed exactly, verified when read."""

import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from typer.testing import CliRunner

import structdiff
from structdiff.cli import app
from structdiff.config import Generation
from structdiff.generation import journal, output, stage
from structdiff.generation.command import design_free, vary_peptide
from structdiff.generation.output import DesignSet, numbered, read_samples, remove_journal
from structdiff.generation.tasks import Design
from structdiff.peptides.query import Query, parse_query
from structdiff.peptides.seen import SeenPeptides
from structdiff.protein.ends import FREE, Ends
from structdiff.protein.geometry import ANGLES, rebuild
from structdiff.protein.io import write_pdb
from structdiff.settings import Sampling
from structdiff.system.errors import UserError
from structdiff.system.files import read_tsv
from structdiff.system.locks import try_lock

pytestmark = pytest.mark.xdist_group("design")

SLOW = (
    "import signal, time; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "from structdiff.generation import journal; append = journal.append; "
    "journal.append = lambda *a: (append(*a), time.sleep(0.2)); "
    "from structdiff.cli import main; main()"
)
"""The command line, with a pause after each design; a shell's background jobs ignore SIGINT."""


def command(model, folder, seed="3"):
    return [
        *("design", "free", "--model", str(model), "--output-dir", str(folder), "--length", "6-20"),
        *("--number", "30", "--num-steps", "3", "--seed", seed),
    ]


@pytest.fixture(scope="module")
def model(model, model_that_saw):
    """A model that has seen some of its designs, which are drawn again."""
    trained_model = structdiff.load(model)
    known = structdiff.generate(trained_model, 30, length=(6, 20), num_steps=3, seed=3)
    known += structdiff.generate(trained_model, 5, "helical", length=(9, 15), num_steps=4)
    return model_that_saw(model, (design.sequence for design in known[::2]))


@pytest.mark.workflow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_what_was_drawn_survives_and_the_same_command_ends_in_the_same_files(
    model, tmp_path, number
):
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    CliRunner().invoke(app, command(model, whole), catch_exceptions=False)
    unfinished = resumed / ".drawn.jsonl"
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW, *command(model, resumed)], stderr=subprocess.PIPE, text=True
    )
    while not (unfinished.exists() and unfinished.read_bytes().count(b"\n") > 4):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.02)
    process.send_signal(number)
    message = process.communicate()[1]
    if number != signal.SIGKILL:
        assert process.returncode == 130
        assert f"of 30 designs are in {resumed}" in message
        assert 3 < len(read_samples(resumed)) < 30
    with pytest.raises(UserError, match="unfinished designs of another command"):
        CliRunner().invoke(app, command(model, resumed, seed="4"), catch_exceptions=False)
    CliRunner().invoke(app, command(model, resumed), catch_exceptions=False)
    files = sorted(path.relative_to(whole) for path in whole.rglob("*") if path.is_file())
    assert files == sorted(p.relative_to(resumed) for p in resumed.rglob("*") if p.is_file())
    for name in files:
        assert (whole / name).read_bytes() == (resumed / name).read_bytes(), name
    (row,) = read_tsv(whole / "summary.tsv")
    assert int(row["redrawn"]) == 15


def write_designs(sets, settings, folder, **options):
    """Write designs as a command does that adds nothing; all log-likelihoods are 0 by default."""
    options = {"log_likelihoods": lambda each: np.zeros(len(each)), "seen": None, **options}
    output.write_designs(sets, settings, folder, **options)
    remove_journal(folder)


def a_set(before=lambda number: None):
    """Return a set of three designs; ``before`` is called with the number of each."""

    def draw(skip):
        for number, sequence in enumerate(["GIGK", "FLHS", "AKKF"]):
            if number not in skip:
                before(number)
                yield Design(number, sequence, None)

    return DesignSet("some", numbered("some", 3), draw)


def test_an_interruption_before_the_first_design_can_be_resumed(tmp_path, capsys):
    def interrupt(number):
        os.kill(os.getpid(), signal.SIGTERM)

    for _ in range(3):
        with pytest.raises(SystemExit) as caught:
            write_designs([a_set(interrupt)], {}, tmp_path)
        assert caught.value.code == 130
        assert "0 of 3 designs are in" in capsys.readouterr().err
    write_designs([a_set()], {}, tmp_path)
    assert read_samples(tmp_path)["sequence"].tolist() == ["GIGK", "FLHS", "AKKF"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *("designs.json", "designs.tsv", "samples.parquet", "some.fasta", "summary.tsv")
    ]


def test_unfinished_designs_of_other_settings_are_refused_or_replaced_with_a_note(tmp_path, capsys):
    def interrupt(number):
        if number:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(SystemExit):
        write_designs([a_set(interrupt)], {"seed": 1}, tmp_path)
    with pytest.raises(UserError, match="unfinished designs of another command"):
        write_designs([a_set()], {"seed": 2}, tmp_path)
    write_designs([a_set()], {"seed": 2}, tmp_path, replace=True)
    assert "has designs of other settings" in capsys.readouterr().out
    assert len(read_samples(tmp_path)) == 3
    with pytest.raises(UserError, match="has designs already"):
        write_designs([a_set()], {"seed": 2}, tmp_path)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_the_files_are_written_does_not_cut_them(tmp_path, monkeypatch, number):
    write_samples = output._write_samples

    def interrupted(*arguments):
        os.kill(os.getpid(), number)
        write_samples(*arguments)

    monkeypatch.setattr(output, "_write_samples", interrupted)
    handler = signal.getsignal(number)
    write_designs([a_set()], {}, tmp_path)
    assert len(read_samples(tmp_path)) == 3
    assert not (tmp_path / ".drawn.jsonl").exists()
    assert signal.getsignal(number) == handler


def test_a_signal_while_log_likelihoods_are_computed_loses_none(tmp_path, capsys):
    def interrupted(sequences):
        os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(SystemExit) as caught:
        write_designs([a_set()], {}, tmp_path, log_likelihoods=interrupted)
    assert caught.value.code == 130
    assert "the same command computes their log-likelihoods" in capsys.readouterr().err
    write_designs([a_set()], {}, tmp_path, log_likelihoods=lambda each: np.full(len(each), -2.5))
    table = pd.read_csv(tmp_path / "designs.tsv", sep="\t")
    assert table["log_likelihood"].tolist() == [-2.5] * 3
    assert not (tmp_path / ".drawn.jsonl").exists()


def test_designs_of_another_model_are_drawn_again(tmp_path, capsys):
    path = tmp_path / "journal.jsonl"
    for _ in range(2):  # the first call has no journal yet
        (drawn,) = journal.resume(path, "settings and model 1", 1)
        assert drawn == {}
    journal.draw_all(path, [drawn], [("some", a_set().draw)], 3, "designing")
    assert len(journal.resume(path, "settings and model 1", 1)[0]) == 3
    assert journal.resume(path, "settings and model 2", 1) == [{}]
    assert "of another model; they are drawn again" in capsys.readouterr().out
    assert journal.resume(path, "settings and model 1", 1) == [{}]


def test_copies_of_training_peptides_are_told(tmp_path):
    write_designs([a_set()], {}, tmp_path, seen=SeenPeptides.of(["FLHS", "GIGKFLHSAK"]))
    table = pd.read_csv(tmp_path / "designs.tsv", sep="\t")
    assert table["in_training"].tolist() == [0, 1, 0]
    assert table["training_pieces"].isna().all()  # four residues have no piece of eight
    assert read_samples(tmp_path)["in_training"].tolist() == [0, 1, 0]


def test_designs_within_an_asked_range_are_counted(tmp_path, capsys):
    query = "charge 0.5..3"
    write_designs([replace(a_set(), label=query, query=parse_query(query))], {}, tmp_path)
    message = "some: 2 of 3 designs have the charge that is asked for, 0.5 to 3"
    assert message in capsys.readouterr().out
    query = "charge 9"
    write_designs([replace(a_set(), label=query, query=parse_query(query))], {}, tmp_path / "one")
    assert "some: the charge of the designs is 0.0" in capsys.readouterr().out


def test_fewer_designs_than_wanted_are_noted(tmp_path):
    some = a_set()
    write_designs([replace(some, ids=numbered("some", 5))], {}, tmp_path)
    (row,) = read_tsv(tmp_path / "summary.tsv")
    assert (row["designs"], row["note"]) == ("3", "5 wanted")


def test_a_folder_without_any_design_can_be_used_for_others(tmp_path):
    def refuse(number):
        raise UserError("the wrong label")

    with pytest.raises(UserError, match="the wrong label"):
        write_designs([a_set(refuse)], {"label": "wrong"}, tmp_path)
    write_designs([a_set()], {"label": "right"}, tmp_path)
    assert len(read_samples(tmp_path)) == 3


def test_finished_designs_stay_after_a_replacing_command_failed_before_its_first(tmp_path):
    def refuse(number):
        raise UserError("out of luck")

    write_designs([a_set()], {"seed": 1}, tmp_path)
    with pytest.raises(UserError, match="out of luck"):
        write_designs([a_set(refuse)], {"seed": 2}, tmp_path, replace=True)
    with pytest.raises(UserError, match="has designs already"):
        write_designs([a_set()], {"seed": 3}, tmp_path)
    assert len(read_samples(tmp_path)) == 3


@pytest.mark.parametrize("name", ["pdb/1abc.pdb", "summary.tsv", "some.fasta", "page.html"])
@pytest.mark.parametrize("replace", [False, True])
def test_files_that_no_design_command_wrote_are_not_replaced(tmp_path, name, replace):
    """A folder of a project may have a folder ``pdb`` or a table of its own."""
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("mine")
    with pytest.raises(UserError, match="in a folder without designs"):
        write_designs([a_set()], {}, tmp_path, replace=replace, other_files=["page.html"])
    assert path.read_text() == "mine"
    assert not (tmp_path / ".drawn.jsonl").exists()


def test_a_second_command_waits_for_the_first_one(tmp_path, capsys):
    def other_command(number):
        with (tmp_path / ".lock").open("ab") as file:
            assert try_lock(file) is False

    write_designs([a_set(other_command)], {}, tmp_path)
    with pytest.raises(UserError, match="has designs already"):
        write_designs([a_set()], {}, tmp_path)


@pytest.mark.parametrize("task", ["free", "analogues"])
def test_a_damaged_line_of_the_journal_is_drawn_again(model, tmp_path, task):
    request = {"label": "none", "number": 8}
    if task == "free":
        draw = partial(design_free, **request, length="6-20", sequence_only=False)
    else:
        draw = partial(vary_peptide, **request, sequence="AELKMQRA", keep=None)
        draw = partial(draw, strength=0.3, mutations=None)
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    draw(model, whole, Sampling(num_steps=3))
    shutil.copytree(whole, resumed)
    lines = (whole / ".drawn.jsonl").read_bytes().splitlines(keepends=True)
    lines[3], lines[-1] = lines[3].replace(b"sequence", b"sequencf"), lines[-1][:30]
    (resumed / ".drawn.jsonl").write_bytes(b"".join(lines))
    draw(model, resumed, Sampling(num_steps=3))
    for name in ("samples.parquet", ".drawn.jsonl"):
        written = [sorted((each / name).read_bytes().splitlines()) for each in (whole, resumed)]
        assert written[0] == written[1]


def test_the_same_call_by_command_configuration_and_python_is_the_same_design(
    model, make_peptides, tmp_path
):
    """With the defaults of the sampler but for the number of steps."""
    trained_model = structdiff.load(model)
    _, backbones, _ = make_peptides(1, 5)
    write_pdb(tmp_path / "given.pdb", "AELKVIYFGPND", backbones[0].numpy())
    from structdiff.protein.io import read_structures

    (given,) = read_structures(tmp_path / "given.pdb").structures
    calls = {
        "free": (
            ["free", "--label", "helical", "--length", "9-15"],
            structdiff.generate(trained_model, 5, "helical", length=(9, 15), num_steps=4),
        ),
        "infill": (
            ["infill", "GIG????KL", "--label", "acidic"],
            structdiff.infill(trained_model, "GIG????KL", 5, "acidic", num_steps=4),
        ),
        "analogues": (
            ["analogues", "AELKMQRAELKM", "--strength", "0.5"],
            structdiff.analogues(trained_model, "AELKMQRAELKM", 0.5, 5, num_steps=4),
        ),
        "inverse-fold": (
            ["inverse-fold", str(tmp_path / "given.pdb"), "--label", "helical"],
            structdiff.inverse_fold(trained_model, given.backbone, 5, "helical", num_steps=4),
        ),
    }
    for task, (options, designs) in calls.items():
        folder = tmp_path / task
        arguments = ["design", *options, "--model", model, "--output-dir", folder]
        arguments += ["--number", 5, "--num-steps", 4]
        CliRunner().invoke(app, list(map(str, arguments)), catch_exceptions=False)
        samples = read_samples(folder)
        ordered = sorted(designs, key=lambda design: design.number)
        assert samples["sequence"].tolist() == [design.sequence for design in ordered], task
        for written, design in zip(samples["backbone"], ordered, strict=True):
            assert np.array_equal(written, design.backbone.reshape(-1)), task
    fold = structdiff.fold(trained_model, "AELKMQRAELKM")
    arguments = ["design", "fold", "AELKMQRAELKM", "--model", model, "--output-dir", tmp_path / "f"]
    CliRunner().invoke(app, list(map(str, arguments)), catch_exceptions=False)
    assert np.array_equal(read_samples(tmp_path / "f")["backbone"][0], fold.backbone.reshape(-1))
    settings = {"labels": ["helical"], "num_samples": 5, "num_steps": 4}
    settings |= {"min_length": 9, "max_length": 15}
    stage.run(Generation(**settings), model, tmp_path / "python_stage")
    (tmp_path / "config.yaml").write_text(
        yaml.safe_dump({"data": {"path": "peptides.csv"}, "generation": settings})
    )
    arguments = ["generate", "--config", tmp_path / "config.yaml", "--model", model]
    arguments += ["--output-dir", tmp_path / "configured"]
    CliRunner().invoke(app, list(map(str, arguments)), catch_exceptions=False)
    for name in ("python_stage", "configured"):
        samples = read_samples(tmp_path / name)
        assert samples["sequence"].tolist() == read_samples(tmp_path / "free")["sequence"].tolist()


def test_a_damage_to_the_samples_is_told(tmp_path):
    write_designs([a_set()], {}, tmp_path)
    path = tmp_path / "samples.parquet"
    content = path.read_bytes()
    middle = len(content) // 2
    for damaged in (b"", content[:-1], content[:middle] + b"\xff\x00" + content[middle + 2 :]):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match=r"samples\.parquet: cannot be read .* draw .* again"):
            read_samples(path)


def test_ends_are_in_every_file(tmp_path):
    from biotite.structure.io.pdb import PDBFile

    sequences = ["GIGKFLHSAK", "KWKLFKKIG"]
    torsions = torch.tensor([-1.0, -0.8, 3.1])
    backbones = [
        rebuild(torsions.expand(len(s), 3), torch.tensor(ANGLES).expand(len(s), 3)).numpy()
        for s in sequences
    ]

    def draw(skip):
        return iter(Design(n, s, backbones[n]) for n, s in enumerate(sequences))

    sets = [
        DesignSet("amides", ["a0", "a1"], draw, "antimicrobial+amidated", Query(["amidated"])),
        DesignSet("folds", ["f0", "f1"], draw, ends=[FREE, Ends(acetylated=True)]),
    ]
    write_designs(
        sets, {}, tmp_path, log_likelihoods=lambda texts: np.array([-len(t) / 7 for t in texts])
    )
    summary = pd.read_csv(tmp_path / "summary.tsv", sep="\t")
    assert summary["log_likelihood"].tolist() == [-1.357, -1.357]
    assert summary["log_likelihood_shuffled"].tolist() == [-1.357, -1.357]
    assert read_samples(tmp_path)["log_likelihood"].tolist() == 2 * [-1.429, -1.286]
    lines = (tmp_path / "amides.fasta").read_text().splitlines()
    assert lines[0] == ">a0 label=antimicrobial+amidated amidated=1"
    assert ">f1 label=none acetylated=1" in (tmp_path / "folds.fasta").read_text()
    assert read_samples(tmp_path)[["acetylated", "amidated"]].to_numpy().tolist() == [
        *([0, 1], [0, 1], [0, 0], [1, 0])
    ]
    table = pd.read_csv(tmp_path / "designs.tsv", sep="\t", index_col="id")
    assert table.loc["a0", "charge"] == pytest.approx(table.loc["f0", "charge"] + 1, abs=0.01)
    ends = {
        path.stem: PDBFile.read(path).get_structure(model=1).res_name[[0, -1]].tolist()
        for path in (tmp_path / "pdb").iterdir()
    }
    assert ends["a0"] == ["GLY", "NH2"]
    assert ends["f1"] == ["ACE", "GLY"]
