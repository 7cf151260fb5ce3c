"""Design with a trained model: the tasks, their batches, and the files of designs.

`tasks` designs sequences with their backbones (``codesign``, ``infill``, ``analogues``,
``inverse_fold``), `folding` predicts the backbones of sequences and `scoring` the probability of
residues; `scan` is a mutational scan. `variants` keeps the analogues that are new. `request` checks
the user's request, `output` writes and reads designs; `command` is ``structdiff design`` and
`stage` the workflow's stage.
"""
