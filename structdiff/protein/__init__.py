"""Residues, structures and their geometry, and the files that hold them."""
