"""ESMFold2 on a tiny model of random weights: batches, noise, key, cache, and what is refused."""

import json
import pickle
import shutil

import numpy as np
import pytest
import torch
from transformers import EsmFold2Config, EsmFold2Model
from transformers.models.esmfold2 import generation_esmfold2
from transformers.models.esmfold2.generation_esmfold2 import EsmFold2FoldingMixin
from transformers.models.esmfold2.protein_utils import PROTEIN_1TO3, prepare_protein_features

from structdiff.config import parse
from structdiff.protein.structure import HEAVY_ATOMS, Structure
from structdiff.structures.predictors import Failure, esmfold2_engine, make_predictor
from structdiff.structures.predictors.esmfold2 import ESMFold2Predictor, refusal
from structdiff.structures.predictors.esmfold2_engine import features, normals, uniforms
from structdiff.structures.stage import collect
from structdiff.system.errors import UserError

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A folder with a tiny ESMFold2 of random weights."""
    atoms = {"num_hidden_layers": 1, "intermediate_size": 32}
    config = EsmFold2Config(
        hidden_size=16, pairwise_hidden_size=16, single_inputs_size=16 + 67,
        pair_transition_intermediate_size=32, num_loops=1, folding_trunk_num_hidden_layers=2,
        parcae_num_coda_layers=1, atom_encoder={"output_dim": 16, **atoms},
        structure_head={
            "num_distogram_bins": 16, "inference_num_steps": 8, "noise_scale": 1.0,
            "diffusion_module": {
                "hidden_size": 32, "fourier_dim": 16, "num_hidden_layers": 2,
                "num_attention_heads": 2, "intermediate_size": 32, "pair_intermediate_size": 32,
                "atom_encoder": {"output_dim": 32, **atoms},
            },
        },
        confidence_head={"num_hidden_layers": 1, "distogram_bins": 16},
        msa_encoder={
            "hidden_size": 16, "outer_hidden_size": 4, "num_hidden_layers": 1,
            "num_attention_heads": 2, "head_dim": 8, "intermediate_size": 32,
        },
        lm_encoder={"num_hidden_layers": 1},
        esmc_config={
            "model_type": "esmc", "hidden_size": 32, "num_hidden_layers": 2,
            "num_attention_heads": 2, "intermediate_size": 64,
        },
    )  # fmt: skip
    torch.manual_seed(0)
    model = EsmFold2Model(config)
    for parameter in model.parameters():  # as they are, gates and last layers would be zero
        if parameter.ndim == 2:
            torch.nn.init.normal_(parameter, std=parameter.shape[1] ** -0.5)
        elif not parameter.any():
            torch.nn.init.normal_(parameter, std=0.3)
    folder = tmp_path_factory.mktemp("esmfold2")
    model.eval().save_pretrained(folder)
    return folder


def predictor(folder, **settings):
    return ESMFold2Predictor(str(folder), device="cpu", **{"dtype": "float32", **settings})


def outcomes(source, sequences):
    found = [outcome for batch in source.predict(sequences) for outcome in batch]
    assert sorted(outcome.sequence for outcome in found) == sorted(sequences)
    return {outcome.sequence: outcome for outcome in found}


def test_a_batch_folds_each_peptide_as_it_is_folded_alone(tiny, peptides):
    sequences = [*peptides(12, shortest=2, longest=40, seed=1), "G"]
    source = predictor(tiny)
    together = outcomes(source, sequences)
    for sequence in sequences:
        alone = outcomes(source, [sequence])[sequence]
        assert np.abs(alone.positions - together[sequence].positions).max() < 1e-3
        assert np.abs(alone.plddt - together[sequence].plddt).max() < 1e-3
        assert abs(alone.ptm - together[sequence].ptm) < 1e-5
    longest = together[max(sequences, key=len)]
    assert np.ptp(longest.positions, axis=0).max() > 10 and np.ptp(longest.plddt) > 3


def test_features_and_atoms_are_those_of_transformers():
    sequence = "ACDEFGHIKLMNPQRSTVWY"
    ours, theirs = features([sequence], CPU), prepare_protein_features(sequence)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    heavy = esmfold2_engine.prepare_protein_features.__globals__["PROTEIN_HEAVY_ATOMS"]
    assert {aa: list(names) for aa, names in HEAVY_ATOMS.items()} == {
        aa: heavy[PROTEIN_1TO3[aa]] for aa in HEAVY_ATOMS
    }


def test_the_sampler_is_that_of_transformers_with_our_noise(tiny, monkeypatch):
    network, sequences, seeds = predictor(tiny).network, ["ACDEFGH", "KLMNP"], [1, 2]
    ours = network.fold_batch(sequences, seeds, None, None).positions
    both, atoms, step = torch.tensor(seeds), ours.shape[1], iter(range(100))
    current = 0

    def rotations(*_):
        nonlocal current
        current = next(step)
        return esmfold2_engine._rotations(normals(both, 3, current, 7)[:, :4])

    def randn_like(tensor):
        if tensor.shape[1] == 1:
            return normals(both, 3, current, 7)[:, None, 4:]
        return normals(both, 4, current, atoms, 3)

    monkeypatch.setattr(generation_esmfold2, "_random_rotations", rotations)
    monkeypatch.setattr(torch, "randn_like", randn_like)
    monkeypatch.setattr(torch, "randn", lambda *_, **__: normals(both, 2, 0, atoms, 3))
    theirs = EsmFold2FoldingMixin._sample_structure
    monkeypatch.setattr(type(network), "_sample_structure", theirs)
    expected = network.fold_batch(sequences, seeds, None, None).positions
    real = features(sequences, CPU)["atom_attention_mask"]
    assert (ours - expected)[real].abs().max() < 1e-3


def test_random_numbers_belong_to_seed_and_place_alone():
    seeds = torch.tensor([5, 6])
    small, large = uniforms(seeds, 0, 1, 3, 4), uniforms(seeds, 0, 1, 7, 9)
    assert torch.equal(small, large[:, :3, :4])
    assert torch.equal(uniforms(seeds[1:], 0, 1, 3, 4), small[1:])
    assert not torch.equal(uniforms(seeds, 0, 2, 3, 4), small)
    assert not torch.equal(uniforms(seeds, 1, 1, 3, 4), small)
    many = normals(torch.arange(50), 0, 0, 40, 40).double()
    assert abs(many.mean()) < 0.01 and abs(many.std() - 1) < 0.01
    assert abs(np.corrcoef(many[:, :-1].flatten(), many[:, 1:].flatten())[0, 1]) < 0.01


@pytest.mark.parametrize("state", [0, 2**32 - 1])
def test_no_random_number_is_infinite(monkeypatch, state):
    monkeypatch.setattr(esmfold2_engine, "_mix", lambda values: torch.full_like(values, state))
    assert 0 < uniforms(torch.tensor([5]), 0, 1, 3).min() < 1
    assert normals(torch.tensor([5]), 0, 1, 3).isfinite().all()


def test_each_setting_has_its_own_structures_and_key(tiny):
    sequence = "GIGKFLHSAK"
    changes = [{}, {"seed": 1}, {"num_loops": 3}, {"num_steps": 5}, {"dtype": "bfloat16"}]
    sources = [predictor(tiny, **change) for change in changes]
    folds = [outcomes(source, [sequence])[sequence].positions for source in sources]
    assert all(np.abs(folds[0] - fold).max() > 1e-3 for fold in folds[1:])
    keys = {json.dumps(source.key, sort_keys=True) for source in sources}
    assert len(keys) == len(changes)
    # The numbers of the weights' own configuration are in the key.
    assert predictor(tiny, num_loops=1, num_steps=8).key == sources[0].key
    assert sources[0].key["predictor"] == "esmfold2"


@pytest.mark.parametrize(
    ("sequence", "words"),
    [
        ("GIGKF:LHSAK", "2 chains: only single chains"),
        ("GIGKF/LHSAK/", "2 chains: only single chains"),
        ("ACGTACGTACGT", "reads like DNA or RNA"),
        ("ACGUACGUACGU", "reads like DNA or RNA"),
        ("GIGXF", "not one of the 20 standard residues: X"),
    ],
)
def test_what_is_not_one_protein_chain_is_a_failure_in_words(tiny, sequence, words):
    found = outcomes(predictor(tiny), [sequence, "GIGKF"])
    assert isinstance(found["GIGKF"], Structure)
    assert isinstance(found[sequence], Failure) and words in found[sequence].reason


def test_short_peptides_of_such_letters_are_folded():
    assert refusal("GAGATTC") is None


def test_ten_more_peptides_are_ten_folds(tiny, peptides, tmp_path, monkeypatch):
    folded: list[str] = []
    original = ESMFold2Predictor._fold

    def counted(self, sequences):
        folded.extend(sequences)
        return original(self, sequences)

    monkeypatch.setattr(ESMFold2Predictor, "_fold", counted)
    settings = {"model": str(tiny), "dtype": "float32", "num_steps": 3}
    structures = {"predictor": "esmfold2", "cache": str(tmp_path / "c"), "esmfold2": settings}
    config = parse({"data": {"path": "x.csv"}, "structures": structures}, "test")
    sequences = list(dict.fromkeys(peptides(30, longest=20, seed=2)))
    old, new = sequences[:-10], sequences
    collect(config, [f"p{n}" for n in range(len(old))], old, tmp_path / "old")
    assert sorted(folded) == sorted(old)
    folded.clear()
    collect(config, [f"p{n}" for n in range(len(new))], new, tmp_path / "new")
    assert sorted(folded) == sorted(sequences[-10:])
    folded.clear()
    collect(config, [f"p{n}" for n in range(len(new))], new, tmp_path / "again")
    assert folded == []
    assert make_predictor(config).key["num_steps"] == 3


def spoil_other_model(folder):
    (folder / "config.json").write_text(json.dumps({"model_type": "esm"}))


def spoil_no_weights(folder):
    (folder / "model.safetensors").unlink()


def spoil_missing_tensor(folder):
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    tensors.pop("parcae.log_delta")
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def spoil_pickle(folder):
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(print))


@pytest.mark.parametrize(
    "spoil",
    [shutil.rmtree, spoil_other_model, spoil_no_weights, spoil_missing_tensor, spoil_pickle],
)
def test_a_model_that_cannot_be_used_is_named_with_what_to_do(tiny, tmp_path, spoil):
    folder = shutil.copytree(tiny, tmp_path / "model")
    spoil(folder)
    with pytest.raises(UserError, match=r"structures\.esmfold2\.model") as caught:
        list(predictor(folder).predict(["GIGKF"]))
    assert str(folder) in str(caught.value)
    assert "huggingface-cli download biohub/ESMFold2" in str(caught.value)
