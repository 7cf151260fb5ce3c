"""Tasks that design sequences, on a model that was trained for some seconds."""

from dataclasses import replace
from itertools import pairwise, product

import numpy as np
import pytest
import torch

from structdiff.generation import batching, tasks
from structdiff.generation.folding import fold
from structdiff.generation.scoring import score
from structdiff.generation.tasks import REDRAWS, analogues, codesign, infill, inverse_fold
from structdiff.peptides.seen import SeenPeptides
from structdiff.protein.geometry import beta_carbons, rmsd
from structdiff.settings import Sampling
from structdiff.system.errors import UserError

pytestmark = pytest.mark.xdist_group("design")

STEPS = Sampling(num_steps=12)
PEPTIDE = "AELKMQRAELKM"
CLASSES = ("AELKMQR", "VIYFTW", "GPNDSCH")
"""Residues of helix, strand and coil among the peptides that the model was trained on."""


def by_number(designs):
    return [design.sequence for design in sorted(designs, key=lambda design: design.number)]


def identity(sequences, origin=PEPTIDE):
    return np.mean([[a == b for a, b in zip(one, origin, strict=True)] for one in sequences])


TASKS = {
    "codesign": lambda model, n, how: codesign(model, [12] * n, "helical", how),
    "sequence only": lambda model, n, how: codesign(
        model, [12] * n, "none", how, sequence_only=True
    ),
    "infill": lambda model, n, how: infill(model, "AE????LKVIYF", n, "acidic", how),
    "analogues": lambda model, n, how: analogues(model, PEPTIDE, 0.5, n, "none", how),
    "inverse folding": lambda model, n, how: inverse_fold(
        model, next(fold(model, [PEPTIDE])).backbone, n, "none", how
    ),
}


@pytest.mark.parametrize("task", TASKS)
def test_a_seed_gives_the_same_designs_whatever_the_batch_size(trained_model, task, monkeypatch):
    together = list(TASKS[task](trained_model, 40, STEPS))
    monkeypatch.setattr(batching, "CPU_BATCH_RESIDUES", 36)  # three peptides at once
    apart = list(TASKS[task](trained_model, 40, STEPS))
    assert by_number(apart) == by_number(together)
    assert by_number(TASKS[task](trained_model, 5, STEPS)) == by_number(together)[:5]
    for one, other in zip(together, apart, strict=True):
        if one.backbone is None:
            assert task == "sequence only"
        else:
            assert np.abs(one.backbone - other.backbone).max() < 1e-3
    other_seed = TASKS[task](trained_model, 40, Sampling(num_steps=12, seed=1))
    assert by_number(other_seed) != by_number(together)


@pytest.mark.parametrize("task", TASKS)
def test_a_peptide_takes_no_more_steps_than_its_padded_length(trained_model, task):
    enough = list(TASKS[task](trained_model, 6, Sampling(num_steps=16)))
    more = list(TASKS[task](trained_model, 6, Sampling(num_steps=64)))
    assert by_number(more) == by_number(enough)


@pytest.mark.parametrize("sequence_only", [False, True])
def test_a_training_peptide_is_drawn_again(trained_model, monkeypatch, sequence_only):
    def designs(seen=None, **changes):
        model = replace(trained_model, seen=seen and SeenPeptides.of(seen))
        drawn = codesign(
            model, [12, 9] * 20, "helical", replace(STEPS, **changes), sequence_only=sequence_only
        )
        return sorted(drawn, key=lambda design: design.number)

    free = designs()
    known = {design.sequence for design in free[::3]}
    new = designs(known)
    assert not known & {design.sequence for design in new}
    for before, after in zip(free, new, strict=True):
        assert after.redraws == int(before.sequence in known)
        assert (after.sequence == before.sequence) == (after.redraws == 0)
        assert len(after.sequence) == len(before.sequence)
    second = designs({*known, new[0].sequence})
    assert [design.redraws for design in second[1:]] == [design.redraws for design in new[1:]]
    assert second[0].redraws == 2
    assert second[0].sequence not in {free[0].sequence, new[0].sequence}
    bounded = designs(known, at_most="L=1")
    assert max(design.sequence.count("L") for design in bounded) == 1
    monkeypatch.setattr(batching, "CPU_BATCH_RESIDUES", 36)  # three peptides at once
    assert by_number(designs(known)) == by_number(new)
    monkeypatch.setattr(batching, "granted_cores", lambda: 3)
    assert by_number(designs(known)) == by_number(new)


def test_a_training_peptide_that_always_comes_stays(trained_model):
    one = replace(STEPS, forbid="CDEFGHIKLMNPQRSTVW")  # of Y and A
    every = ["".join(letters) for letters in product("AY", repeat=3)]
    model = replace(trained_model, seen=SeenPeptides.of(every))
    drawn = list(codesign(model, [3] * 4, "none", one))
    assert [design.redraws for design in drawn] == [REDRAWS] * 4
    assert model.seen.includes([design.sequence for design in drawn]).all()


def test_labels_and_lengths_are_obeyed(trained_model):
    sampling = Sampling(num_steps=12)
    lengths = [9, 12, 9, 14]
    designs = sorted(
        codesign(trained_model, lengths, "helical", sampling), key=lambda one: one.number
    )
    assert [len(one.sequence) for one in designs] == lengths
    assert [one.backbone.shape for one in designs] == [(n, 4, 3) for n in lengths]

    def share(entry, letters):
        found = "".join(by_number(codesign(trained_model, [12] * 60, entry, sampling)))
        return sum(letter in letters for letter in found) / len(found)

    helix = {entry: share(entry, "AELKMQR") for entry in ("none", "helical", "helical+acidic")}
    assert helix["none"] < 0.85
    assert helix["helical"] > 0.95
    assert helix["helical+acidic"] > 0.9
    assert share("helical+acidic", "E") > share("helical", "E")


@pytest.mark.parametrize("task", TASKS)
def test_bounds_on_residues_are_kept_in_every_task(trained_model, task):
    forbidden = "MR" if task == "infill" else "EK"  # its template has E and K
    sampling = replace(STEPS, forbid=forbidden, at_most="L=1,A=2")
    sequences = by_number(TASKS[task](trained_model, 100, sampling))
    free = "".join(by_number(TASKS[task](trained_model, 100, STEPS)))
    for letter in forbidden:
        assert letter in free
        assert all(letter not in sequence for sequence in sequences)
    assert max(sequence.count("L") for sequence in sequences) == 1
    assert max(sequence.count("A") for sequence in sequences) == 2
    assert len(set(sequences)) > (50 if task == "infill" else 90)  # four residues to fill


def test_residues_that_stay_must_keep_the_bounds(trained_model):
    bounds = replace(STEPS, forbid="E", at_most="K=1")
    with pytest.raises(UserError, match="the residues that stay have 1 E, but a design may have n"):
        infill(trained_model, "AE????LKVIYF", 1, "none", bounds)
    with pytest.raises(UserError, match="the residues that stay have 2 E, but a design may have n"):
        analogues(trained_model, PEPTIDE, 0, 1, "none", bounds)


def test_codesigned_pairs_agree(trained_model):
    designs = list(codesign(trained_model, [12] * 30, "none", STEPS))
    folded = {one.number: one for one in fold(trained_model, [one.sequence for one in designs])}
    own = torch.from_numpy(np.stack([one.backbone[:, 1] for one in designs]))
    again = torch.from_numpy(np.stack([folded[i].backbone[:, 1] for i in range(len(designs))]))
    assert rmsd(own, again).median() < 2.0


def test_infilling_keeps_every_fixed_residue(trained_model):
    template = "GI?K????FLH?"
    found = by_number(infill(trained_model, template, 50, "none", STEPS))
    for one in found:
        assert all(a in ("?", b) for a, b in zip(template, one, strict=True))
    assert len(set(found)) > 40


def test_cysteines_of_new_backbones_are_near_each_other(trained_model, monkeypatch):
    def apart(template: str, strength: float | None = None) -> np.ndarray:
        if strength is None:
            found = infill(trained_model, template, 10, "none", STEPS)
        else:
            keep = np.array(list(template)) != "?"
            sequence = template.replace("?", "A")
            found = analogues(trained_model, sequence, strength, 10, "none", STEPS, keep=keep)
        atoms = torch.from_numpy(np.stack([one.backbone for one in found]))
        beta = beta_carbons(atoms).numpy()
        return np.linalg.norm(beta[:, 1] - beta[:, 10], axis=-1)

    bonded, free = apart("AC????????CA"), apart("AA????????AA")
    alike = apart("AC????????CA", 0.4)
    monkeypatch.setattr(tasks, "close_disulfides", lambda model, process, tokens, x, mask: x)
    assert (bonded < apart("AC????????CA") - 3).all()
    assert alike.mean() < apart("AC????????CA", 0.4).mean() - 1
    assert (free == apart("AA????????AA")).all()


def test_analogues_move_with_strength(trained_model):
    found = [
        by_number(analogues(trained_model, PEPTIDE, strength, 60, "none", STEPS))
        for strength in (0, 0.2, 0.4, 0.6, 0.8, 1)
    ]
    means = [identity(one) for one in found]
    assert means[0] == 1
    assert all(a > b for a, b in pairwise(means)), means
    free = by_number(codesign(trained_model, [12] * 60, "none", STEPS))
    assert found[-1] == free
    keep = np.arange(12) < 5
    kept = analogues(trained_model, PEPTIDE, 1.0, 20, "none", STEPS, keep=keep)
    assert all(one.sequence.startswith(PEPTIDE[:5]) for one in kept)


def test_the_unchanged_analogue_has_its_fold(trained_model):
    (one,) = analogues(trained_model, PEPTIDE, 0, 1, "none", STEPS)
    (folded,) = fold(trained_model, [PEPTIDE])
    assert rmsd(*(torch.from_numpy(x.backbone[:, 1]) for x in (one, folded))) < 0.05


def test_a_strength_out_of_bounds_is_refused(trained_model):
    with pytest.raises(UserError, match=r"strength 1\.5 is outside of 0"):
        analogues(trained_model, PEPTIDE, 1.5, 1)


def test_inverse_folding_finds_residues_that_make_the_backbone(trained_model, held_out):
    sequences, backbones = held_out
    keep = sequences[0][:3] + "?" * 9
    designs = by_number(inverse_fold(trained_model, backbones[0].numpy(), 10, "none", STEPS))
    assert len(set(designs)) > 5
    kept = inverse_fold(trained_model, backbones[0].numpy(), 10, "none", STEPS, template=keep)
    assert all(one.sequence.startswith(keep[:3]) for one in kept)
    states = [[next(k for k, s in enumerate(CLASSES) if a in s) for a in one] for one in designs]
    own = [next(k for k, s in enumerate(CLASSES) if a in s) for a in sequences[0]]
    assert (np.array(states) == own).mean() > 0.8
    with pytest.raises(UserError, match="has 2 residues, the backbone 12"):
        inverse_fold(trained_model, backbones[0].numpy(), 1, template="A?")


def test_the_number_of_processes_changes_no_byte(trained_model, monkeypatch):
    def everything() -> list[bytes]:
        lengths = [*range(6, 22), *range(6, 22)]
        designs = list(codesign(trained_model, lengths, sampling=STEPS))
        sequences = [design.sequence for design in designs]
        backbones = [design.backbone for design in designs]
        values = [(x.number, x.sequence, x.backbone.tobytes()) for x in designs]
        values += [
            (x.number, x.backbone.tobytes(), x.confidence.tobytes())
            for x in fold(trained_model, sequences)
        ]
        values += [
            (x.number, x.log_probability.tobytes())
            for x in score(trained_model, sequences, backbones)
        ]
        return values

    monkeypatch.setattr(batching, "CPU_BATCH_RESIDUES", 64)
    monkeypatch.setattr(batching, "granted_cores", lambda: 1)
    alone = everything()
    for workers in (2, 5):
        monkeypatch.setattr(batching, "granted_cores", lambda workers=workers: workers)
        assert everything() == alone
