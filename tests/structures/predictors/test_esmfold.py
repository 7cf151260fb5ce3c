"""ESMFold against transformers' own `infer`; what memory, weights and machines may do to it."""

import json
import pickle
import shutil

import numpy as np
import pytest
import torch
from transformers import EsmForProteinFolding
from transformers.models.esm.modeling_esmfold import EsmFoldingTrunk

from structdiff.protein.residues import encode
from structdiff.protein.structure import ATOM14_EXISTS, Structure
from structdiff.structures.predictors import Failure, esmfold
from structdiff.structures.predictors.esmfold import ESMFoldPredictor, PairBudget, batches
from structdiff.system.errors import UserError
from tests.damage import Evil

CPU = torch.device("cpu")


def predictor(folder, **settings):
    return ESMFoldPredictor(str(folder), device="cpu", **{"dtype": "float32", **settings})


def outcomes(folder, sequences, **settings):
    found = [o for batch in predictor(folder, **settings).predict(sequences) for o in batch]
    assert sorted(outcome.sequence for outcome in found) == sorted(sequences)
    return {outcome.sequence: outcome for outcome in found}


@pytest.fixture(scope="module")
def margins(monkeypatch_module):
    """What `infer` saw of the distances between residues: how near to the border of a bin.

    Recycling sorts distances into bins. A distance on a border may fall on either side of it by
    rounding alone, and the structure then jumps: such peptides compare nothing.
    """
    seen: list[float] = []
    original = EsmFoldingTrunk.distogram

    def distogram(coordinates, low, high, bins):
        n, ca, c = (part.squeeze(-2) for part in coordinates.chunk(3, dim=-2))
        normal = torch.linalg.cross(ca - n, c - ca, dim=-1)
        cb = -0.58273431 * normal + 0.56802827 * (ca - n) - 0.54067466 * (c - ca) + ca
        distances = torch.cdist(cb, cb)
        borders = torch.linspace(low, high, bins - 1)
        seen.append(float((distances[..., None] - borders).abs().min()))
        return original(coordinates, low, high, bins)

    monkeypatch_module.setattr(EsmFoldingTrunk, "distogram", staticmethod(distogram))
    return seen


@pytest.fixture(scope="module")
def monkeypatch_module():
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.fixture(scope="module")
def compared(tiny_esmfold, peptides, margins):
    """200 peptides with `infer`'s structure, one at a time, and ours, in batches."""
    reference = EsmForProteinFolding.from_pretrained(tiny_esmfold).eval()
    theirs = {}
    for sequence in peptides(400, shortest=1, seed=1):
        margins.clear()
        with torch.no_grad():
            out = reference.infer(sequence)
        if min(margins) > 3e-5:
            exists = ATOM14_EXISTS[encode(sequence)]
            theirs[sequence] = Structure(
                sequence,
                out["positions"][-1, 0].numpy()[exists],
                out["plddt"][0, :, 1].numpy() * 100,
                float(out["ptm"]),
            )
        if len(theirs) == 200:
            break
    return theirs, outcomes(tiny_esmfold, list(theirs))


@pytest.mark.workflow
def test_200_mixed_lengths_are_folded_as_infer_folds_each(compared):
    theirs, ours = compared
    assert len(theirs) == 200 and len({len(sequence) for sequence in theirs}) > 40
    for sequence, expected in theirs.items():
        found = ours[sequence]
        assert np.abs(found.positions - expected.positions).max() < 1e-3
        assert np.abs(found.plddt - expected.plddt).max() < 1e-3
        assert abs(found.ptm - expected.ptm) < 1e-5


def test_the_comparison_compares_something(compared):
    """Random weights must give structures that differ in place and confidence."""
    theirs, _ = compared
    long = [structure for structure in theirs.values() if len(structure.sequence) > 20]
    spread = [np.ptp(structure.backbone[:, 1], axis=0).max() for structure in long]
    assert np.median(spread) > 10.0
    assert np.median([np.ptp(structure.plddt) for structure in long]) > 5
    assert np.ptp([structure.ptm for structure in long]) > 0.05


def test_the_number_of_passes_counts(tiny_esmfold, peptides):
    sequences = peptides(4, seed=2)
    one, four = (outcomes(tiny_esmfold, sequences, num_recycles=n) for n in (1, 4))
    assert all(not np.allclose(one[s].positions, four[s].positions, atol=1e-3) for s in sequences)


def test_bfloat16_stays_near_and_is_another_key(tiny_esmfold, peptides):
    sequences = peptides(12, seed=3)
    full, half = (outcomes(tiny_esmfold, sequences, dtype=d) for d in ("float32", "bfloat16"))
    apart = [np.abs(full[s].plddt - half[s].plddt).mean() for s in sequences]
    assert 0 < np.mean(apart) < 1.0
    keys = [predictor(tiny_esmfold, dtype=d).key for d in ("float32", "bfloat16")]
    assert keys[0] != keys[1]


def test_what_is_no_number_is_a_failure(tiny_esmfold, tmp_path):
    folder = tmp_path / "model"
    model = EsmForProteinFolding.from_pretrained(tiny_esmfold)
    with torch.no_grad():
        model.trunk.trunk2sm_s.bias.fill_(float("nan"))
    model.save_pretrained(folder)
    found = outcomes(folder, ["ACDEFGHIK", "LMNPQ"])
    assert all(isinstance(o, Failure) and "not a number" in o.reason for o in found.values())


class Short:
    """An engine whose memory holds so many pairs of residues and no more."""

    def __init__(self, engine, most):
        self.engine, self.most, self.sizes = engine, most, []
        self.model, self.dtype = engine.model, engine.dtype

    def __call__(self, tokens, mask, passes, **options):
        pairs = tokens.shape[0] * tokens.shape[1] ** 2
        if pairs > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB.")
        self.sizes.append(pairs)
        return self.engine(tokens, mask, passes, **options)


def test_out_of_memory_halves_the_batch_and_goes_on(tiny_esmfold, peptides, capsys):
    sequences = [*peptides(40, longest=20, seed=4), "A" * 60]
    expected = outcomes(tiny_esmfold, sequences)
    ours = predictor(tiny_esmfold)
    ours.__dict__["engine"] = Short(ours.engine, 3000)
    found = {o.sequence: o for batch in ours.predict(sequences) for o in batch}
    assert "halving" in capsys.readouterr().err
    failure = found.pop("A" * 60)
    assert isinstance(failure, Failure) and failure.reason.startswith("out of memory")
    assert len(found) == 40
    for sequence, structure in found.items():
        assert np.abs(structure.positions - expected[sequence].positions).max() < 1e-3
    # The limit is learnt: what follows is cut before it is tried.
    assert len(ours.engine.sizes) < 20


def test_another_error_is_not_taken_for_lack_of_memory(tiny_esmfold):
    ours = predictor(tiny_esmfold)

    def broken(*_, **__):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    broken.model, broken.dtype = ours.engine.model, ours.engine.dtype
    ours.__dict__["engine"] = broken
    with pytest.raises(RuntimeError, match="mat1"):
        list(ours.predict(["ACDEF"]))


def test_batches_hold_every_peptide_once_and_respect_the_budget():
    rng = np.random.default_rng(0)
    lengths = rng.integers(5, 51, 3000)
    cut = batches(lengths, lambda length: 2**15)
    assert sorted(np.concatenate(cut)) == list(range(3000))
    longest = [lengths[rows].max() for rows in cut]
    assert longest == sorted(longest, reverse=True)
    assert all(len(rows) * lengths[rows].max() ** 2 <= 2**15 for rows in cut)
    padded = sum(len(rows) * lengths[rows].max() for rows in cut)
    assert lengths.sum() / padded > 0.95


def test_a_peptide_beyond_the_budget_stands_alone():
    assert [rows.tolist() for rows in batches(np.array([5, 400, 300]), lambda n: 100)] == [
        [1], [2], [0],
    ]  # fmt: skip


def test_the_budget_shrinks_with_length_and_memory(monkeypatch):
    budget = PairBudget(CPU, channels=128, heads=4, bytes_each=4)
    assert budget(20) == esmfold.MAX_PAIRS["cpu"]
    budget.memory = 1e8
    assert budget(20) > budget(2000) > 0


def copied(tiny_esmfold, tmp_path):
    return shutil.copytree(tiny_esmfold, tmp_path / "model")


@pytest.mark.parametrize("kind", ["torch", "bare pickle"])
def test_weights_that_run_code_are_refused_without_running(tiny_esmfold, tmp_path, kind):
    folder, mark = copied(tiny_esmfold, tmp_path), tmp_path / "ran"
    (folder / "model.safetensors").unlink()
    weights = folder / "pytorch_model.bin"
    if kind == "torch":
        torch.save({"weights": Evil(mark)}, weights)
    else:
        weights.write_bytes(pickle.dumps(Evil(mark)))
    with pytest.raises(UserError, match=r"structures\.esmfold\.model"):
        list(predictor(folder).predict(["ACDEF"]))
    assert not mark.exists()


def test_plain_torch_weights_load(tiny_esmfold, tmp_path, peptides):
    folder = copied(tiny_esmfold, tmp_path)
    (folder / "model.safetensors").unlink()
    model = EsmForProteinFolding.from_pretrained(tiny_esmfold)
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    sequences = peptides(2, seed=5)
    theirs, ours = outcomes(tiny_esmfold, sequences), outcomes(folder, sequences)
    assert all(np.allclose(theirs[s].positions, ours[s].positions, atol=1e-4) for s in sequences)


def test_the_key_is_of_the_weights_not_of_their_place(tiny_esmfold, tmp_path):
    folder = copied(tiny_esmfold, tmp_path)
    assert predictor(folder).key == predictor(tiny_esmfold).key
    weights = folder / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    assert predictor(folder).key != predictor(tiny_esmfold).key


def break_nothing_there(folder):
    shutil.rmtree(folder)


def break_truncated(folder):
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])


def break_no_weights(folder):
    (folder / "model.safetensors").unlink()


def break_other_model(folder):
    config = json.loads((folder / "config.json").read_text())
    config.update(is_folding_model=False, esmfold_config=None)
    (folder / "config.json").write_text(json.dumps(config))


def break_missing_tensor(folder):
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    tensors.pop("trunk.trunk2sm_s.weight")
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


@pytest.mark.parametrize(
    "spoil",
    [
        break_nothing_there, break_truncated, break_no_weights, break_other_model,
        break_missing_tensor,
    ],
)  # fmt: skip
def test_a_model_that_cannot_be_used_is_named_with_what_to_do(tiny_esmfold, tmp_path, spoil):
    folder = copied(tiny_esmfold, tmp_path)
    spoil(folder)
    with pytest.raises(UserError, match=r"structures\.esmfold\.model") as caught:
        ours = predictor(folder)
        list(ours.predict(["ACDEF"]))
    assert str(folder) in str(caught.value) and "structures.predictor" in str(caught.value)
