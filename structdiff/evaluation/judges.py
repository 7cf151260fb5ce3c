"""Judges: models that score designs and that the denoiser was not trained against.

They are Macrel, ESM-2, ESMFold and the classifiers of labels; `Judges` holds all of them.
``find_macrel()`` and ``load_esm2(path, device)`` return a judge with the method
``scores(sequences)``, or an `Unavailable` with the reason why it is missing; no other judge takes
its place. `structdiff.evaluation.judge_metrics` computes the metrics.
"""

import argparse
import importlib.util
import warnings
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from structdiff.evaluation.classifiers import LabelClassifier
from structdiff.evaluation.value import Unavailable
from structdiff.structures.predictors import Predictor
from structdiff.system.errors import UserError

__all__ = ["ESM2", "Judges", "Macrel", "find_macrel", "load_esm2"]

SHORTEST = 2
"""Smallest number of residues that Macrel can score, because it drops a first methionine."""

_MACREL_FROM = "pip install onnxruntime, then pip install --no-deps macrel"
# --no-deps leaves out pyrodigal (GPL), which Macrel needs only to find genes in contigs.

BATCH_RESIDUES = 16_384
"""Largest number of residues in a batch of ESM-2, unless the copies of one peptide have more."""


@dataclass(frozen=True)
class Macrel:
    """Judge that runs Macrel's random forests (Santos-Júnior et al., PeerJ 8:e10555, 2020).

    Attributes
    ----------
    antimicrobial, haemolytic
        The onnxruntime sessions of the two forests.
    """

    antimicrobial: Any
    haemolytic: Any

    def scores(self, sequences: list[str]) -> np.ndarray:
        """Return each peptide's probability of being antimicrobial, ``(sequences,)``.

        The value of a peptide of one residue is NaN.
        """
        return self._probability(self.antimicrobial, "AMP", sequences)

    def hemolysis(self, sequences: list[str]) -> np.ndarray:
        """Return each peptide's probability of being haemolytic, ``(sequences,)``.

        The value of a peptide of one residue is NaN.
        """
        return self._probability(self.haemolytic, "Hemo", sequences)

    def _probability(self, forest: Any, name: str, sequences: list[str]) -> np.ndarray:
        scores = np.full(len(sequences), np.nan)
        rows = [row for row, sequence in enumerate(sequences) if len(sequence) >= SHORTEST]
        if rows:
            features = np.array([_macrel_features(sequences[row]) for row in rows])
            (answers,) = forest.run(
                ["output_probability"], {"input_features": features.astype(np.float32)}
            )
            scores[rows] = [answer[name] for answer in answers]
        return scores


@lru_cache(maxsize=50_000)
def _macrel_features(sequence: str) -> np.ndarray:
    """Return Macrel's features of a sequence, cached because both forests need them."""
    from macrel.macrel_features import compute_all, normalize_seq

    return compute_all(normalize_seq(sequence))


def find_macrel() -> Macrel | Unavailable:
    """Return Macrel's classifiers, or why they are missing (see docs/installation.md)."""
    import gzip

    absent = [name for name in ("macrel", "onnxruntime") if importlib.util.find_spec(name) is None]
    if absent:
        return Unavailable(f"{' and '.join(absent)} not installed ({_MACREL_FROM})")
    import macrel
    import onnxruntime

    sessions = []
    for name in ("AMP.onnx.gz", "Hemo.onnx.gz"):
        path = Path(macrel.__file__).parent / "data" / "models" / name
        if not path.is_file():
            return Unavailable(f"the installed macrel is of another version: it has no {name}")
        onnx = gzip.decompress(path.read_bytes())
        sessions.append(onnxruntime.InferenceSession(onnx, providers=["CPUExecutionProvider"]))
    return Macrel(*sessions)


@dataclass(frozen=True)
class ESM2:
    """Judge that computes pseudo-perplexities with ESM-2 (Lin et al., Science 379, 1123, 2023).

    Attributes
    ----------
    model, alphabet
        The network and its alphabet, as fair-esm loads them.
    device
        The model's device.
    """

    model: torch.nn.Module
    alphabet: Any
    device: torch.device

    @torch.no_grad()
    def scores(self, sequences: list[str]) -> np.ndarray:
        """Return the pseudo-perplexity of each peptide, ``(sequences,)``; no peptide may be empty.

        Each residue is hidden in turn; the value is the exponential of the mean negative
        log-probability of the true residues (Salazar et al., ACL 2020). 20 is chance.
        """
        scores = np.zeros(len(sequences))
        lengths = np.array([len(sequence) for sequence in sequences])
        convert = self.alphabet.get_batch_converter()
        for length in np.unique(lengths).tolist():
            rows = np.flatnonzero(lengths == length)
            hidden = torch.arange(length)
            parts = min(len(rows), -(-len(rows) * length**2 // BATCH_RESIDUES))
            for part in np.array_split(rows, parts):
                _, _, tokens = convert([("", sequences[row]) for row in part])
                copies = tokens.repeat_interleave(length, dim=0)
                position = 1 + hidden.repeat(len(part))  # after the start token
                each = torch.arange(len(copies))
                true = copies[each, position]
                copies[each, position] = self.alphabet.mask_idx
                logits = self.model(copies.to(self.device))["logits"].float().cpu()
                log_probability = logits[each, position].log_softmax(-1)[each, true]
                scores[part] = np.exp(-log_probability.reshape(len(part), length).mean(1).numpy())
        return scores


def load_esm2(path: str | None, device: torch.device) -> ESM2 | Unavailable:
    """Return the judge ESM-2, or `Unavailable` if ``path`` is None.

    ``path`` is a local file of ESM-2 weights in the format of fair-esm.

    Raises
    ------
    UserError
        If ``path`` is not such a file.
    """
    if path is None:
        return Unavailable("no ESM-2 weights are given (evaluation.esm2_weights)")
    from esm.pretrained import load_model_and_alphabet_core

    file = Path(path)
    if not file.is_file():
        raise UserError(f"evaluation.esm2_weights: {path}: no such file")
    try:
        # The published files hold an argparse.Namespace next to the tensors.
        with torch.serialization.safe_globals([argparse.Namespace]):
            data = torch.load(file, map_location="cpu", weights_only=True)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Regression weights not found")
            model, alphabet = load_model_and_alphabet_core("esm2", data)
    except Exception as error:  # the loader raises many kinds of errors for a file of another kind
        raise UserError(
            f"evaluation.esm2_weights: {path}: are no weights of ESM-2 as fair-esm loads them "
            f"({type(error).__name__}: {str(error).splitlines()[0]})"
        ) from None
    return ESM2(model.eval().to(device), alphabet, device)


@dataclass(frozen=True)
class Judges:
    """All judges; a missing third-party judge is an `Unavailable` with the reason.

    Attributes
    ----------
    labels
        Classifiers of the labels, fitted to the training peptides.
    macrel
        Macrel's classifiers of antimicrobial and of haemolytic peptides.
    esm2
        The protein language model ESM-2.
    esmfold
        The structure predictor ESMFold; only if ``structures.predictor`` is ``esmfold``.
    num_folded
        Largest number of peptides of a set that ESMFold folds.
    """

    labels: LabelClassifier
    macrel: Macrel | Unavailable
    esm2: ESM2 | Unavailable
    esmfold: Predictor | Unavailable
    num_folded: int
