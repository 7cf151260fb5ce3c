"""The network: a transformer over residues that denoises sequence and backbone together.

``Denoiser(spec("small", num_labels=3, sequence_width=21))`` builds one; it knows nothing of the
noise processes that it is trained with (`structdiff.diffusion`). Needs torch alone.
"""

from structdiff.model.denoiser import (
    ABSENT,
    DISTANCE_BINS,
    PRESENT,
    PRESETS,
    UNSPECIFIED,
    Denoiser,
    ModelSpec,
    Prediction,
    spec,
)

__all__ = [
    "ABSENT",
    "DISTANCE_BINS",
    "PRESENT",
    "PRESETS",
    "UNSPECIFIED",
    "Denoiser",
    "ModelSpec",
    "Prediction",
    "spec",
]
