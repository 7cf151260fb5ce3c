"""A real SLURM of two nodes on this one machine, for tests: started, broken and stopped at will.

Each node has two GPUs that exist only as device files, enough for SLURM to number them and to set
CUDA_VISIBLE_DEVICES. All its files lie in one folder, munge's key and socket too; /etc/slurm only
links to them, because Snakemake's plugin hides SLURM_CONF from the steps of a job. It needs root,
and Debian's packages slurm-wlm and munge. Accounting is off: ``sacct`` tells nothing.

``python tests/slurm/cluster.py`` starts one and waits for Ctrl-C, to try things by hand.
"""

import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["NODES", "Cluster", "missing", "running"]

NODES = ("n1", "n2")
ETC = Path("/etc/slurm")
CONFIGURATION = ("slurm.conf", "gres.conf")
PID_FILE = "slurmctld.pid"
HOSTS = Path("/etc/hosts")
HOSTS_LINE = f"127.0.0.1 {' '.join(NODES)} # of StructDiff's SLURM for tests\n"
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scontrol")

SLURM_CONF = """\
ClusterName=structdiff
SlurmctldHost=localhost
SlurmctldPort={ports[0]}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={directory}/munge.socket,cred_expire=5
StateSaveLocation={directory}/state
SlurmdSpoolDir={directory}/spool/%n
SlurmctldLogFile={directory}/slurmctld.log
SlurmdLogFile={directory}/slurmd.%n.log
SlurmctldPidFile={directory}/{pid_file}
SlurmdPidFile={directory}/slurmd.%n.pid
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SlurmdParameters=config_overrides
GresTypes=gpu
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
JobRequeue=1
ReturnToService=2
MinJobAge=3600
KillWait=15
SlurmdTimeout=10
SchedulerParameters=sched_interval=2,batch_sched_delay=1
NodeName=n[1-2] NodeHostname={hostname} NodeAddr=127.0.0.1 Port=[{ports[1]}-{ports[2]}] \
CPUs=32 RealMemory=256000 Gres=gpu:a100:2 State=UNKNOWN
PartitionName=all Nodes=n[1-2] Default=YES MaxTime=INFINITE State=UP
"""

GRES_CONF = "AutoDetect=off\nNodeName=n[1-2] Name=gpu Type=a100 File={directory}/gpu[0-1]\n"


def missing() -> str | None:
    """Return why no SLURM can be started here, None if it can."""
    if os.geteuid() != 0:
        return "starting a SLURM needs root"
    absent = [program for program in PROGRAMS if shutil.which(program, path=_path()) is None]
    if absent:
        return f"SLURM is not installed ({', '.join(absent)}); Debian: slurm-wlm and munge"
    if any((ETC / name).exists() and not (ETC / name).is_symlink() for name in CONFIGURATION):
        return f"this machine has a SLURM of its own ({ETC})"
    try:
        os.kill(int((ETC / CONFIGURATION[0]).resolve().with_name(PID_FILE).read_text()), 0)
    except (OSError, ValueError):
        return None
    return "the SLURM of another test is running"


@contextmanager
def running(directory: Path) -> Iterator["Cluster"]:
    """Start a cluster and stop it at the end, whatever happened.

    Parameters
    ----------
    directory
        An empty folder for all its files, with a short path (it holds a socket).
    """
    cluster = Cluster(directory)
    try:
        try:
            cluster.start()
        except AssertionError as error:
            raise RuntimeError(f"{error}\n{cluster.logs()}") from error
        yield cluster
    finally:
        cluster.stop()


class Cluster:
    """The daemons of one cluster; use `running`.

    Attributes
    ----------
    environment
        The environment of SLURM's commands and of Snakemake.
    """

    def __init__(self, directory: Path):
        self.directory = directory
        self.environment = {**os.environ, "PATH": _path()}
        self._daemons: dict[str, subprocess.Popen] = {}

    def start(self) -> None:
        """Start all daemons; return when both nodes are idle."""
        self._configure()
        files = {name: self.directory / f"munge.{name}" for name in ("key", "socket")}
        files["key"].write_bytes(os.urandom(128))
        files["key"].chmod(0o600)
        options = [
            f"--key-file={files['key']}",
            f"--socket={files['socket']}",
            f"--log-file={self.directory / 'munged.log'}",
            f"--seed-file={self.directory / 'munge.seed'}",
            f"--pid-file={self.directory / 'munged.pid'}",
        ]
        self._daemon("munged", ["munged", "--foreground", *options])
        wait(files["socket"].exists, "munge's socket", 10)
        self._daemon("slurmctld", ["slurmctld", "-D"])
        for node in NODES:
            self.start_node(node)
        wait(lambda: set(self.states().values()) == {"idle"}, "two idle nodes", 60)

    def stop(self) -> None:
        """End the jobs, then the daemons."""
        if "slurmctld" in self._daemons:
            self.run("scancel", "--user=root", check=False)
            self.run("scancel", "--user=root", "--signal=KILL", "--full", check=False)
        for name in reversed(list(self._daemons)):
            self._end(name, signal.SIGTERM)
        for name in CONFIGURATION:
            (ETC / name).unlink(missing_ok=True)
        text = HOSTS.read_text()
        if HOSTS_LINE in text:
            HOSTS.write_text(text.replace(HOSTS_LINE, ""))  # in place: containers mount this file

    def start_node(self, node: str) -> None:
        """Start a node's daemon."""
        self._daemon(node, ["slurmd", "-D", "-N", node])

    def kill_node(self, node: str) -> None:
        """Kill a node's daemon; what runs on the node runs on."""
        self._end(node, signal.SIGKILL)

    def run(self, *command: str, check: bool = True) -> str:
        """Run one of SLURM's commands and return what it prints."""
        done = subprocess.run(
            command, env=self.environment, capture_output=True, text=True, check=False, timeout=60
        )
        assert not check or done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout

    def states(self) -> dict[str, str]:
        """Return the state of each node that has registered."""
        lines = self.run("sinfo", "--noheader", "--Node", "--format=%N %t", check=False)
        return dict(line.split() for line in lines.splitlines())

    def jobs(self, rule: str, directory: Path) -> list[dict[str, str]]:
        """Return what SLURM knows of a rule's jobs in a directory, ended or not, oldest first."""
        lines = self.run("scontrol", "--oneliner", "show", "job").splitlines()
        jobs = [dict(part.split("=", 1) for part in line.split() if "=" in part) for line in lines]
        comments = re.compile(rf"rule_{rule}(_wildcards_.*)?")
        return [
            job
            for job in jobs
            if job.get("WorkDir") == str(directory) and comments.fullmatch(job.get("Comment", ""))
        ]

    def logs(self) -> str:
        """Return the last lines of all daemons."""
        files = [*self.directory.glob("*.log"), *self.directory.glob("*.out")]
        tails = [f"== {path.name}\n{path.read_text()[-2000:]}" for path in sorted(files)]
        return "\n".join(tails)

    def _configure(self) -> None:
        self.directory.chmod(0o755)  # munge's clients must reach its socket
        for node in NODES:
            (self.directory / "spool" / node).mkdir(parents=True)
        (self.directory / "state").mkdir()
        for index in range(2):
            # Plain files would leave CUDA_VISIBLE_DEVICES unset.
            os.mknod(self.directory / f"gpu{index}", stat.S_IFCHR | 0o600, os.makedev(1, 3))
        values = {
            "directory": self.directory,
            "pid_file": PID_FILE,
            "hostname": socket.gethostname().split(".")[0],
            "ports": free_ports(3),
        }
        (self.directory / "slurm.conf").write_text(SLURM_CONF.format(**values))
        (self.directory / "gres.conf").write_text(GRES_CONF.format(**values))
        for name in CONFIGURATION:
            (ETC / name).unlink(missing_ok=True)  # a link that a killed test has left
            (ETC / name).symlink_to(self.directory / name)
        if HOSTS_LINE not in HOSTS.read_text():  # the nodes of a training meet by their names
            with HOSTS.open("a") as file:
                file.write(HOSTS_LINE)

    def _daemon(self, name: str, command: list[str]) -> None:
        with (self.directory / f"{name}.out").open("a") as output:
            self._daemons[name] = subprocess.Popen(
                command, env=self.environment, stdout=output, stderr=output, start_new_session=True
            )

    def _end(self, name: str, number: signal.Signals) -> None:
        daemon = self._daemons.pop(name)
        daemon.send_signal(number)
        try:
            daemon.wait(20)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()


def _path() -> str:
    return os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])


def free_ports(count: int) -> list[int]:
    """Return the first of ``count`` free ports in a row, and those after it."""
    for first in range(17001, 30000, count):
        ports = list(range(first, first + count))
        if not any(_in_use(port) for port in ports):
            return ports
    raise RuntimeError("no free ports")


def _in_use(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError:
            return True
    return False


def wait(condition: Callable[[], object], what: str, seconds: float) -> None:
    """Wait until something holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"no {what} after {seconds} s"
        time.sleep(0.2)


if __name__ == "__main__":
    with (
        tempfile.TemporaryDirectory(prefix="slurm-") as folder,
        running(Path(folder)) as started,
    ):
        ends = {signal.SIGINT, signal.SIGTERM}
        signal.pthread_sigmask(signal.SIG_BLOCK, ends)
        print(started.run("sinfo", "--Node", "--format=%N %t %G"))
        print(f"files in {folder}; Ctrl-C stops it", flush=True)
        signal.sigwait(ends)
