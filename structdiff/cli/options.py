"""Options that several commands share, with one help text each."""

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["ConfigFile", "Model", "Peptides", "Reference"]

ConfigFile = Annotated[Path, typer.Option("--config", help="Configuration file (YAML).")]
Peptides = Annotated[Path, typer.Option(help="peptides.parquet, as `structdiff split` wrote it.")]
Model = Annotated[
    Path | None,
    typer.Option(help="model.safetensors of `structdiff select`; none: the released model."),
]
Reference = Annotated[
    Path | None,
    typer.Option(help="Known peptides, for the nearest of each design; none: modlAMP's (APD3)."),
]
