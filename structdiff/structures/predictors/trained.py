"""Structures from a model that StructDiff has trained."""

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from structdiff.pretrained import PRETRAINED, load_model, read_checksum
from structdiff.protein.structure import from_backbone
from structdiff.structures.predictors import Failure, Outcome, Predictor
from structdiff.system.errors import UserError
from structdiff.system.gpus import choose_device, lease

if TYPE_CHECKING:
    import torch

__all__ = ["DenoiserPredictor"]

_STRUCTURES_AT_ONCE = 256
"""Number of structures that are saved together."""


class DenoiserPredictor(Predictor):
    """Predictor that folds with a trained model.

    A structure has only backbone atoms. Its pLDDT is the Cα lDDT that the model expects, 0–100.

    Parameters
    ----------
    model
        Path of a ``model.safetensors``; None for the model that comes with the package. The weights
        are loaded by `predict`.
    device
        Device of the model; None for a GPU that no other job has leased, or the CPU if there is no
        GPU.

    Raises
    ------
    UserError
        If the file is missing, damaged or not a model file.
    """

    name: ClassVar[str] = "structdiff"
    is_expensive: ClassVar[bool] = True
    needs_gpu: ClassVar[bool] = True
    paths: ClassVar[tuple[str, ...]] = ("model",)
    code_version = 4

    def __init__(
        self, model: str | Path | None = None, *, device: "str | torch.device | None" = None
    ):
        self.path, self.device = Path(model or PRETRAINED), device
        # Verified here, so that a wrong file is reported before anything is planned.
        self._weights = read_checksum(self.path)

    @property
    def key(self) -> dict[str, str | int]:
        """Key of the cache: name, checksum of the model file and code version of the predictor."""
        return {
            "predictor": self.name,
            "weights": self._weights,
            "code_version": self.code_version,
        }

    def predict(self, sequences: Sequence[str]) -> Iterator[list[Outcome]]:
        """Yield the failures of too long peptides, then the structures, shortest peptides first.

        A peptide is too long if `structdiff.generation.request.check_length` refuses it.
        """
        from structdiff.generation.folding import fold
        from structdiff.generation.request import check_length

        with lease(1) if self.device is None else nullcontext():
            model = load_model(self.path, self.device or choose_device())
            refused: dict[int, str] = {}
            for length in sorted({len(sequence) for sequence in sequences}):
                try:
                    check_length(model, length)
                except UserError as error:
                    refused[length] = str(error)
            if refused:
                yield [Failure(refused[len(s)], sequence=s) for s in sequences if len(s) in refused]
            folds = fold(model, [s for s in sequences if len(s) not in refused])
            while part := list(islice(folds, _STRUCTURES_AT_ONCE)):
                yield [
                    from_backbone(design.sequence, design.backbone, 100 * design.confidence)
                    for design in part
                ]
