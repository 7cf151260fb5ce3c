"""Designs: as many as asked for, of the lengths of the data, the same whatever the batch size."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from structdiff.config import Generation
from structdiff.diffusion import JointProcess
from structdiff.generation import stage as generation
from structdiff.generation.output import read_samples
from structdiff.generation.stage import _lengths
from structdiff.generation.tasks import codesign
from structdiff.model import ConditionSpec, Denoiser, ModelSpec, Property
from structdiff.pretrained import load_model, save_model
from structdiff.protein.descriptors import net_charge
from structdiff.settings import Sampling
from structdiff.system.errors import UserError
from structdiff.system.files import read_tsv

LABELS = ["antimicrobial", "antiviral"]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save(tmp_path_factory.mktemp("model") / "model.safetensors", ConditionSpec(LABELS))


def save(path, conditions):
    """Save a model of random weights, and return its file."""
    torch.manual_seed(0)
    width = JointProcess("masked", 1000).sequence.width
    spec = ModelSpec(32, 2, 2, len(LABELS), width, num_properties=len(conditions.properties))
    denoiser = Denoiser(spec)
    for parameter in denoiser.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    diffusion = {"sequence_process": "masked", "num_timesteps": 1000}
    labels = conditions.labels
    lengths = {labels[0]: [0] * 6 + [4, 4, 2], "+".join(labels): [0] * 9 + [5]}
    save_model(path, denoiser.state_dict(), spec, diffusion, conditions, lengths, {"run": "test"})
    return path


def settings(**given):
    return Generation(num_samples=12, num_steps=4, **given)


def test_the_stage_writes_every_design_in_every_form(model, tmp_path):
    from structdiff.protein.io import read_structures

    generation.run(settings(), model, tmp_path)
    samples = pd.read_parquet(tmp_path / "samples.parquet")
    assert samples["label"].value_counts().to_dict() == {"antimicrobial": 12, "antiviral": 12}
    assert samples["id"].is_unique
    assert set(samples["length"]) <= {6, 7, 8, 9}
    assert set(samples.query("label == 'antiviral'")["length"]) == {9}
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


def test_each_design_has_the_values_asked_for_and_those_it_has(tmp_path):
    properties = [
        Property.fit("charge", "e", "linear", np.arange(-3.0, 10.0)),
        Property.fit("mic", "uM", "log10", np.array([1.0, 10, 100])),
    ]
    conditions = ConditionSpec(LABELS, properties=properties)
    path = save(tmp_path / "model.safetensors", conditions)
    query = "antimicrobial + not antiviral + charge 4..7 + mic<8"
    generation.run(settings(labels=[query, "none"]), path, tmp_path / "out")
    samples = read_samples(tmp_path / "out")
    asked, free = samples[samples["label"] == query], samples[samples["label"] == "none"]
    assert asked["asked_charge"].between(4, 7).all() and asked["asked_charge"].nunique() == 12
    assert asked["asked_mic"].between(1, 8).all()
    assert free[["asked_charge", "asked_mic"]].isna().all(axis=None)
    charges = [round(net_charge(sequence), 4) for sequence in samples["sequence"]]
    assert samples["charge"].tolist() == charges
    assert "mic" not in samples
    loaded = load_model(path)
    assert loaded.conditions == conditions
    again = codesign(loaded, np.array([7, 8]), query, Sampling(num_steps=4))
    assert {one.number: one.asked["charge"] for one in again} == dict(
        enumerate(asked["asked_charge"][:2])
    )


def test_lengths_can_be_asked_for(model, tmp_path):
    generation.run(settings(labels=["none"], min_length=11, max_length=12), model, tmp_path)
    samples = pd.read_parquet(tmp_path / "samples.parquet")
    assert set(samples["length"]) == {11, 12}
    assert set(samples["label"]) == {"none"}


def test_a_set_that_cannot_be_designed_does_not_stop_the_others(model, tmp_path, capsys):
    queries = ["antimicrobial", "antiviral"]
    generation.run(settings(labels=queries, max_length=8), model, tmp_path)
    assert set(read_samples(tmp_path)["label"]) == {"antimicrobial"}
    assert (tmp_path / "antiviral.fasta").read_text() == ""
    assert "no training peptide has 'antiviral'" in capsys.readouterr().err
    summary = read_tsv(tmp_path / "summary.tsv")
    assert [row["designs"] for row in summary] == ["12", "0"]
    assert "no training peptide has 'antiviral'" in summary[1]["note"]


def test_the_folder_has_nothing_of_a_label_that_is_gone(model, tmp_path):
    (tmp_path / "of_the_user.fasta").write_text(">a\nGIGK\n")
    generation.run(settings(), model, tmp_path)
    generation.run(settings(labels=["antiviral"]), model, tmp_path)
    names = {path.name for path in tmp_path.glob("*.fasta")}
    assert names == {"antiviral.fasta", "of_the_user.fasta"}
    assert {path.name.split("_")[0] for path in (tmp_path / "pdb").iterdir()} == {"antiviral"}


def test_a_label_without_training_peptides_is_skipped_also_between_given_lengths(model, tmp_path):
    trained_model = load_model(model)
    lengths = {"antimicrobial": [0] * 6 + [4, 4, 2]}
    unlearnt = replace(trained_model, lengths=lengths)
    bounds = settings(min_length=6, max_length=8)
    assert len(_lengths(bounds, unlearnt, "antimicrobial")) == 12
    with pytest.raises(UserError, match="no training peptide has the label 'antiviral'"):
        _lengths(bounds, unlearnt, "antiviral")
    assert set(_lengths(bounds, trained_model, "antiviral")) <= {6, 7, 8}


def test_names_of_labels_that_look_like_ranges(tmp_path):
    labels = ["Gram..pos.", "HIV 1"]  # the first as R writes 'Gram (pos)'
    path = save(tmp_path / "model.safetensors", ConditionSpec(labels))
    generation.run(settings(labels=labels), path, tmp_path / "out")
    assert read_samples(tmp_path / "out")["label"].tolist() == [*12 * labels[:1], *12 * labels[1:]]


def test_an_unknown_label_is_named(model, tmp_path):
    with pytest.raises(UserError, match=r"'antifungal'.*its labels: antimicrobial, antiviral"):
        generation.run(settings(labels=["antifungal"]), model, tmp_path)


def test_no_lengths_to_go_by_is_said(model, tmp_path):
    with pytest.raises(UserError, match=r"set generation\.min_length"):
        generation.run(settings(labels=["antiviral"], min_length=40), model, tmp_path)


def test_others_may_read_a_released_model(model, tmp_path):
    (tmp_path / "plain").write_text("")
    assert model.stat().st_mode == (tmp_path / "plain").stat().st_mode
