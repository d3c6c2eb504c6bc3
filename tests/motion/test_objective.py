"""Losses of correspondences, alone and several pairs at a time."""

import pytest
import torch

from rilievo.fields.motion import InvertibleMotion
from rilievo.motion.neighbors import nearest_neighbors
from rilievo.motion.objective import Correspondences, batched, forgiven, motion_losses


def pair(n, seed, start, end):
    generator = torch.Generator().manual_seed(seed)
    source = torch.rand(n, 3, generator=generator)
    return Correspondences(source, source + 0.1 * torch.rand(n, 3, generator=generator), start, end)


def motion():
    generator = torch.Generator().manual_seed(0)
    return InvertibleMotion(time_width=16, time_features=8, projection=12, hidden=(16,), generator=generator)


def test_several_pairs_together_lose_what_each_loses_alone():
    field, pairs = motion(), [pair(40, 1, 0.1, 0.6), pair(40, 2, 0.9, 0.3)]
    together = motion_losses(field, batched(pairs, 40, 5, torch.Generator().manual_seed(3)))
    for name in ("flow", "smoothness"):
        alone = []
        for each in pairs:
            with_neighbors = Correspondences(
                each.source, each.target, each.start, each.end, nearest_neighbors(each.source, 5)
            )
            alone.append(motion_losses(field, with_neighbors)[name])
        ours = together[name].view(2, -1).sort(1).values
        torch.testing.assert_close(ours, torch.stack(alone).sort(1).values)


def test_a_short_pair_repeats_itself_beside_a_long_one():
    batch = batched([pair(30, 1, 0.0, 1.0), pair(80, 2, 0.0, 1.0)], 70, 0, torch.Generator().manual_seed(0))
    assert batch.source.shape == (2, 70, 3)
    assert [len(row.unique(dim=0)) for row in batch.source] == [30, 70]
    assert batch.neighbors is None


def test_a_small_miss_costs_its_square_and_a_large_one_its_length():
    beyond = 0.1
    assert forgiven(torch.tensor(1e-6), beyond) == pytest.approx(1e-6, rel=1e-3)
    far, farther = forgiven(torch.tensor([4.0, 16.0]).double(), beyond)
    assert farther / far == pytest.approx(2, rel=0.1)
    assert forgiven(torch.tensor(4.0), None) == 4.0
