"""ESMFold (Lin et al., Science 379, 2023) with weights from transformers, in large batches.

``ESMFoldPredictor("facebook/esmfold_v1").predict(sequences)`` loads the weights on first use and
yields batches of structures, longest peptides first. The number of residue pairs in a batch
(peptides × the square of the largest length) is limited by `MAX_PAIRS` and by the free memory. A
batch that still runs out of memory is halved; a single peptide that does not fit is a failure.
Weights are read as safetensors, or by torch with ``weights_only``, so that no code in them runs.
"""

import hashlib
import math
import os
import pickle
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from structdiff.protein.residues import AMINO_ACIDS, encode
from structdiff.protein.structure import ATOM14_EXISTS, Structure, atom_starts
from structdiff.structures.predictors import Failure, Outcome, Predictor
from structdiff.system.errors import UserError
from structdiff.system.gpus import choose_device, is_out_of_memory, lease

if TYPE_CHECKING:  # slow to import; the functions that compute import them
    import torch
    from transformers import EsmConfig, EsmForProteinFolding

    from structdiff.structures.predictors.esmfold_engine import Engine

__all__ = ["ESMFoldPredictor", "PairBudget", "batches"]

MAX_PAIRS = {"cuda": 2**19, "cpu": 2**13}
"""Largest number of residue pairs in a batch, by device type. Larger batches are not faster, and a
killed job loses the batch that it computes."""

MEMORY_SHARE = 0.7
"""Largest estimated memory of a batch, as a share of the free memory."""

_ALPHAFOLD_ORDER = "ARNDCQEGHILKMFPSTWYV"
_TOKENS = np.array([_ALPHAFOLD_ORDER.index(letter) for letter in AMINO_ACIDS], dtype=np.int64)
_WEIGHTS = ("*.safetensors", "*.safetensors.index.json", "*.bin", "*.bin.index.json", "config.json")
_SAMPLES, _SAMPLE_BYTES = 64, 65_536


class PairBudget:
    """Function object that returns the largest number of residue pairs in a batch.

    A batch has peptides × length² pairs, where length is the length of its longest peptide. The
    object is called with this length. The limit depends on `MAX_PAIRS` and on the memory that is
    free when the object is made.

    Parameters
    ----------
    device
        Device of the computation.
    channels
        Number of channels of the pair representation.
    heads
        Number of attention heads, for the estimated memory of the attention.
    bytes_each
        Bytes per number in the trunk.
    """

    def __init__(self, device: "torch.device", channels: int, heads: int, bytes_each: int):
        import torch

        self.most = MAX_PAIRS.get(device.type, MAX_PAIRS["cpu"])
        self.channels, self.heads, self.bytes_each = channels, heads, bytes_each
        if device.type == "cuda":
            free = torch.cuda.mem_get_info(device)[0]
        else:
            free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        self.memory = free * MEMORY_SHARE

    def __call__(self, length: int) -> int:
        """Return the largest number of residue pairs in a batch.

        ``length`` is the length of the batch's longest peptide. The estimate of the memory assumes
        about 20 tensors of the size of the pair representation at once.
        """
        per_pair = self.channels * (8 + 20 * self.bytes_each)
        per_pair += 3 * self.heads * length * self.bytes_each
        return min(self.most, int(self.memory / per_pair))


def batches(lengths: np.ndarray, budget: Callable[[int], int]) -> list[np.ndarray]:
    """Divide peptides into batches of similar lengths, at most as large as the budget allows.

    Parameters
    ----------
    lengths
        Length of each peptide in residues, ``(peptides,)``.
    budget
        Function (such as a `PairBudget`) that takes the length of the longest peptide of a batch
        and returns the largest number of residue pairs in the batch.

    Returns
    -------
    list of np.ndarray
        Indices into ``lengths`` of the peptides of each batch, longest peptides first. If a batch
        is at least half full, it ends before the first peptide whose padding would be more than
        15 % of the peptide's length.
    """
    order = np.argsort(-lengths, kind="stable")
    cut, start = [], 0
    while start < len(order):
        longest = int(lengths[order[start]])
        size = max(1, budget(longest) // longest**2)
        stop = min(start + size, len(order))
        short = np.flatnonzero(lengths[order[start:stop]] * 1.15 < longest)
        if len(short) and 2 * short[0] >= size:
            stop = start + int(short[0])
        cut.append(order[start:stop])
        start = stop
    return cut


class ESMFoldPredictor(Predictor):
    """Predictor that runs ESMFold on a GPU or the CPU.

    Parameters
    ----------
    model
        Hub id or local directory of an `EsmForProteinFolding`.
    revision
        Revision on the hub.
    num_recycles
        Number of passes through the folding trunk, including the first.
    dtype
        Floating-point type of the language model and the trunk; part of `key`, because it changes
        the structures.
    device
        Device; None for a GPU that no other job has leased, or the CPU if there is no GPU.

    Raises
    ------
    UserError
        Raised by `key` and `predict` if the model cannot be found or is not an ESMFold model, or if
        its weights are incomplete or not safe to read.
    """

    name: ClassVar[str] = "esmfold"
    published: ClassVar[str] = "facebook/esmfold_v1"
    is_expensive: ClassVar[bool] = True
    needs_gpu: ClassVar[bool] = True
    code_versions: ClassVar[dict[str, int]] = {"float32": 1, "bfloat16": 2}
    """Code version for each dtype; version 1 of bfloat16 kept the pairs in float32."""

    def __init__(
        self,
        model: str,
        *,
        revision: str | None = None,
        num_recycles: int = 4,
        dtype: Literal["float32", "bfloat16"] = "bfloat16",
        device: "str | torch.device | None" = None,
    ):
        self.model, self.revision, self.num_recycles = str(model), revision, num_recycles
        self.dtype = dtype
        self._device, self._held = device, ExitStack()

    @cached_property
    def key(self) -> dict[str, str | int]:
        """Key of the cache: name, weights, settings and code version of the predictor.

        For a model on the hub, only its configuration is downloaded.
        """
        return {
            "predictor": self.name,
            "model": self._content(),
            "num_recycles": self.num_recycles,
            "dtype": self.dtype,
            "code_version": self.code_versions[self.dtype],
        }

    def predict(self, sequences: Sequence[str]) -> Iterator[list[Outcome]]:
        """Yield batches of outcomes, longest peptides first.

        A peptide fails if it does not fit into memory even alone in a batch, or if a position or
        pLDDT is not finite.
        """
        lengths = np.fromiter(map(len, sequences), dtype=np.int64, count=len(sequences))
        waiting = batches(lengths, self._budget())[::-1]
        limit = math.inf
        while waiting:
            rows = waiting.pop()
            work = len(rows) * int(lengths[rows].max()) ** 2
            if work <= limit or len(rows) == 1:
                outcome = self._attempt([sequences[row] for row in rows])
                if not isinstance(outcome, str):
                    yield outcome
                    continue
                if len(rows) == 1:
                    yield [Failure(outcome, sequence=sequences[rows[0]])]
                    continue
                limit = work // 2
                print(f"structures: {outcome} with {len(rows)} peptides, halving", file=sys.stderr)
            half = len(rows) // 2
            waiting += [rows[half:], rows[:half]]

    def _budget(self) -> PairBudget:
        engine = self.engine
        config: Any = engine.model.config
        trunk = config.esmfold_config.trunk
        heads = trunk.pairwise_state_dim // trunk.pairwise_head_width
        return PairBudget(self.device, trunk.pairwise_state_dim, heads, engine.dtype.itemsize)

    def _attempt(self, sequences: list[str]) -> list[Outcome] | str:
        """Fold a batch and return its outcomes; if memory runs out, return the error as text."""
        try:
            return self._fold(sequences)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            reason = f"out of memory ({str(error).partition('. ')[0][:120]})"
        # The memory is freed here, because in the `except` block the error still refers to the
        # batch's tensors.
        if self.device.type == "cuda":
            import torch

            torch.cuda.empty_cache()
        return reason

    def _fold(self, sequences: list[str]) -> list[Outcome]:
        """Fold a batch and return an outcome for each sequence."""
        import torch

        lengths = np.fromiter(map(len, sequences), dtype=np.int64, count=len(sequences))
        mask = np.arange(lengths.max()) < lengths[:, None]
        codes = encode("".join(sequences))
        tokens = np.zeros(mask.shape, dtype=np.int64)
        tokens[mask] = _TOKENS[codes]
        folded = self.engine(
            torch.from_numpy(tokens).to(self.device),
            torch.from_numpy(mask.astype(np.int64)).to(self.device),
            self.num_recycles,
            padded=not mask.all(),
        )
        positions, plddt, ptm = (
            part.cpu().numpy() for part in (folded.positions, folded.plddt, folded.ptm)
        )
        atoms = positions[mask][ATOM14_EXISTS[codes]]
        ends = np.cumsum(lengths)
        atom_ends = atom_starts(codes)[ends]
        return self._outcomes(
            sequences,
            np.split(atoms, atom_ends[:-1]),
            np.split(plddt[mask], ends[:-1]),
            ptm.tolist(),
        )

    def _outcomes(
        self,
        sequences: list[str],
        atoms: list[np.ndarray],
        plddt: list[np.ndarray],
        ptm: list[float],
    ) -> list[Outcome]:
        """Return a structure for each peptide, or a failure if a position or pLDDT is not finite.

        For each peptide, ``atoms`` are the positions in Å, ``(heavy atoms, 3)``, in the order of
        `structdiff.protein.structure.HEAVY_ATOMS`; ``plddt`` is 0–100, ``(length,)``; ``ptm`` is
        0–1.
        """
        outcomes: list[Outcome] = []
        for sequence, xyz, scores, score in zip(sequences, atoms, plddt, ptm, strict=True):
            if np.isfinite(xyz).all() and np.isfinite(scores).all():
                outcomes.append(Structure(sequence, xyz, scores, score))
            else:
                outcomes.append(Failure(f"not a number in {self.dtype}", sequence=sequence))
        return outcomes

    @cached_property
    def device(self) -> "torch.device":
        """The given device; if none was given, a GPU if the machine has one, or else the CPU.

        The GPU is leased until the predictor is deleted.
        """
        import torch

        if self._device is None:
            self._held.enter_context(lease(1))
        return torch.device(self._device) if self._device else choose_device()

    @cached_property
    def engine(self) -> "Engine":
        """The network on `device`; loaded at the first use."""
        import torch

        from structdiff.structures.predictors.esmfold_engine import Engine

        print(f"structures: loading {self.model} in {self.dtype} on {self.device}", file=sys.stderr)
        return Engine(self._load().eval().to(self.device), getattr(torch, self.dtype))

    def _load(self) -> "EsmForProteinFolding":
        """Return ESMFold with its weights, float32, on the CPU."""
        import torch
        from transformers import EsmForProteinFolding

        config: Any = self._config()
        # `Engine` converts the language model to dtype; this setting would convert it to float16.
        config.esmfold_config.fp16_esm = False
        # The contact head is not used for folding, and the published weights lack it.
        return self._read_weights(EsmForProteinFolding, config, torch.float32, "contact_head")

    def _read_weights(
        self, kind: Any, config: Any, dtype: "torch.dtype", unneeded: str | None = None
    ) -> Any:
        """Return a model of the class ``kind`` with its weights; reading them runs no code.

        Weights whose names contain the text ``unneeded`` may be missing.

        Raises
        ------
        UserError
            If the weights are missing, incomplete or not safe to read.
        """
        from safetensors import SafetensorError

        try:
            model, report = kind.from_pretrained(
                self.model,
                revision=self.revision or "main",
                config=config,
                dtype=dtype,
                weights_only=True,
                output_loading_info=True,
            )
        except pickle.UnpicklingError:
            raise self._error(
                f"the weights in {self.model} hold more than numbers and were not read, as that "
                "could run foreign code"
            ) from None
        except (OSError, ValueError, RuntimeError, SafetensorError) as error:
            raise self._unusable(error) from None
        names = report["missing_keys"]
        missing = [name for name in names if unneeded is None or unneeded not in name]
        if missing:
            raise self._error(
                f"{self.model} lacks {len(missing)} weights, such as {sorted(missing)[0]}: the "
                "weights are not those of a whole model"
            )
        return model

    def _config(self) -> "EsmConfig":
        from transformers import EsmConfig

        config = self._read_config(EsmConfig)
        if config.esmfold_config is None:
            raise self._error(f"{self.model} is not an ESMFold model")
        return config

    def _read_config(self, kind: Any) -> Any:
        """Return the model's configuration; ``kind`` is its configuration class in transformers.

        Raises
        ------
        UserError
            If the configuration cannot be found or read.
        """
        looks_local = self.model.startswith((".", "/", "~")) or self.model.count("/") > 1
        if looks_local and not Path(self.model).is_dir():
            raise self._error(f"{self.model}: no such folder")
        try:
            return kind.from_pretrained(self.model, revision=self.revision or "main")
        except (OSError, ValueError) as error:
            raise self._unusable(error) from None

    def _unusable(self, error: Exception) -> UserError:
        reason = " ".join(str(error).split())[:300]
        return self._error(f"{self.model} cannot be loaded: {reason}")

    def _error(self, what: str) -> UserError:
        """Return the error for weights that cannot be used, with the remedy.

        ``what`` says what is wrong with them.
        """
        key = f"structures.{self.name}.model"
        return UserError(
            f"{key}: {what}. Put the model's folder (config.json and its weights) on this machine "
            f"and set {key} to it, or download it once with access to the hub "
            f"(`huggingface-cli download {self.published}`, some GB), or set structures.predictor "
            "to 'ideal' (a baseline) or 'files'"
        )

    def _content(self) -> str:
        """Return an identifier of the weights: hub id and commit, or a hash of the local files.

        The hash covers the configuration, and all bytes of small files or parts of large ones.
        """
        config: Any = self._config()
        if not Path(self.model).is_dir():
            return f"{self.model}@{getattr(config, '_commit_hash', None) or self.revision}"
        digest = hashlib.sha256()
        for path in sorted({p for pattern in _WEIGHTS for p in Path(self.model).glob(pattern)}):
            digest.update(f"{path.name}\0{path.stat().st_size}\0".encode())
            digest.update(_sample(path))
        return f"local-{digest.hexdigest()[:32]}"


def _sample(path: Path) -> bytes:
    """Return all bytes of a file of up to 4 MiB, or 64 evenly spaced parts of a larger file."""
    size = path.stat().st_size
    with path.open("rb") as file:
        if size <= _SAMPLES * _SAMPLE_BYTES:
            return file.read()
        parts = []
        for start in np.linspace(0, size - _SAMPLE_BYTES, _SAMPLES).astype(int).tolist():
            file.seek(start)
            parts.append(file.read(_SAMPLE_BYTES))
    return b"".join(parts)
