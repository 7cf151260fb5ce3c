"""Evaluation of designs: metrics, controls, verdicts, ranking and the choice of peptides to order.

`metric` defines the interface of a metric, and `registry` lists all metrics: the metrics of the
four modules ``*_metrics`` and of other packages. A metric is computed for a `peptide_set`: a set
of designs, or one of the sets that `controls` makes to compare designs with. `judges` has
classifiers and networks that the model was not trained against. `verdict` names the faults of a
set, `candidates` ranks the set's designs, and `assess` runs all of these for one set. `model_tasks`
measures how well the model folds and designs for a backbone. `stage` is the workflow's stage,
`comparison` is ``structdiff evaluate --designs`` and `pick` is ``structdiff pick``.
"""
