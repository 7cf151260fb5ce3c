"""All curves of a training in one figure: ``structdiff monitor --mode plot``."""

from pathlib import Path

from structdiff.figures.curves import Curves
from structdiff.system.errors import UserError
from structdiff.system.plotting import new_figure
from structdiff.training.metrics import LOSSES
from structdiff.training.monitor import training_folder

__all__ = ["draw"]


def draw(output_dir: Path, file: Path | None) -> Path:
    """Draw losses, learning rate, gradient norm and speed of a run; return the file.

    Parameters
    ----------
    output_dir
        The training folder, or the folder of the run.
    file
        The file to write, whose ending determines the format, or an existing folder in which
        ``training_curves.png`` is written; None for the training folder.

    Raises
    ------
    UserError
        If no step has been trained there, or the ending of the file is not a figure format.
    """
    folder = training_folder(output_dir)
    curves = Curves.read(folder / "metrics.jsonl")
    figure, axes = new_figure(2, 3)
    for axis, name in zip(axes[0], LOSSES, strict=True):
        curves.losses(axis, name)
    curves.learning_rate(axes[1, 0])
    curves.gradient_norm(axes[1, 1])
    curves.throughput(axes[1, 2])
    file = file or folder
    if file.is_dir():
        file = file / "training_curves.png"
    formats = figure.canvas.get_supported_filetypes()
    if file.suffix.removeprefix(".") not in formats:
        raise UserError(f"--save-plot: {file}: no such format; end it in .png, .svg or .pdf")
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=150)
    return file
