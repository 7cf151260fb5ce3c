"""The figures stage: the curves of a training."""
