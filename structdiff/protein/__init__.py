"""Residues, structures, their geometry, and structure files."""
