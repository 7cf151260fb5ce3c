"""ESMFold2's network for batches of peptides, with separate random numbers for each peptide.

ESMFold2 uses random numbers for the initial pair representation of its trunk, for dropout of the
language model's features in each pass, and for its sampler (initial positions, and a rotation, a
translation and noise in each step). transformers draws them for a whole padded batch. Here each
random number is a function of the peptide's seed and of the residue, pair or atom that it belongs
to, so that a peptide has the same structure in every batch and on every device.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import EsmFold2Model
from transformers.models.esmfold2.protein_utils import prepare_protein_features

__all__ = ["Folded", "SeededESMFold2", "features", "normals", "uniforms"]

_MASK = 0xFFFFFFFF
_STATE, _DROPOUT, _START, _STEP, _CHURN = range(5)
"""Numbers of the random streams, one for each purpose: see `SeededESMFold2`."""

_ATOMS = {
    *("ref_pos", "ref_element", "ref_charge", "ref_atom_name_chars", "ref_space_uid"),
    *("atom_attention_mask", "atom_to_token"),
}
"""Names of the features with one row for each atom; all others have one row for each residue."""

_ATOM_BLOCK = 32
"""The number of atoms is padded to a multiple of this, as transformers does."""


@dataclass(frozen=True)
class Folded:
    """Structures of a batch.

    Attributes
    ----------
    positions
        Positions of the atoms in Å, ``(batch, atoms, 3)``. The atoms of a shorter peptide are
        followed by padding.
    plddt
        pLDDT of each atom, 0–1, ``(batch, atoms)``.
    ptm
        pTM of each peptide, 0–1, ``(batch,)``.
    """

    positions: Tensor
    plddt: Tensor
    ptm: Tensor


def _mix(x: Tensor) -> Tensor:
    """Return a 32-bit hash of each element (lowbias32; Wellons, 2018), int64 in 0 to 2³² − 1."""
    x = ((x ^ (x >> 16)) * 0x7FEB352D) & _MASK
    x = ((x ^ (x >> 15)) * 0x846CA68B) & _MASK
    return x ^ (x >> 16)


def uniforms(seeds: Tensor, stream: int, step: int, *sizes: int) -> Tensor:
    """Return uniform random numbers in (0, 1).

    A number depends only on its seed, stream, step and indices along ``sizes``. It does not depend
    on the position of the peptide in the batch.

    Parameters
    ----------
    seeds
        Seed of each peptide, ``(batch,)`` int64.
    stream, step
        Number of the stream (such as `_STATE`), and number of the draw within the stream.
    sizes
        Sizes of the axes after the batch axis. With a larger size, the first numbers stay the same.

    Returns
    -------
    Tensor
        ``(batch, *sizes)`` float32.
    """
    state = _mix(_mix(seeds & _MASK) + 64 * step + stream + 1)
    for size in sizes:
        index = torch.arange(size, device=seeds.device)
        state = _mix((state[..., None] + 0x9E3779B9 * (index + 1)) & _MASK)
    # In float32 the largest number would round to 1, for which `normals` would return infinity.
    return (((state >> 8).float() + 0.5) / 2**24).clamp(max=1 - 2**-24)


def normals(seeds: Tensor, stream: int, step: int, *sizes: int) -> Tensor:
    """Return standard normal random numbers, ``(batch, *sizes)`` float32, made from `uniforms`."""
    return 2**0.5 * torch.erfinv(2 * uniforms(seeds, stream, step, *sizes) - 1)


@cache
def _residue(letter: str) -> dict[str, np.ndarray]:
    """Return the features of a peptide of one residue, by name, as transformers computes them.

    Atoms that are padding are removed.
    """
    made = {name: value[0].numpy() for name, value in prepare_protein_features(letter).items()}
    real = made["atom_attention_mask"]
    return {name: value[real] if name in _ATOMS else value for name, value in made.items()}


def features(sequences: Sequence[str], device: torch.device) -> dict[str, Tensor]:
    """Return the keyword arguments of ``EsmFold2Model.fold`` for peptides of one chain each.

    Each is a tensor whose first axis is the peptides; residues and atoms are padded at the end.
    """
    made = [_features(sequence) for sequence in sequences]
    width = max(2, *map(len, sequences))  # transformers mistakes one residue for a missing axis
    atoms = max(len(one["atom_to_token"]) for one in made)
    atoms = -(-atoms // _ATOM_BLOCK) * _ATOM_BLOCK
    batch = {}
    for name, first in made[0].items():
        shape = (atoms if name in _ATOMS else width, *first.shape[1:])
        padded = np.zeros((len(made), *shape), dtype=first.dtype)
        for row, one in zip(padded, made, strict=True):
            row[: len(one[name])] = one[name]
        batch[name] = torch.from_numpy(padded).to(device)
    batch["token_bonds"] = torch.zeros(len(made), width, width, 1, device=device)
    batch["msa"] = batch["res_type"][:, None]
    batch["msa_attention_mask"] = batch["attention_mask"][:, None]
    batch["has_deletion"] = torch.zeros_like(batch["msa_attention_mask"])
    batch["deletion_value"] = batch["deletion_mean"][:, None]
    return batch


def _features(sequence: str) -> dict[str, np.ndarray]:
    """Return the features of one peptide by name, as arrays.

    The first axis of a feature in `_ATOMS` is the atoms; the first axis of any other feature is the
    residues.
    """
    residues = [_residue(letter) for letter in sequence]
    names = [
        *("mol_type", "res_type", "input_ids", "attention_mask", "entity_id", "asym_id", "sym_id"),
        *("deletion_mean", "ref_pos", "ref_element", "ref_charge", "ref_atom_name_chars"),
        "atom_attention_mask",
    ]
    made = {name: np.concatenate([one[name] for one in residues]) for name in names}
    counts = np.array([len(one["atom_to_token"]) for one in residues])
    starts = np.cumsum(counts) - counts
    index = np.arange(len(sequence))
    made["token_index"] = made["residue_index"] = index
    made["ref_space_uid"] = made["atom_to_token"] = np.repeat(index, counts)
    representative = np.concatenate([one["distogram_atom_idx"] for one in residues])
    made["distogram_atom_idx"] = starts + representative
    return made


class SeededESMFold2(EsmFold2Model):
    """ESMFold2 whose random numbers come from a seed for each peptide; see `fold_batch`."""

    def __init__(self, config: Any):
        self._dropout = config.lm_encoder.lm_dropout if config.lm_encoder.per_loop_lm_dropout else 0
        super().__init__(config)
        # transformers applies dropout before each call of `lm_encoder`; here a hook does this.
        config.lm_encoder.per_loop_lm_dropout = False
        self.lm_encoder.register_forward_pre_hook(self._drop)
        self._seeds = torch.zeros(0, dtype=torch.int64)
        self._loop = 0

    def fold_batch(
        self, sequences: Sequence[str], seeds: Sequence[int], loops: int | None, steps: int | None
    ) -> Folded:
        """Fold peptides of one chain each, and return one structure for each.

        Parameters
        ----------
        sequences
            Sequences of the 20 standard residues.
        seeds
            Seed of each peptide, an integer in 0 to 2³² − 1.
        loops
            Number of passes through the trunk after the first; None for the value in the model's
            configuration.
        steps
            Length of the noise schedule; None for the value in the model's configuration.
        """
        self._seeds = torch.tensor(seeds, dtype=torch.int64, device=self.device)
        self._loop = 0
        output: Any = self.fold(
            **features(sequences, self.device),
            num_loops=loops,
            num_sampling_steps=steps,
            num_diffusion_samples=1,
        )
        return Folded(output.sample_atom_coords, output.plddt_per_atom, output.ptm)

    def _init_pair_state(self, reference: Tensor) -> Tensor:
        """Return the trunk's initial pair representation, with the shape of ``reference``.

        Its values are normal random numbers, truncated at three standard deviations.
        """
        drawn = uniforms(self._seeds, _STATE, 0, *reference.shape[1:])
        tail = 0.0013498980316301035  # probability beyond +3 standard deviations
        inner = torch.erfinv(2 * (tail + (1 - 2 * tail) * drawn) - 1) * 2**0.5
        return ((2 / (5 * reference.shape[-1])) ** 0.5 * inner).to(reference.dtype)

    def _drop(self, module: torch.nn.Module, arguments: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Apply dropout to the first of the ``arguments`` of ``lm_encoder``; a forward pre-hook.

        That argument has the pair features from the language model. Each pass has a new mask.
        """
        states, *others = arguments
        if self._dropout:
            kept = uniforms(self._seeds, _DROPOUT, self._loop, *states.shape[1:]) >= self._dropout
            states = states * kept / (1 - self._dropout)
            states = states.to(arguments[0].dtype)
        self._loop += 1
        return (states, *others)

    def _sample_structure(
        self,
        pair_trunk: Tensor,
        single_inputs: Tensor,
        relative_position_encoding: Tensor,
        atom_inputs: Any,
        attention_mask: Tensor | None = None,
        num_diffusion_samples: int = 1,
        num_sampling_steps: int | None = None,
    ) -> Tensor:
        """Return positions of the atoms in Å, ``(batch, atoms, 3)``, one sample for each peptide.

        Overrides the sampler of transformers with the same algorithm and parameters, but takes the
        random numbers from the peptides' seeds. ``num_diffusion_samples`` must be 1.
        """
        conditioning = self.structure_head.prepare_conditioning(
            atom_inputs=atom_inputs,
            pair_trunk=pair_trunk,
            relative_position_encoding=relative_position_encoding,
            single_inputs=single_inputs,
            attention_mask=attention_mask,
            num_diffusion_samples=num_diffusion_samples,
        )
        seeds = self._seeds
        settings: Any = self.config.structure_head
        levels, gammas = self._build_noise_schedule(num_sampling_steps, seeds.device)
        mask = atom_inputs.atom_attention_mask.float()[..., None]
        count = mask.sum(dim=1, keepdim=True).clamp(min=1)
        atoms = levels[0] * normals(seeds, _START, 0, mask.shape[1], 3)
        for step in range(len(levels) - 1):
            level, following = levels[step].item(), levels[step + 1].item()
            atoms = atoms - (atoms * mask).sum(dim=1, keepdim=True) / count
            drawn = normals(seeds, _STEP, step, 7)
            atoms = atoms @ _rotations(drawn[:, :4]) + drawn[:, None, 4:]
            raised = level * (1 + gammas[step + 1].item())
            churn = settings.noise_scale * max(raised**2 - level**2, 0.0) ** 0.5
            if churn:
                atoms = atoms + churn * normals(seeds, _CHURN, step, mask.shape[1], 3)
            denoised = self.structure_head(
                noisy_coords=atoms,
                noise_level=torch.full((len(seeds),), raised, device=seeds.device),
                conditioning=conditioning,
            )
            atoms = _aligned(atoms, denoised, mask, count)
            direction = (atoms - denoised) / raised
            atoms = atoms + settings.step_scale * (following - raised) * direction
        return atoms


def _rotations(quaternions: Tensor) -> Tensor:
    """Return rotation matrices ``(batch, 3, 3)`` of quaternions ``(batch, 4)`` of any norm."""
    r, i, j, k = (quaternions / quaternions.norm(dim=1, keepdim=True)).unbind(dim=1)
    rows = (
        *(1 - 2 * (j * j + k * k), 2 * (i * j - k * r), 2 * (i * k + j * r)),
        *(2 * (i * j + k * r), 1 - 2 * (i * i + k * k), 2 * (j * k - i * r)),
        *(2 * (i * k - j * r), 2 * (j * k + i * r), 1 - 2 * (i * i + j * j)),
    )
    return torch.stack(rows, dim=1).reshape(-1, 3, 3)


def _aligned(atoms: Tensor, target: Tensor, mask: Tensor, count: Tensor) -> Tensor:
    """Return ``atoms`` superimposed on ``target``, without reflection (Kabsch, 1976).

    Both are ``(batch, atoms, 3)``. ``mask``, ``(batch, atoms, 1)``, is 1 at atoms and 0 at padding;
    ``count``, ``(batch, 1, 1)``, is the number of atoms of each peptide.
    """
    centre = (atoms * mask).sum(dim=1, keepdim=True) / count
    target_centre = (target * mask).sum(dim=1, keepdim=True) / count
    covariance = (mask * (target - target_centre)).transpose(1, 2) @ (atoms - centre)
    u, _, vh = torch.linalg.svd(covariance, driver="gesvd" if covariance.is_cuda else None)
    signs = torch.ones_like(covariance[:, 0])
    signs[:, 2] = torch.linalg.det(u @ vh)
    rotation = u @ torch.diag_embed(signs) @ vh
    return (atoms - centre) @ rotation.transpose(1, 2) + target_centre
