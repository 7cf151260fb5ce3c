"""Losses learn what they should from what they may see; samples obey what is given."""

import numpy as np
import pytest
import torch

from structdiff.diffusion import JointProcess, TaskMix, fold, losses, noise, sample
from structdiff.diffusion.losses import FOLDED_FROM_NOTHING, _levels, smooth_lddt
from structdiff.diffusion.sampling import _guided
from structdiff.model import Denoiser, ModelSpec
from structdiff.protein.geometry import ANGLES, rebuild
from structdiff.training.dataset import Batch

LENGTHS = np.array([8, 9, 12, 20])
STEP = {"self_conditioning": False, "label_dropout": 0.1, "corners": TaskMix(0.1, 0.1, 0.1)}


def make_model(process: JointProcess) -> Denoiser:
    torch.manual_seed(0)
    model = Denoiser(ModelSpec(32, 2, 2, 3, process.sequence_width))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return model


def make_batch(width: int = 20) -> Batch:
    generator = torch.Generator().manual_seed(0)
    mask = torch.arange(width) < torch.from_numpy(LENGTHS)[:, None]
    torsions = torch.randn(4, width, 3, generator=generator)
    backbone = rebuild(torsions, torch.tensor(ANGLES).expand(4, width, 3))
    has_structure = torch.tensor([True, True, True, False])
    known = mask & has_structure[:, None]
    return Batch(
        index=torch.arange(4),
        tokens=torch.randint(0, 20, (4, width), generator=generator) * mask,
        mask=mask,
        labels=torch.tensor([[1, 0, 1]] * 4).bool(),
        backbone=backbone * known[..., None, None],
        weight=known.float(),
        has_structure=has_structure,
    )


@pytest.fixture(params=["masked", "gaussian"])
def process(request) -> JointProcess:
    return JointProcess(request.param, 1000)


def test_a_peptide_without_a_structure_has_no_structure_loss(process):
    drawn = noise(0, 0, LENGTHS, 0, 4, 20, 3)
    found = losses(make_model(process), process, make_batch(), drawn, **STEP)
    assert (found.structure[:3] > 0).all()
    assert found.structure[3] == 0
    assert found.diffusion[3] > 0


def test_pads_do_not_change_the_losses(process):
    model = make_model(process)
    narrow = losses(model, process, make_batch(20), noise(0, 0, LENGTHS, 0, 4, 20, 3), **STEP)
    batch = make_batch(20)
    wide = Batch(
        batch.index,
        *(torch.cat([x, torch.zeros_like(x[:, :4])], dim=1) for x in (batch.tokens, batch.mask)),
        batch.labels,
        *(
            torch.cat([x, torch.zeros_like(x[:, :4])], dim=1)
            for x in (batch.backbone, batch.weight)
        ),
        batch.has_structure,
    )
    found = losses(model, process, wide, noise(0, 0, LENGTHS, 0, 4, 24, 3), **STEP)
    assert torch.allclose(found.diffusion, narrow.diffusion, rtol=1e-4)
    assert torch.allclose(found.structure, narrow.structure, rtol=1e-4)


def test_the_losses_of_the_parts_are_the_losses_of_the_whole(process):
    model, batch = make_model(process).requires_grad_(False), make_batch()
    whole = losses(model, process, batch, noise(0, 0, LENGTHS, 0, 4, 20, 3), **STEP)
    for i in range(4):
        part = Batch(*(getattr(batch, name)[i : i + 1] for name in Batch.__dataclass_fields__))
        found = losses(model, process, part, noise(0, 0, LENGTHS, i, i + 1, 20, 3), **STEP)
        assert found.diffusion[0] == pytest.approx(whole.diffusion[i].item(), rel=1e-4)
        assert found.structure[0] == pytest.approx(whole.structure[i].item(), rel=1e-4)


def test_corner_tasks_are_drawn_as_often_as_asked(process):
    size, fields = 4000, make_batch()

    def levels(row: int, corners: TaskMix) -> tuple[torch.Tensor, torch.Tensor]:
        batch = Batch(
            *(
                getattr(fields, name)[row : row + 1].expand(size, *getattr(fields, name).shape[1:])
                for name in Batch.__dataclass_fields__
            )
        )
        drawn = noise(0, 0, np.full(size, 8), 0, size, 8, 3)
        return _levels(process, batch, drawn, corners)

    def share(condition: torch.Tensor) -> float:
        return condition.float().mean().item()

    sequence, structure = levels(0, TaskMix(0.3, 0.1, 0.2))
    assert share(sequence == 0) == pytest.approx(0.3, abs=0.02)
    assert share(structure == 0) == pytest.approx(0.1, abs=0.02)
    assert share(structure[sequence > 0] == 1) == pytest.approx(0.2 / 0.7, abs=0.02)
    assert share(structure[sequence == 0] == 1) == pytest.approx(FOLDED_FROM_NOTHING, abs=0.04)
    sequence, structure = levels(3, TaskMix(0.3, 0.1, 0.2))  # without a structure
    assert (sequence > 0).all()
    assert (structure == 1).all()
    sequence, structure = levels(0, TaskMix(0.0, 0.0, 0.0))
    assert (sequence > 0).all()
    assert (structure > 0).all()


def test_smooth_lddt_is_highest_for_the_truth_and_blind_to_rigid_motion():
    true = make_batch().backbone[:3, :8, 1]
    mask = torch.ones(3, 8, dtype=torch.bool)
    turn = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(3))).Q
    same = smooth_lddt(true @ turn.T + 5.0, true, mask)
    assert torch.allclose(same, smooth_lddt(true, true, mask), atol=1e-4)
    moved = true + torch.randn(true.shape, generator=torch.Generator().manual_seed(4)) * 3
    assert (same.mean(1) > smooth_lddt(moved, true, mask).mean(1) + 0.1).all()
    alone = torch.arange(8) < torch.ones(3, 1)  # has no neighbour to keep its distance from
    assert (smooth_lddt(moved, true, alone) == 0).all()


def draw(model, process, index, **given):
    count = len(index)
    return sample(
        model.eval(),
        process,
        mask=torch.ones(count, 10, dtype=torch.bool),
        index=np.asarray(index),
        labels=torch.full((count, 3), 2),
        seed=1,
        num_steps=8,
        guidance_scale=1.5,
        **given,
    )


def some_tokens(count: int = 3) -> torch.Tensor:
    return torch.randint(0, 20, (count, 10), generator=torch.Generator().manual_seed(7))


def test_a_design_does_not_depend_on_the_batch(process):
    model = make_model(process)
    together, alone = draw(model, process, range(6)), draw(model, process, [4])
    assert torch.equal(together.tokens[4], alone.tokens[0])
    assert torch.allclose(together.backbone[4], alone.backbone[0], atol=1e-3)


def test_given_residues_and_structures_are_kept(process):
    model = make_model(process)
    tokens = some_tokens()
    fixed = torch.zeros(3, 10, dtype=torch.bool)
    fixed[:, ::3] = True
    infilled = draw(model, process, range(3), tokens=tokens, fixed=fixed)
    assert torch.equal(infilled.tokens[fixed], tokens[fixed])
    assert not torch.equal(infilled.tokens, tokens)
    designed = draw(model, process, range(3), backbone=infilled.backbone)
    assert torch.equal(designed.backbone, infilled.backbone)


def test_strength_0_returns_the_peptide_and_1_forgets_it(process):
    model = make_model(process).eval()
    tokens = some_tokens()
    origin = fold(model, process, tokens=tokens, mask=torch.ones(3, 10, dtype=torch.bool))
    given = {"tokens": tokens, "fixed": torch.zeros_like(tokens, dtype=torch.bool)}
    same = draw(model, process, range(3), backbone=origin.backbone, strength=0.0, **given)
    assert torch.equal(same.tokens, tokens)
    assert torch.allclose(same.backbone, origin.backbone, atol=0.01)
    free = draw(model, process, range(3))
    forgotten = draw(model, process, range(3), backbone=origin.backbone, strength=1.0, **given)
    assert torch.equal(forgotten.tokens, free.tokens)
    given["fixed"] = torch.arange(10).expand(3, 10) < 4
    kept = draw(model, process, range(3), backbone=origin.backbone, strength=0.7, **given)
    assert torch.equal(kept.tokens[:, :4], tokens[:, :4])
    assert not torch.equal(kept.tokens, tokens)


def test_a_sequence_can_be_drawn_alone(process):
    model = make_model(process)
    alone = draw(model, process, range(3), sequence_only=True)
    assert alone.backbone is None
    assert alone.tokens.shape == (3, 10)


def test_a_fold_is_the_sequences_own(process):
    model, tokens, mask = make_model(process).eval(), some_tokens(6), torch.ones(6, 10).bool()
    together = fold(model, process, tokens=tokens, mask=mask)
    assert together.backbone.shape == (6, 10, 4, 3)
    assert together.confidence.shape == (6, 10)
    assert ((together.confidence > 0) & (together.confidence < 1)).all()
    again = fold(model, process, tokens=tokens, mask=mask)
    assert torch.equal(again.backbone, together.backbone)
    alone = fold(
        model,
        process,
        tokens=torch.nn.functional.pad(tokens[4:5], (0, 6), value=3),
        mask=torch.arange(16)[None] < 10,
    )
    assert torch.allclose(alone.backbone[0, :10], together.backbone[4], atol=1e-3)
    assert torch.allclose(alone.confidence[0, :10], together.confidence[4], atol=1e-4)
    other = fold(model, process, tokens=(tokens + 1) % 20, mask=mask)
    assert (other.backbone - together.backbone).abs().max() > 0.01


def test_folding_asks_once_for_what_the_sequence_alone_says(process):
    model, tokens, mask = make_model(process).eval(), some_tokens(), torch.ones(3, 10).bool()
    seen = []
    model.register_forward_pre_hook(lambda _, given: seen.append(given))
    fold(model, process, tokens=tokens, mask=mask)
    ((sequence, structure, _, sequence_level, structure_level, labels, *estimates),) = seen
    assert torch.equal(sequence, process.sequence.encode(tokens))
    assert (sequence_level == 0).all()
    assert (structure_level == 1).all()
    assert not any(given.any() for given in (structure, labels, *estimates))


def half_noised(process, count: int) -> tuple[tuple, tuple]:
    """What a model sees of some peptides in the middle of sampling, but for the labels."""
    mask, level = torch.ones(count, 10, dtype=torch.bool), torch.full((count,), 0.5)
    structure = torch.zeros(count, 10, 9)
    noisy = (process.sequence.encode(some_tokens(count)), structure, mask, level, level)
    return noisy, (torch.zeros(count, 10, 20), structure)


def test_guidance_moves_away_from_peptides_that_lack_the_labels(process):
    model = make_model(process).eval()
    noisy, estimate = half_noised(process, 2)

    def guided(labels: list[int], scale: float) -> tuple[torch.Tensor, torch.Tensor]:
        return _guided(model, noisy, torch.tensor([labels] * 2), estimate, scale)

    asked, without, strong = guided([2, 0, 1], 1.0), guided([1, 0, 1], 1.0), guided([2, 0, 1], 3.0)
    assert torch.equal(asked[0], model(*noisy, torch.tensor([[2, 0, 1]] * 2), *estimate).logits)
    for with_labels, lacking, moved in zip(asked, without, strong, strict=True):
        assert (with_labels - lacking).abs().max() > 1e-3
        assert torch.allclose(moved, lacking + 3 * (with_labels - lacking), atol=1e-5)
    for one, other in zip(guided([0, 0, 0], 3.0), guided([0, 0, 0], 1.0), strict=True):
        assert torch.equal(one, other)  # no label, no guidance


def test_labels_asked_for_together_pull_alike(process):
    model = make_model(process).eval()
    noisy, estimate = half_noised(process, 3)

    def given(*labels: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
        return model(*noisy, torch.tensor(labels), *estimate)[:2]

    wanted = torch.tensor([[2, 0, 2], [2, 0, 0], [0, 0, 0]])
    together = _guided(model, noisy, wanted, estimate, 2.0)
    lacking = given([1, 0, 1], [1, 0, 0], [0, 0, 0])
    first, last = given([2, 0, 1], [2, 0, 0], [0, 0, 0]), given([1, 0, 2], [1, 0, 0], [0, 0, 0])
    for moved, base, *bearing in zip(together, lacking, first, last, strict=True):
        pulls = torch.stack(bearing) - base
        sizes = pulls[:, 0].flatten(1).norm(dim=1)
        assert (sizes[0] - sizes[1]).abs() > 1e-2 * sizes.max()
        alike = pulls[:, 0] / sizes[:, None, None] * sizes.max()
        assert torch.allclose(moved[0], base[0] + 2 * 2 * alike.sum(0), atol=1e-5)
        # each peptide is asked for its own labels alone
        assert torch.allclose(moved[1], base[1] + 2 * pulls[0, 1], atol=1e-5)
        assert torch.equal(moved[2], base[2])


def test_a_sampler_can_begin_at_any_level():
    grid = JointProcess("masked", 1000).grid(4, 0.5)
    assert grid == [0.5, 0.375, 0.25, 0.125, 0.0]
    assert JointProcess("masked", 1000).grid(4, 0.0) == [0.0]
