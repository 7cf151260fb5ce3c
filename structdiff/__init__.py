"""StructDiff: structure-aware diffusion models of peptides.

Each stage of the pipeline is a module or package of the same name: ``peptides``, ``structures``,
``training``, ``selection``, ``figures``, ``generation``, ``evaluation``. Importing this package
loads none of them, so that ``import structdiff`` is fast; the functions below are loaded at their
first use:

>>> import structdiff
>>> model = structdiff.load()
>>> designs = structdiff.generate(model, 3, "antimicrobial", length=12, num_steps=10)
>>> [len(design.sequence) for design in designs]
[12, 12, 12]
>>> backbone = structdiff.fold(model, designs[0].sequence).backbone
>>> backbone.shape  # N, Cα, C and O of each residue, in Å
(12, 4, 3)
>>> structdiff.score(model, designs[0].sequence).log_probability.shape
(12,)
"""

from importlib import import_module
from typing import Any

__all__ = [
    "__version__",
    "analogues",
    "fold",
    "generate",
    "infill",
    "inverse_fold",
    "load",
    "scan",
    "score",
    "view",
]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module("structdiff.api"), name)
    raise AttributeError(f"module 'structdiff' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
