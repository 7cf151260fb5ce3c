"""Noise processes on sequence and backbone, training losses, samplers and folding.

``JointProcess("masked", 1000)`` has the noise process on the sequence and the one on the backbone.
``losses`` computes the training losses of a batch. ``sample`` draws peptides with a denoiser from
``denoiser``; `structdiff.diffusion.given` makes its starting point. ``fold`` predicts backbones.
These functions only call the model (as `structdiff.model.Denoiser`) and do not depend on its
layers. Needs only torch, numpy, `structdiff.model` and `structdiff.protein`.
"""

from structdiff.diffusion.constraints import Constraints
from structdiff.diffusion.given import Given
from structdiff.diffusion.guidance import denoiser
from structdiff.diffusion.losses import Losses, TaskMix, losses
from structdiff.diffusion.processes import JointProcess
from structdiff.diffusion.random_numbers import Noise, SamplingNoise, noise, step_uniform
from structdiff.diffusion.refinement import Folded, fold
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
    "denoiser",
    "fold",
    "losses",
    "noise",
    "sample",
    "step_uniform",
]
