"""Kernels, FLOPs and memory traffic of folding, counted without a GPU.

    python -m benchmarks.roofline_folding --lengths 20 50 300

The engine of `ESMFoldPredictor` folds one batch of peptides of a length, as many as it takes on a
GPU, with the architecture of ``facebook/esmfold_v1`` on tensors without data. It is counted as
`benchmarks/roofline.py` counts a training step. The blocks of the trunk are alike: two depths are
counted, and the rest is their difference. As compiled, the blocks are those that torch's compiler
would fuse by the rules of its GPU code, with matrix products and attention as library calls; the
engine does not compile them. The prediction is the time of the FLOPs divided by the
longest of the times of FLOPs, traffic and launches. It is not a measurement: kernels reach the
peaks of `PEAK_FLOPS` and `MEMORY`, and nothing stays in a cache between two kernels.
"""

import argparse
from collections import Counter

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import flop_registry
from transformers import EsmForProteinFolding

from benchmarks.fold import SIZES, configuration
from benchmarks.roofline import BANDWIDTH, PEAK_FLOPS, Count, compiled_traffic, count
from structdiff.structures.predictors.esmfold import MAX_PAIRS
from structdiff.structures.predictors.esmfold_engine import Engine

MEMORY = {"H100": BANDWIDTH, "H200": 4.8e12}
"""Bytes per second of the memory, by the data sheets; both compute at the same `PEAK_FLOPS`."""

BLOCKS, PASSES = SIZES["full"]["blocks"], 4

# torch's counter does not know these two.
_ATEN = torch.ops.aten
flop_registry[_ATEN._addmm_activation] = flop_registry[_ATEN.addmm]
flop_registry[_ATEN._scaled_dot_product_flash_attention_for_cpu] = flop_registry[
    _ATEN._scaled_dot_product_flash_attention
]


def batch(length: int, blocks: int) -> tuple[Engine, torch.Tensor]:
    """Return an engine with a trunk of some blocks, and the tokens of a batch."""
    config = configuration(**{**SIZES["full"], "blocks": blocks})
    engine = Engine(EsmForProteinFolding(config).eval(), torch.bfloat16)
    peptides = max(1, MAX_PAIRS["cuda"] // length**2)
    return engine, torch.zeros(peptides, length, dtype=torch.int64)


def folding(length: int, blocks: int, padded: bool) -> tuple[Count, Counter[str]]:
    """Count a batch; return its bytes by operation too."""
    with FakeTensorMode(allow_non_fake_inputs=True):
        engine, tokens = batch(length, blocks)
        mask = torch.ones_like(tokens)
        total, kinds = count(lambda: engine(tokens, mask, PASSES, padded=padded))
    return total, kinds.bytes


def compiled_block(length: int, padded: bool, flops: float) -> Count:
    """Count a block as compiled, in all passes."""
    with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():
        engine, tokens = batch(length, 1)
        s = torch.zeros(*tokens.shape, SIZES["full"]["sequence"])
        z = torch.zeros(*tokens.shape, length, SIZES["full"]["pair"], dtype=engine.dtype)
        mask = torch.ones_like(tokens) if padded else None
        graph = compiled_traffic(engine.blocks[0].__call__, (s, z, mask))
    return Count(graph.kernels.total() * PASSES, graph.bytes.total() * PASSES, flops)


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
    """Count the batch of a length, and print a line for each of eager and compiled mode."""
    one, bytes_of_one = folding(length, 1, padded)
    two, bytes_of_two = folding(length, 2, padded)
    block = two + one * -1
    rest = one + block * -1
    report("eager", length, rest, block)
    report("compiled", length, rest, compiled_block(length, padded, block.flops))
    scale = 1 / max(1, MAX_PAIRS["cuda"] // length**2) / length**2 / PASSES / 1e3
    for name, traffic in bytes_of_two.most_common(top):
        in_block = traffic - bytes_of_one[name]
        outside = (bytes_of_one[name] - in_block) / BLOCKS
        print(f"    {name:60s} blocks {in_block * scale:6.2f} KB, rest {outside * scale:5.2f} KB")


def report(mode: str, length: int, rest: Count, block: Count) -> None:
    """Print the traffic of a batch and the predicted use of each GPU."""
    total = rest + block * BLOCKS
    peptides = max(1, MAX_PAIRS["cuda"] // length**2)
    scale = 1 / peptides / length**2 / PASSES / 1e3
    uses = []
    for name, bandwidth in MEMORY.items():
        use, limit = total.use(PEAK_FLOPS["bfloat16"], bandwidth)
        uses.append(f"{name} {use:.0f} % ({limit})")
    print(
        f"{length:6d}  {peptides:8d}  {total.kernels:7,.0f}  {block.bytes * scale:8.1f}"
        f"  {total.bytes * scale / BLOCKS:8.1f}  {total.flops / peptides / 1e12:8.3f}"
        f"  {mode}: {', '.join(uses)}",
        flush=True,
    )


if __name__ == "__main__":
    main()
