"""Noise processes on sequence and backbone, training losses, samplers and folding.

``JointProcess("masked", 1000)`` combines a noise process on the sequence (masking) and a noise
process on the backbone, with 1000 noise levels. ``losses`` computes the training losses of a batch.
`structdiff.diffusion.given` makes the start of sampling, ``denoiser`` makes a denoiser, and
``sample`` draws peptides from these two. ``fold`` predicts backbones, and ``close_disulfides`` fits
drawn backbones to disulfides. These functions only call the model (a `structdiff.model.Denoiser`)
and do not depend on its layers. The package needs only torch, numpy, networkx, `structdiff.model`
and `structdiff.protein`.
"""

from structdiff.diffusion.constraints import Constraints
from structdiff.diffusion.given import Given
from structdiff.diffusion.guidance import denoiser
from structdiff.diffusion.losses import Losses, TaskMix, losses
from structdiff.diffusion.processes import JointProcess
from structdiff.diffusion.random_numbers import Noise, SamplingNoise, noise, step_uniform
from structdiff.diffusion.refinement import Folded, close_disulfides, fold
from structdiff.diffusion.sampling import SAMPLERS, Samples, sample
from structdiff.diffusion.steering import Steered, Target

__all__ = [
    "SAMPLERS",
    "Constraints",
    "Folded",
    "Given",
    "JointProcess",
    "Losses",
    "Noise",
    "Samples",
    "SamplingNoise",
    "Steered",
    "Target",
    "TaskMix",
    "close_disulfides",
    "denoiser",
    "fold",
    "losses",
    "noise",
    "sample",
    "step_uniform",
]
