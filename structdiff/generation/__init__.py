"""Every task of a trained model, as a function of a `structdiff.pretrained.TrainedModel`.

``codesign`` draws sequences with their backbones (or alone), ``infill`` fills a template,
``analogues`` varies a peptide, ``inverse_fold`` finds sequences for a backbone, ``fold`` the
backbones of sequences; ``score`` says how well a model knows given residues. `request` reads what a
person asks for, `predictor` offers the model to the structures' stage, `command` is ``structdiff
design``.

>>> release = load_model(Path("model.safetensors"))                           # doctest: +SKIP
>>> for one in codesign(release, [18] * 10, "antimicrobial+antiviral"):         # doctest: +SKIP
...     print(one.sequence)
"""

from structdiff.generation.folding import Fold, fold
from structdiff.generation.scoring import Score, score
from structdiff.generation.tasks import Design, analogues, codesign, infill, inverse_fold
from structdiff.settings import Sampling

__all__ = [
    "Design",
    "Fold",
    "Sampling",
    "Score",
    "analogues",
    "codesign",
    "fold",
    "infill",
    "inverse_fold",
    "score",
]
