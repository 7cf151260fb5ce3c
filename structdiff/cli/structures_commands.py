"""``structdiff structures``: predict structures, manage the cache, run steps of the workflow."""

import shutil
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from structdiff.cli.options import ConfigFile, Peptides
from structdiff.system.errors import UserError, counted
from structdiff.system.plugins import PREDICTORS

__all__ = ["app"]

app = typer.Typer(help="Predict structures, and manage their cache.", no_args_is_help=True)

Root = Annotated[Path, typer.Option("--cache", help="Folder of the cache (structures.cache).")]
CACHE = Path("resources/structures")
TABLES = ("summary", "failed", "without_structure")
"""Names of the tables that `predict` writes next to the structures."""
_FROM_SEQUENCE = [name for name in PREDICTORS.built_in if name != "files"]
_WITH_WEIGHTS = [name for name in _FROM_SEQUENCE if name != "ideal"]


class Form(StrEnum):
    """Formats of exported structures."""

    pdb = "pdb"
    mmcif = "mmcif"


@app.command()
def predict(
    peptides: Annotated[Path, typer.Argument(help="FASTA, or a table of id and sequence.")],
    output_dir: Annotated[Path, typer.Option(help="Folder of the structures.")],
    predictor: Annotated[
        str,
        typer.Option(help=f"One of {', '.join(_FROM_SEQUENCE)}, or a plug-in's."),
    ] = "structdiff",
    model: Annotated[
        str | None,
        typer.Option(help="Weights of the predictor: hub id or path; none: its default."),
    ] = None,
    cache: Root = CACHE,
    form: Annotated[Form, typer.Option("--format", help="Format of the files.")] = Form.pdb,
) -> None:
    """Predict a structure for each sequence of a file, once; failures are listed with reasons."""
    from structdiff.config import parse
    from structdiff.peptides.sequences import read_sequences
    from structdiff.structures.manage import export as write
    from structdiff.structures.stage import collect
    from structdiff.system.files import replacing

    settings: dict[str, object] = {"predictor": predictor, "cache": str(cache)}
    if predictor == "files":
        raise UserError(
            "--predictor files: reads structures and predicts none; give one of "
            f"{', '.join(_FROM_SEQUENCE)}"
        )
    if model is not None:
        if predictor not in _WITH_WEIGHTS:
            raise UserError(
                f"--model: is for the predictors {', '.join(_WITH_WEIGHTS)}, not for "
                f"'{predictor}'; leave it out"
            )
        settings[predictor] = {"model": model}
    config = parse(
        {"data": {"path": str(peptides)}, "structures": settings}, "--predictor, --model"
    )
    ids, sequences, ends = read_sequences(peptides, "structures predict")
    written = ("index.parquet", *(f"{each}.tsv" for each in TABLES), *Form)
    if existing := [name for name in written if (output_dir / name).exists()]:
        whole = any((output_dir / each).exists() for each in Form)
        raise UserError(
            f"{output_dir}: has {', '.join(existing)} already; name another --output-dir, or move "
            "them "
            + (
                "(another format is written by `structdiff structures export`)"
                if whole
                else "(if `structures predict` was interrupted here, remove them: its structures "
                "are in the cache)"
            )
        )
    failed = collect(config, ids, sequences, output_dir)
    with replacing(output_dir / form.value) as temporary:
        count = write(
            output_dir / "index.parquet",
            temporary,
            form.value,
            ends=dict(zip(ids, ends, strict=True)),
        )
    typer.echo(f"{counted(count, 'structure')} written to {output_dir / form.value}")
    if failed:
        id_of = dict(zip(sequences, ids, strict=True))
        first = id_of.get(failed[0].sequence or "", failed[0].source)
        raise UserError(
            f"{len(ids) - count} of {len(ids)} peptides have no structure; the first: "
            f"{first}: {failed[0].reason}. All are named, with "
            f"the reasons, in {output_dir / 'failed.tsv'}. Repair or remove them, and run again "
            "with another --output-dir: the structures of the others are in the cache"
        )


@app.command(name="list")
def list_keys(cache: Root = CACHE) -> None:
    """List the content of the cache: predictor, weights and settings, number and size."""
    from structdiff.structures.manage import summaries

    for part in summaries(cache):
        typer.echo(
            f"{part.folder.name}: {counted(part.structures, 'structure')} in "
            f"{counted(part.files, 'file')}, {part.bytes / 1e6:,.1f} MB"
            + (f", {counted(part.damaged, 'damaged file')} set aside" if part.damaged else "")
            + (f", {part.leftover} batches of unfinished runs" if part.leftover else "")
        )
        typer.echo("  " + ", ".join(f"{name} {value}" for name, value in part.key.items()))


@app.command()
def verify(cache: Root = CACHE) -> None:
    """Verify every byte of the cache; damaged files are set aside and folded again later."""
    from structdiff.structures.manage import verify as check

    whole, damaged = check(cache)
    typer.echo(f"{whole:,} files are whole, {damaged:,} were damaged")
    if damaged:
        raise UserError(
            f"{cache}: {damaged} damaged files were set aside; run `structdiff fold` again (the "
            "workflow: with `--forcerun plan_folding`)"
        )


@app.command()
def export(
    index: Annotated[Path, typer.Option(help="index.parquet, as `structdiff fold` wrote it.")],
    output_dir: Annotated[Path, typer.Option(help="Folder of the files.")],
    form: Annotated[Form, typer.Option("--format", help="Format of the files.")] = Form.pdb,
    ids: Annotated[
        list[str] | None, typer.Option("--id", help="Only this peptide; may be repeated.")
    ] = None,
) -> None:
    """Write structures as PDB or mmCIF for viewers; the B-factor column holds the pLDDT."""
    from structdiff.structures.manage import export as write

    count = write(index, output_dir, form.value, ids)
    typer.echo(f"{counted(count, 'structure')} written to {output_dir}")


@app.command()
def gc(
    results: Annotated[
        list[Path],
        typer.Option(help="Folder of runs (results); name those of all users of the cache."),
    ],
    cache: Root = CACHE,
    min_age: Annotated[
        float,
        typer.Option(
            min=0, max=36_500, help="Days; younger files stay: a running fold may need them."
        ),
    ] = 7.0,
    delete: Annotated[
        bool, typer.Option("--delete", help="Delete the files; without it, only show them.")
    ] = False,
) -> None:
    """Show or remove (--delete) cache files that no run uses."""
    from structdiff.structures.manage import garbage

    paths = garbage(cache, results, min_age)
    files = [file for path in paths for file in (path.glob("*") if path.is_dir() else [path])]
    size = sum(file.stat().st_size for file in files)
    for path in paths:
        typer.echo(f"{path}")
        if delete and path.is_dir():
            shutil.rmtree(path)
        elif delete:
            path.unlink(missing_ok=True)
    done = "deleted" if delete else "would go; --delete does it"
    typer.echo(f"{counted(len(files), 'file')}, {size / 1e6:,.1f} MB: {done}")


@app.command()
def plan(
    config: ConfigFile,
    peptides: Peptides,
    output: Annotated[Path, typer.Option(help="Plan to write (TSV).")],
) -> None:
    """Write a plan: the peptides that the cache lacks, in shards for parallel jobs."""
    from structdiff.config import load
    from structdiff.structures.stage import make_plan

    make_plan(load(config), peptides, output)


@app.command()
def shard(
    config: ConfigFile,
    plan_file: Annotated[
        Path, typer.Option("--plan", help="Plan that `structdiff structures plan` wrote.")
    ],
    name: Annotated[str, typer.Option(help="Name of the shard.")],
) -> None:
    """Fold one shard of a plan."""
    from structdiff.config import load
    from structdiff.structures.stage import run_shard

    run_shard(load(config), plan_file, name)
