"""StructDiff: structure-aware diffusion models of peptides.

Each stage of the pipeline is a module or package of its own name: ``peptides``, ``structures``,
``training``, ``selection``, ``figures``, ``generation``, ``evaluation``. Importing this package
loads none of them, so that ``import structdiff`` costs nothing.
"""

__all__ = ["__version__"]

__version__ = "0.1.0"
