"""Folding into the cache: only what is missing, whoever is killed and whoever else is at work."""

import random
import signal
import subprocess
import sys
import time

import pytest

from structdiff.structures import partial
from structdiff.structures.fold import fold, plan
from structdiff.structures.manage import verify
from structdiff.system.errors import UserError

SECONDS = 0.02
BATCH = 8


@pytest.fixture
def worker(cache, simulated_script, tmp_path):
    """Return a function that starts a process which folds sequences, once it is ready to."""

    def start(sequences, name="shard", seconds=SECONDS):
        file = tmp_path / f"{name}.txt"
        file.write_text("\n".join(sequences))
        command = [sys.executable, str(simulated_script), str(cache.root), str(tmp_path / "log")]
        process = subprocess.Popen(
            [*command, name, str(file), str(seconds)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert process.stdout.readline() == "ready\n"
        return process

    return start


def folded(tmp_path):
    path = tmp_path / "log"
    return path.read_text().split() if path.exists() else []


def test_only_what_is_missing_is_folded(cache, tmp_path, peptides, simulate, simulated):
    sequences = peptides(50)
    cache.write([simulate(sequence) for sequence in sequences[:40]])
    predictor = simulated(tmp_path / "log")
    planned = plan(cache, predictor, sequences)
    assert sorted(planned.missing) == sorted(sequences[40:])
    assert planned.missing == sorted(planned.missing, key=lambda s: (-len(s), s))
    assert fold(cache, predictor, "shard", sequences) == []
    assert sorted(folded(tmp_path)) == sorted(sequences[40:])
    assert plan(cache, predictor, sequences).missing == []
    assert plan(cache, predictor, sequences[:7]).missing == []


def test_failures_are_returned_and_the_rest_is_saved(cache, peptides, simulated):
    sequences = peptides(20)
    predictor = simulated(fails=tuple(sequences[3:5]))
    failures = fold(cache, predictor, "shard", sequences)
    assert {failure.sequence for failure in failures} == set(sequences[3:5])
    assert set(plan(cache, predictor, sequences).missing) == set(sequences[3:5])


ODD_PREDICTORS = {
    "leaves some out": (lambda s: s[:3], "no outcome for 1 of 4 peptides, such as GIGK"),
    "another peptide": (lambda s: [*s, "W" * 9], "a structure of WWWWWWWWW, which it was not"),
    "no structure": (lambda s: [*s, None], "yielded a NoneType in a batch"),
}


@pytest.mark.parametrize(("answer", "message"), ODD_PREDICTORS.values(), ids=list(ODD_PREDICTORS))
def test_a_predictor_that_does_not_answer_what_it_is_asked_is_named(
    cache, simulate, simulated, monkeypatch, answer, message
):
    """A fault of another package's predictor was reported as a damaged cache."""
    predictor = simulated()

    def predict(sequences):
        yield [sequence and simulate(sequence) for sequence in answer(list(sequences))]

    monkeypatch.setattr(predictor, "predict", predict)
    with pytest.raises(UserError, match=message):
        fold(cache, predictor, "shard", ["KLLKK", "FLPII", "RRWWR", "GIGK"])


@pytest.mark.workflow
def test_killed_at_seventeen_moments_it_goes_on_each_time(
    cache, tmp_path, peptides, simulate, simulated, worker
):
    """A process is killed again and again; together they fold all, and little of it twice."""
    sequences = peptides(600)
    moments = random.Random(0)
    kills = 0
    while kills < 17:
        process = worker(sequences)
        time.sleep(moments.uniform(0.0, 0.12))
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, "it was done before it was killed"
        kills += 1
    assert worker(sequences, seconds=0).wait() == 0
    log = folded(tmp_path)
    assert set(log) == set(sequences)
    # One batch was being computed and one written when it was killed.
    assert len(log) - len(sequences) <= kills * 2 * BATCH
    assert len(cache.scan(sequences)) == 600
    whole, damaged = verify(cache.root)
    assert whole >= 1 and damaged == 0
    assert plan(cache, simulated(), sequences).missing == []
    for path in cache.folder.glob("*.parquet"):
        assert path.stat().st_size > 0
    rows = cache.scan(sequences)
    assert rows.loc[sequences[0], "mean_plddt"] == pytest.approx(
        simulate(sequences[0]).plddt.mean(), abs=1e-3
    )


def test_two_runs_at_once_fold_each_peptide_once(cache, tmp_path, peptides, worker):
    sequences = peptides(150)
    processes = [worker(sequences), worker(sequences)]
    assert [process.wait() for process in processes] == [0, 0]
    assert sorted(folded(tmp_path)) == sorted(sequences)
    found = cache.scan(sequences)
    assert len(found) == 150 and found.index.is_unique
    assert not list(cache.folder.glob("*.lock"))


def test_runs_of_different_shards_work_side_by_side(cache, tmp_path, peptides, worker):
    """Shards that overlap (two runs with other tables) may fold a peptide twice, and no harm."""
    sequences = peptides(150)
    processes = [worker(sequences[:100], "first"), worker(sequences[50:], "second")]
    assert [process.wait() for process in processes] == [0, 0]
    assert set(folded(tmp_path)) == set(sequences)
    found = cache.scan(sequences)
    assert len(found) == 150 and found.index.is_unique
    assert verify(cache.root)[1] == 0


def test_a_full_disk_stops_with_its_reason_and_a_rerun_goes_on(
    cache, tmp_path, peptides, simulated, monkeypatch
):
    sequences, saved = peptides(64), []
    original = partial.publish

    def publish(folder, data, suffix):
        if len(saved) == 3:
            raise UserError("structures.cache: no space left")
        saved.append(folder)
        return original(folder, data, suffix)

    monkeypatch.setattr(partial, "publish", publish)
    with pytest.raises(UserError, match="no space left"):
        fold(cache, simulated(tmp_path / "log"), "shard", sequences)
    monkeypatch.undo()
    before = len(folded(tmp_path))
    assert fold(cache, simulated(tmp_path / "log"), "shard", sequences) == []
    assert len(folded(tmp_path)) - before == 64 - 3 * BATCH
    assert len(cache.scan(sequences)) == 64
