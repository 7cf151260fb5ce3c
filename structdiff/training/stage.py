"""The training stage: ``run(config, peptides, structures, output_dir, …)``.

The number of processes is ``training.num_gpus`` × ``training.num_nodes``. If this product is 1 on a
machine without a GPU, one process is started for each granted core, but at most one for each
micro-batch of a step. A single process is the calling process; several processes are started with
torchrun's launcher.

If ``output_dir`` has a finished run, ``run`` only says so. An unfinished run is resumed from its
last checkpoint. A run with other settings or data is moved aside, and a new run begins.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from structdiff.system import gpus
from structdiff.system.cores import granted_cores
from structdiff.system.errors import UserError
from structdiff.training import folder_lock, launch
from structdiff.training.distributed import launched_by_torchrun
from structdiff.training.interrupt import EXIT_STATUS, Stopped
from structdiff.training.worker import Request, train

if TYPE_CHECKING:
    from structdiff.config import Config, Training

__all__ = ["run"]


def run(
    config: "Config",
    peptides: Path,
    structures: Path | None,
    output_dir: Path,
    *,
    num_gpus: int | None = None,
    resume: Path | None = None,
    wait: bool = False,
) -> None:
    """Train in ``output_dir``, or resume the training there; ``summary.json`` is written last.

    Parameters
    ----------
    config
        The configuration.
    peptides, structures
        Paths of ``peptides.parquet`` and of the structures' ``index.parquet``. The latter is None
        to train on sequences alone, and ignored if ``data.use_predicted_structures`` is false.
    output_dir
        The training folder.
    num_gpus
        Number of processes on this node; None for ``training.num_gpus``. The effective batch size
        does not change. If one process is configured and the machine has no GPU, one process is
        started for each granted core, but at most one for each micro-batch of a step.
    resume
        Checkpoint to resume from; None for the last one in ``output_dir``.
    wait
        Whether to wait while another process is training in ``output_dir``; if false, this is an
        error.

    Raises
    ------
    UserError
        If there is a problem with the input, the machine or the checkpoints, or the loss is not
        finite.
    SystemExit
        With `interrupt.EXIT_STATUS` (75) if a signal stopped the training; its state is saved.
    """
    if not config.data.use_predicted_structures:
        structures = None
    for path in (peptides, structures, resume):
        if path is not None and not path.is_file():
            raise UserError(f"{path}: no such file")
    processes, nodes = num_gpus or config.training.num_gpus, config.training.num_nodes
    launched = launched_by_torchrun()
    if processes * nodes == 1 and not launched:
        processes = _processes_on(gpus.choose_device().type, config.training)
    if wait:
        folder_lock.wait(output_dir)
    request = Request(config, peptides, structures, output_dir, resume)
    try:
        if launched:
            train(request)
        elif processes * nodes > 1:
            with gpus.lease(processes):
                launch.processes(request, processes, nodes)
        else:
            with gpus.lease(1):
                train(request)
    except Stopped:
        raise SystemExit(EXIT_STATUS) from None


def _processes_on(device_type: str, training: "Training") -> int:
    """Return the number of processes of a run for which one process is configured.

    On a GPU, it is 1. On a CPU, it is the number of granted cores, but at most the number of
    micro-batches in a step.
    """
    if device_type != "cpu":
        return 1
    return min(granted_cores(), training.effective_batch // training.batch_size)
