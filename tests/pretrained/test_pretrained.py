"""A model file loads as it was written, and no damage of it is used."""

import hashlib
import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from structdiff.diffusion import JointProcess
from structdiff.model import ConditionSpec, Denoiser, ModelSpec
from structdiff.peptides.seen import SeenPeptides
from structdiff.pretrained import PRETRAINED, load_model, save_model
from structdiff.system.errors import UserError

DIFFUSION = {"sequence_process": "masked", "num_timesteps": 100}
LABELS, LENGTHS, INFO = ["a", "b+c"], {"a": [0, 3], "": [1]}, {"run": "mine", "version": "1"}


def save(path, info, seen=None):
    torch.manual_seed(0)
    network = Denoiser(ModelSpec(8, 1, 1, 2, JointProcess(**DIFFUSION).sequence.width))
    weights, spec = network.state_dict(), network.spec
    save_model(path, weights, spec, DIFFUSION, ConditionSpec(LABELS), LENGTHS, info, seen)
    return weights


@pytest.fixture
def path(tmp_path):
    save(tmp_path / "model.safetensors", INFO)
    return tmp_path / "model.safetensors"


def test_a_model_is_read_as_it_was_written(path):
    model = load_model(path)
    assert (model.labels, model.lengths) == (LABELS, LENGTHS)
    checksum = model.info.pop("sha256")
    assert model.info == INFO
    assert model.process.num_timesteps == 100
    assert not model.network.training
    weights = save(path, {**INFO, "sha256": "of another file"})
    assert load_model(path).info["sha256"] == checksum  # the same content, the same checksum
    for name, value in model.network.state_dict().items():
        assert torch.equal(value, weights[name].half().float())


def test_the_hashes_of_the_training_peptides_are_read_as_they_were_written(path):
    assert load_model(path).seen is None
    seen = SeenPeptides.of(["GIGKFLHSAKKF", "KWKLFKKIEKVG"])
    save(path, INFO, seen)
    model = load_model(path)
    assert model.info["run"] == "mine"
    for name in ("peptides", "pieces"):
        expected, found = getattr(seen, name), getattr(model.seen, name)
        assert found.dtype == expected.dtype
        assert found.tolist() == expected.tolist()


def test_the_checksum_tells_models_apart(path, tmp_path):
    save(tmp_path / "other.safetensors", {**INFO, "run": "other"})
    checksums = {load_model(file).info["sha256"] for file in tmp_path.iterdir()}
    assert len(checksums) == 2


def refused(path, content: bytes) -> str:
    """Return the message for a file with some content."""
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        load_model(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "`structdiff select`, or copy it again" in message
    return message


def test_every_flipped_bit_is_found(path):
    whole, generator = path.read_bytes(), np.random.default_rng(0)
    header = 8 + int.from_bytes(whole[:8], "little")
    bits = [*generator.integers(0, 8 * header, 40), *generator.integers(0, 8 * len(whole), 60)]
    place = whole.index(b"sha256")
    bits += [0, 63, 8 * place, 8 * (place + 12), 8 * len(whole) - 1]
    for bit in bits:
        content = bytearray(whole)
        content[bit // 8] ^= 1 << bit % 8
        message = refused(path, bytes(content))
        assert "is damaged" in message
    path.write_bytes(whole)
    assert load_model(path).info["run"] == "mine"


def test_every_truncation_is_found(path):
    whole = path.read_bytes()
    for size in (0, 7, 8, 100, len(whole) // 2, len(whole) - 1):
        refused(path, whole[:size])
    refused(path, whole + b"\0")


def test_a_file_without_checksum_is_refused(path):
    save_file({"x": torch.zeros(2)}, path, metadata={"structdiff": "{}"})
    assert "has no checksum: it is damaged, was written" in refused(path, path.read_bytes())


def test_a_missing_file_says_what_writes_it(tmp_path):
    with pytest.raises(UserError, match="no such model; `structdiff select` writes"):
        load_model(tmp_path / "model.safetensors")
    with pytest.raises(UserError, match="cannot be read"):
        load_model(tmp_path)


def test_the_released_model_is_whole_and_a_damaged_copy_is_refused(tmp_path):
    labels = load_model(PRETRAINED).labels
    assert labels[:3] == ["antimicrobial", "antifungal", "antiviral"]
    assert labels[3:] == ["hemolytic", "cell_penetrating", "anticancer"]
    copy = tmp_path / "copy.safetensors"
    shutil.copy(PRETRAINED, copy)
    assert load_model(copy).info == load_model(PRETRAINED).info
    content = bytearray(copy.read_bytes())
    content[3_000_000] ^= 16
    assert "does not match its checksum" in refused(copy, bytes(content))


def test_a_model_that_read_bond_angles_is_refused_with_the_reason(path):
    content = path.read_bytes()
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    about = json.loads(header["__metadata__"]["structdiff"])
    del about["model"]["structure_inputs"]
    about["sha256"] = 64 * "0"
    header["__metadata__"]["structdiff"] = json.dumps(about)
    written = json.dumps(header).encode()
    old = len(written).to_bytes(8, "little") + written + content[8 + size :]
    checksum = hashlib.sha256(old).hexdigest().encode()
    with_checksum = old.replace(64 * b"0", checksum, 1)
    path.write_bytes(with_checksum)
    with pytest.raises(UserError, match="read the bond angles of its structures"):
        load_model(path)


def test_what_this_version_does_not_have_is_said(path):
    weights = load_model(path).network.state_dict()
    message = "trained by structdiff 1, whose network or noise processes this version does not"
    for parts, diffusion in [
        ({"x": torch.zeros(2)}, DIFFUSION),
        (weights, {**DIFFUSION, "sequence_process": "unknown"}),
        (weights, {**DIFFUSION, "schedule": "linear"}),
    ]:
        spec = ModelSpec(8, 1, 1, 2, 21)
        save_model(path, parts, spec, diffusion, ConditionSpec(LABELS), {}, INFO)
        with pytest.raises(UserError, match=message):
            load_model(path)
