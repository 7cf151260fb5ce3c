"""``structdiff design``: a subcommand for each task of a trained model."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from structdiff.cli.examples import WithExamples
from structdiff.cli.options import ConfigFile, Model, Reference
from structdiff.settings import Sampling
from structdiff.system.errors import UserError

__all__ = ["app"]


app = typer.Typer(
    cls=WithExamples,
    help="Use a trained model: free design, infilling, analogues, inverse folding, folding.",
)

OutputDir = Annotated[Path, typer.Option(help="Folder of the designs.")]
Label = Annotated[
    str,
    typer.Option(help="What to ask for: `a + not b + charge 4..7 + length 10..20`, or `none`."),
]
Number = Annotated[int, typer.Option(min=1, max=100_000, help="Number of designs.")]
SequenceOnly = Annotated[bool, typer.Option("--sequence-only", help="Design without backbones.")]
Keep = Annotated[
    str | None,
    typer.Option(help="Residues that stay: `1-4,9`, counted along the chain from 1."),
]
Steps = Annotated[int, typer.Option(min=1, help="Denoising steps, at most.")]
Guidance = Annotated[
    float, typer.Option(min=0, help="Guidance towards the labels; for one label, 1 means none.")
]
Temperature = Annotated[
    float, typer.Option(min=1e-3, help="Below 1: likelier residues, fewer different designs.")
]
Seed = Annotated[int, typer.Option(help="The same seed gives the same designs.")]
Forbid = Annotated[str, typer.Option(help="Residues that must not occur: `C,M`.")]
AtMost = Annotated[
    str, typer.Option(help="Residues and their largest number in a design: `W=1,K=5`.")
]

NUMBER = 100
"""Default number of designs."""


@app.command()
def free(
    output_dir: OutputDir,
    model: Model = None,
    label: Label = "none",
    number: Number = NUMBER,
    length: Annotated[
        str | None,
        typer.Option(help="`18` or `10-25`; default: as the label's training peptides."),
    ] = None,
    sequence_only: SequenceOnly = False,
    num_steps: Steps = Sampling.num_steps,
    guidance_scale: Guidance = Sampling.guidance_scale,
    temperature: Temperature = Sampling.temperature,
    seed: Seed = Sampling.seed,
    forbid: Forbid = Sampling.forbid,
    at_most: AtMost = Sampling.at_most,
    reference: Reference = None,
) -> None:
    """Design peptides for labels, with their backbones."""
    from structdiff.evaluation.design_table import completed
    from structdiff.generation.command import design_free

    with completed(output_dir, reference, model) as weights:
        design_free(
            weights,
            output_dir,
            Sampling(num_steps, guidance_scale, temperature, seed, forbid=forbid, at_most=at_most),
            label=label,
            number=number,
            length=length,
            sequence_only=sequence_only,
        )


@app.command()
def infill(
    template: Annotated[str, typer.Argument(help="`GIGK????FLHS`: each ? is designed.")],
    output_dir: OutputDir,
    model: Model = None,
    label: Label = "none",
    number: Number = NUMBER,
    sequence_only: SequenceOnly = False,
    num_steps: Steps = Sampling.num_steps,
    guidance_scale: Guidance = Sampling.guidance_scale,
    temperature: Temperature = Sampling.temperature,
    seed: Seed = Sampling.seed,
    forbid: Forbid = Sampling.forbid,
    at_most: AtMost = Sampling.at_most,
    reference: Reference = None,
) -> None:
    """Fill the ? of a template; all other residues stay."""
    from structdiff.evaluation.design_table import completed
    from structdiff.generation.command import fill_template

    with completed(output_dir, reference, model) as weights:
        fill_template(
            weights,
            output_dir,
            Sampling(num_steps, guidance_scale, temperature, seed, forbid=forbid, at_most=at_most),
            template=template,
            label=label,
            number=number,
            sequence_only=sequence_only,
        )


@app.command()
def analogues(
    sequence: Annotated[str, typer.Argument(help="The peptide.")],
    output_dir: OutputDir,
    strength: Annotated[
        float | None,
        typer.Option(help="Share of the residues to draw again; 1 gives a free design."),
    ] = None,
    mutations: Annotated[
        str | None, typer.Option(help="Residues that change: `2` or `1..4`; default: any number.")
    ] = None,
    model: Model = None,
    label: Label = "none",
    number: Number = NUMBER,
    keep: Keep = None,
    num_steps: Steps = Sampling.num_steps,
    guidance_scale: Guidance = Sampling.guidance_scale,
    temperature: Temperature = Sampling.temperature,
    seed: Seed = Sampling.seed,
    forbid: Forbid = Sampling.forbid,
    at_most: AtMost = Sampling.at_most,
    reference: Reference = None,
) -> None:
    """Design distinct analogues of a peptide, other than the peptide itself."""
    from structdiff.evaluation.design_table import completed
    from structdiff.generation.command import vary_peptide
    from structdiff.report.sets import write_scan

    with completed(output_dir, reference, model) as weights:
        vary_peptide(
            weights,
            output_dir,
            Sampling(num_steps, guidance_scale, temperature, seed, forbid=forbid, at_most=at_most),
            sequence=sequence,
            strength=strength,
            mutations=mutations,
            label=label,
            number=number,
            keep=keep,
        )
        write_scan(output_dir)


@app.command(name="inverse-fold")
def inverse_fold(
    structure: Annotated[Path, typer.Argument(help="PDB or mmCIF file.")],
    output_dir: OutputDir,
    model: Model = None,
    chain: Annotated[str | None, typer.Option(help="The only chain to take; none: all.")] = None,
    label: Label = "none",
    number: Annotated[
        int, typer.Option(min=1, max=100_000, help="Designs for each chain.")
    ] = NUMBER,
    keep: Keep = None,
    num_steps: Steps = Sampling.num_steps,
    guidance_scale: Guidance = Sampling.guidance_scale,
    temperature: Temperature = Sampling.temperature,
    seed: Seed = Sampling.seed,
    forbid: Forbid = Sampling.forbid,
    at_most: AtMost = Sampling.at_most,
    reference: Reference = None,
) -> None:
    """Design sequences for the backbones of a structure file."""
    from structdiff.evaluation.design_table import completed
    from structdiff.generation.command import design_for_backbones

    with completed(output_dir, reference, model) as weights:
        design_for_backbones(
            weights,
            output_dir,
            Sampling(num_steps, guidance_scale, temperature, seed, forbid=forbid, at_most=at_most),
            path=structure,
            chain=chain,
            label=label,
            number=number,
            keep=keep,
        )


@app.command()
def fold(
    peptides: Annotated[
        str, typer.Argument(help="A sequence, a FASTA, or a table of id and sequence.")
    ],
    output_dir: OutputDir,
    model: Model = None,
    reference: Reference = None,
) -> None:
    """Predict the backbone of a sequence, or of each sequence of a file."""
    from structdiff.evaluation.design_table import completed
    from structdiff.generation.command import fold_peptides

    with completed(output_dir, reference, model) as weights:
        fold_peptides(weights, output_dir, peptides=peptides)


@app.command()
def scan(
    peptides: Annotated[
        str, typer.Argument(help="A sequence, a FASTA, or a table of id and sequence.")
    ],
    output_dir: OutputDir,
    model: Model = None,
    label: Label = "none",
) -> None:
    """Score each single substitution of a peptide: a table and a heat map."""
    from structdiff.generation.command import scan_peptides
    from structdiff.pretrained import PRETRAINED
    from structdiff.report.sets import write_scan

    scan_peptides(model or PRETRAINED, output_dir, peptides=peptides, label=label)
    write_scan(output_dir)


_FLAT_TASKS: dict[str, tuple[str, Callable[..., None], str, tuple[str, ...]]] = {
    "": ("free", free, "", ("label", "number", "length", "sequence_only")),
    "template": ("infill", infill, "template", ("label", "number", "sequence_only")),
    "analogues_of": ("analogues", analogues, "sequence", ("label", "number", "strength", "keep")),
    "inverse_fold": ("inverse-fold", inverse_fold, "structure", ("label", "number", "keep")),
    "fold": ("fold", fold, "peptides", ()),
}
"""Subcommands that replace the old form of the command, by the old option that chose the task
(``""``: free design, which no option chose). A value has the name and the function of the
subcommand, the parameter that gets the old option's value, and the names of the other options."""

_SAMPLING = ("num_steps", "guidance_scale", "temperature", "seed")


@app.command(hidden=True)
def shard(
    config: ConfigFile,
    output_dir: OutputDir,
    name: Annotated[str, typer.Option(help="Name of the shard.")],
    model: Model = None,
) -> None:
    """Draw one shard of the workflow's designs, for `structdiff generate --from-shards`."""
    from structdiff.config import load
    from structdiff.generation.stage import draw_shard
    from structdiff.pretrained import PRETRAINED

    draw_shard(load(config).generation, model or PRETRAINED, name, output_dir)


@app.callback(invoke_without_command=True)
def _flat(
    ctx: typer.Context,
    output_dir: Annotated[Path | None, typer.Option(hidden=True)] = None,
    model: Annotated[Path | None, typer.Option(hidden=True)] = None,
    label: Annotated[str | None, typer.Option(hidden=True)] = None,
    number: Annotated[int | None, typer.Option(min=1, max=100_000, hidden=True)] = None,
    length: Annotated[str | None, typer.Option(hidden=True)] = None,
    template: Annotated[str | None, typer.Option(hidden=True)] = None,
    analogues_of: Annotated[str | None, typer.Option(hidden=True)] = None,
    strength: Annotated[float | None, typer.Option(hidden=True)] = None,
    inverse_fold: Annotated[Path | None, typer.Option(hidden=True)] = None,
    fold: Annotated[str | None, typer.Option(hidden=True)] = None,
    keep: Annotated[str | None, typer.Option(hidden=True)] = None,
    sequence_only: Annotated[bool | None, typer.Option("--sequence-only", hidden=True)] = None,
    num_steps: Annotated[int | None, typer.Option(min=1, hidden=True)] = None,
    guidance_scale: Annotated[float | None, typer.Option(min=0, hidden=True)] = None,
    temperature: Annotated[float | None, typer.Option(min=1e-3, hidden=True)] = None,
    seed: Annotated[int | None, typer.Option(hidden=True)] = None,
) -> None:
    """Run the old form of the command, where an option is the task: ``design --fold …``."""
    options = {name: value for name, value in ctx.params.items() if value is not None}
    if ctx.invoked_subcommand is not None:
        if options:
            name = next(iter(options)).replace("_", "-")
            raise UserError(
                f"--{name} stands before '{ctx.invoked_subcommand}': put the options after it, as "
                f"in `structdiff design {ctx.invoked_subcommand} … --{name} …`"
            )
        return
    if not options:
        typer.echo(ctx.get_help())
        raise typer.Exit
    _run_flat(options)


def _run_flat(options: dict[str, Any]) -> None:
    """Run the subcommand that the options of the old form choose, and print a note with its name.

    `UserError` is raised if the options choose several tasks, an option does not belong to the
    task, or an option that the task needs is missing.
    """
    tasks = [name for name in _FLAT_TASKS if name and name in options]
    if len(tasks) > 1:
        names = " and ".join(f"--{name.replace('_', '-')}" for name in tasks)
        raise UserError(f"{names} are different tasks: ask for one of them at a time")
    command, function, argument, allowed = _FLAT_TASKS[tasks[0] if tasks else ""]
    if tasks:
        options[argument] = options.pop(tasks[0])
    known = {"output_dir", "model", argument, *allowed, *(() if command == "fold" else _SAMPLING)}
    for name in options:
        if name not in known:
            raise UserError(f"`structdiff design {command}` has no --{name.replace('_', '-')}")
    needed = ["output_dir", *(["strength"] if command == "analogues" else [])]
    for name in needed:
        if name not in options:
            raise UserError(f"`structdiff design {command}` needs --{name.replace('_', '-')}")
    print(
        f"structdiff: note: this form of the command ends with the next version; write "
        f"`structdiff design {command} …` (its options: structdiff design {command} --help)",
        file=sys.stderr,
        flush=True,
    )
    function(**options)
