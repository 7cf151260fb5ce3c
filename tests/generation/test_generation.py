"""Designs: as many as asked for, of the lengths of the data, the same whatever the batch size."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from structdiff import config as configuration
from structdiff import generation
from structdiff.design import Sampling, codesign
from structdiff.diffusion import JointProcess
from structdiff.errors import UserError
from structdiff.model import Denoiser, ModelSpec
from structdiff.release import load_release, save_release

LABELS = ["antimicrobial", "antiviral"]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    process = JointProcess("masked", 1000)
    spec = ModelSpec(32, 2, 2, len(LABELS), process.sequence_width)
    denoiser = Denoiser(spec)
    for parameter in denoiser.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    diffusion = {"sequence_process": "masked", "num_timesteps": 1000}
    save_release(path, denoiser.state_dict(), spec, diffusion, LABELS, {}, {"run": "test"})
    return path


@pytest.fixture(scope="module")
def peptides(tmp_path_factory):
    path = tmp_path_factory.mktemp("peptides") / "peptides.parquet"
    sequences = ["ACDEFGH"[: 5 + i % 3] + "K" * (i % 5) for i in range(30)]
    frame = pd.DataFrame(
        {
            "id": [f"p{i}" for i in range(30)],
            "sequence": [s + "ACDEFGHIKL"[i % 10] * (i // 10) for i, s in enumerate(sequences)],
            "antimicrobial": [True] * 30,
            "antiviral": [i % 3 == 0 for i in range(30)],
            "cluster": ["c"] * 30,
            "split": ["train"] * 20 + ["val"] * 10,
        }
    )
    table = pa.Table.from_pandas(frame, preserve_index=False)
    metadata = {**table.schema.metadata, b"structdiff.labels": b'["antimicrobial", "antiviral"]'}
    pq.write_table(table.replace_schema_metadata(metadata), path)
    return path


def make_config(**settings):
    return configuration.parse(
        {
            "run": "test",
            "data": {"path": "x.csv", "label_columns": LABELS},
            "generation": {"num_samples": 12, "num_steps": 4, **settings},
        }
    )


def test_the_stage_writes_every_design_in_every_form(model, peptides, tmp_path):
    from structdiff.structures.io import read_structures

    generation.run(make_config(), model, peptides, tmp_path)
    samples = pd.read_parquet(tmp_path / "samples.parquet")
    assert samples["label"].value_counts().to_dict() == {"antimicrobial": 12, "antiviral": 12}
    assert samples["id"].is_unique
    train = pd.read_parquet(peptides).query("split == 'train'")
    assert set(samples["length"]) <= set(train["sequence"].str.len())
    for row in samples.itertuples():
        assert len(row.sequence) == row.length
        assert len(row.backbone) == row.length * 12
    for label in LABELS:
        lines = (tmp_path / f"{label}.fasta").read_text().splitlines()
        part = samples[samples["label"] == label]
        assert lines[1::2] == part["sequence"].tolist()
    first = samples.iloc[0]
    (structure,) = read_structures(tmp_path / first["pdb"]).structures
    assert structure.sequence == first["sequence"]
    written = first["backbone"].reshape(-1, 4, 3)
    assert np.abs(structure.backbone - written).max() <= 1e-3


def test_a_design_depends_on_its_number_and_seed_alone(model):
    release = load_release(model)
    lengths = np.array([9, 6, 9, 12, 6, 9])

    def designs(lengths, seed=0):
        sampling = Sampling(num_steps=4, seed=seed)
        found = codesign(release, lengths, "antiviral", sampling)
        return {one.number: one.sequence for one in found}

    together = designs(lengths)
    assert [len(together[i]) for i in range(6)] == lengths.tolist()
    assert designs(lengths[:2]) == {0: together[0], 1: together[1]}
    assert designs(lengths, seed=1) != together


def test_lengths_can_be_asked_for(model, peptides, tmp_path):
    generation.run(
        make_config(labels=["none"], min_length=30, max_length=32), model, peptides, tmp_path
    )
    samples = pd.read_parquet(tmp_path / "samples.parquet")
    assert samples["length"].between(30, 32).all()
    assert set(samples["label"]) == {"none"}


def test_an_unknown_label_is_named(model, peptides, tmp_path):
    with pytest.raises(UserError, match=r"'antifungal'.*its labels: antimicrobial, antiviral"):
        generation.run(make_config(labels=["antifungal"]), model, peptides, tmp_path)


def test_no_lengths_to_go_by_is_said(model, peptides, tmp_path):
    with pytest.raises(UserError, match=r"set generation\.min_length"):
        generation.run(make_config(labels=["antiviral"], min_length=40), model, peptides, tmp_path)


def test_others_may_read_a_released_model(model, tmp_path):
    (tmp_path / "plain").write_text("")
    assert model.stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize("damage", ["missing", "pickle", "truncated", "foreign"])
def test_what_is_not_a_model_is_refused(model, tmp_path, damage):
    path = tmp_path / "model.safetensors"
    if damage == "pickle":
        torch.save({"a": torch.zeros(2)}, path)
    elif damage == "truncated":
        path.write_bytes(model.read_bytes()[:-100])
    elif damage == "foreign":
        from safetensors.torch import save_file

        save_file({"a": torch.zeros(2)}, path)
    with pytest.raises(UserError, match=r"model\.safetensors"):
        load_release(path)
