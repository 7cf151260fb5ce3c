"""The command line: a command (verb) for each stage of the pipeline, and commands for other tasks.

``structdiff VERB --help`` shows a command's options and examples. The command of a stage reads the
same configuration file and calls the same function as the workflow's rule of that stage. Slow
packages are imported only when a command needs them.

Exit status: 0 done; 1 a bug, with a traceback (only for `doctor`: something is missing); 2 a
problem that the user can fix; 75 a training that was stopped and has saved its state; 130
interrupted.
"""

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from structdiff.cli.design_commands import app as design_app
from structdiff.cli.examples import EXIT_STATUS, WithExamples
from structdiff.cli.options import ConfigFile, Model, Peptides, Reference
from structdiff.cli.structures_commands import app as structures_app
from structdiff.cli.workflow_commands import init, run
from structdiff.system.errors import UserError
from structdiff.system.files import explain
from structdiff.system.plugins import PREDICTORS

__all__ = ["app", "main"]


app = typer.Typer(
    name="structdiff",
    cls=WithExamples,
    help="Structure-aware diffusion models of peptides: from a table of sequences to designs.",
    epilog=EXIT_STATUS,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # importing rich takes longer than all else of the help
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
app.command()(init)
app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(run)
app.add_typer(structures_app, name="structures")
app.add_typer(design_app, name="design")

OutputDir = Annotated[Path, typer.Option(help="Folder of the results.")]
Training = Annotated[Path, typer.Option(help="Folder that `structdiff train` wrote.")]

SHOWN_VERSIONS = (
    "torch",
    "transformers",
    "fair-esm",
    "snakemake",
    "snakemake-executor-plugin-slurm",
    "numpy",
    "pandas",
    "pyarrow",
)


def _version(show: bool) -> None:
    if not show:
        return
    import platform
    from importlib import metadata

    from structdiff import __version__

    typer.echo(f"structdiff {__version__}\npython {platform.python_version()}")
    for name in SHOWN_VERSIONS:
        try:
            typer.echo(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            typer.echo(f"{name} is not installed")
    raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_version, is_eager=True, help="Show the versions that matter."
        ),
    ] = False,
) -> None:
    """Options before the command."""


@app.command()
def split(config: ConfigFile, output_dir: OutputDir) -> None:
    """Read, clean and split the table of peptides."""
    from structdiff.config import load
    from structdiff.peptides.stage import run

    settings = load(config)
    if settings.training.init is None:
        run(settings, output_dir)
        return
    from structdiff.training.ancestry import seen_by_start
    from structdiff.training.initialisation import matches, read_fitting_start

    start = read_fitting_start(settings)
    peptides = run(settings, output_dir, seen_by_start(settings.training.init))
    for line in matches(start.conditions, peptides.labels, peptides.properties):
        typer.echo(f"start:    {line}")


@app.command()
def fold(
    config: ConfigFile,
    peptides: Peptides,
    output_dir: OutputDir,
    plan: Annotated[
        Path | None,
        typer.Option(help="Plan whose shards are all folded: predict nothing, only collect."),
    ] = None,
    predictor: Annotated[
        str | None,
        typer.Option(help=f"{', '.join(PREDICTORS.built_in)}; instead of structures.predictor."),
    ] = None,
    model: Annotated[
        Path | None, typer.Option(help="model.safetensors, for `--predictor structdiff`.")
    ] = None,
) -> None:
    """Predict (or collect) a structure for each peptide that the cache lacks."""
    from structdiff.config import load, parse
    from structdiff.structures.stage import run

    settings = load(config)
    if predictor is not None or model is not None:
        mapping = settings.model_dump(mode="json")
        if predictor is not None:
            mapping["structures"]["predictor"] = predictor
            if predictor != "files":
                mapping["structures"]["files"]["path"] = None
            if predictor != "structdiff":
                mapping["structures"]["structdiff"]["model"] = None
            if predictor in PREDICTORS.built_in:
                mapping["structures"]["options"] = {}
        if model is not None:
            mapping["structures"]["structdiff"]["model"] = str(model)
        settings = parse(mapping, "--predictor, --model")
    run(settings, peptides, output_dir, plan)


@app.command()
def train(
    config: ConfigFile,
    peptides: Peptides,
    output_dir: OutputDir,
    structures: Annotated[
        Path | None, typer.Option(help="index.parquet of `structdiff fold`; none: sequences only.")
    ] = None,
    num_gpus: Annotated[
        int | None,
        typer.Option(min=1, help="Processes on this node; instead of training.num_gpus."),
    ] = None,
    resume: Annotated[
        Path | None, typer.Option(help="Checkpoint to resume from; default: the latest, if any.")
    ] = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait while another process trains in the folder.")
    ] = False,
) -> None:
    """Train the diffusion model, in one process or several."""
    from structdiff.config import load
    from structdiff.training.stage import run

    run(load(config), peptides, structures, output_dir, num_gpus=num_gpus, resume=resume, wait=wait)


@app.command()
def select(config: ConfigFile, training: Training, output_dir: OutputDir) -> None:
    """Choose the checkpoint with the best validation metric."""
    from structdiff.config import load
    from structdiff.selection import run

    run(load(config), training, output_dir)


@app.command()
def plot(config: ConfigFile, training: Training, output_dir: OutputDir) -> None:
    """Draw the training curves as SVG and PNG."""
    from structdiff.config import load
    from structdiff.figures.stage import run

    run(load(config), training, output_dir)


@app.command()
def generate(
    output_dir: OutputDir,
    config: Annotated[
        Path | None, typer.Option(help="Configuration (YAML); none: its defaults, for each label.")
    ] = None,
    model: Model = None,
    from_shards: Annotated[
        bool,
        typer.Option(
            "--from-shards",
            help="Collect the designs that `structdiff design shard` has drawn there.",
        ),
    ] = False,
    reference: Reference = None,
) -> None:
    """Design peptides, with their backbones, for each label."""
    from structdiff.config import Generation, load
    from structdiff.evaluation.design_table import completed
    from structdiff.generation.stage import collect, run

    settings = load(config).generation if config else Generation()
    with completed(output_dir, reference, model) as weights:
        (collect if from_shards else run)(settings, weights, output_dir)


@app.command()
def evaluate(
    output_dir: OutputDir,
    more: Annotated[
        list[Path] | None, typer.Argument(help="Further files for --designs.", show_default=False)
    ] = None,
    designs: Annotated[
        list[Path] | None,
        typer.Option(help="Peptides to judge without a run: FASTA, CSV, TSV, Parquet, a folder."),
    ] = None,
    reference: Annotated[
        Path | None,
        typer.Option(help="Table of real peptides for --designs; none: modlAMP's (APD3)."),
    ] = None,
    label: Annotated[
        str, typer.Option(help="Label that the real peptides for --designs must have.")
    ] = "none",
    config: Annotated[
        Path | None, typer.Option(help="Configuration file (YAML) of the run.")
    ] = None,
    samples: Annotated[
        Path | None, typer.Option(help="samples.parquet, as `generate` and `design` write it.")
    ] = None,
    peptides: Annotated[
        Path | None, typer.Option(help="peptides.parquet, as `structdiff split` wrote it.")
    ] = None,
    structures: Annotated[
        Path | None, typer.Option(help="index.parquet of `structdiff fold`, if any.")
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option(
            help="model.safetensors: its folding is judged too; with --designs, its log-likelihood "
            "is a column."
        ),
    ] = None,
) -> None:
    """Evaluate designs, or peptides of any origin, against real, shuffled and random controls."""
    if designs:
        if config or samples or peptides or structures:
            raise UserError(
                "--designs judges files without a run; --config, --samples, --peptides and "
                "--structures belong to a run: give one or the other"
            )
        from structdiff.evaluation.comparison import compare_files, set_names
        from structdiff.report.sets import write_comparison

        paths = [*designs, *(more or [])]
        compare_files(paths, reference, label, output_dir, model)
        write_comparison(output_dir, set_names(paths))
        return
    if reference or label != "none":
        raise UserError(
            "--reference and --label are for --designs; a run has its own peptides and labels"
        )
    if config is None or samples is None or peptides is None or more:
        raise UserError(
            "give --designs FILE … to judge files of peptides, or --config, --samples and "
            "--peptides to judge the designs of a run"
        )
    from structdiff.config import load
    from structdiff.evaluation.stage import run

    run(load(config), samples, peptides, structures, model, output_dir)


@app.command()
def pick(
    sources: Annotated[
        list[Path],
        typer.Option("--from", help="Designs: a folder of a run, or FASTA, CSV, TSV, Parquet."),
    ],
    output: Annotated[Path, typer.Option(help="Order sheet to write: .xlsx, .csv or .tsv.")],
    number: Annotated[int, typer.Option(min=1, help="Peptides to choose, at most.")] = 24,
    where: Annotated[
        str, typer.Option(help="Condition on the columns: 'hemolysis < 0.5 and charge > 3'.")
    ] = "",
    diverse: Annotated[
        float,
        typer.Option(min=0, max=1, help="No two chosen peptides are this similar (0–1) or more."),
    ] = 1.0,
    pareto: Annotated[
        str,
        typer.Option(help="Columns to weigh: `antimicrobial,-hemolysis` (-: smaller is better)."),
    ] = "",
    join: Annotated[
        Path | None, typer.Option(help="Table with more columns, matched by id or sequence.")
    ] = None,
    reference: Annotated[
        Path | None, typer.Option(help="Table of known peptides, for the nearest of each design.")
    ] = None,
) -> None:
    """Choose peptides to order, and write the order sheet."""
    import shlex

    from structdiff.evaluation import pick as picking
    from structdiff.report.sets import write_choice

    if len(sources) > 1:
        raise UserError(
            f"--from is given {len(sources)} times ({', '.join(map(str, sources))}); give it once, "
            "and join the files first"
        )
    (source,) = sources
    objectives = tuple(name.strip() for name in pareto.split(",") if name.strip())
    choice = picking.Choice(source, number, where, diverse, objectives, join, reference)
    call = shlex.join(["structdiff", *sys.argv[1:]])
    picked = picking.pick(choice, output, call)
    page = output.with_suffix(".html")
    write_choice(page, picked.table, picked.controls, call, picked.notes, source)
    typer.echo("\n".join(picked.notes))


class MonitorMode(StrEnum):
    """Modes of `monitor`: print the status once, keep watching, or draw the training curves."""

    status = "status"
    monitor = "monitor"
    plot = "plot"


@app.command()
def monitor(
    output_dir: Annotated[Path, typer.Option(help="Folder that `structdiff train` writes.")],
    mode: Annotated[
        MonitorMode, typer.Option(help="Print once, keep watching, or draw the curves.")
    ] = MonitorMode.status,
    interval: Annotated[
        float,
        typer.Option(min=0.1, max=86_400, help="Seconds between updates of `--mode monitor`."),
    ] = 30.0,
    save_plot: Annotated[
        Path | None,
        typer.Option("--save-plot", "--save_plot", help="File that `--mode plot` writes."),
    ] = None,
) -> None:
    """Watch a training: running, finished, crashed or restarted."""
    from structdiff.figures.overview import draw
    from structdiff.training.monitor import status, watch

    if save_plot is not None and mode is not MonitorMode.plot:
        raise UserError(f"--save-plot {save_plot}: only --mode plot draws; add it")
    if mode is MonitorMode.status:
        status(output_dir)
    elif mode is MonitorMode.monitor:
        watch(output_dir, interval)
    else:
        typer.echo(f"{draw(output_dir, save_plot)}")


@app.command()
def doctor(
    config: Annotated[
        Path | None,
        typer.Option(help="Configuration of the planned run; default: check what all runs need."),
    ] = None,
    directory: Annotated[
        Path, typer.Option(help="Folder that the workflow will be started in.")
    ] = Path(),
) -> None:
    """Check what works on this machine, and say how to fix the rest."""
    from structdiff.config import load
    from structdiff.doctor.checks import run

    if not run(load(config) if config else None, directory):
        raise typer.Exit(1)


@app.command(name="demo-data")
def demo_data(output: Annotated[Path, typer.Option(help="CSV file to write.")]) -> None:
    """Write the demo's table: real peptides that come with modlAMP."""
    from structdiff.peptides.demo import write_demo

    typer.echo(f"{write_demo(output):,} peptides written to {output}")


def main() -> None:
    """Run the command line; errors that a user can fix become a message and exit status 2."""
    try:
        app()
    except (UserError, OSError) as error:
        message = explain(error)
        if message is None:
            raise
        print(f"structdiff: error: {message}", file=sys.stderr)
        sys.exit(2)
