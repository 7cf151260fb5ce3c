"""Motif tables look at two neighbours each; the distogram is symmetric and knows separations."""

import pytest
import torch

from structdiff.model.heads import DISTANCE_BINS, DistogramHead, MotifTables

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


def test_the_distogram_is_symmetric_and_knows_the_separation():
    torch.manual_seed(0)
    logits = DistogramHead(16)(torch.randn(1, 1, 16).expand(2, 9, 16))
    assert logits.shape == (2, 9, 9, DISTANCE_BINS)
    assert torch.allclose(logits, logits.transpose(1, 2))
    assert torch.allclose(logits[:, 0, 3], logits[:, 4, 7], atol=1e-5)
    assert (logits[:, 0, 3] - logits[:, 0, 4]).abs().max() > 1e-3
