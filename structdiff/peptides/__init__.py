"""Tables of peptides: read, clean, split, and measure leakage.

`formats` reads tables and FASTA files, `sequences` has the standard form of a sequence, and `table`
rejects, merges and stores peptides; `labels` and `properties` read their columns. `split` divides
the peptides with the similar pairs that `similarity` finds, `leakage` measures what held-out
peptides share with training peptides, and `outlook` warns. `query` is the grammar of requests for
designs, and `seen` has hashes of training peptides. `stage` is the workflow's stage.
"""

__all__ = ["SPLITS"]

SPLITS = ("train", "val", "test")
"""Names of the splits; arrays and files store them as indices into this tuple."""
