"""Settings of the sampler, with the one default of each.

The configuration (section ``generation``), the command line and Python all take them from here.
"""

import math
from dataclasses import dataclass

from structdiff.system.errors import UserError

__all__ = ["DEFAULT", "Sampling"]


@dataclass(frozen=True)
class Sampling:
    """How designs are drawn.

    Attributes
    ----------
    num_steps
        Denoising steps.
    guidance_scale
        Guidance towards the labels, away from their absence; 1 is none for one label.
    temperature
        Divides the logits of the residues: below 1 likelier residues, fewer different designs.
    seed
        Decides every random number.
    sampler
        Name of one of `structdiff.diffusion.SAMPLERS`.
    forbid
        Residues that no design has, such as ``C,M``.
    at_most
        Residues and their largest number in a design, such as ``W=1,K=5``.
    """

    num_steps: int = 100
    guidance_scale: float = 1.5
    temperature: float = 1.0
    seed: int = 0
    sampler: str = "ancestral"
    forbid: str = ""
    at_most: str = ""

    def __post_init__(self) -> None:
        for name in ("guidance_scale", "temperature"):
            if not math.isfinite(getattr(self, name)):
                raise UserError(f"{name} {getattr(self, name)}: give a finite number")


DEFAULT = Sampling()
