"""The trained model as a source of structures, for the structures' stage.

``DenoiserPredictor(Path("model.safetensors"))`` has the interface of
`structdiff.structures.predictors.Predictor`. Structures never import a model: the command line
hands `structdiff.predictor.make_predictor`, which knows of this one too, to their stage.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch

from structdiff.generation.batching import batches
from structdiff.generation.folding import fold
from structdiff.pretrained import load_model
from structdiff.protein.structure import from_backbone
from structdiff.structures.predictors import Outcome
from structdiff.system.gpus import lease

__all__ = ["DenoiserPredictor"]


class DenoiserPredictor:
    """Backbones from a trained model; their pLDDT is the Cα-lDDT that it expects, in 0–100.

    Parameters
    ----------
    path
        ``model.safetensors``; read only when there is something to predict.
    device
        Where to compute; None takes a GPU where there is one.
    """

    name: ClassVar[str] = "structdiff"
    is_baseline: ClassVar[bool] = False
    is_expensive: ClassVar[bool] = True
    remembers: ClassVar[bool] = False
    code_version = 2

    def __init__(self, path: Path, *, device: str | torch.device | None = None):
        self.path, self.device = Path(path), device
        # Verified here, so that a wrong file is reported before anything is planned.
        self._weights = load_model(self.path).info["sha256"]

    @property
    def key(self) -> dict[str, str | int]:
        """The weights, by their content."""
        return {
            "predictor": self.name,
            "weights": self._weights,
            "code_version": self.code_version,
        }

    def predict(self, sequences: Sequence[str]) -> Iterator[list[Outcome]]:
        """Yield the structures, shortest peptides first."""
        lengths = np.array([len(sequence) for sequence in sequences], dtype=np.int64)
        with lease(1):
            device = self.device or ("cuda" if torch.cuda.is_available() else "cpu")
            release = load_model(self.path, device)
            for rows, _ in batches(lengths):
                part = [sequences[row] for row in rows]
                yield [
                    from_backbone(one.sequence, one.backbone, 100 * one.confidence)
                    for one in fold(release, part)
                ]
