"""What the output heads look at: neighbours, cysteines, the backbone nearby, pairs of residues."""

import pytest
import torch

from structdiff.model.heads import (
    DISTANCE_BINS,
    BackboneHead,
    CysteineTable,
    DistogramHead,
    MotifTables,
)

WIDTH = 21


@pytest.mark.parametrize(("which", "left", "right"), [(0, 1, 2), (1, 2, 4), (2, 4, 5)])
def test_a_motif_table_looks_at_its_two_neighbours(which, left, right):
    # Residue 3 of 9 has the neighbours 1 and 2, 2 and 4, or 4 and 5.
    head, codes = MotifTables(WIDTH), torch.arange(9).expand(2, 9)
    sequence = torch.nn.functional.one_hot(codes, WIDTH).float()
    with torch.no_grad():
        for table in head.tables:
            table.weight.zero_()
        head.tables[which].weight[7, left * WIDTH + right] = 1.0
        logits = head(sequence, torch.ones(2, 9, dtype=torch.bool))
    expected = torch.zeros(2, 9, 20)
    expected[:, 3, 7] = 10.0
    assert torch.allclose(logits, expected)


def test_the_backbone_head_reads_a_residue_and_eight_on_each_side():
    torch.manual_seed(0)
    head, mask = BackboneHead(6).eval(), torch.ones(1, 30, dtype=torch.bool)
    backbone, level = torch.randn(1, 30, 6), torch.tensor([0.5])
    moved = backbone.clone()
    moved[0, 15] += 1
    difference = (head(moved, mask, level) - head(backbone, mask, level))[0].abs().amax(-1)
    assert difference.nonzero().flatten().tolist() == list(range(15 - 8, 15 + 9))
    short = head(backbone[:, :20], mask[:, :20], level)
    pads = torch.arange(30)[None] < 20
    assert torch.allclose(head(backbone, pads, level)[:, :20], short, atol=1e-6)
    assert not torch.equal(short, head(backbone[:, :20], mask[:, :20], torch.tensor([1.0])))


def test_the_cysteine_table_knows_how_many_there_are_and_how_many_residues_are_hidden():
    cysteine, hidden = 1, 20
    tokens = torch.tensor([[cysteine, 5, hidden, hidden], [cysteine, cysteine, hidden, cysteine]])
    mask = torch.tensor([[True] * 4, [True] * 3 + [False]])
    noisy = torch.nn.functional.one_hot(tokens, WIDTH).float()
    head = CysteineTable()
    torch.nn.init.zeros_(head.table.weight)
    with torch.no_grad():
        head.table.weight[0, 1 * 7 + 1] = 0.3  # one cysteine, two hidden
        head.table.weight[0, 2 * 7 + 0] = -0.4  # two cysteines, one hidden
    level = torch.tensor([0.5, 1 / 3])
    expected = torch.zeros(2, 1, 20)
    expected[:, 0, cysteine] = torch.tensor([3.0, -4.0])
    assert torch.allclose(head(noisy, mask, level), expected)
    # Without a state for hidden residues, their number follows from the noise level.
    tokens = torch.tensor([[cysteine, 5, 5, 5], [cysteine, cysteine, 5, cysteine]])
    noisy = torch.nn.functional.one_hot(tokens, 20).float()
    assert torch.allclose(head(noisy, mask, level), expected)


def test_pairing_is_what_distinguishes_odd_from_even_numbers_of_cysteines():
    cysteine, hidden, length = 1, 20, 12
    counts = torch.arange(length)
    tokens = torch.where(torch.arange(length) < counts[:, None], cysteine, 5)
    tokens[:, -1] = hidden
    noisy = torch.nn.functional.one_hot(tokens, WIDTH).float()
    mask, level = torch.ones_like(tokens).bool(), torch.full((length,), 1 / length)
    head = CysteineTable()

    def pairing(entries: torch.Tensor) -> torch.Tensor:
        """Return the pairing logits of cysteine for 0–11 cysteines and one hidden residue."""
        with torch.no_grad():
            head.table.weight.zero_()
            head.table.weight.view(11, 7)[:, 0] = entries / 10
            logits = head.pairing(noisy, mask, level)
        assert not logits[..., torch.arange(20) != cysteine].any()
        return logits[:, 0, cysteine]

    number = torch.arange(11)
    assert torch.allclose(pairing(3.0 - 0.5 * number), torch.zeros(length), atol=1e-5)
    alternating = pairing(torch.where(number % 2 == 1, 1.0, -1.0))
    expected = torch.tensor([0.0, *[1.0, -1.0] * 4, 1.0, 0.0, 0.0])
    assert torch.allclose(alternating, expected, atol=1e-5)


def test_the_distogram_is_symmetric_and_knows_the_separation():
    torch.manual_seed(0)
    logits = DistogramHead(16)(torch.randn(1, 1, 16).expand(2, 9, 16))
    assert logits.shape == (2, 9, 9, DISTANCE_BINS)
    assert torch.allclose(logits, logits.transpose(1, 2))
    assert torch.allclose(logits[:, 0, 3], logits[:, 4, 7], atol=1e-5)
    assert (logits[:, 0, 3] - logits[:, 0, 4]).abs().max() > 1e-3
