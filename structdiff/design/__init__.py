"""Every task of a trained model, as a function of a `structdiff.release.Release`.

``codesign`` draws sequences with their backbones (or alone), ``infill`` fills a template,
``analogues`` varies a peptide, ``inverse_fold`` finds sequences for a backbone, ``fold`` the
backbones of sequences; ``score`` says how well a model knows given residues. `request` reads what a
person asks for, `predictor` offers the model to the structures' stage, `command` is ``structdiff
design``.

>>> release = load_release(Path("model.safetensors"))                           # doctest: +SKIP
>>> for one in codesign(release, [18] * 10, "antimicrobial+antiviral"):         # doctest: +SKIP
...     print(one.sequence)
"""

from structdiff.design.folding import Fold, fold
from structdiff.design.scoring import Score, score
from structdiff.design.tasks import Design, Sampling, analogues, codesign, infill, inverse_fold

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
