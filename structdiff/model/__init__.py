"""The network: a transformer over residues that denoises sequence and backbone together.

``Denoiser(spec("small", ConditionSpec(["a label"]), sequence_width=21))`` builds one. The
network does not depend on the noise processes that it is trained with (`structdiff.diffusion`).
Needs only torch, numpy and `structdiff.protein.residues`.
"""

from structdiff.model.conditions import Condition, ConditionSpec, Property
from structdiff.model.denoiser import PRESETS, Denoiser, ModelSpec, Prediction, no_estimate, spec
from structdiff.model.heads import CYSTEINE, DISTANCE_BINS

__all__ = [
    "CYSTEINE",
    "DISTANCE_BINS",
    "PRESETS",
    "Condition",
    "ConditionSpec",
    "Denoiser",
    "ModelSpec",
    "Prediction",
    "Property",
    "no_estimate",
    "spec",
]
