"""Records of Snakemake: where it keeps them, and that they come back."""

import json
from pathlib import Path

import pytest
from snakemake.persistence.file import FilePersistence

from structdiff.system import records

RESULTS = Path("results/tiny")
FILES = [f"{RESULTS}/a.tsv", f"{RESULTS}/{'long/' * 60}b.tsv"]


@pytest.fixture
def snakemake(tmp_path, monkeypatch):
    """Snakemake's own records, of two files of the run and one of another."""
    monkeypatch.chdir(tmp_path)
    persistence = FilePersistence(path=tmp_path / ".snakemake")
    for number, file in enumerate([*FILES, "results/other/c.tsv"]):
        Path(file).parent.mkdir(parents=True, exist_ok=True)
        Path(file).touch()
        persistence._io_write(persistence._metadata_path, {"params": [number]}, file)
    return persistence


def known(persistence, file):
    return persistence._io_read(persistence._metadata_path, file)


def test_records_that_are_lost_come_back(snakemake):
    records.save(RESULTS)
    for file in FILES:
        snakemake._io_delete(snakemake._metadata_path, file)
    assert records.unknown(FILES) == FILES
    records.restore(RESULTS)
    assert [known(snakemake, file)["params"] for file in FILES] == [[0], [1]]
    assert records.unknown(FILES) == []


@pytest.mark.parametrize("content", ["", '{"params": [0'])
def test_a_record_that_is_not_whole_counts_as_missing(snakemake, content):
    """Saving the records failed at it, at the end of each workflow."""
    path = Path(snakemake._record_path(snakemake._metadata_path, FILES[0]))
    path.with_name(".nfs0000000000a1").touch()  # nor is this one a record
    whole = path.read_text()
    path.write_text(content)
    assert records.unknown(FILES) == FILES[:1]
    records.save(RESULTS)
    assert json.loads((RESULTS / records.NAME).read_text()).keys() == set(FILES[1:])
    path.write_text(whole)
    records.save(RESULTS)
    path.write_text(content)
    records.restore(RESULTS)
    assert known(snakemake, FILES[0])["params"] == [0]


def test_only_the_files_of_the_run_are_kept(snakemake):
    records.save(RESULTS)
    kept = json.loads((RESULTS / records.NAME).read_text())
    assert kept.keys() == set(FILES)


def test_the_records_next_to_the_results_win(snakemake):
    """Results that were copied over older ones have the records that came with them."""
    records.save(RESULTS)
    snakemake._io_write(snakemake._metadata_path, {"params": [9]}, FILES[0])
    Path(FILES[1]).unlink()
    snakemake._io_delete(snakemake._metadata_path, FILES[1])
    records.restore(RESULTS)
    assert known(snakemake, FILES[0])["params"] == [0]
    assert known(snakemake, FILES[1]) == {}  # the file itself is gone


def test_a_file_that_is_being_written_is_not_unknown(snakemake):
    snakemake._io_delete(snakemake._metadata_path, FILES[0])
    snakemake._mark_incomplete(FILES[0], None)
    assert records.unknown(FILES) == []


def test_nothing_is_restored_once_the_results_change(snakemake):
    records.save(RESULTS)
    records.forget(RESULTS)
    records.forget(RESULTS)
    snakemake._io_delete(snakemake._metadata_path, FILES[0])
    records.restore(RESULTS)
    assert records.unknown(FILES) == FILES[:1]
