"""Structures from a model that StructDiff has trained."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from structdiff.protein.structure import from_backbone
from structdiff.structures.predictors import Outcome, Predictor
from structdiff.system.gpus import choose_device, lease

if TYPE_CHECKING:
    import torch

__all__ = ["DenoiserPredictor"]


class DenoiserPredictor(Predictor):
    """Predictor that runs a trained model; pLDDT is the Cα lDDT that it expects, 0–100.

    Parameters
    ----------
    model
        ``model.safetensors``; None is the model that comes with the package. Its weights are read
        only when there is something to predict.
    device
        Device; None for a GPU if there is one.

    Raises
    ------
    UserError
        If the file is missing or is not a model file.
    """

    name: ClassVar[str] = "structdiff"
    is_expensive: ClassVar[bool] = True
    needs_gpu: ClassVar[bool] = True
    paths: ClassVar[tuple[str, ...]] = ("model",)
    code_version = 2

    def __init__(
        self, model: str | Path | None = None, *, device: "str | torch.device | None" = None
    ):
        from structdiff.pretrained import PRETRAINED, load_model

        self.path, self.device = Path(model or PRETRAINED), device
        # Verified here, so that a wrong file is reported before anything is planned.
        self._weights = load_model(self.path).info["sha256"]

    @property
    def key(self) -> dict[str, str | int]:
        """The key of the cache: a hash of the weights."""
        return {
            "predictor": self.name,
            "weights": self._weights,
            "code_version": self.code_version,
        }

    def predict(self, sequences: Sequence[str]) -> Iterator[list[Outcome]]:
        """Yield the structures, shortest peptides first."""

        from structdiff.generation.batching import batches
        from structdiff.generation.folding import fold
        from structdiff.pretrained import load_model

        lengths = np.array([len(sequence) for sequence in sequences], dtype=np.int64)
        with lease(1):
            device = self.device or choose_device()
            model = load_model(self.path, device)
            for rows, _ in batches(lengths):
                part = [sequences[row] for row in rows]
                yield [
                    from_backbone(design.sequence, design.backbone, 100 * design.confidence)
                    for design in fold(model, part)
                ]
