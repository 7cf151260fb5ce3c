"""Snakemake in processes forked from one that has imported it: `run(arguments, …)`.

More than half of the processor time of a dry run goes into imports. The server imports Snakemake
once, and nothing of this package; each call is a fork that runs the command line of ``python -m
snakemake`` in its own directory and environment.
"""

import functools
import importlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

__all__ = ["run"]

IMPORTED = [
    "pandas",
    "pulp",
    "pydantic",
    "snakemake.assets",
    "snakemake.cli",
    "snakemake.executors.dryrun",
    "snakemake.executors.local",
    "snakemake.profiles",
    "snakemake.report.html_reporter",
    "snakemake.storage",
    "snakemake_executor_plugin_slurm",
]
"""What a call would import, but for this package."""


@functools.cache
def _server() -> subprocess.Popen:
    """Return the server of this process; it ends with it, when its standard input is closed."""
    command = [sys.executable, str(Path(__file__).resolve())]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def run(
    arguments: list[str], directory: Path, environment: dict[str, str]
) -> subprocess.CompletedProcess:
    """Run Snakemake to its end; standard error is joined to the output."""
    server = _server()
    with tempfile.NamedTemporaryFile("r", encoding="utf-8") as output:
        call = {"arguments": arguments, "directory": str(directory), "environment": environment}
        print(json.dumps({**call, "output": output.name}), file=server.stdin, flush=True)
        status = int(server.stdout.readline())
        return subprocess.CompletedProcess(arguments, status, output.read())


def _serve() -> None:
    """Answer each call on standard input with its exit status."""
    for name in IMPORTED:
        importlib.import_module(name)
    while call := sys.stdin.readline():
        child = os.fork()
        if child == 0:
            _snakemake(**json.loads(call))
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def _snakemake(
    arguments: list[str], directory: str, environment: dict[str, str], output: str
) -> None:
    """Become the Snakemake of a call; does not return."""
    from snakemake.cli import main

    nothing, file = os.open(os.devnull, os.O_RDONLY), os.open(output, os.O_WRONLY)
    for source, target in ((nothing, 0), (file, 1), (file, 2)):
        os.dup2(source, target)
    os.chdir(directory)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[0] = directory
    sys.argv = ["snakemake", *arguments]
    main()


if __name__ == "__main__":
    _serve()
