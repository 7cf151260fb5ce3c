"""Kernels, FLOPs and memory traffic of a training step, counted without a GPU.

    python benchmarks/roofline.py --config config/peptides.yaml --batch-sizes 8 256 768

Model, batch and accumulation are those of the configuration; other batch sizes can be compared with
it. The real code computes the losses and the gradient of one micro-batch, some of the steps with
self-conditioning, and one update (clipping, optimizer, averaged weights) on tensors without data
(torch's ``FakeTensorMode``). A kernel is an operation that is not a view; its traffic is what it
reads and writes. The RMS norm, one kernel on a GPU only, is counted as a layer norm. The prediction
for a GPU is the time of the FLOPs divided by the longest of the times of FLOPs, traffic and
launches. It is not a measurement: each operation is one kernel (eager mode) or as torch's compiler
fuses them (``training.compile``), and kernels reach the peaks of `PEAK_FLOPS` and `BANDWIDTH`. The
memory is that of the weights, the gradient, the optimizer's state, the averaged weights and the
activations that the backward pass needs.
"""

import argparse
import copy
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch._functorch.aot_autograd import make_boxed_func
from torch._inductor.compile_fx import compile_fx, compile_fx_inner
from torch._inductor.exc import InductorError
from torch._inductor.graph import GraphLowering
from torch._inductor.scheduler import ExternKernelSchedulerNode
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter
from torch.utils.flop_counter import FlopCounterMode

from structdiff.config import Config, Training, load
from structdiff.diffusion import JointProcess
from structdiff.model import ConditionSpec, Denoiser, spec
from structdiff.training.checkpoint import Checkpoints
from structdiff.training.dataset import TrainingSet
from structdiff.training.distributed import World
from structdiff.training.trainer import Trainer

PEAK_FLOPS = {"bfloat16": 989e12, "float32": 67e12}
"""FLOP/s of an H100 SXM by NVIDIA's data sheet, dense; float32 without TF32."""

BANDWIDTH = 3.35e12
"""Bytes per second of an H100's memory, by the data sheet."""

LAUNCH = 5e-6
"""Seconds that Python and torch take for one kernel in eager mode; an assumption."""


_STATE = 20
"""Bytes of a parameter: weight, gradient, two moments and average, float32 each."""


@contextmanager
def one_kernel_rms_norm() -> Iterator[None]:
    """Replace the RMS norm, which on a CPU, unlike on a GPU, is seven operations."""

    def stand_in(x, shape, weight, eps):
        return torch.nn.functional.layer_norm(x, shape, weight, None, eps or 0.0)

    with patch.object(torch.nn.functional, "rms_norm", stand_in):
        yield


class KernelCounter(TorchDispatchMode):
    """Counts operations that are not views, and the bytes that they read and write."""

    _paused = False

    def __init__(self) -> None:
        super().__init__()
        self.kernels: Counter[str] = Counter()
        self.bytes: Counter[str] = Counter()

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        """Run an operation and count it; in inference mode, some arrive before they are split."""
        if function.namespace != "prim":
            with self:
                parts = function.decompose(*arguments, **(options or {}))
            if parts is not NotImplemented:
                return parts
        result = function(*arguments, **(options or {}))
        if not (self._paused or function.is_view or _starts_no_kernel(function)):
            tensors = [
                x
                for x in tree_iter((arguments, options, result))
                if isinstance(x, torch.Tensor) and x.numel() > 1
            ]
            self.kernels[str(function)] += 1
            # An expanded tensor is read once: the elements of its storage.
            self.bytes[str(function)] += sum(
                min(x.numel() * x.element_size(), x.untyped_storage().nbytes()) for x in tensors
            )
        return result

    @classmethod
    def is_infra_mode(cls) -> bool:
        """Let the compiler work in spite of this mode."""
        return True

    @classmethod
    @contextmanager
    def paused(cls) -> Iterator[None]:
        """Count nothing for a while."""
        cls._paused = True
        yield
        cls._paused = False


def _starts_no_kernel(function) -> bool:
    """Return whether an operation starts no kernel, though it is not a view."""
    name = str(function)
    return name.startswith("prim.") or any(x in name for x in ("empty", "detach", "unsafe_view"))


class CompiledCounter:
    """Counts the kernels that torch's compiler makes, and the bytes that they read and write.

    ``torch.compile(function, backend=counter.backend, dynamic=False)`` fuses what the default
    compiler fuses and generates no code; the function then runs uncompiled, on tensors without
    data, and each run of a graph is counted, that of its gradient too. Operations are fused by the
    rules of the compiler's GPU code (Triton), which need no GPU; matrix products and attention are
    library calls that fuse with nothing.

    Attributes
    ----------
    kernels, bytes
        Of the graphs that have run, by operation.
    graphs
        Number of graphs that were compiled.
    """

    def __init__(self) -> None:
        self.kernels: Counter[str] = Counter()
        self.bytes: Counter[str] = Counter()
        self.graphs = 0

    def backend(self, graph: torch.fx.GraphModule, inputs: list) -> Any:
        """Compile as inductor does, but count instead of generating code."""
        with torch._inductor.config.patch(fx_graph_cache=False, cpu_backend="triton"):
            return compile_fx(graph, inputs, inner_compile=self._count)

    def _count(self, graph: torch.fx.GraphModule, inputs, **options) -> Any:
        uncompiled = copy.deepcopy(graph)
        kernels: Counter[str] = Counter()
        traffic: Counter[str] = Counter()

        def add(fused: GraphLowering) -> None:
            fused._update_scheduler()
            for node in fused.scheduler.nodes:
                if moved := _traffic(node):  # none: no kernel
                    name = _operation(node)
                    kernels[name] += 1
                    traffic[name] += moved
            raise _Counted

        with (
            torch._inductor.config.patch(fx_graph_cache=False, cpu_backend="triton"),
            patch.object(GraphLowering, "compile_to_module", add),
        ):
            try:
                compile_fx_inner(graph, inputs, **options)
            except InductorError as error:
                if not isinstance(error.inner_exception, _Counted):
                    raise
            except _Counted:
                pass
        self.graphs += 1

        def run(*arguments):
            self.kernels.update(kernels)
            self.bytes.update(traffic)
            with KernelCounter.paused():
                return uncompiled(*arguments)

        return make_boxed_func(run)


class _Counted(Exception):
    """Ends the compilation of a graph once it is counted."""


def _traffic(node: Any) -> int:
    """Return the bytes that a kernel of the compiler reads and writes; 0 for no kernel.

    Where it reads a part of a buffer, that part is counted; the compiler counts the buffer.
    """
    accesses = node.get_read_write_buffer_accesses(include_reads=True, include_writes=True)
    if accesses and isinstance(node, ExternKernelSchedulerNode):
        call: Any = node.node
        read = sum(x.get_numel() * x.get_dtype().itemsize for x in tree_iter(call.inputs))
        return int(read + node.get_write_buffer_sizes())
    parts: Counter[str] = Counter()
    for access in node.read_writes.reads | node.read_writes.writes:
        parts[access.name] += access.numbytes_hint()
    return sum(min(size, parts[name]) for name, size in accesses.items())


def _operation(node) -> str:
    """Return the name of a library call, or of the operations that are fused."""
    parts = [getattr(part.node, "python_kernel_name", None) for part in node.get_nodes()]
    return next((name for name in parts if name), f"{len(parts)} fused")


def compiled_traffic(function: Callable, arguments: tuple) -> CompiledCounter:
    """Count a function as compiled, and the gradient of its result if it has one."""
    torch._dynamo.reset()
    counter = CompiledCounter()
    result = torch.compile(function, backend=counter.backend, dynamic=False)(*arguments)
    if isinstance(result, torch.Tensor) and result.requires_grad:
        result.backward(torch.ones_like(result))
    return counter


class Activations:
    """Storages, and their size, that the backward pass keeps, without those of the parameters."""

    def __init__(self, parameters: list[torch.nn.Parameter]):
        self.bytes = 0
        self._seen = {parameter.untyped_storage()._cdata for parameter in parameters}
        self._kept: list[torch.Tensor] = []

    def keep(self, tensor: torch.Tensor) -> torch.Tensor:
        """Count a tensor that is saved for the backward pass."""
        storage = tensor.untyped_storage()
        if storage._cdata not in self._seen:
            self._seen.add(storage._cdata)
            self._kept.append(tensor)  # so that no other storage takes its address
            self.bytes += storage.nbytes()
        return tensor


@dataclass(frozen=True)
class Count:
    """Kernels, bytes and FLOPs of a part of a step."""

    kernels: float
    bytes: float
    flops: float

    def __add__(self, other: "Count") -> "Count":
        return Count(
            self.kernels + other.kernels, self.bytes + other.bytes, self.flops + other.flops
        )

    def __mul__(self, factor: float) -> "Count":
        return Count(self.kernels * factor, self.bytes * factor, self.flops * factor)

    def use(self, peak: float, bandwidth: float) -> tuple[float, str]:
        """Return the predicted share of a GPU's peak (FLOP/s), in per cent, and what limits it."""
        seconds = {
            "FLOPs": self.flops / peak,
            "traffic": self.bytes / bandwidth,
            "launches": self.kernels * LAUNCH,
        }
        limit = max(seconds, key=seconds.__getitem__)
        return 100 * seconds["FLOPs"] / seconds[limit], limit


def count(task: Callable[[], object]) -> tuple[Count, KernelCounter]:
    """Run a task and count its kernels and FLOPs."""
    with FlopCounterMode(display=False) as flops, KernelCounter() as counter:
        task()
    flop = float(flops.get_total_flops())
    return Count(counter.kernels.total(), counter.bytes.total(), flop), counter


def count_compiled(
    task: Callable[[], object], graphs: CompiledCounter, flops: float
) -> tuple[Count, KernelCounter]:
    """Run a task whose graphs are compiled, and count its kernels, in graphs and between them."""
    task()  # which compiles
    graphs.kernels.clear()
    graphs.bytes.clear()
    with KernelCounter() as counter:
        task()
    counter.kernels.update(graphs.kernels)
    counter.bytes.update(graphs.bytes)
    return Count(counter.kernels.total(), counter.bytes.total(), flops), counter


def peptides(number: int, length: int) -> TrainingSet:
    """Return a training set of random peptides with backbones of zeros."""
    random = np.random.default_rng(0)
    residues = number * length
    arrays: dict[str, np.ndarray] = {
        "tokens": random.integers(0, 20, residues, dtype=np.uint8),
        "offsets": np.arange(0, residues + 1, length),
        "labels": random.random((number, 3)) < 0.5,
        "split": np.zeros(number, np.uint8),
        "backbone": np.zeros((residues, 4, 3), np.float32),
        "weight": np.ones(residues, np.float32),
        "has_structure": np.ones(number, bool),
        "ids": np.array([f"p{index}" for index in range(number)]),
    }
    return TrainingSet(arrays, ConditionSpec(["antimicrobial", "antifungal", "antiviral"]))


def main() -> None:
    """Count and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", type=Path, default=Path("config/peptides.yaml"))
    parser.add_argument("--batch-sizes", type=int, nargs="+", help="default: the configuration's")
    parser.add_argument("--length", type=int, default=24, help="residues of a peptide")
    parser.add_argument("--precision", default="bfloat16", choices=list(PEAK_FLOPS))
    parser.add_argument("--top", type=int, default=0, help="list the operations of most traffic")
    options = parser.parse_args()
    config = load(options.config)
    print(f"{options.config}: {config.model.preset}, peptides of {options.length} residues")
    print(
        "mode      batch  launches/residue  MB/residue  GFLOP/residue  memory, GB  "
        "predicted use of an H100 (limit)"
    )
    for size in options.batch_sizes or [config.training.batch_size]:
        measure(config, size, options)


def measure(config: Config, size: int, options: argparse.Namespace) -> None:
    """Count one step of micro-batches of ``size`` peptides, and print a line."""
    changed = {"batch_size": size, "precision": options.precision}
    training = config.training.model_copy(update=changed)
    data = peptides(size, options.length)
    process = JointProcess(**config.diffusion.model_dump(mode="json"))
    world = World(0, 1, torch.device("cpu"))
    with FakeTensorMode(allow_non_fake_inputs=True) as fake:
        widths = (process.sequence.width, process.structure.width)
        model = Denoiser(spec(config.model.preset, data.conditions, *widths))
        model.to = lambda device: model  # type: ignore[assignment]  # refused without data
        trainer = Trainer(training, model, process, data, world, Checkpoints(Path(), 1), {})
    real = trainer.loader.micro_batches(np.arange(size), 0, 0)[0]
    residues = size * options.length
    with fake:
        micro = _fake(real, fake)

        def gradient(conditioned: bool) -> None:
            trainer._accumulate([micro], residues, residues, conditioned)

        activations = Activations(trainer.parameters)
        with one_kernel_rms_norm():
            with saved_tensors_hooks(activations.keep, lambda tensor: tensor):
                gradient(False)
            memory = activations.bytes + _STATE * sum(p.numel() for p in trainer.parameters)
            eager = [count(partial(gradient, conditioned)) for conditioned in (False, True)]
        update = count(lambda: _update(trainer))
        _print("eager", size, residues, training, options, [*eager, update], memory)
        graphs = CompiledCounter()
        model.compile_layers(graphs.backend)
        compiled = [
            count_compiled(partial(gradient, conditioned), graphs, total.flops)
            for conditioned, (total, _) in zip((False, True), eager, strict=True)
        ]
        _print("compiled", size, residues, training, options, [*compiled, update], None)


def _print(
    mode: str,
    size: int,
    residues: int,
    training: Training,
    options: argparse.Namespace,
    counts: list[tuple[Count, KernelCounter]],
    memory: int | None,
) -> None:
    """Print a line on the mean step: plain or with self-conditioning, and the update."""
    plain, twice, update = (total for total, _ in counts)
    share = training.self_conditioning
    total = plain * (1 - share) + twice * share
    total += update * (1 / training.gradient_accumulation_steps)
    use, limit = total.use(PEAK_FLOPS[options.precision], BANDWIDTH)
    held = "" if memory is None else f"{memory / 1e9:.1f}"
    print(
        f"{mode:8s}  {size:5d}  {total.kernels / residues:16.2f}  "
        f"{total.bytes / residues / 1e6:10.2f}  {total.flops / residues / 1e9:13.2f}  {held:10s}  "
        f"{use:5.1f} % ({limit}); "
        f"{total.kernels:,.0f} kernels, {update.kernels:,.0f} of them for the update",
        flush=True,
    )
    kinds = counts[1][1]
    for name, traffic in kinds.bytes.most_common(options.top):
        print(
            f"    {name:60s} {kinds.kernels[name]:5d} × {traffic / residues / 1e6:8.3f} MB/residue"
        )


def _update(trainer: Trainer) -> None:
    """Do what a step does after the gradient."""
    trainer.gradient.zero()
    trainer.gradient.norm()
    trainer.gradient.values.mul_(0.5)
    trainer.optimizer.step()
    torch._foreach_lerp_([*trainer.ema.parameters()], [*trainer.parameters], 0.1)


def _fake(value, mode: FakeTensorMode):
    """Return a micro-batch, or a part of it, with tensors that have no data."""
    if isinstance(value, torch.Tensor):
        return mode.from_tensor(value)
    if not is_dataclass(value) or isinstance(value, type):
        return value
    return replace(value, **{f.name: _fake(getattr(value, f.name), mode) for f in fields(value)})


if __name__ == "__main__":
    main()
