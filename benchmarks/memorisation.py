"""Does a run begin to copy its training peptides, and when? One row for each kept checkpoint.

    python -m benchmarks.memorisation --training results/my/training \
        --peptides results/my/peptides/peptides.parquet --label antimicrobial

draws the same number of peptides from each checkpoint (`training.keep_checkpoints` says how many
are kept) and prints copies of training peptides, uniqueness and k-mer distances next to the
validation loss. Where copies rise while the loss no longer falls, training was too long.
"""

import argparse
from pathlib import Path

import pandas as pd

from benchmarks.sampling import SHOWN, Judge, draw
from structdiff.diffusion import JointProcess
from structdiff.generation.request import draw_lengths
from structdiff.model import ConditionSpec, Denoiser, ModelSpec
from structdiff.pretrained import TrainedModel
from structdiff.settings import Sampling
from structdiff.system.errors import UserError
from structdiff.system.gpus import choose_device
from structdiff.training.checkpoint import read


def release_of(state: dict) -> TrainedModel:
    """Return the model of a checkpoint, as selection would release it."""
    model = Denoiser(ModelSpec(**state["model_spec"]))
    model.load_state_dict(state["ema"])
    device = choose_device()
    process = JointProcess(**state["diffusion"])
    return TrainedModel(
        model.to(device).eval(), process, ConditionSpec.read(state), state.get("lengths", {}), {}
    )


def main() -> None:
    """Draw from each checkpoint and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--training", type=Path, required=True, help="folder of `structdiff train`")
    parser.add_argument("--peptides", type=Path, required=True, help="peptides.parquet")
    parser.add_argument("--label", default="none")
    parser.add_argument("--number", type=int, default=300)
    parser.add_argument("--num-steps", type=int, default=50)
    options = parser.parse_args()
    paths = sorted((options.training / "checkpoints").glob("checkpoint_epoch_*.pth"))
    if not paths:
        raise UserError(f"{options.training}: holds no checkpoint_epoch_N.pth")
    judge, rows = Judge(options.peptides, options.label), []
    for path in paths:
        state = read(path)
        model = release_of(state)
        lengths = draw_lengths(model, options.label, options.number, 0, None)
        designs, _ = draw(model, lengths, options.label, Sampling(options.num_steps))
        sequences = [one.sequence for one in designs]
        validation = (state["validation"] or {}).get("diffusion")
        rows.append({"epoch": state["epoch"], "validation": validation, **judge(sequences)})
        print(f"{path.name}: {', '.join(f'{k} {rows[-1][k]:.3f}' for k in SHOWN)}", flush=True)
    frame = pd.DataFrame(rows).sort_values("epoch")
    print(frame.to_string(index=False, float_format="%.3f", na_rep="–"))


if __name__ == "__main__":
    main()
