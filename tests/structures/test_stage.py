"""The stage: index, summary and failures, by one command or in the workflow's three steps."""

import csv
import errno
import shutil
import subprocess
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from structdiff import config as configuration
from structdiff.cli import app
from structdiff.protein.io import format_pdb
from structdiff.structures import shards, stage
from structdiff.structures.index import read_backbones
from structdiff.structures.stage import make_plan, run, run_shard
from structdiff.system.errors import UserError


@pytest.fixture
def use(monkeypatch):
    """Return the function that puts a predictor in place of the configured one."""

    def use(predictor):
        monkeypatch.setattr(stage, "make_predictor", lambda _: predictor)

    return use


def tsv(path):
    with path.open(newline="") as file:
        return list(csv.reader(file, delimiter="\t"))


def summary(folder):
    return dict(tsv(folder / "summary.tsv"))


def test_every_peptide_is_indexed_with_its_confidence(
    tmp_path, peptides, table, config, use, simulated, simulate
):
    sequences = peptides(30)
    use(simulated())
    run(config(tmp_path), table(tmp_path / "p.parquet", sequences), tmp_path / "out")
    index = pq.read_table(tmp_path / "out" / "index.parquet").to_pandas()
    assert index["id"].tolist() == [f"p{number}" for number in range(30)]
    assert index["sequence"].tolist() == sequences
    means = [simulate(sequence).plddt.mean() for sequence in sequences]
    assert np.allclose(index["mean_plddt"], means, atol=1e-3)
    told = summary(tmp_path / "out")
    assert (told["peptides"], told["with structure"], told["predicted now"]) == ("30", "30", "30")
    assert float(told["mean pLDDT of a peptide, mean"]) == pytest.approx(np.mean(means), abs=0.06)
    assert tsv(tmp_path / "out" / "failed.tsv") == [["id", "sequence", "reason"]]


def test_more_and_fewer_peptides_cost_only_the_new_ones(
    tmp_path, peptides, table, config, use, simulated
):
    sequences = peptides(60)
    settings, log = config(tmp_path), tmp_path / "log"
    use(simulated(log))
    run(settings, table(tmp_path / "a.parquet", sequences[:50]), tmp_path / "a")
    log.unlink()
    run(settings, table(tmp_path / "b.parquet", sequences), tmp_path / "b")
    assert sorted(log.read_text().split()) == sorted(sequences[50:])
    assert summary(tmp_path / "b")["in the cache before"] == "50"
    log.unlink()
    run(settings, table(tmp_path / "c.parquet", sequences[::-2]), tmp_path / "c")
    assert not log.exists()
    assert summary(tmp_path / "c")["predicted now"] == "0"


@pytest.mark.parametrize("in_steps", [False, True])
def test_failures_are_named_and_end_the_stage_unless_allowed(
    tmp_path, peptides, table, config, use, simulated, in_steps
):
    sequences = peptides(20)
    use(simulated(fails=(sequences[3], sequences[7])))
    path = table(tmp_path / "p.parquet", sequences)

    def collect(settings, folder):
        plan = None
        if in_steps:
            plan = folder / "plan.tsv"
            make_plan(settings, path, plan)
            for name in shards.read_plan(plan):
                run_shard(settings, plan, name)
        run(settings, path, folder, plan)

    with pytest.raises(UserError, match=r"2 failed .*structures\.max_failures allows 1"):
        collect(config(tmp_path, max_failures=1), tmp_path / "out")
    assert [row[:2] for row in tsv(tmp_path / "out" / "failed.tsv")[1:]] == sorted(
        [["p3", sequences[3]], ["p7", sequences[7]]], key=lambda row: row[1]
    )
    assert tsv(tmp_path / "out" / "failed.tsv")[1][2] == "simulated"
    assert len(read_backbones(tmp_path / "out" / "index.parquet").ids) == 18
    collect(config(tmp_path, max_failures=2), tmp_path / "again")
    assert summary(tmp_path / "again")["without structure (without_structure.tsv)"] == "2"


def test_remarks_are_counted_for_the_peptides_of_the_run(tmp_path, table, config, simulate):
    """A cache with content of other runs made the counts wrong."""
    sequences = ["ACDEFGHIK", "LMNPQRST", "VWYACD"]
    (tmp_path / "pdb").mkdir()
    for sequence in sequences:
        (tmp_path / "pdb" / f"{sequence}.pdb").write_text(format_pdb(simulate(sequence)))
    settings = config(tmp_path, predictor="files", files={"path": str(tmp_path / "pdb")})
    for part in (sequences[:2], sequences[1:], sequences):
        run(settings, table(tmp_path / "p.parquet", part), tmp_path / "out")
        told = summary(tmp_path / "out")["noted: pLDDT of the B-factors"]
        assert told.startswith(f"{len(part)}, such as ")


def test_predict_writes_what_it_has_and_names_what_failed(tmp_path, use, simulated):
    """One failure left the command without any file; ends and repeated sequences were lost."""
    use(simulated(fails=("GLFDIVKK",)))
    (tmp_path / "p.fasta").write_text(
        ">a\nAc-KLLKKLLK-NH2\n>b\nKLLKKLLK\n>c\nGLFDIVKK\n>d\nGLFDIVKK\n"
    )
    out = tmp_path / "out"
    options = ["--output-dir", out, "--predictor", "ideal", "--cache", tmp_path / "cache"]
    call = ["structures", "predict", tmp_path / "p.fasta", *options]

    def predict():
        CliRunner().invoke(app, list(map(str, call)), catch_exceptions=False)

    with pytest.raises(UserError, match=r"2 of 4 .*first: d: simulated.*failed\.tsv"):
        predict()
    assert sorted(path.name for path in (out / "pdb").iterdir()) == ["a.pdb", "b.pdb"]
    capped, free = ((out / "pdb" / name).read_text() for name in ("a.pdb", "b.pdb"))
    assert "ACE" in capped and "NH2" in capped and "ACE" not in free
    assert [row[0] for row in tsv(out / "failed.tsv")[1:]] == ["c", "d"]
    with pytest.raises(UserError, match=r"has index\.parquet, .* already.* structures export"):
        predict()
    shutil.rmtree(out / "pdb")
    with pytest.raises(UserError, match=r"predict` was interrupted here, remove them"):
        predict()


def test_in_steps_it_gives_the_same_index(tmp_path, peptides, table, config, use, simulated):
    sequences = peptides(50)
    path = table(tmp_path / "p.parquet", sequences)
    use(simulated(tmp_path / "log"))
    settings = config(tmp_path, shard_size=20)
    plan = tmp_path / "steps" / "plan.tsv"
    make_plan(settings, path, plan)
    planned = shards.read_plan(plan)
    assert sorted(map(len, planned.values())) == [16, 17, 17]
    for name in planned:
        run_shard(settings, plan, name)
    run(settings, path, tmp_path / "steps", plan)
    assert summary(tmp_path / "steps")["predicted now"] == "50"
    assert sorted((tmp_path / "log").read_text().split()) == sorted(sequences)
    run(settings, path, tmp_path / "alone")
    one, other = (
        pq.read_table(tmp_path / name / "index.parquet").to_pydict() for name in ("steps", "alone")
    )
    assert one == other
    make_plan(settings, path, plan)
    assert shards.read_plan(plan) == {}


def test_a_file_lost_after_the_plan_is_said_not_hidden(
    tmp_path, peptides, table, config, use, simulated
):
    path = table(tmp_path / "p.parquet", peptides(10))
    use(simulated())
    settings, plan = config(tmp_path), tmp_path / "out" / "plan.tsv"
    make_plan(settings, path, plan)
    (name,) = shards.read_plan(plan)
    run_shard(settings, plan, name)
    (file,) = (tmp_path / "cache").glob("*/*.parquet")
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(UserError, match=r"10 peptides, such as .*--forcerun plan_folding"):
        run(settings, path, tmp_path / "out", plan)
    run(settings, path, tmp_path / "alone")  # without a plan it predicts them itself
    assert len(read_backbones(tmp_path / "alone" / "index.parquet").ids) == 10


def test_an_unknown_shard_is_said(tmp_path, peptides, table, config, use, simulated):
    use(simulated())
    plan = tmp_path / "plan.tsv"
    make_plan(config(tmp_path), table(tmp_path / "p.parquet", peptides(10)), plan)
    with pytest.raises(UserError, match="has no shard nonsense"):
        run_shard(config(tmp_path), plan, "nonsense")


def test_the_baseline_is_called_one_everywhere(tmp_path, peptides, table, config, capsys):
    run(config(tmp_path), table(tmp_path / "p.parquet", peptides(10)), tmp_path / "out")
    told = summary(tmp_path / "out")
    assert told["predictor"] == "ideal" and "baseline" in told["note"]
    assert told["peptides with pLDDT"] == "0"
    assert "baseline" in capsys.readouterr().out


def test_files_give_what_they_hold_and_the_rest_is_counted(
    tmp_path, table, config, simulate, capsys
):
    (tmp_path / "pdb").mkdir()
    (tmp_path / "pdb" / "a.pdb").write_text(format_pdb(simulate("ACDEFGHIK")))
    settings = config(tmp_path, predictor="files", files={"path": str(tmp_path / "pdb")})
    path = table(tmp_path / "p.parquet", ["ACDEFGHIK", "LMNPQRST"])
    run(settings, path, tmp_path / "out")
    assert summary(tmp_path / "out")["with structure"] == "1"
    capsys.readouterr()
    run(settings, path, tmp_path / "out")  # that it is absent is remembered
    assert "0 to ask 'files' for" in capsys.readouterr().out


def test_a_broken_file_ends_the_stage_with_its_name(tmp_path, table, config, simulate):
    (tmp_path / "pdb").mkdir()
    (tmp_path / "pdb" / "a.pdb").write_text(format_pdb(simulate("ACDEFGHIK")))
    (tmp_path / "pdb" / "b.pdb").write_text("ATOM\n")
    settings = config(tmp_path, predictor="files", files={"path": str(tmp_path / "pdb")})
    path = table(tmp_path / "p.parquet", ["ACDEFGHIK"])
    for _ in range(2):
        with pytest.raises(UserError, match=r"b\.pdb"):
            run(settings, path, tmp_path / "out")
        assert tsv(tmp_path / "out" / "failed.tsv")[1][0] == "b.pdb"


def test_without_structures_nothing_is_asked(tmp_path, peptides, table):
    settings = configuration.parse(
        {
            "run": "test",
            "data": {"path": "x.csv", "use_predicted_structures": False},
            "structures": {"cache": str(tmp_path / "cache")},
        }
    )
    path, plan = table(tmp_path / "p.parquet", peptides(5)), tmp_path / "out" / "plan.tsv"
    make_plan(settings, path, plan)
    run(settings, path, tmp_path / "out", plan)
    assert read_backbones(tmp_path / "out" / "index.parquet").ids == []
    assert not (tmp_path / "cache").exists()


def test_an_esmfold_of_ones_own_by_its_path(tmp_path, peptides, table, config, tiny_esmfold):
    settings = config(
        tmp_path, predictor="esmfold", esmfold={"model": str(tiny_esmfold), "dtype": "float32"}
    )
    path = table(tmp_path / "p.parquet", peptides(12))
    run(settings, path, tmp_path / "out")
    told = summary(tmp_path / "out")
    assert told["key: model"].startswith("local-") and told["key: dtype"] == "float32"
    assert told["peptides with pLDDT"] == "12"
    found = read_backbones(tmp_path / "out" / "index.parquet")
    assert np.isfinite(found.positions).all() and np.isfinite(found.plddt).all()


def test_no_more_files_and_no_right_to_write_are_messages(tmp_path, table, config):
    """What `mkdir` and `open` raise on a full or read-only file system ends in one line."""
    path = table(tmp_path / "p.parquet", ["ACDEFGHIK"])
    (tmp_path / "my.yaml").write_text(configuration.dump(config(tmp_path)))
    script = (
        "import sys, os, pathlib\n"
        "from structdiff.cli import main\n"
        "def mkdir(self, *args, **kwargs):\n"
        "    raise OSError(NUMBER, os.strerror(NUMBER), str(self))\n"
        "NUMBER = int(sys.argv.pop(1))\n"
        "pathlib.Path.mkdir = mkdir\n"
        "main()\n"
    )
    for number, words in ((errno.ENOSPC, "df -i"), (errno.EROFS, "that you may write to")):
        command = [sys.executable, "-c", script, str(number), "fold"]
        command += ["--config", tmp_path / "my.yaml", "--peptides", path]
        command += ["--output-dir", tmp_path / "out"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 2 and "Traceback" not in done.stderr
        (line,) = [line for line in done.stderr.splitlines() if "error" in line]
        assert words in line and str(tmp_path) in line
