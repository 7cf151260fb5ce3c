"""Start the processes of a distributed training, with torchrun's launcher.

``processes(request, count, nodes)`` starts the processes of this node and waits for their end. On a
cluster, every node calls it, and the nodes connect to the first node. If a process dies, all are
started again from the last checkpoint, up to `RESTARTS` times. After an error that the user has to
fix, all end.
"""

import logging
import os
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path

from structdiff.system.cores import granted_cores
from structdiff.system.errors import UserError
from structdiff.training.interrupt import SIGNALS, Stopped, hangup_is_ignored
from structdiff.training.store import (
    BETWEEN_NODES,
    VARIABLE,
    address_towards,
    interface_of,
    reachable,
    serve,
    slurm_nodes,
)
from structdiff.training.worker import Request, message_file

__all__ = ["processes"]

RESTARTS = 3
SECONDS_TO_SAVE = 120
"""Seconds from a signal until processes that still run are killed. In this time, they finish the
checkpoint that is being written, and write the last one."""

SECONDS_TO_MEET = 60
DEFAULT_PORT = "29500"


def processes(request: Request, count: int, nodes: int = 1) -> None:
    """Train with ``count`` processes on this node, and wait until they have ended.

    Parameters
    ----------
    request
        Arguments of the training.
    count
        Number of processes on this node: one for each GPU, or any number without a GPU.
    nodes
        Number of nodes; each must call this function.

    Raises
    ------
    Stopped
        If this process received a signal, which it passed on to the processes.
    UserError
        If a process has an error that the user has to fix, or if the nodes cannot connect.
    ChildFailedError
        If processes died more than `RESTARTS` times (an error of torch.distributed.elastic).
    """
    from torch.distributed import DistNetworkError
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
    from torch.distributed.elastic.rendezvous.api import RendezvousError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    for name in list(logging.root.manager.loggerDict):
        if name.startswith("torch.distributed.elastic"):  # warns of each signal that it forwards
            logging.getLogger(name).setLevel(logging.ERROR)
    with ExitStack() as stack:
        scratch = stack.enter_context(tempfile.TemporaryDirectory(prefix="structdiff-"))
        own: str | None
        if nodes == 1:
            endpoint, own = str(Path(scratch, "rendezvous")), "127.0.0.1"
            store, chosen = {"store_type": "file"}, str(Path(scratch, "store"))
            run_id = str(uuid.uuid4())
        else:
            host, port = _meeting_point()
            run_id = f"structdiff-{host}:{port}"
            host = reachable(host, int(port))
            endpoint = f"{host}:{port}"
            timeout = timedelta(seconds=SECONDS_TO_MEET)
            stack.enter_context(serve(host, int(port), timeout))
            own = address_towards(host, int(port))
            store, chosen = {"store_type": "tcp", "is_host": "false"}, BETWEEN_NODES
        stack.enter_context(_environment(count, chosen, own))
        path = Path(scratch) / "request.json"
        request.write(path)
        config = LaunchConfig(
            min_nodes=nodes,
            max_nodes=nodes,
            nproc_per_node=count,
            run_id=run_id,
            rdzv_backend="c10d",
            rdzv_endpoint=endpoint,
            rdzv_configs={"read_timeout": SECONDS_TO_MEET, **store},
            local_addr=own,
            max_restarts=RESTARTS,
            logs_specs=DefaultLogsSpecs(log_dir=scratch),
            signals_to_handle=",".join(
                number.name for number in SIGNALS if not hangup_is_ignored(number)
            ),
            shutdown_timeout=SECONDS_TO_SAVE,
        )
        command = ("-m", "structdiff.training.worker", str(path))
        try:
            elastic_launch(config, sys.executable)(*command)
        except SignalException:
            raise Stopped from None
        except (DistNetworkError, RendezvousError) as error:
            reason = str(error).splitlines()[0] if str(error) else "not all nodes came in time"
            raise UserError(
                f"the nodes cannot meet at {endpoint} ({reason}); is the port "
                "in use? set MASTER_PORT to a free one, and MASTER_ADDR to the first node's name, "
                "or to its address if the name leads to 127.x on that node"
            ) from error
        finally:
            message = message_file(path)
            if message.exists():
                raise UserError(message.read_text(encoding="utf-8")) from None


def _meeting_point() -> tuple[str, str]:
    """Return host and port where the nodes meet, from MASTER_ADDR and MASTER_PORT.

    Without these, they are the first node of the SLURM step and `DEFAULT_PORT`.
    """
    host = os.environ.get("MASTER_ADDR") or next(iter(slurm_nodes()), None)
    if host is None:
        raise UserError(
            "training.num_nodes is more than 1, but nothing says where the nodes meet: start "
            "`structdiff train` once on each node through srun, or set MASTER_ADDR (the first "
            f"node's name) and MASTER_PORT (default {DEFAULT_PORT}) on each"
        )
    port = os.environ.get("MASTER_PORT", DEFAULT_PORT)
    if not port.isdecimal():
        raise UserError(f"MASTER_PORT is '{port}', which is not a number: set it to a free port")
    return host, port


@contextmanager
def _environment(count: int, store: str, own_address: str | None) -> Iterator[None]:
    """Set the environment variables that the processes inherit, within the block.

    The variables divide the cores that are granted on the node among its processes, choose the
    network interface of the node's address (a choice of the user is kept), and choose the store
    through which the processes exchange addresses. By default, torch would use the store of the
    launcher, in which restarted processes would find the addresses of their predecessors and wait
    for them until the time-out. Therefore each start of the processes gets a new store.
    """
    cores = granted_cores()
    wanted = {
        "OMP_NUM_THREADS": str(max(1, cores // count)),
        "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",
        VARIABLE: store,
    }
    interface = own_address and interface_of(own_address)
    if interface is not None:
        names = ["GLOO_SOCKET_IFNAME"] + ["NCCL_SOCKET_IFNAME"] * (store != BETWEEN_NODES)
        wanted |= {name: interface for name in names if name not in os.environ}
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
