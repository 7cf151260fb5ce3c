"""Metrics: a damaged line is reported with its number and costs no other line."""

import random

import pytest

from structdiff.training import metrics


def _write(path, count=12):
    file = metrics.Metrics(path)
    lines = [{"event": "start", "step": 0, "device": "CPU, no GPU found"}]
    lines += [{"event": "step", "step": n, "epoch": 1, "total": 2.5 + n} for n in range(1, count)]
    lines += [{"event": "validation", "step": count - 1, "epoch": 1, "total": 2.0}]
    for line in lines:
        file.append(line)
    file.close()
    return lines


def test_what_is_written_is_read(tmp_path):
    lines = _write(tmp_path / "metrics.jsonl")
    assert metrics.read(tmp_path / "metrics.jsonl") == lines


def test_a_flipped_bit_costs_its_line_and_is_reported(tmp_path):
    path = tmp_path / "metrics.jsonl"
    lines = _write(path)
    content, place = path.read_bytes(), random.Random(0)
    ends = [i for i, byte in enumerate(content) if byte == ord("\n")]
    for _ in range(300):
        position = place.randrange(len(content))
        spoiled = bytearray(content)
        spoiled[position] ^= 1 << place.randrange(8)
        path.write_bytes(spoiled)
        number = sum(end < position for end in ends)
        lost = {number, number + 1} if position in ends else {number}
        messages = []
        read = metrics.read(path, messages.append)
        assert read == [line for i, line in enumerate(lines) if i not in lost]
        assert f"{path}, line {number + 1}: is damaged" in messages[0]


def test_every_byte_of_a_line_is_covered(tmp_path):
    path = tmp_path / "metrics.jsonl"
    lines = _write(path, 2)
    content = path.read_bytes()
    for position in range(content.index(b"\n")):
        for bit in range(8):
            spoiled = bytearray(content)
            spoiled[position] ^= 1 << bit
            path.write_bytes(spoiled)
            messages = []
            read = metrics.read(path, messages.append)
            assert read == lines[1:]
            assert messages


@pytest.mark.parametrize("cut", [1, 2, 20, 100, 300, 500])
def test_a_truncated_file_gives_its_whole_lines(tmp_path, cut):
    path = tmp_path / "metrics.jsonl"
    lines = _write(path)
    path.write_bytes(path.read_bytes()[:-cut])
    read = metrics.read(path)
    assert read == lines[: len(read)]
    assert len(lines) - len(read) <= 1 + cut // 50


def test_damage_does_not_cut_off_what_comes_after_it(tmp_path):
    path = tmp_path / "metrics.jsonl"
    lines = _write(path)
    content = path.read_bytes().split(b"\n")
    content[3] = content[3].replace(b"5.5", b"5.6")
    path.write_bytes(b"\n".join(content))
    metrics.truncate(path, step=8, epoch=0)
    assert metrics.read(path) == [x for x in lines if x["step"] <= 8 and x["step"] != 3]


def test_lines_of_earlier_versions_are_read(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"event": "step", "step": 1}\n{"event": "step"')
    assert metrics.read(path) == [{"event": "step", "step": 1}]


def test_damage_is_printed_once(tmp_path, capsys):
    path = tmp_path / "metrics.jsonl"
    _write(path)
    path.write_bytes(path.read_bytes().replace(b"4.5", b"4.6"))
    metrics.read(path)
    metrics.read(path)
    assert capsys.readouterr().err.count(f"{path}, line 3: is damaged and left out") == 1
