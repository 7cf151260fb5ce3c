"""Kernels, FLOPs and memory traffic of folding, counted without a GPU.

    python -m benchmarks.roofline_folding --lengths 20 50 300

The engine of `ESMFoldPredictor` folds one batch of peptides of a length, as many as it takes on a
GPU, with the architecture of ``facebook/esmfold_v1`` on tensors without data. It is counted as
`benchmarks/roofline.py` counts a training step. The blocks of the trunk are alike: two depths are
counted, and the rest is their difference. The prediction is the time of the FLOPs divided by the
longest of the times of FLOPs, traffic and launches. It is not a measurement: kernels reach the
peaks of `PEAK_FLOPS` and `BANDWIDTH`, and nothing stays in a cache between two kernels.
"""

import argparse

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import flop_registry
from transformers import EsmForProteinFolding

from benchmarks.fold import SIZES, configuration
from benchmarks.roofline import LAUNCH, Count, count
from structdiff.structures.predictors.esmfold import MAX_PAIRS
from structdiff.structures.predictors.esmfold_engine import Engine

PEAK_FLOPS = 989e12
"""bfloat16 FLOP/s of an H100 or H200 SXM by NVIDIA's data sheet, dense."""

BANDWIDTH = {"H100": 3.35e12, "H200": 4.8e12}
"""Bytes per second of the memory, by the data sheets."""

BLOCKS, PASSES = SIZES["full"]["blocks"], 4

# torch's counter does not know these two.
_ATEN = torch.ops.aten
flop_registry[_ATEN._addmm_activation] = flop_registry[_ATEN.addmm]
flop_registry[_ATEN._scaled_dot_product_flash_attention_for_cpu] = flop_registry[
    _ATEN._scaled_dot_product_flash_attention
]


def folding(length: int, blocks: int, padded: bool) -> tuple[Count, dict[str, float], int]:
    """Count a batch with a trunk of some blocks; return bytes by operation and its pairs too."""
    config = configuration(**{**SIZES["full"], "blocks": blocks})
    peptides = max(1, MAX_PAIRS["cuda"] // length**2)
    with FakeTensorMode(allow_non_fake_inputs=True):
        engine = Engine(EsmForProteinFolding(config).eval(), torch.bfloat16)
        tokens = torch.zeros(peptides, length, dtype=torch.int64)
        mask = torch.ones_like(tokens)
        total, kinds = count(lambda: engine(tokens, mask, PASSES, padded=padded))
    return total, dict(kinds.bytes), peptides * length**2


def main() -> None:
    """Count and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lengths", type=int, nargs="+", default=[20, 50, 300])
    parser.add_argument("--padded", action="store_true", help="count a batch with pads")
    parser.add_argument("--top", type=int, default=0, help="list the operations of most traffic")
    options = parser.parse_args()
    print(
        "length  peptides  kernels  KB/pair·block·pass: blocks, all  TFLOP/peptide  predicted use"
    )
    for length in options.lengths:
        measure(length, options.padded, options.top)


def measure(length: int, padded: bool, top: int) -> None:
    """Count the batch of a length, and print a line."""
    one, bytes_of_one, pairs = folding(length, 1, padded)
    two, bytes_of_two, _ = folding(length, 2, padded)
    block = two + one * -1
    total = one + block * (BLOCKS - 1)
    peptides = pairs // length**2
    uses = []
    for name, bandwidth in BANDWIDTH.items():
        seconds = {
            "FLOPs": total.flops / PEAK_FLOPS,
            "traffic": total.bytes / bandwidth,
            "launches": total.kernels * LAUNCH,
        }
        limit = max(seconds, key=seconds.__getitem__)
        uses.append(f"{name} {100 * seconds['FLOPs'] / seconds[limit]:.0f} % ({limit})")
    block_kilobytes = block.bytes / pairs / PASSES / 1e3
    kilobytes = total.bytes / pairs / PASSES / BLOCKS / 1e3
    print(
        f"{length:6d}  {peptides:8d}  {total.kernels:7,.0f}  {block_kilobytes:8.1f}"
        f"  {kilobytes:8.1f}  {total.flops / peptides / 1e12:8.3f}  {', '.join(uses)}",
        flush=True,
    )
    of_blocks = {name: two - bytes_of_one.get(name, 0) for name, two in bytes_of_two.items()}
    for name in sorted(bytes_of_two, key=bytes_of_two.__getitem__, reverse=True)[:top]:
        rest = (bytes_of_one.get(name, 0) - of_blocks[name]) / BLOCKS
        print(
            f"    {name:55s} blocks {of_blocks[name] / pairs / PASSES / 1e3:6.2f} KB, "
            f"rest {rest / pairs / PASSES / 1e3:5.2f} KB"
        )


if __name__ == "__main__":
    main()
