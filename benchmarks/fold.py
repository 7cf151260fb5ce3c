"""How fast folding is: one at a time, as fair-esm's script does it, and ours, side by side.

``python benchmarks/fold.py`` builds an ESMFold of random weights, saves it, loads it, and folds the
same peptides with the same weights in three ways:

(a) one peptide at a time with transformers' ``infer``;
(b) sorted by length in batches of 1,024 tokens with all outputs, as fair-esm's ``esm-fold`` does;
(c) ours: `ESMFoldPredictor`, until the structures are ready to be saved.

It prints structures per second and ratios, the median over rounds that alternate the three; then
how far bfloat16 is from float32 with these weights. On a GPU, with ``--size full``, the
architecture is that of ``facebook/esmfold_v1``, and the share of the bfloat16 roofline is printed.

The lengths are real ones: of the table given with ``--peptides`` (``sequence`` column), or of the
peptides that modlAMP carries.
"""

import argparse
import csv
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from transformers import EsmConfig, EsmForProteinFolding

from structdiff.peptides.demo import write_demo
from structdiff.protein.geometry import rmsd
from structdiff.protein.residues import AMINO_ACIDS
from structdiff.structures.predictors import Failure
from structdiff.structures.predictors.esmfold import ESMFoldPredictor

TOKENS_PER_BATCH = 1024

Dtype = Literal["float32", "bfloat16"]
DTYPES: tuple[Dtype, Dtype] = ("float32", "bfloat16")
SIZES = {
    "small": {"layers": 6, "hidden": 64, "heads": 4, "blocks": 4, "sequence": 64, "pair": 16},
    "full": {"layers": 36, "hidden": 2560, "heads": 40, "blocks": 48, "sequence": 1024,
             "pair": 128},
}  # fmt: skip
TFLOP = {20: 0.315, 50: 1.10, 300: 29.2}
"""Of one structure with four passes through the full trunk."""
PEAK_TFLOPS = 790.0
"""Measured bfloat16 matrix products of one H200."""
VOCABULARY = ("<cls>", "<pad>", "<eos>", "<unk>", *"LAGVSERTIDPKQNFYMHWCXBUZO", ".", "-",
              "<null_1>", "<mask>")  # fmt: skip


def configuration(
    layers: int, hidden: int, heads: int, blocks: int, sequence: int, pair: int
) -> EsmConfig:
    """Return the configuration of an ESMFold of a size."""
    structure_module = {"sequence_dim": min(384, sequence), "pairwise_dim": pair}
    trunk = {
        "num_blocks": blocks, "sequence_state_dim": sequence, "pairwise_state_dim": pair,
        "pairwise_head_width": min(32, pair), "structure_module": structure_module,
    }  # fmt: skip
    return EsmConfig(
        vocab_size=len(VOCABULARY), hidden_size=hidden, num_hidden_layers=layers,
        num_attention_heads=heads, intermediate_size=4 * hidden, position_embedding_type="rotary",
        token_dropout=True, mask_token_id=32, pad_token_id=1, is_folding_model=True,
        vocab_list=VOCABULARY,
        esmfold_config={"fp16_esm": False, "embed_aa": True, "trunk": trunk},
    )  # fmt: skip


def build(folder: Path, size: dict[str, int]) -> None:
    """Save an ESMFold of random weights."""
    torch.manual_seed(0)
    model = EsmForProteinFolding(configuration(**size))
    for parameter in model.parameters():  # gates and last layers are zero at first
        if parameter.ndim == 2 and not parameter.any():
            torch.nn.init.normal_(parameter, std=0.02)
    model.eval().save_pretrained(folder)


def lengths_of(table: Path | None) -> list[int]:
    """Return real lengths, up to 50 residues."""
    with tempfile.TemporaryDirectory() as folder:
        if table is None:
            table = Path(folder) / "demo.csv"
            write_demo(table)
        with table.open() as file:
            lengths = [len(row["sequence"]) for row in csv.DictReader(file)]
    return [length for length in lengths if 5 <= length <= 50]


def random_peptides(lengths: list[int]) -> list[str]:
    """Return unique random sequences of these lengths."""
    rng = np.random.default_rng(0)
    found: dict[str, None] = {}
    for length in lengths:
        while (sequence := "".join(rng.choice(list(AMINO_ACIDS), length))) in found:
            pass
        found[sequence] = None
    return list(found)


def one_at_a_time(model, sequences: list[str]) -> None:
    """(a): what the predecessor did."""
    with torch.no_grad():
        for sequence in sequences:
            _to_cpu(model.infer(sequence))


def fair_esm_batches(model, sequences: list[str]) -> None:
    """(b): fair-esm's `create_batched_sequence_datasest` and its loop."""
    batch: list[str] = []
    with torch.no_grad():
        for sequence in sorted(sequences, key=len):
            if batch and sum(map(len, batch)) + len(sequence) > TOKENS_PER_BATCH:
                _to_cpu(model.infer(batch))
                batch = []
            batch.append(sequence)
        _to_cpu(model.infer(batch))


def _to_cpu(output: dict) -> None:
    for value in output.values():
        value.to("cpu")


def ours(predictor: ESMFoldPredictor, sequences: list[str]) -> list:
    """(c)."""
    outcomes = [outcome for batch in predictor.predict(sequences) for outcome in batch]
    failures = [outcome for outcome in outcomes if isinstance(outcome, Failure)]
    assert not failures, failures[:3]
    return outcomes


def seconds(work: Callable[[], object]) -> float:
    """Time some work."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def compare(folder: Path, sequences: list[str], singles: int, rounds: int, dtype: Dtype) -> None:
    """Time the three ways in turns, and print the medians."""
    predictor = ESMFoldPredictor(str(folder), dtype=dtype)
    predictor.engine  # noqa: B018  (loads the weights)
    model = EsmForProteinFolding.from_pretrained(folder).eval().to(predictor.device)
    size = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    print(
        f"{len(sequences)} peptides (a: {singles} of them), {size:.1f} M parameters, "
        f"{predictor.device}, (c) in {dtype}"
    )
    sample = sequences[:: max(1, len(sequences) // singles)][:singles]
    warm = sequences[:8]
    one_at_a_time(model, warm[:2])
    fair_esm_batches(model, warm)
    ours(predictor, warm)
    rates: dict[str, list[float]] = {"a": [], "b": [], "c": []}
    for number in range(rounds):
        rates["a"].append(len(sample) / seconds(lambda: one_at_a_time(model, sample)))
        rates["b"].append(len(sequences) / seconds(lambda: fair_esm_batches(model, sequences)))
        rates["c"].append(len(sequences) / seconds(lambda: ours(predictor, sequences)))
        now = ", ".join(f"({way}) {values[-1]:.1f}" for way, values in rates.items())
        print(f"  round {number + 1}: {now} structures/s", flush=True)
    a, b, c = (statistics.median(values) for values in rates.values())
    print(f"(a) one at a time, infer:            {a:8.1f} structures/s")
    print(f"(b) batches of 1,024 tokens, infer:  {b:8.1f} structures/s")
    print(f"(c) ours:                            {c:8.1f} structures/s")
    print(f"ours is {c / a:.1f} × (a) and {c / b:.2f} × (b)")


def compare_precisions(folder: Path, sequences: list[str]) -> None:
    """Print how far bfloat16 is from float32 with these weights."""
    full, half = (
        {o.sequence: o for o in ours(ESMFoldPredictor(str(folder), dtype=dtype), sequences)}
        for dtype in DTYPES
    )
    plddt = [np.abs(full[s].plddt - half[s].plddt).mean() for s in sequences]
    ptm = [abs(full[s].ptm - half[s].ptm) for s in sequences]
    chains = [[torch.from_numpy(o[s].backbone[:, 1]) for o in (full, half)] for s in sequences]
    deviations = [float(rmsd(*pair)) for pair in chains]
    print(
        f"bfloat16 against float32, {len(sequences)} peptides: Cα RMSD median "
        f"{np.median(deviations):.3f} Å, 95 % {np.quantile(deviations, 0.95):.3f} Å; "
        f"pLDDT {np.mean(plddt):.2f} and pTM {np.mean(ptm):.4f} apart on average (random weights: "
        "a check of arithmetic)"
    )


def roofline(folder: Path, dtype: Dtype) -> None:
    """Print the throughput at single lengths as a share of what the GPU can do."""
    predictor = ESMFoldPredictor(str(folder), dtype=dtype)
    for length, tflop in TFLOP.items():
        count = max(8, 2**21 // length**2)
        sequences = random_peptides([length] * count)
        ours(predictor, sequences[: count // 4])
        rate = count / seconds(lambda: ours(predictor, sequences))  # noqa: B023
        share = rate * tflop / PEAK_TFLOPS
        print(f"length {length}: {rate:.0f} structures/s, {share:.1%} of an H200's roofline")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=list(SIZES), default="small")
    parser.add_argument("--peptides", type=Path, help="CSV whose lengths count")
    parser.add_argument("--count", type=int, default=300, help="peptides for (b) and (c)")
    parser.add_argument("--singles", type=int, default=30, help="peptides for (a)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dtype", choices=DTYPES)
    arguments = parser.parse_args()
    dtype: Dtype = arguments.dtype or ("bfloat16" if torch.cuda.is_available() else "float32")
    lengths = lengths_of(arguments.peptides)
    some = np.random.default_rng(0).choice(lengths, arguments.count).tolist()
    print(f"lengths: {min(some)}–{max(some)}, mean {np.mean(some):.1f}")
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    with tempfile.TemporaryDirectory() as folder:
        build(Path(folder), SIZES[arguments.size])
        sequences = random_peptides(some)
        compare(Path(folder), sequences, arguments.singles, arguments.rounds, dtype)
        compare_precisions(Path(folder), sequences[:50])
        if torch.cuda.is_available() and arguments.size == "full":
            roofline(Path(folder), dtype)


if __name__ == "__main__":
    main()
