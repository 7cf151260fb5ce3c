"""Every source of structures by its name in the configuration, a trained model of ours included.

Structures know of no model (`structdiff.structures.predictors` has the other sources), so the
command line hands this ``make_predictor`` to their stage.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from structdiff.structures import predictors

if TYPE_CHECKING:
    from structdiff.config import Config

__all__ = ["make_predictor"]


def make_predictor(config: "Config") -> predictors.Predictor:
    """Return the predictor that a configuration asks for.

    Raises
    ------
    UserError
        If its files or weights cannot be used.
    """
    from structdiff.config import predictor_name

    if predictor_name(config) != "structdiff":
        return predictors.make_predictor(config)
    from structdiff.design.predictor import DenoiserPredictor
    from structdiff.release import RELEASED

    own = config.structures.structdiff.model
    return DenoiserPredictor(Path(own) if own else RELEASED)
