"""Matches at full resolution through pairs of crops."""

import math
from itertools import combinations

import pytest
import torch

from rilievo.errors import UserError
from rilievo.matching.coarse_to_fine import (
    CropConfig,
    CropPair,
    facilities,
    lifted,
    match_through_crops,
    select_crop_pairs,
    united,
)
from rilievo.matching.pair_result import Correspondences


def matches(xy_i, xy_j, confidence=None):
    xy_i, xy_j = torch.as_tensor(xy_i, dtype=torch.float32), torch.as_tensor(xy_j, dtype=torch.float32)
    return Correspondences(xy_i, xy_j, torch.ones(len(xy_i)) if confidence is None else torch.tensor(confidence))


@pytest.fixture
def zoomed():
    """300 matches of a 900x1200 photo and another that shows it half as large, 100 px from its left border."""
    xy = torch.rand(300, 2, generator=torch.Generator().manual_seed(3)) * torch.tensor([1200.0, 900.0])
    return matches(xy, xy / 2 + torch.tensor([100.0, 0.0]))


def test_crops_see_the_matches_they_were_chosen_for(zoomed):
    chosen = select_crop_pairs(zoomed, (900, 1200), (900, 1200))
    assert chosen
    seen = torch.zeros(len(zoomed), dtype=torch.bool)
    for pair in chosen:
        (l1, t1, r1, b1), (l2, t2, r2, b2) = pair.window_i, pair.window_j
        (x1, y1), (x2, y2) = zoomed.xy_i.T, zoomed.xy_j.T
        seen |= (l1 <= x1) & (x1 < r1) & (t1 <= y1) & (y1 < b1) & (l2 <= x2) & (x2 < r2) & (t2 <= y2) & (y2 < b2)
    assert seen.double().mean() > 0.9
    half = [(p.window_j[2] - p.window_j[0]) / (p.window_i[2] - p.window_i[0]) for p in chosen]
    assert min(half) < 0.6  # where the other photo shows things half as large, its window is half as wide


def test_too_few_coarse_matches_choose_no_crops():
    few = matches([[10.0, 10]] * 5, [[20.0, 20]] * 5)
    assert select_crop_pairs(few, (768, 1024), (768, 1024)) == []
    assert select_crop_pairs(Correspondences.none(torch.zeros(1)), (768, 1024), (768, 1024)) == []


def test_the_pair_that_adds_most_comes_next():
    worth = torch.tensor([[1.0, 1, 0, 0], [0, 1, 1, 0], [0, 0, 0, 0.2], [1, 1, 0, 0]])
    assert facilities(worth, 0.6) == [0]
    assert facilities(worth, 0.9) == [0, 1]
    assert facilities(worth, 1.0) == [0, 1, 2]
    assert facilities(torch.zeros(3, 5), 0.9) == []
    assert facilities(torch.zeros(0, 5), 0.9) == []


def test_so_chosen_pairs_are_nearly_as_good_as_any_others():
    worth = torch.rand(7, 30, generator=torch.Generator().manual_seed(4)) ** 4
    order = facilities(worth, 1.0)
    for k in (1, 2, 3):
        best = max(float(worth[list(some)].amax(dim=0).sum()) for some in combinations(range(7), k))
        assert float(worth[order[:k]].amax(dim=0).sum()) >= (1 - math.exp(-1)) * best


def test_positions_in_crops_become_positions_in_the_photo():
    corners = torch.tensor([[-0.5, -0.5], [255.5, 191.5]])  # of the crop's area, in pixel indices
    torch.testing.assert_close(
        lifted(corners, (100, 50, 612, 434), (192, 256)), torch.tensor([[99.5, 49.5], [611.5, 433.5]])
    )
    whole = torch.tensor([[3.0, 4.0]])
    assert lifted(whole, (10, 20, 74, 52), (32, 64)).tolist() == [[13, 24]]


def test_what_two_crops_find_counts_once_with_its_larger_confidence(zoomed):
    true = {(float(x), float(y)): 0 for x, y in zoomed.xy_i.round().tolist()}

    def match(pair):
        left, top, right, bottom = pair.window_i
        x, y = zoomed.xy_i.round().T
        here = (left <= x) & (x < right) & (top <= y) & (y < bottom)
        within = matches(
            zoomed.xy_i.round()[here] - torch.tensor([left, top]),
            zoomed.xy_j.round()[here] - torch.tensor(pair.window_j[:2]),
            [1.0 + left] * int(here.sum()),
        )
        sizes = [(w[3] - w[1], w[2] - w[0]) for w in (pair.window_i, pair.window_j)]
        return within, *sizes

    crops = [CropPair((0, 0, 512, 512), (90, 0, 602, 512)), CropPair((256, 0, 768, 512), (90, 0, 602, 512))]
    found = match_through_crops(crops, match, torch.zeros(1))
    rows = [*map(tuple, found.xy_i.tolist())]
    assert len(rows) == len({(*a, *b) for a, b in zip(rows, map(tuple, found.xy_j.tolist()))})
    assert set(rows) <= true.keys()
    x = found.xy_i[:, 0]
    assert torch.equal(found.confidence, torch.where(x < 256, 1.0, 257.0))
    assert match_through_crops([], match, torch.zeros(1)).is_empty


def test_united_matches_are_sorted_by_rows():
    both = united([matches([[5, 1], [0, 2]], [[1, 1], [2, 2]]), matches([[7, 0]], [[0, 0]])])
    assert both.xy_i.tolist() == [[7, 0], [5, 1], [0, 2]]


def test_photos_smaller_than_their_crops_are_refused():
    some = matches(torch.rand(20, 2), torch.rand(20, 2))
    with pytest.raises(UserError, match="crops of a 320x240 photo"):
        select_crop_pairs(some, (240, 320), (768, 1024))
    with pytest.raises(UserError, match="at most its size"):
        select_crop_pairs(some, (600, 600), (600, 600), CropConfig(resolution_hw=((512, 700), None)))


@pytest.mark.golden
def test_chosen_crops_are_the_published_ones(published_crops):
    for case in published_crops["selections"]:
        forced = case["forced_resolution_hw"]
        pair = (forced, forced) if forced is None or isinstance(forced[0], int) else forced
        config = CropConfig(resolution_hw=tuple(None if hw is None else tuple(hw) for hw in pair))
        coarse = matches(case["pts_query"], case["pts_map"])
        chosen = select_crop_pairs(coarse, tuple(case["hw_query"]), tuple(case["hw_map"]), config)
        found = torch.tensor([[*pair.window_i, *pair.window_j] for pair in chosen])
        expected = torch.tensor([[*pair["query_ltrb"], *pair["map_ltrb"]] for pair in case["selected"]])
        assert found.shape == expected.shape
        assert (found - expected).abs().max() <= 1  # published means and quantiles are rounded to single precision,
        assert (found == expected).all(dim=1).double().mean() >= 0.9  # and a window may begin a pixel aside
