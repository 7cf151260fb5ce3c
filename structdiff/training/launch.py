"""Start of several processes for one training, through torchrun's own launcher.

``processes(request, count, nodes)`` starts them on this node and waits for their end; on a cluster,
every node calls it, and the nodes meet at the first one. If a process dies, all are started again,
from the last checkpoint.
"""

import os
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from structdiff.system.errors import UserError
from structdiff.training.interrupt import Stopped
from structdiff.training.worker import Request, message_file

__all__ = ["processes"]

RESTARTS = 3
SIGNALS = "SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1"
SECONDS_TO_SAVE = 30
SECONDS_TO_MEET = 60
DEFAULT_PORT = "29500"
_OWN_STORE = "TORCH_DISABLE_SHARE_RDZV_TCP_STORE"


def processes(request: Request, count: int, nodes: int = 1) -> None:
    """Train with ``count`` processes on this node.

    Parameters
    ----------
    request
        What to train.
    count
        Processes on this node: one for each GPU, or CPU processes where there is no GPU.
    nodes
        Number of nodes, each of which calls this.

    Raises
    ------
    Stopped
        If a signal stopped the training; its state is saved.
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
        command = ("-m", "structdiff.training.worker", str(path))
        try:
            elastic_launch(config, sys.executable)(*command)
        except SignalException:
            raise Stopped from None
        except (DistNetworkError, RendezvousError) as error:
            raise UserError(
                f"the nodes cannot meet at {endpoint} ({str(error).splitlines()[0]}); is the port "
                "in use? set MASTER_PORT to a free one, and MASTER_ADDR to the first node's name"
            ) from error
        finally:
            _raise_message(path)


def _raise_message(request: Path) -> None:
    """Raise the error that a process wrote for the user, if one did."""
    for path in request.parent.glob(message_file(request, "*").name):
        raise UserError(path.read_text(encoding="utf-8")) from None


def _meeting_point() -> str:
    """Return host:port where the nodes meet, from the environment or from SLURM."""
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
    """Set the environment that the processes inherit.

    The processes share the node's cores (or OMP_NUM_THREADS, if set). Those of each attempt have a
    store of their own: in the launcher's, which is the default, a second attempt finds the
    addresses of the first, and may wait for them until the time-out.
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
