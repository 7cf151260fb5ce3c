"""What tests of more than one stage share."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT))  # for `tests.browser`, however pytest was started

from tests.browser import CHROMIUM, Browser  # noqa: E402


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data; where it is absent, the test is skipped."""
    folder = Path(os.environ.get("STRUCTDIFF_DATA", ROOT.parent / "shared" / "data"))
    if not (folder / "peptides.csv").is_file():
        pytest.skip("the real data is not here; set STRUCTDIFF_DATA to its folder")
    return folder


@pytest.fixture(scope="session")
def browser(tmp_path_factory) -> Iterator[Browser]:
    """A headless Chromium; where it is absent, the test is skipped."""
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed")
    with Browser(tmp_path_factory.mktemp("chromium")) as browser:
        yield browser


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
