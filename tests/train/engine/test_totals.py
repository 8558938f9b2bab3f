"""What ranks know of a step: seeds, and sums over all of them."""

import pytest
import torch

from train.engine.totals import StepTotals, pack_seed
from train.model.forward import LossSums


def test_pack_seeds_differ_and_fit_torch():
    seeds = {pack_seed(s, step, k) for s in range(3) for step in range(50) for k in range(8)}
    assert len(seeds) == 3 * 50 * 8
    torch.manual_seed(max(seeds))


def test_shares_of_the_loss_add_up_to_the_mean():
    totals = StepTotals(10.0, 4.0, 0, 0, False, False, False)
    parts = [LossSums(torch.tensor(float(n)), torch.ones(1), torch.tensor(2.0)) for n in (3, 5)]
    assert float(sum(totals.mean(part) for part in parts)) == pytest.approx(0.8 + 1.0)
