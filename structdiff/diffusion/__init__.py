"""The noise processes on sequence and backbone, their losses and their samplers.

``JointProcess("masked", 1000)`` names the two processes that a model is trained with; ``losses``
scores a model on a batch. ``sample`` draws peptides, given what one of the functions of
`structdiff.diffusion.given` returns, with a ``denoiser``; ``fold`` predicts backbones. All are
functions of a model as `structdiff.model.Denoiser` is called, and know nothing of its insides.
Needs torch and numpy alone.
"""

from structdiff.diffusion.constraints import Constraints
from structdiff.diffusion.given import Given
from structdiff.diffusion.guidance import denoiser
from structdiff.diffusion.losses import Losses, TaskMix, losses
from structdiff.diffusion.processes import JointProcess
from structdiff.diffusion.random_numbers import Noise, SamplingNoise, noise, step_uniform
from structdiff.diffusion.refinement import Folded, fold
from structdiff.diffusion.sampling import SAMPLERS, Samples, sample

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
    "TaskMix",
    "denoiser",
    "fold",
    "losses",
    "noise",
    "sample",
    "step_uniform",
]
