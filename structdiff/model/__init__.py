"""The network: a transformer over residues that denoises sequence and backbone together.

``Denoiser(spec("small", num_labels=3, sequence_width=21))`` builds one; it knows nothing of the
noise processes that it is trained with (`structdiff.diffusion`). Needs torch alone.
"""

from structdiff.model.conditions import Condition
from structdiff.model.denoiser import PRESETS, Denoiser, ModelSpec, Prediction, no_estimate, spec
from structdiff.model.heads import DISTANCE_BINS

__all__ = [
    "DISTANCE_BINS",
    "PRESETS",
    "Condition",
    "Denoiser",
    "ModelSpec",
    "Prediction",
    "no_estimate",
    "spec",
]
