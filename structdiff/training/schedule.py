"""The learning rate as a function of the step: linear warm-up, then cosine (or constant).

A function of its arguments alone, so a resumed run needs no state for it. The horizon of the cosine
is the configured number of epochs: a run continued with more epochs follows the longer cosine from
the step where it stands, so its learning rate rises once to that of the longer schedule.
"""

import math

__all__ = ["learning_rate"]


def learning_rate(
    step: int, total_steps: int, *, name: str, peak: float, warmup_steps: int, min_lr: float
) -> float:
    """Return the learning rate of optimizer step ``step`` (the first is 0).

    Parameters
    ----------
    step, total_steps
        Which step, and how many there are.
    name
        ``"cosine"`` (Loshchilov & Hutter, 2017) or ``"constant"``.
    peak
        Learning rate after the warm-up.
    warmup_steps
        Steps of linear warm-up.
    min_lr
        Learning rate of the last step, for cosine.
    """
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    if name == "constant":
        return peak
    done = (step + 1 - warmup_steps) / max(total_steps - warmup_steps, 1)
    return min_lr + (peak - min_lr) * 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))
