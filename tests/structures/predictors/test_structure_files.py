"""Structures of the user's own: folders and archives, matched by sequence, faults named."""

import csv
import errno
import gzip
import itertools
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest

from structdiff.protein.io import format_pdb, read_structures, write_mmcif
from structdiff.protein.structure import Structure
from structdiff.structures.predictors import Failure
from structdiff.structures.predictors.structure_files import FilesPredictor
from structdiff.system.errors import UserError
from structdiff.system.fingerprint import Digests


@pytest.fixture
def folder(tmp_path, simulate):
    folder = tmp_path / "pdb"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.pdb").write_text(format_pdb(simulate("ACDEFGHIK")))
    (folder / "sub" / "b.pdb.gz").write_bytes(
        gzip.compress(format_pdb(simulate("LMNPQRST")).encode())
    )
    write_mmcif(folder / "c.cif", simulate("VWYACD"))
    (folder / "._a.pdb").write_bytes(b"\x00\x05\x16\x07")
    (folder / "notes.txt").write_text("not a structure")
    return folder


WANTED = ["ACDEFGHIK", "LMNPQRST", "VWYACD", "AAAAA"]


def ask(path, sequences):
    found = [o for batch in FilesPredictor(path).predict(sequences) for o in batch]
    structures = {o.sequence: o for o in found if isinstance(o, Structure)}
    return structures, [o for o in found if isinstance(o, Failure)]


def archive(folder, path, mode):
    with tarfile.open(path, mode) as tar:
        tar.add(folder, "pdb")
    return path


@pytest.mark.parametrize("kind", ["folder", "tar", "tar.gz", "tar.xz"])
def test_every_format_and_container_is_read(folder, tmp_path, simulate, kind):
    path = folder
    if kind != "folder":
        path = archive(folder, tmp_path / f"x.{kind}", "w:" + kind.partition(".")[2])
    structures, failures = ask(path, WANTED)
    assert set(structures) == set(WANTED[:3])
    for sequence, structure in structures.items():
        expected = simulate(sequence)
        assert np.abs(structure.positions - expected.positions).max() < 6e-4
        assert np.abs(structure.plddt - expected.plddt).max() < 6e-3
    assert sorted((f.kind, f.reason, f.sequence) for f in failures if f.sequence) == [
        ("absent", "no file holds this sequence", "AAAAA"),
        *(("noted", "pLDDT of the B-factors", sequence) for sequence in WANTED[:3]),
    ]
    assert [(f.kind, f.reason) for f in failures if not f.sequence] == [
        ("ignored", "files that end in '.txt' are not read")
    ]


def test_a_broken_file_is_a_failure_with_its_name(folder):
    (folder / "broken.pdb").write_text("ATOM      1  N   ALA A   1      xx")
    (folder / "empty.cif").write_text("")
    structures, failures = ask(folder, WANTED[:3])
    assert len(structures) == 3
    failed = {failure.source: failure.reason for failure in failures if failure.kind == "failed"}
    assert set(failed) == {"broken.pdb", "empty.cif"} and all(failed.values())


def test_the_first_of_two_structures_counts(folder, simulate):
    (folder / "aa.pdb").write_text(format_pdb(simulate("LMNPQRST")).replace(" A ", " B "))
    structures, _ = ask(folder, ["ACDEFGHIK"])
    assert np.abs(structures["ACDEFGHIK"].positions - simulate("ACDEFGHIK").positions).max() < 6e-4


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_the_first_by_name_counts_in_an_archive_too(tmp_path, simulate, mode):
    """Archives list their files in any order."""
    expected = simulate("ACDEFGHIK")
    (tmp_path / "a.pdb").write_text(format_pdb(expected))
    moved = Structure(expected.sequence, expected.positions + 50)
    (tmp_path / "b.pdb").write_text(format_pdb(moved))
    with tarfile.open(tmp_path / "x.tar", mode) as tar:
        for name in ("b.pdb", "a.pdb"):
            tar.add(tmp_path / name, name)
    structures, failures = ask(tmp_path / "x.tar", ["ACDEFGHIK"])
    assert np.abs(structures["ACDEFGHIK"].positions - expected.positions).max() < 6e-4
    assert [f.source for f in failures if f.kind == "ignored"] == ["b.pdb"]


def test_the_last_member_of_a_name_counts(tmp_path, simulate):
    """`tar --append` writes a new version of a file after the old one."""
    expected = simulate("ACDEFGHIK")
    moved = Structure(expected.sequence, expected.positions + 50)
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        for name, structure in (("./a.pdb", moved), ("a.pdb", expected)):
            (tmp_path / "a.pdb").write_text(format_pdb(structure))
            tar.add(tmp_path / "a.pdb", name)
    structures, failures = ask(tmp_path / "x.tar", ["ACDEFGHIK"])
    assert np.abs(structures["ACDEFGHIK"].positions - expected.positions).max() < 6e-4
    assert [f.kind for f in failures] == ["noted"]


def test_further_structures_of_a_sequence_and_broken_links_are_named(folder):
    (folder / "z_rank_002.pdb").write_text((folder / "a.pdb").read_text())
    (folder / "lost.pdb").symlink_to(folder / "gone" / "lost.pdb")
    structures, failures = ask(folder, WANTED[:3])
    assert len(structures) == 3
    reasons = {failure.source: failure.reason for failure in failures}
    assert reasons["z_rank_002.pdb"].startswith("another structure of a sequence: the first")
    assert reasons["lost.pdb"] == "cannot be read: No such file or directory"
    assert FilesPredictor(folder).key["content"]


def test_the_key_is_of_the_content(folder, tmp_path):
    key = FilesPredictor(folder).key
    moved = folder.rename(tmp_path / "moved")
    assert FilesPredictor(moved).key == key
    text = (moved / "a.pdb").read_text()
    (moved / "a.pdb").write_text(text.replace("ATOM      1", "ATOM      9"))
    assert FilesPredictor(moved).key != key


def test_what_is_not_there_or_damaged_is_said(folder, tmp_path):
    with pytest.raises(UserError, match=r"structures\.files\.path: .*no such folder"):
        FilesPredictor(tmp_path / "nowhere")
    whole = archive(folder, tmp_path / "x.tar.gz", "w:gz")
    whole.write_bytes(whole.read_bytes()[:-200])
    with pytest.raises(UserError, match="neither a folder nor a whole tar archive"):
        ask(whole, WANTED)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no structure file"):
        ask(tmp_path / "empty", WANTED)


def test_an_archive_that_cannot_be_read_is_said():
    path = Path("/proc/self/mem")  # reading its first byte is an error, for root too
    with pytest.raises(UserError, match=f"structures.files.path: {path}: cannot be read"):
        FilesPredictor(path).key  # noqa: B018


def test_a_link_out_of_the_archive_or_in_a_circle_is_named(folder, tmp_path):
    (folder / "secret.pdb").symlink_to("/etc/passwd")
    (folder / "circle.pdb").symlink_to("circle.pdb")
    structures, failures = ask(archive(folder, tmp_path / "x.tar", "w"), WANTED[:3])
    assert len(structures) == 3
    assert [(f.source, f.reason) for f in failures if f.kind == "failed"] == [
        (f"pdb/{name}.pdb", "is a link that leads to no file of the archive")
        for name in ("circle", "secret")
    ]


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_links_within_an_archive_are_read(tmp_path, simulate, link):
    """They were left out without a word."""
    (tmp_path / "in" / ".store").mkdir(parents=True)
    (tmp_path / "in" / ".store" / "x.pdb").write_text(format_pdb(simulate("ACDEFGHIK")))
    if link is os.symlink:
        link(".store/x.pdb", tmp_path / "in" / "a.pdb")
    else:
        link(tmp_path / "in" / ".store" / "x.pdb", tmp_path / "in" / "a.pdb")
    path = archive(tmp_path / "in", tmp_path / "x.tar", "w")
    structures, failures = ask(path, ["ACDEFGHIK"])
    assert set(structures) == {"ACDEFGHIK"} and [f.kind for f in failures] == ["noted"]


def test_linked_subfolders_are_read_and_circles_left_out(folder, tmp_path, simulate):
    other = tmp_path / "other"
    other.mkdir()
    (other / "z.pdb").write_text(format_pdb(simulate("AAAAA")))
    (other / "back").symlink_to(folder)
    (folder / "linked").symlink_to(other)
    (folder / "itself").symlink_to(folder)
    structures, _ = ask(folder, WANTED)
    assert set(structures) == set(WANTED)


def test_a_name_that_is_not_utf8_is_read_and_shown_escaped(tmp_path):
    """It ended in a traceback where the name was hashed or written to a table."""
    name = os.fsdecode(b"caf\xe9.pdb")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / name).write_text("nothing")
    for path in (tmp_path / "in", archive(tmp_path / "in", tmp_path / "x.tar", "w")):
        assert FilesPredictor(path).key["content"]
        _, (failure, _) = ask(path, ["AAAAA"])
        assert failure.source.endswith("caf\\xe9.pdb")
    assert Digests(tmp_path / "digests.json").content(tmp_path / "in")


def test_damaged_and_too_large_files_are_named_and_the_others_read(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("structdiff.protein.io.MOST_BYTES", 100_000)
    monkeypatch.setattr("structdiff.structures.predictors.structure_files.MOST_BYTES", 100_000)
    whole = (folder / "sub" / "b.pdb.gz").read_bytes()
    (folder / "cut.pdb.gz").write_bytes(whole[:-30])
    (folder / "flipped.pdb.gz").write_bytes(whole[:60] + b"\xff\xff\xff" + whole[63:])
    (folder / "bomb.pdb.gz").write_bytes(gzip.compress(bytes(10_000_000)))
    with (folder / "sparse.pdb").open("wb") as file:
        file.truncate(1_000_000)
    named = {
        "cut.pdb.gz": "damaged gzip",
        "flipped.pdb.gz": "damaged gzip",
        "bomb.pdb.gz": "larger than 0 MB",
        "sparse.pdb": "larger than 0 MB",
    }
    for path in (folder, archive(folder, tmp_path / "x.tar", "w")):
        structures, failures = ask(path, WANTED[:3])
        assert len(structures) == 3
        failed = {f.source.removeprefix("pdb/"): f.reason for f in failures if f.kind == "failed"}
        assert failed.keys() == named.keys()
        assert all(words in failed[name] for name, words in named.items())


def test_what_is_not_read_is_named_by_its_ending(folder):
    for name in ("a.pdb.xz", "b.mmtf", "c.gro", "README"):
        (folder / name).write_text("x")
    (folder / "e.pdb1.gz").write_bytes((folder / "sub" / "b.pdb.gz").read_bytes())
    (folder / "sub" / "b.pdb.gz").unlink()
    structures, failures = ask(folder, WANTED[:3])
    assert set(structures) == set(WANTED[:3])
    endings = {f.source: f.reason.split("'")[1] for f in failures if f.kind == "ignored"}
    assert endings.pop("notes.txt") == ".txt"
    assert endings == {"a.pdb.xz": ".pdb.xz", "b.mmtf": ".mmtf", "c.gro": ".gro", "README": ""}


def test_every_real_structure_is_read(shared_data):
    with tarfile.open(shared_data / "esmfold_pdb.tar.gz") as tar:
        count = sum(member.isfile() for member in tar)
    with (shared_data / "peptides.csv").open() as file:
        sequences = [row["sequence"] for row in csv.DictReader(file)]
    structures, failures = ask(shared_data / "esmfold_pdb.tar.gz", sequences)
    assert len(structures) == count
    assert not any(failure.kind in ("failed", "ignored") for failure in failures)
    experimental, failures = ask(shared_data / "real_pdb", [])
    assert not experimental
    assert not any(failure.kind in ("failed", "ignored") for failure in failures)


def test_the_real_structures(shared_data):
    """The first hundred of the archive: the sequence of the table, all atoms, a pLDDT."""
    with (shared_data / "peptides.csv").open() as file:
        by_id = {row["id"]: row["sequence"] for row in csv.DictReader(file)}
    with tarfile.open(shared_data / "esmfold_pdb.tar.gz") as tar:
        members = [m for m in itertools.islice(tar, 120) if m.isfile()][:100]
        data = {Path(m.name).stem: tar.extractfile(m).read() for m in members}
    for name, text in data.items():
        (structure,) = read_structures(text, f"{name}.pdb").structures
        assert structure.sequence == by_id[name]
        assert structure.present.all()
        assert ((structure.plddt >= 0) & (structure.plddt <= 100)).all()


def test_a_subfolder_that_cannot_be_read_is_told(tmp_path, monkeypatch):
    """Its structures would be missing without a word."""
    locked = tmp_path / "locked"
    locked.mkdir()
    list_folder = os.scandir

    def refuse(path):
        if Path(path) == locked:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return list_folder(path)

    monkeypatch.setattr(os, "scandir", refuse)
    message = f"structures.files.path: {locked}: cannot be read .Permission denied"
    with pytest.raises(UserError, match=message):
        list(FilesPredictor(tmp_path).predict(["GIGK"]))
