"""Evaluation of designs: metrics, controls, verdicts, ranking and the choice of peptides to order.

`registry` collects the metrics of the four modules ``*_metrics`` and those of other packages;
`metric` is their interface and `peptide_set` what they are computed for. `controls` makes the sets
that designs are compared with, `judges` has models of other origin, and `model_tasks` measures
folding and inverse folding. `verdict` judges a set, `candidates` ranks its designs, and `assess`
does all of this for one set. `stage` is the workflow's stage, `comparison` is ``structdiff evaluate
--designs`` and `pick` is ``structdiff pick``.
"""
