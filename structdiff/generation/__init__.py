"""Design with a trained model: the tasks, their batches, and the files of designs.

- `tasks` designs peptides (``codesign``, ``infill``, ``analogues``, ``inverse_fold``), and
  `variants` draws analogues that are all different.
- `folding` predicts the backbones of given sequences, `scoring` computes the probabilities of their
  residues, and `scan` scores all single substitutions.
- `request` checks the user's request, and `output` writes and reads designs.
- `command` has the functions of ``structdiff design``, and `stage` those of the workflow's stage.
"""
