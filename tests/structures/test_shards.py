"""Shards: named by what they hold, of equal work, settled one by one."""

import pytest

from structdiff.structures.predictors import Failure
from structdiff.structures.shards import divide, read_failures, read_plan, settle, write_plan
from structdiff.system.errors import UserError
from tests.damage import cut_off, flipped


def test_shards_hold_every_peptide_once_and_equal_work(peptides):
    missing = sorted(peptides(1003), key=len)
    shards = divide(missing, 100, "esmfold-1")
    assert len(shards) == 11
    assert sorted(s for part in shards.values() for s in part) == sorted(missing)
    residues = [sum(map(len, part)) for part in shards.values()]
    assert max(residues) < 1.03 * min(residues)


def test_a_shard_is_named_by_its_peptides_and_their_cache(peptides):
    missing = peptides(10)
    (name,) = divide(missing, 100, "esmfold-1")
    assert list(divide(missing[::-1], 100, "esmfold-1")) == [name]
    assert list(divide(missing[:9], 100, "esmfold-1")) != [name]
    assert list(divide(missing, 100, "esmfold-2")) != [name]
    assert divide([], 100, "esmfold-1") == {}


def test_a_plan_comes_back_and_nothing_of_it_is_settled(tmp_path, peptides):
    plan = tmp_path / "structures" / "plan.tsv"
    shards = divide(peptides(30), 10, "x")
    write_plan(plan, shards)
    assert read_plan(plan) == shards
    first, second, third = shards
    failure = Failure("out of memory", sequence=shards[first][0])
    settle(plan, first, [failure])
    settle(plan, second, [])
    with pytest.raises(UserError, match=f"shard {third} is not folded yet"):
        read_failures(plan)
    settle(plan, third, [])
    assert read_failures(plan) == [failure]
    write_plan(plan, shards)
    with pytest.raises(UserError, match=f"shard {first} is not folded yet"):
        read_failures(plan)


def test_an_empty_plan_is_a_plan(tmp_path):
    write_plan(tmp_path / "plan.tsv", {})
    assert read_plan(tmp_path / "plan.tsv") == {} and read_failures(tmp_path / "plan.tsv") == []


@pytest.mark.parametrize("text", [None, "", "id\tsequence\n", "shard\tsequence\na\tACD\n"])
def test_another_file_is_not_a_plan(tmp_path, text):
    path = tmp_path / "plan.tsv"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UserError, match=r"is not a whole plan .*--forcerun plan_folding"):
        read_plan(path)


def test_no_damaged_plan_is_used(tmp_path, peptides):
    path = tmp_path / "plan.tsv"
    write_plan(path, divide(peptides(40), 10, "x"))
    whole = path.read_bytes()
    for data in (*flipped(whole, 100), *cut_off(whole)):
        path.write_bytes(data)
        with pytest.raises(UserError, match=r"plan\.tsv: is not a whole plan .*plan_folding"):
            read_plan(path)


def test_damaged_failures_of_a_shard_are_refused(tmp_path, peptides):
    path = tmp_path / "plan.tsv"
    shards = divide(peptides(4), 10, "x")
    write_plan(path, shards)
    (name,) = shards
    settle(path, name, [Failure("reason", sequence="ACDEF")])
    file = tmp_path / "shards" / f"{name}.jsonl"
    for data in (b'{"kind": "fai', b"\xff\xfe", b'{"unknown": 1}\n'):
        file.write_bytes(data)
        with pytest.raises(UserError, match=r"\.jsonl: is damaged; remove it"):
            read_failures(path)
