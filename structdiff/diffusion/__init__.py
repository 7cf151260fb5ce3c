"""The noise processes on sequence and backbone, their losses and their samplers.

``JointProcess("masked", 1000)`` names the two processes that a model is trained with; ``losses``
scores a model on a batch; ``sample`` draws from it, ``fold`` predicts with it (`distances` holds
its chains together). All are functions of a model as `structdiff.model.Denoiser` is called, and
know nothing of its insides. Needs torch and numpy alone.
"""

from structdiff.diffusion.losses import Losses, TaskMix, losses
from structdiff.diffusion.noise import Noise, noise, step_uniform
from structdiff.diffusion.processes import JointProcess
from structdiff.diffusion.sampling import Folded, Samples, fold, sample

__all__ = [
    "Folded",
    "JointProcess",
    "Losses",
    "Noise",
    "Samples",
    "TaskMix",
    "fold",
    "losses",
    "noise",
    "sample",
    "step_uniform",
]
