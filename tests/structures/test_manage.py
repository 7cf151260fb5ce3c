"""`structdiff structures`: list, verify, export and gc, as a user calls them."""

import os
import re
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from biotite.structure.io.pdb import PDBFile
from biotite.structure.io.pdbx import CIFFile, get_structure
from typer.testing import CliRunner

from structdiff.cli import app
from structdiff.structures.index import read_files, write_index
from structdiff.structures.partial import Partial
from structdiff.system.errors import UserError
from structdiff.system.locks import exclusive


def structures(*arguments):
    """Call the command line; a `UserError` passes through."""
    command = ["structures", *map(str, arguments)]
    result = CliRunner().invoke(app, command, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture
def run(cache, tmp_path, peptides, simulate):
    """A run's results, whose index names one of the two files of the cache."""
    sequences = peptides(20)
    cache.write([simulate(sequence) for sequence in sequences[:12]])
    cache.write([simulate(sequence) for sequence in sequences[12:]])
    index = tmp_path / "results" / "one" / "structures" / "index.parquet"
    index.parent.mkdir(parents=True)
    ids = [f"p/{number}" for number in range(12)]
    write_index(index, ids, sequences[:12], cache.scan(sequences), "simulated", cache.root)
    return index, sequences


def test_list_shows_each_key(cache, run):
    output = structures("list", "--cache", cache.root)
    assert f"{cache.folder.name}: 20 structures in 2 files" in output
    assert "predictor simulated" in output and "damaged" not in output


def test_a_damaged_key_is_named(cache, run):
    for text in ("{", "[]"):
        (cache.folder / "key.json").write_text(text)
        with pytest.raises(UserError, match=r"key\.json: cannot be read .*remove this file"):
            structures("list", "--cache", cache.root)


def test_verify_counts_names_and_sets_aside(cache, run, capsys):
    assert structures("verify", "--cache", cache.root).startswith("2 files are whole, 0")
    path = read_files(run[0])[0]
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(UserError, match="1 damaged files were set aside"):
        structures("verify", "--cache", cache.root)
    assert not path.exists()
    assert "1 damaged file set aside" in structures("list", "--cache", cache.root)


@pytest.mark.parametrize("form", ["pdb", "mmcif"])
def test_export_writes_what_biotite_reads_back(run, tmp_path, simulate, form):
    index, sequences = run
    output = structures(
        "export", "--index", index, "--output-dir", tmp_path / "x", "--format", form
    )
    assert output.startswith("12 structures")
    for number, sequence in enumerate(sequences[:12]):
        expected = simulate(sequence)
        if form == "pdb":
            atoms = PDBFile.read(tmp_path / "x" / f"p_{number}.pdb").get_structure(model=1)
        else:
            atoms = get_structure(CIFFile.read(tmp_path / "x" / f"p_{number}.cif"), model=1)
        assert np.abs(atoms.coord - expected.positions).max() <= 0.001


def test_export_of_some(run, tmp_path):
    index, _ = run
    chosen = ("--id", "p/3", "--id", "p/5")
    structures("export", "--index", index, "--output-dir", tmp_path / "x", *chosen)
    assert sorted(p.name for p in (tmp_path / "x").iterdir()) == ["p_3.pdb", "p_5.pdb"]
    with pytest.raises(UserError, match="has no structure of p/99"):
        structures("export", "--index", index, "--output-dir", tmp_path / "x", "--id", "p/99")


def test_export_of_too_large_a_structure_names_the_other_format(cache, tmp_path, simulate):
    far = replace(simulate("ACDEF"), positions=simulate("ACDEF").positions + 9999)
    cache.write([far])
    index = tmp_path / "index.parquet"
    write_index(index, ["far"], ["ACDEF"], cache.scan(["ACDEF"]), "simulated", cache.root)
    call = ("export", "--index", index, "--output-dir", tmp_path / "x")
    with pytest.raises(UserError, match=r"far: too large for the PDB format.*--format mmcif"):
        structures(*call)
    assert structures(*call, "--format", "mmcif").startswith("1 structure ")


def test_gc_drops_what_no_run_names_and_only_when_told(cache, run, tmp_path):
    index, sequences = run
    (cache.folder / ".left.tmp").write_text("half a file")
    call = ("gc", "--cache", cache.root, "--results", tmp_path / "results")
    assert structures(*call).startswith("0 files")  # too young
    assert structures(*call, "--min-age", 0).count("\n") == 3
    assert len(cache.scan(sequences)) == 20
    for days in ("nan", "inf"):
        with pytest.raises(AssertionError, match="Invalid value for '--min-age'"):
            structures(*call, "--min-age", days)
    structures(*call, "--min-age", 0, "--delete")
    assert set(cache.scan(sequences).index) == set(sequences[:12])
    assert read_files(index)[0].is_file() and not (cache.folder / ".left.tmp").exists()


def test_gc_removes_what_killed_folds_left_and_spares_running_ones(cache, run, tmp_path, simulate):
    partial = cache.folder / "partial"
    (cache.folder / ".dead.tmp").mkdir()
    for name in ("killed", "recovered"):  # by a process that was killed before it had removed it
        (partial / name).mkdir(parents=True)
        (partial / name / "batch.parquet").write_text("structures")
    (partial / "killed" / "lock").touch()
    (cache.folder / "killed.lock").touch()
    call = ("gc", "--cache", cache.root, "--results", tmp_path / "results", "--delete")
    before = set(partial.iterdir())
    with exclusive(cache.folder / "shard.lock", lambda: None), Partial(cache) as saving:
        saving.add([simulate("ACDEF")])
        running = {cache.folder / "shard.lock", *partial.iterdir()} - before
        assert structures(*call).startswith("0 files")  # too young
        assert "killed.lock" in structures(*call, "--min-age", 0)
        assert {*cache.folder.glob("*.lock"), *partial.iterdir()} == running
        assert not list(cache.folder.glob(".*.tmp"))
    assert "ACDEF" in cache.scan(["ACDEF"]).index


def test_gc_passes_over_what_a_running_fold_removes_meanwhile(cache, run, tmp_path, monkeypatch):
    lock = cache.folder / "shard.lock"
    lock.touch()

    def resolve(path, resolve=Path.resolve):
        lock.unlink(missing_ok=True)
        return resolve(path)

    monkeypatch.setattr(Path, "resolve", resolve)
    call = ("gc", "--cache", cache.root, "--results", tmp_path / "results", "--min-age", 0)
    assert "shard.lock" not in structures(*call)
    assert not lock.exists()


def test_gc_counts_age_in_days(cache, run, tmp_path):
    for path in cache.folder.glob("*.parquet"):
        old = time.time() - 8 * 86400
        os.utime(path, (old, old))
    output = structures("gc", "--cache", cache.root, "--results", tmp_path / "results")
    assert "1 file," in output


def test_gc_refuses_where_a_run_names_what_is_not_there(cache, run, tmp_path):
    moved = tmp_path / "results" / "deeper" / "two" / "structures"
    moved.mkdir(parents=True)
    run[0].rename(moved / "index.parquet")
    for path in cache.folder.glob("*.parquet"):
        path.rename(path.with_suffix(".elsewhere"))
    results = tmp_path / "results" / "deeper"
    with pytest.raises(UserError, match="which is not there"):
        structures("gc", "--cache", cache.root, "--results", results, "--min-age", 0, "--delete")


def test_export_never_writes_two_to_one_file(cache, run, tmp_path):
    index, sequences = run
    ids = ["a/b", "a_b"]
    write_index(index, ids, sequences[:2], cache.scan(sequences), "simulated", cache.root)
    structures("export", "--index", index, "--output-dir", tmp_path / "x")
    names = sorted(path.name for path in (tmp_path / "x").iterdir())
    assert len(names) == 2
    assert names[1] == "a_b.pdb"
    assert re.fullmatch(r"a_b-[0-9a-f]{12}\.pdb", names[0])


def test_gc_without_any_run_deletes_nothing(cache, run, tmp_path):
    results = ("--results", tmp_path / "results", "--results", tmp_path / "nowhere")
    with pytest.raises(UserError, match="nowhere: there is no index of structures"):
        structures("gc", "--cache", cache.root, *results, "--min-age", 0, "--delete")


@pytest.mark.parametrize("folder", ["two", "deeper/two", "folded"])
def test_gc_spares_what_an_index_names_wherever_it_lies(cache, run, tmp_path, folder):
    _, sequences = run
    other = tmp_path / "others" / folder / "index.parquet"
    other.parent.mkdir(parents=True)
    write_index(other, sequences, sequences, cache.scan(sequences), "simulated", cache.root)
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "run").symlink_to(tmp_path / "others")
    results = ("--results", tmp_path / "results", "--results", tmp_path / "linked")
    structures("gc", "--cache", cache.root, *results, "--min-age", 0, "--delete")
    assert set(cache.scan(sequences).index) == set(sequences)


def test_a_folder_that_is_no_cache_is_said(tmp_path):
    for verb in ("list", "verify"):
        with pytest.raises(UserError, match="holds no structure cache"):
            structures(verb, "--cache", tmp_path)
