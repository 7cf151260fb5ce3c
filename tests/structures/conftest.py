"""A simulated predictor, a tiny ESMFold with random weights, and tables of peptides."""

import runpy
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from structdiff import config as configuration
from structdiff.peptides.table import Peptides, write_peptides
from structdiff.sequence import AMINO_ACIDS
from structdiff.structures.cache import Cache

SIMULATED = Path(__file__).with_name("simulated.py")
_MODULE = runpy.run_path(str(SIMULATED))


def random_peptides(count: int, shortest: int = 5, longest: int = 50, seed: int = 0) -> list[str]:
    """Return unique random sequences."""
    rng = np.random.default_rng(seed)
    found: dict[str, None] = {}
    while len(found) < count:
        length = int(rng.integers(shortest, longest + 1))
        found["".join(rng.choice(list(AMINO_ACIDS), length))] = None
    return list(found)


def write_table(path: Path, sequences: list[str]) -> Path:
    """Write sequences as peptides.parquet."""
    frame = pd.DataFrame(
        {
            "id": [f"p{number}" for number in range(len(sequences))],
            "sequence": sequences,
            "label": True,
            "cluster": "c",
            "split": "train",
        }
    )
    write_peptides(Peptides(frame, ["label"]), path)
    return path


def configure(root: Path, **structures: object):
    """Return a configuration whose cache is in ``root``."""
    return configuration.parse(
        {
            "run": "test",
            "data": {"path": "peptides.csv"},
            "structures": {"cache": str(root / "cache"), **structures},
        }
    )


@pytest.fixture(scope="session")
def simulate():
    """The function that gives a sequence its simulated structure."""
    return _MODULE["simulate"]


@pytest.fixture(scope="session")
def simulated():
    """The class of the simulated predictor."""
    return _MODULE["Simulated"]


@pytest.fixture(scope="session")
def simulated_script() -> Path:
    """The script that folds with it."""
    return SIMULATED


@pytest.fixture(scope="session")
def peptides():
    """The function that makes random sequences."""
    return random_peptides


@pytest.fixture(scope="session")
def table():
    """The function that writes peptides.parquet."""
    return write_table


@pytest.fixture(scope="session")
def config():
    """The function that makes a configuration."""
    return configure


@pytest.fixture
def cache(tmp_path, simulated) -> Cache:
    """An empty cache of the simulated predictor."""
    cache = Cache(tmp_path / "cache", simulated().key)
    cache.prepare()
    return cache


@pytest.fixture(scope="session")
def tiny_esmfold(tmp_path_factory) -> Path:
    """A folder with a tiny ESMFold of random weights and its tokenizer, as the hub's is."""
    import torch
    from transformers import EsmConfig, EsmForProteinFolding, EsmTokenizer

    folder = tmp_path_factory.mktemp("esmfold")
    tokens = ["<cls>", "<pad>", "<eos>", "<unk>", *"LAGVSERTIDPKQNFYMHWCXBUZO", ".", "-"]
    tokens += ["<null_1>", "<mask>"]
    structure_module = {
        "sequence_dim": 16, "pairwise_dim": 8, "ipa_dim": 4, "resnet_dim": 8, "num_heads_ipa": 2,
        "num_qk_points": 2, "num_v_points": 3, "num_blocks": 3,
    }  # fmt: skip
    trunk = {
        "num_blocks": 2, "sequence_state_dim": 16, "pairwise_state_dim": 8,
        "sequence_head_width": 8, "pairwise_head_width": 4, "position_bins": 32,
        "structure_module": structure_module,
    }  # fmt: skip
    config = EsmConfig(
        vocab_size=len(tokens), hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=32, position_embedding_type="rotary", token_dropout=True,
        mask_token_id=32, pad_token_id=1, is_folding_model=True, vocab_list=tokens,
        esmfold_config={"fp16_esm": False, "embed_aa": True, "lddt_head_hid_dim": 8,
                        "trunk": trunk},
    )  # fmt: skip
    torch.manual_seed(0)
    model = EsmForProteinFolding(config)
    for parameter in model.parameters():  # as they are, gates and last layers would be zero
        if parameter.ndim == 2:
            torch.nn.init.normal_(parameter, std=parameter.shape[1] ** -0.5)
    with torch.no_grad():  # so that chains are about 30 Å long
        model.trunk.structure_module.bb_update.linear.weight.mul_(0.4)
    model.eval().save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(tokens))
    EsmTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)
    return folder
