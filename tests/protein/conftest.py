"""The simulated structures of the structures' tests."""

from tests.structures.conftest import peptides, simulate

__all__ = ["peptides", "simulate"]
