"""The trained model as a source of structures, for the structures' stage.

``DenoiserPredictor(Path("model.safetensors"))`` has the interface of
`structdiff.structures.predictors.Predictor`. Structures never import a model: the command line
hands `structdiff.predictor.make_predictor`, which knows of this one too, to their stage.
"""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch

from structdiff.design.folding import fold
from structdiff.design.sampling import Sampling, batches
from structdiff.devices import lease
from structdiff.release import load_release
from structdiff.structures.predictors import Outcome
from structdiff.structures.structure import from_backbone

__all__ = ["DenoiserPredictor"]


class DenoiserPredictor:
    """Backbones from a trained model; it gives no pLDDT.

    Parameters
    ----------
    path
        ``model.safetensors``; read only when there is something to predict.
    num_steps
        Denoising steps.
    draws
        Backbones drawn for each peptide, of which the typical one is kept.
    seed
        Decides the noise, with each peptide's own sequence.
    device
        Where to compute; None takes a GPU where there is one.
    """

    name: ClassVar[str] = "structdiff"
    is_baseline: ClassVar[bool] = False
    is_expensive: ClassVar[bool] = True
    remembers: ClassVar[bool] = False
    code_version = 1

    def __init__(
        self,
        path: Path,
        *,
        num_steps: int = 20,
        draws: int = 4,
        seed: int = 0,
        device: str | torch.device | None = None,
    ):
        self.path, self.draws = Path(path), draws
        self.sampling = Sampling(num_steps=num_steps, seed=seed)
        self.device = device
        load_release(self.path)  # so that a wrong file is told of before anything is planned
        self._weights = hashlib.sha256(self.path.read_bytes()).hexdigest()

    @property
    def key(self) -> dict[str, str | int]:
        """The weights by their content, and the settings."""
        return {
            "predictor": self.name,
            "weights": self._weights,
            "num_steps": self.sampling.num_steps,
            "draws": self.draws,
            "seed": self.sampling.seed,
            "code_version": self.code_version,
        }

    def predict(self, sequences: Sequence[str]) -> Iterator[list[Outcome]]:
        """Yield the structures, shortest peptides first."""
        lengths = np.array([len(sequence) for sequence in sequences], dtype=np.int64)
        with lease(1):
            device = self.device or ("cuda" if torch.cuda.is_available() else "cpu")
            release = load_release(self.path, device)
            for rows, _ in batches(lengths):
                part = [sequences[row] for row in rows]
                folds = fold(release, part, self.sampling, draws=self.draws)
                yield [from_backbone(one.sequence, one.backbone) for one in folds]
