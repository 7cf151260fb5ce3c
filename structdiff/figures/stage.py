"""The figures stage: the curves of a training.

``run(config, training, output_dir)`` draws losses, learning rate, gradient norm and throughput,
each as SVG and PNG.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from structdiff.figures.curves import Curves
from structdiff.system.plotting import new_figure, save_figure
from structdiff.training.metrics import LOSSES

if TYPE_CHECKING:
    from structdiff.config import Config

__all__ = ["run"]


def run(config: "Config", training: Path, output_dir: Path) -> None:
    """Draw the curves of a training into ``output_dir``.

    Parameters
    ----------
    config
        The configuration, with the name of the run.
    training
        The training folder, with ``metrics.jsonl``.
    output_dir
        Folder of the files ``<curve>.svg`` and ``<curve>.png``.

    Raises
    ------
    UserError
        If no step has been trained there.
    """
    curves = Curves.read(training / "metrics.jsonl")
    figure, axes = new_figure(1, len(LOSSES))
    for axis, name in zip(axes[0], LOSSES, strict=True):
        curves.losses(axis, name)
    figure.suptitle(config.run)
    save_figure(figure, output_dir / "losses")
    for name, draw in {
        "learning_rate": curves.learning_rate,
        "gradient_norm": curves.gradient_norm,
        "throughput": curves.throughput,
    }.items():
        figure, axes = new_figure(width=6.4)
        draw(axes[0, 0])
        figure.suptitle(config.run)
        save_figure(figure, output_dir / name)
    print(f"{len(curves.steps):,} steps and {len(curves.validations)} validations drawn")
