"""Examples of every command, shown at the end of ``structdiff VERB --help``.

Most of them use the demo's files, and work as printed after ``make demo``.
"""

from typing import Any

from typer.core import TyperGroup

__all__ = ["EXAMPLES", "EXIT_STATUS", "WithExamples"]

EXIT_STATUS = (
    "Exit status: 0 done; 1 a defect of structdiff, shown with a traceback (of `doctor`: something "
    "is missing); 2 something to put right in the input or the command, with a message that says "
    "what; 75 a training that was asked to stop and has saved its state: start it again; 130 "
    "interrupted."
)

EXAMPLES: dict[str, list[str]] = {
    "init": [
        "structdiff init my-run",
        "structdiff init trial --config smoke",
        "structdiff init production --config peptides --profile slurm",
    ],
    "run": [
        "structdiff run -n",
        "structdiff run",
        "structdiff run --cores 4 --config run=second",
        "structdiff run --profile slurm --jobs 20",
    ],
    "split": ["structdiff split --config config/config.yaml --output-dir results/demo/peptides"],
    "fold": [
        "structdiff fold --config config/config.yaml "
        "--peptides results/demo/peptides/peptides.parquet --output-dir results/demo/structures"
    ],
    "train": [
        "structdiff train --config config/config.yaml "
        "--peptides results/demo/peptides/peptides.parquet "
        "--structures results/demo/structures/index.parquet --output-dir results/demo/training",
        "structdiff train --config my.yaml --peptides peptides.parquet --output-dir training "
        "--num-gpus 4 --resume training/checkpoints/checkpoint_best.pth",
    ],
    "select": [
        "structdiff select --config config/config.yaml --training results/demo/training "
        "--output-dir results/demo/selection"
    ],
    "plot": [
        "structdiff plot --config config/config.yaml --training results/demo/training "
        "--output-dir results/demo/figures"
    ],
    "generate": [
        "structdiff generate --output-dir designs",
        "structdiff generate --config config/config.yaml "
        "--model results/demo/selection/model.safetensors --output-dir results/demo/generation",
    ],
    "evaluate": [
        "structdiff evaluate --config config/config.yaml "
        "--samples results/demo/generation/samples.parquet "
        "--peptides results/demo/peptides/peptides.parquet "
        "--structures results/demo/structures/index.parquet --output-dir results/demo/evaluation",
        "structdiff evaluate --designs mine.fasta theirs.csv --reference known.csv "
        "--output-dir judged",
    ],
    "pick": [
        "structdiff pick --from results/demo --number 12 --diverse 0.6 --output order.xlsx",
        "structdiff pick --from designs --number 24 --where 'charge > 3 and length <= 25' "
        "--diverse 0.5 --pareto hydrophobic_moment,-hydrophobicity --output order.csv",
    ],
    "design free": [
        "structdiff design free --output-dir designs --label antimicrobial --number 50 "
        "--length 12-25",
    ],
    "design infill": [
        "structdiff design infill 'GIGK????FLHS' --label antimicrobial --output-dir filled",
    ],
    "design analogues": [
        "structdiff design analogues KWKLFKKIGAVLKVL --mutations 1..4 --output-dir variants",
        "structdiff design analogues KWKLFKKIGAVLKVL --strength 0.4 --keep 1-4 --output-dir others",
    ],
    "design inverse-fold": [
        "structdiff design inverse-fold results/demo/generation/pdb/antimicrobial_000.pdb "
        "--number 50 --output-dir sequences",
    ],
    "design fold": ["structdiff design fold GIGKFLHSAKKFGKAFVGEIMNS --output-dir backbone"],
    "design scan": ["structdiff design scan GIGKFLHSAKKFGKAFVGEIMNS --output-dir scanned"],
    "structures": [
        "structdiff structures predict peptides.fasta --output-dir folded",
        "structdiff structures predict peptides.fasta --output-dir folded --predictor esmfold2",
        "structdiff structures list",
        "structdiff structures verify",
        "structdiff structures export --index results/demo/structures/index.parquet "
        "--output-dir pdb --format mmcif",
        "structdiff structures gc --results results --min-age 30",
    ],
    "monitor": [
        "structdiff monitor --output-dir results/demo/training --mode status",
        "structdiff monitor --output-dir results/demo/training --mode monitor --interval 30",
        "structdiff monitor --output-dir results/demo/training --mode plot --save_plot curves.png",
    ],
    "doctor": ["structdiff doctor", "structdiff doctor --config config/peptides.yaml"],
    "demo-data": ["structdiff demo-data --output resources/demo/peptides.csv"],
}


class WithExamples(TyperGroup):
    """Group of commands; the help of each command ends with examples of the command."""

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return the command ``cmd_name``; the epilog of its help has one example per line."""
        command = super().get_command(ctx, cmd_name)
        key = cmd_name if self.name == "structdiff" else f"{self.name} {cmd_name}"
        if command is not None and key in EXAMPLES:
            # After a line of \b alone, lines are not wrapped.
            command.epilog = "\n".join(["\b", "Examples:", *EXAMPLES[key]])
        return command
