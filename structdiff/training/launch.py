"""Several processes for one training, through torchrun's own launcher.

``processes(request, count, nodes)`` starts them on this node and waits; on a cluster, every node
calls it and they meet at the first one. A process that dies is started again with all the others,
from the last checkpoint.
``python -m structdiff.training.launch REQUEST`` is one such process.

An error that the user has to put right is an answer, not a crash that a restart could mend: the
process leaves it in a file beside the request and ends normally.
"""

import json
import os
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from structdiff.system.errors import UserError

if TYPE_CHECKING:
    from structdiff.config import Config

__all__ = ["Request", "processes"]

RESTARTS = 3
SIGNALS = "SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1"
SECONDS_TO_SAVE = 30
SECONDS_TO_MEET = 60
DEFAULT_PORT = "29500"
_OWN_STORE = "TORCH_DISABLE_SHARE_RDZV_TCP_STORE"


@dataclass(frozen=True)
class Request:
    """The arguments of `structdiff.training.stage.run` for every process."""

    config: "Config"
    peptides: Path
    structures: Path | None
    output_dir: Path
    resume: Path | None

    def write(self, path: Path) -> None:
        """Write the request for the processes to read."""
        names = ("peptides", "structures", "output_dir", "resume")
        paths = {name: getattr(self, name) for name in names}
        request = {name: None if value is None else str(value) for name, value in paths.items()}
        request["config"] = self.config.model_dump(mode="json")
        path.write_text(json.dumps(request), encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> "Request":
        """Read what `write` wrote."""
        from structdiff.config import parse

        request = json.loads(path.read_text(encoding="utf-8"))
        config = parse(request.pop("config"), source=str(path))
        paths = {name: value and Path(value) for name, value in request.items()}
        return cls(config=config, **paths)


def processes(request: Request, count: int, nodes: int = 1) -> bool:
    """Train with ``count`` processes on this node; return whether the training is finished.

    Parameters
    ----------
    request
        What to train.
    count
        Processes on this node: one for each GPU, or CPU processes where there is no GPU.
    nodes
        Nodes that take part; each of them calls this.

    Raises
    ------
    UserError
        If a process raised one; if the nodes cannot meet.
    """
    from torch.distributed import DistNetworkError
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
    from torch.distributed.elastic.rendezvous.api import RendezvousError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    endpoint = "localhost:0" if nodes == 1 else _meeting_point()
    with tempfile.TemporaryDirectory(prefix="structdiff-") as scratch, _environment(count):
        path = Path(scratch) / "request.json"
        request.write(path)
        config = LaunchConfig(
            min_nodes=nodes,
            max_nodes=nodes,
            nproc_per_node=count,
            run_id=str(uuid.uuid4()) if nodes == 1 else f"structdiff-{endpoint}",
            rdzv_backend="c10d",
            rdzv_endpoint=endpoint,
            rdzv_configs={"read_timeout": SECONDS_TO_MEET},
            max_restarts=RESTARTS,
            logs_specs=DefaultLogsSpecs(log_dir=scratch),
            signals_to_handle=SIGNALS,
            shutdown_timeout=SECONDS_TO_SAVE,
        )
        command = ("-m", "structdiff.training.launch", str(path))
        try:
            elastic_launch(config, sys.executable)(*command)
        except SignalException:
            return False
        except (DistNetworkError, RendezvousError) as error:
            raise UserError(
                f"the nodes cannot meet at {endpoint} ({str(error).splitlines()[0]}); is the port "
                "in use? set MASTER_PORT to a free one, and MASTER_ADDR to the first node's name"
            ) from error
        finally:
            _raise_answer(path)
    return True


def _answer(path: Path, attempt: int | str) -> Path:
    """Return the file for what a process of an attempt has to tell the user."""
    return path.with_suffix(f".error{attempt}")


def _raise_answer(path: Path) -> None:
    """Raise the error that a process left for the user, if one did."""
    for answer in path.parent.glob(_answer(path, "*").name):
        raise UserError(answer.read_text()) from None


def _meeting_point() -> str:
    """Return host:port where the nodes meet: as the environment says, or as SLURM knows it."""
    host, nodes = os.environ.get("MASTER_ADDR"), os.environ.get("SLURM_STEP_NODELIST")
    if host is None and nodes is not None:
        command = ["scontrol", "show", "hostnames", nodes]
        host = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[0]
    if host is None:
        raise UserError(
            "training.num_nodes is more than 1, but nothing says where the nodes meet: start "
            "`structdiff train` once on each node through srun, or set MASTER_ADDR (the first "
            f"node's name) and MASTER_PORT (default {DEFAULT_PORT}) on each"
        )
    return f"{host}:{os.environ.get('MASTER_PORT', DEFAULT_PORT)}"


@contextmanager
def _environment(count: int) -> Iterator[None]:
    """Set what the processes inherit.

    The node's cores (or OMP_NUM_THREADS, if set) are shared between its processes. The processes
    of each attempt meet in a store of their own: in the launcher's, which is the default, those of
    a second attempt find the addresses of the first, and may wait for them until the time-out.
    """
    before = {name: os.environ.get(name) for name in ("OMP_NUM_THREADS", _OWN_STORE)}
    cores = int(before["OMP_NUM_THREADS"] or len(os.sched_getaffinity(0)))
    os.environ["OMP_NUM_THREADS"] = str(max(1, cores // count))
    os.environ[_OWN_STORE] = "1"
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _main(path: Path) -> None:
    """Be one process of the training."""
    from structdiff.training.stage import run

    request = Request.read(path)
    attempt = int(os.environ["TORCHELASTIC_RESTART_COUNT"])
    for earlier in range(attempt):
        _answer(path, earlier).unlink(missing_ok=True)
    try:
        run(
            request.config,
            request.peptides,
            request.structures,
            request.output_dir,
            resume=request.resume,
        )
    except UserError as error:
        _answer(path, attempt).write_text(str(error))


if __name__ == "__main__":
    _main(Path(sys.argv[1]))
