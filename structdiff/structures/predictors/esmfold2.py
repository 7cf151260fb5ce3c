"""ESMFold2 (Biohub, 2026) with weights from transformers, in batches of many short peptides.

A peptide is one chain of the 20 standard residues. The code that makes batches, halves them when
memory runs out and loads weights is inherited from `structdiff.structures.predictors.esmfold`. One
structure is sampled for each peptide, from noise that depends only on the sequence and the seed.
"""

import hashlib
import sys
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from structdiff.protein.residues import AMINO_ACIDS, encode
from structdiff.protein.structure import ATOM_COUNTS, atom_starts
from structdiff.structures.predictors import Failure, Outcome
from structdiff.structures.predictors.esmfold import ESMFoldPredictor, PairBudget

if TYPE_CHECKING:
    import torch

    from structdiff.structures.predictors.esmfold2_engine import SeededESMFold2

__all__ = ["ESMFold2Predictor", "refusal"]

_BASES = frozenset("ACGT")
_SHORTEST_NUCLEIC = 12
"""Shortest chain of only A, C, G, T and U that is taken for a nucleic acid."""


def refusal(sequence: str) -> str | None:
    """Return the reason why `ESMFold2Predictor` does not fold a sequence; None if it folds it.

    It folds single chains of the 20 standard residues in upper case. A sequence of at least 12
    letters that are only A, C, G, T and U is taken for a nucleic acid.
    """
    if len(parts := [part for part in sequence.replace("/", ":").split(":") if part]) > 1:
        return f"{len(parts)} chains: only single chains are folded here; give each its own record"
    if len(sequence) >= _SHORTEST_NUCLEIC and set(sequence.upper().replace("U", "T")) <= _BASES:
        return "reads like DNA or RNA (only the letters A, C, G, T, U): only proteins are folded"
    unknown = sorted(set(sequence) - set(AMINO_ACIDS))
    return f"not one of the 20 standard residues: {', '.join(unknown)}" if unknown else None


class ESMFold2Predictor(ESMFoldPredictor):
    """Predictor that runs ESMFold2 on a GPU or the CPU.

    Parameters
    ----------
    model
        Hub id or local directory of an `EsmFold2Model`.
    revision
        Revision on the hub.
    num_loops
        Number of passes through the trunk after the first; None for the value in the model's
        configuration.
    num_steps
        Length of the sampler's noise schedule; None for the value in the model's configuration.
    dtype
        Floating-point type of the network; part of `key`, because it changes the structures.
    seed
        Seed of the sampler's noise.
    device
        Device; None for a GPU that no other job has leased, or the CPU if there is no GPU.

    Raises
    ------
    UserError
        Raised by `key` and `predict` if the model cannot be found or is not an ESMFold2 model, or
        if its weights are incomplete or not safe to read.
    """

    name: ClassVar[str] = "esmfold2"
    published: ClassVar[str] = "biohub/ESMFold2"
    code_version = 1

    def __init__(
        self,
        model: str,
        *,
        revision: str | None = None,
        num_loops: int | None = None,
        num_steps: int | None = None,
        dtype: Literal["float32", "bfloat16"] = "bfloat16",
        seed: int = 0,
        device: "str | torch.device | None" = None,
    ):
        super().__init__(model, revision=revision, dtype=dtype, device=device)
        self.num_loops, self.num_steps, self.seed = num_loops, num_steps, seed

    @cached_property
    def key(self) -> dict[str, str | int]:
        """Key of the cache: name, weights, settings and code version of the predictor.

        A setting that is None is replaced by the value in the model's configuration. For a model
        on the hub, only its configuration is downloaded.
        """
        config = self._config()
        return {
            "predictor": self.name,
            "model": self._content(),
            "num_loops": config.num_loops if self.num_loops is None else self.num_loops,
            "num_steps": self.num_steps or config.structure_head.inference_num_steps,
            "dtype": self.dtype,
            "seed": self.seed,
            "code_version": self.code_version,
        }

    def predict(self, sequences: Sequence[str]) -> Iterator[list[Outcome]]:
        """Yield batches of outcomes, one outcome for each sequence.

        The first batch has a failure for each sequence that is refused (see `refusal`). The other
        sequences follow, longest first.
        """
        reasons = {sequence: refusal(sequence) for sequence in sequences}
        refused = [Failure(why, sequence=sequence) for sequence, why in reasons.items() if why]
        if refused:
            yield list(refused)
        yield from super().predict([sequence for sequence in sequences if not reasons[sequence]])

    def _budget(self) -> PairBudget:
        config: Any = self.network.config
        heads = config.structure_head.diffusion_module.num_attention_heads
        return PairBudget(
            self.device, config.pairwise_hidden_size, heads, self.network.dtype.itemsize
        )

    def _fold(self, sequences: list[str]) -> list[Outcome]:
        seeds = [_seed(self.seed, sequence) for sequence in sequences]
        folded = self.network.fold_batch(sequences, seeds, self.num_loops, self.num_steps)
        positions, plddt = folded.positions.cpu().numpy(), folded.plddt.cpu().numpy()
        atoms, scores = [], []
        for row, sequence in enumerate(sequences):
            codes = encode(sequence)
            atoms.append(positions[row, : ATOM_COUNTS[codes].sum()])
            scores.append(plddt[row, atom_starts(codes)[:-1] + 1] * np.float32(100))  # at Cα
        return self._outcomes(sequences, atoms, scores, folded.ptm.tolist())

    @cached_property
    def network(self) -> "SeededESMFold2":
        """The network on `device`, in evaluation mode; loaded at the first use."""
        import torch

        from structdiff.structures.predictors.esmfold2_engine import SeededESMFold2

        print(f"structures: loading {self.model} in {self.dtype} on {self.device}", file=sys.stderr)
        dtype = getattr(torch, self.dtype)
        network = self._read_weights(SeededESMFold2, self._config(), dtype)
        return network.eval().to(self.device)

    def _config(self) -> Any:
        from transformers import EsmFold2Config

        config = self._read_config(EsmFold2Config)
        if config.model_type != "esmfold2":
            raise self._error(f"{self.model} is not an ESMFold2 model")
        return config


def _seed(seed: int, sequence: str) -> int:
    """Return the 32-bit seed of a peptide, a hash of the predictor's seed and the sequence."""
    digest = hashlib.sha256(f"{seed} {sequence}".encode()).digest()
    return int.from_bytes(digest[:4], "big")
