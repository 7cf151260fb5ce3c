"""What tests of more than one stage share."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

import pytest
import yaml

# One thread for each test: as many tests as cores run side by side, and threads that wait for each
# other on a busy machine cost more than they compute.
os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT))  # for `tests.browser`, however pytest was started

from tests import snakemake_server  # noqa: E402
from tests.browser import CHROMIUM, Browser  # noqa: E402

pytest_plugins = ["tests.trained_model"]


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


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request):
    """The CPU, then the first GPU; without a GPU, the second is skipped."""
    import torch

    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("torch finds no GPU")
    return torch.device(request.param)


@pytest.fixture
def device_environment(device) -> dict[str, str]:
    """The environment of a process that computes on `device`."""
    return {**os.environ, **({"CUDA_VISIBLE_DEVICES": ""} if device.type == "cpu" else {})}


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


@dataclass(frozen=True)
class Workspace:
    """A working directory of the workflow.

    Attributes
    ----------
    directory
        Where results go.
    snakefile
        Which workflow runs.
    environment
        The environment of Snakemake; None: that of the tests.
    """

    directory: Path
    snakefile: Path = ROOT / "Snakefile"
    environment: dict[str, str] | None = None

    @property
    def results(self) -> Path:
        return self.directory / "results" / "tiny"

    def _arguments(self, profile: str) -> list[str]:
        """Return the arguments of every call."""
        arguments = ["--directory", str(self.directory), "--snakefile", str(self.snakefile)]
        arguments += ["--profile", str(ROOT / "profiles" / profile)]
        return [*arguments, "--cores", "1"] if profile == "local" else arguments

    def start(
        self,
        *arguments: str,
        profile: str = "local",
        output: IO | int = subprocess.PIPE,
        start_new_session: bool = False,
    ) -> subprocess.Popen:
        """Start Snakemake as a user would; standard error is joined to the output."""
        return subprocess.Popen(
            [sys.executable, "-m", "snakemake", *self._arguments(profile), *arguments],
            cwd=self.directory,
            env=self.environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=start_new_session,
            text=True,
        )

    def snakemake(self, *arguments: str, profile: str = "local") -> subprocess.CompletedProcess:
        """Run Snakemake to its end, in a process that need not import it again."""
        environment = dict(os.environ) if self.environment is None else self.environment
        whole = [*self._arguments(profile), *map(str, arguments)]
        return snakemake_server.run(whole, self.directory, environment)

    def run(self, *arguments: str, profile: str = "local") -> set[str]:
        """Run the workflow to the end and return the rules that ran."""
        done = self.snakemake(*arguments, profile=profile)
        assert done.returncode == 0, done.stdout
        return rules_of(done.stdout)

    def plan(self, *arguments: str, profile: str = "local") -> set[str]:
        """Return the rules that would run."""
        done = self.snakemake("--dry-run", *arguments, profile=profile)
        assert done.returncode == 0, done.stdout
        return rules_of(done.stdout)

    def copy(self, directory: Path) -> "Workspace":
        """Return a copy with all times kept, to change at will."""
        shutil.copytree(self.directory, directory, dirs_exist_ok=True)
        return replace(self, directory=directory)

    def of(self, checkout: Path) -> "Workspace":
        """Return the same directory, worked on by another checkout of the workflow."""
        return replace(self, snakefile=checkout / "Snakefile")


def rules_of(output: str) -> set[str]:
    """Return the rules in Snakemake's table of jobs, without `all`."""
    tables = re.findall(r"^Job stats:\njob +count\n-[- ]+\n(.*?)^total ", output, re.M | re.S)
    assert tables or "Nothing to be done" in output, output
    lines = tables[0].splitlines() if tables else []
    return {line.split()[0] for line in lines} - {"all"}


def write_config(path: Path, **changes: object) -> Path:
    """Write the smoke configuration, made smaller, with some keys (`a.b`) changed."""
    config = yaml.safe_load((ROOT / "config" / "smoke.yaml").read_text())
    smaller = {"run": "tiny", "data.limit": 200, "training.num_epochs": 2}
    for key, value in {**smaller, **changes}.items():
        *sections, name = key.split(".")
        section = config
        for part in sections:
            section = section.setdefault(part, {})
        section[name] = value
    path.write_text(yaml.safe_dump(config))
    return path


@pytest.fixture(scope="session")
def configure():
    """Return the function that writes a configuration."""
    return write_config


@pytest.fixture(scope="session")
def make_workspace():
    """Return the class of working directories."""
    return Workspace


@pytest.fixture
def workspace(tmp_path) -> Workspace:
    """An empty working directory."""
    return Workspace(tmp_path)
