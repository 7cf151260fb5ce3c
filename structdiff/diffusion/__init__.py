"""The noise processes on sequence and backbone, their losses and their samplers.

``JointProcess("masked", 1000)`` makes the two processes of a model; ``losses`` returns the losses
of a model on a batch. ``sample`` draws peptides with a ``denoiser``, from a start that a function
of `structdiff.diffusion.given` makes; ``fold`` predicts backbones. These functions
only call the model (as `structdiff.model.Denoiser`) and do not depend on its parts. Needs only
torch, numpy, `structdiff.model` and `structdiff.protein`.
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
