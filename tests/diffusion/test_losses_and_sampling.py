"""Losses learn what they should from what they may see; samples obey what is given."""

import numpy as np
import pytest
import torch

from structdiff.arrays import Batch
from structdiff.diffusion import Corners, JointProcess, fold, losses, noise, sample
from structdiff.diffusion.losses import FOLDED_FROM_NOTHING, _levels, lddt_scores
from structdiff.geometry import ANGLES, lddt, rebuild
from structdiff.model import Denoiser, Estimates, ModelSpec

LENGTHS = np.array([8, 9, 12, 20])
STEP = {"self_conditioning": False, "label_dropout": 0.1, "corners": Corners(0.1, 0.1, 0.1)}


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

    def levels(row: int, corners: Corners) -> tuple[torch.Tensor, torch.Tensor]:
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

    sequence, structure = levels(0, Corners(0.3, 0.1, 0.2))
    assert share(sequence == 0) == pytest.approx(0.3, abs=0.02)
    assert share(structure == 0) == pytest.approx(0.1, abs=0.02)
    assert share(structure[sequence > 0] == 1) == pytest.approx(0.2 / 0.7, abs=0.02)
    assert share(structure[sequence == 0] == 1) == pytest.approx(FOLDED_FROM_NOTHING, abs=0.04)
    sequence, structure = levels(3, Corners(0.3, 0.1, 0.2))  # without a structure
    assert (sequence > 0).all()
    assert (structure == 1).all()
    sequence, structure = levels(0, Corners(0.0, 0.0, 0.0))
    assert (sequence > 0).all()
    assert (structure > 0).all()


def test_smooth_lddt_is_highest_for_the_truth_and_blind_to_rigid_motion():
    true = make_batch().backbone[:3, :8, 1]
    mask = torch.ones(3, 8, dtype=torch.bool)
    turn = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(3))).Q
    same, _ = lddt_scores(true @ turn.T + 5.0, true, mask)
    assert torch.allclose(same, lddt_scores(true, true, mask)[0], atol=1e-4)
    moved = true + torch.randn(true.shape, generator=torch.Generator().manual_seed(4)) * 3
    assert (same.mean(1) > lddt_scores(moved, true, mask)[0].mean(1) + 0.1).all()


def test_stepped_lddt_is_that_of_the_definition_whatever_the_pads():
    batch = make_batch()
    true = batch.backbone[..., 1, :]
    moved = true + torch.randn(true.shape, generator=torch.Generator().manual_seed(4)) * 2
    _, found = lddt_scores(moved, true, batch.mask)
    for own, a, b, inside in zip(found[:3], moved, true, batch.mask, strict=False):
        assert torch.allclose(own[inside].double(), lddt(a[inside], b[inside]), atol=1e-6)
    alone = torch.arange(20) < torch.ones(4, 1)  # has no neighbour to keep its distance from
    assert (lddt_scores(moved, true, alone)[1] == 0).all()


class Certain(torch.nn.Module):
    """Estimates some backbone with some confidence, whatever is asked."""

    def __init__(self, structure: torch.Tensor, confidence: torch.Tensor):
        super().__init__()
        self.structure, self.confidence = structure, confidence

    def forward(self, sequence: torch.Tensor, *_) -> Estimates:
        return Estimates(torch.zeros(*sequence.shape[:2], 20), self.structure, self.confidence)


def test_the_confidence_is_best_at_the_lddt_of_the_models_own_backbone(process):
    batch, drawn = make_batch(), noise(0, 0, LENGTHS, 0, 4, 20, 3)
    structure = process.structure.encode(batch.backbone, batch.mask)
    structure += 0.3 * torch.randn(structure.shape, generator=torch.Generator().manual_seed(5))
    own = process.structure.decode(structure)[..., 1, :]
    _, actual = lddt_scores(own, batch.backbone[..., 1, :], batch.mask)
    confidence = torch.logit(actual, eps=1e-4).requires_grad_()
    best = losses(Certain(structure, confidence), process, batch, drawn, **STEP)
    best.structure.sum().backward()
    assert confidence.grad.abs().max() < 1e-4
    for other in (confidence + 0.5, confidence - 0.5):
        found = losses(Certain(structure, other), process, batch, drawn, **STEP)
        assert (found.structure[:3] > best.structure[:3] + 1e-3).all()
        assert found.structure[3] == 0  # which has no structure
        assert torch.equal(found.diffusion, best.diffusion)


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


def test_folding_gives_the_network_its_estimate_in_every_further_pass(process):
    model, tokens, mask = make_model(process).eval(), some_tokens(), torch.ones(3, 10).bool()
    seen = []
    model.register_forward_pre_hook(lambda _, given: seen.append(given))
    found = fold(model, process, tokens=tokens, mask=mask, passes=3)
    assert len(seen) == 3
    for sequence, structure, _, sequence_level, structure_level, labels, *_ in seen:
        assert torch.equal(sequence, process.sequence.encode(tokens))
        assert (structure == 0).all()
        assert (sequence_level == 0).all()
        assert (structure_level == 1).all()
        assert (labels == 0).all()
    assert (seen[0][-1] == 0).all()
    before = model(*seen[1])
    assert torch.equal(seen[2][-1], before.structure)
    assert torch.equal(seen[2][-2], before.logits.softmax(-1))
    once = fold(model, process, tokens=tokens, mask=mask, passes=1)
    assert (found.backbone - once.backbone).abs().max() > 1e-3


def test_a_sampler_can_begin_at_any_level():
    grid = JointProcess("masked", 1000).grid(4, 0.5)
    assert grid == [0.5, 0.375, 0.25, 0.125, 0.0]
    assert JointProcess("masked", 1000).grid(4, 0.0) == [0.0]
