"""Commands for the whole workflow: ``structdiff init`` and ``structdiff run``."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["init", "run"]


def init(
    directory: Annotated[Path, typer.Argument(help="New or empty folder.", metavar="DIR")],
    config: Annotated[
        str,
        typer.Option(
            help="Configuration to start from: demo, smoke, peptides, finetune, released."
        ),
    ] = "demo",
    profile: Annotated[str, typer.Option(help="Where jobs run: local, slurm.")] = "local",
) -> None:
    """Lay out a folder for runs: a commented configuration, a profile and a Snakefile."""
    from structdiff.system.run_folder import create

    create(directory, config, profile)
    typer.echo(
        f"{directory / 'config' / 'config.yaml'}: the configuration; README.md explains its keys\n"
        f"{directory / 'profiles' / profile / 'config.yaml'}: where and how jobs run\n"
        f"Next: cd {directory} && structdiff run    (structdiff run -n shows what would run)"
    )


def run(
    context: typer.Context,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", "-n", help="Show which stages would run, and why.")
    ] = False,
    profile: Annotated[
        str | None,
        typer.Option(help="Profile of this folder; none: the only one there is, or local."),
    ] = None,
) -> None:
    """Run the workflow of this folder; all other options and targets go to Snakemake."""
    from structdiff.system.run_folder import profile_folder, short_plan

    chosen = profile_folder(Path.cwd(), profile)
    command = [sys.executable, "-m", "snakemake", "--profile", str(chosen), *context.args]
    if not dry_run:
        sys.stdout.flush()
        os.execv(sys.executable, command)
    done = subprocess.run(
        [*command, "--dry-run"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    plan = short_plan(done.stdout) if done.returncode == 0 else None
    typer.echo(plan or done.stdout)
    raise typer.Exit(done.returncode)
