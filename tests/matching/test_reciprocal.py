"""Mutual nearest neighbours between two descriptor maps."""

import re

import pytest
import torch

from rilievo.errors import UserError
from rilievo.matching.reciprocal import (
    NOBODY,
    DescriptorMaps,
    basins,
    grid_pixels,
    matches_of_pixels,
    reciprocal_matches,
    unique_pairs,
)

from .conftest import unit_map


@pytest.fixture
def maps():
    return DescriptorMaps(unit_map(3, 17, 20, 6), unit_map(4, 19, 14, 6))


def as_set(pairs):
    return set(zip(pairs.pixel_1.tolist(), pairs.pixel_2.tolist()))


def mutual(D_1, D_2):
    """All mutual nearest neighbours, from the whole table of products."""
    table = D_1.flatten(0, 1) @ D_2.flatten(0, 1).mT
    there, back = table.argmax(dim=1), table.argmax(dim=0)
    return {(p, int(q)) for p, q in enumerate(there) if back[q] == p}


def test_from_every_pixel_all_mutual_neighbours_are_found(maps):
    expected = mutual(unit_map(3, 17, 20, 6), unit_map(4, 19, 14, 6))
    assert as_set(reciprocal_matches(maps, step=1)) == expected
    assert as_set(reciprocal_matches(maps.swapped(), step=1)) == {(b, a) for a, b in expected}


@pytest.mark.parametrize("step", [2, 3, 8, 50])
def test_from_a_grid_only_mutual_neighbours_are_found(maps, step):
    assert as_set(reciprocal_matches(maps, step=step)) <= as_set(reciprocal_matches(maps, step=1))


def test_matches_are_unique_and_sorted(maps):
    found = reciprocal_matches(maps, step=2)
    order = [*zip(found.pixel_1.tolist(), found.pixel_2.tolist())]
    assert order == sorted(set(order))


def test_walks_end_in_the_basin_of_their_match(maps):
    """Following the basin map from a grid pixel to its fixed point gives the match that this pixel finds."""
    basin = basins(maps, step=3)
    ends = set()
    for pixel in maps.starts(3).tolist():
        for _ in range(10):
            pixel = int(basin[pixel])
        if basin[pixel] == pixel:
            ends.add(pixel)
    assert ends == set(reciprocal_matches(maps, step=3).pixel_1.tolist())


def test_given_pixels_are_matched_as_they_are(maps):
    pixels = torch.tensor([5, 5, 100, 33, 250, 301, 77, 12])
    exact = matches_of_pixels(maps, pixels)
    assert as_set(exact) == {pair for pair in as_set(reciprocal_matches(maps, step=1)) if pair[0] in pixels}
    loose = matches_of_pixels(maps, pixels, tolerance_px=6.0)
    assert as_set(exact) <= as_set(loose)
    assert set(loose.pixel_1.tolist()) <= set(pixels.tolist())
    assert len(matches_of_pixels(maps, pixels, tolerance_px=1000.0)) == len(pixels.unique())


def test_pixels_without_a_descriptor_are_left_out_and_hide_no_other():
    D_1, D_2 = unit_map(5, 12, 12), unit_map(6, 12, 12)
    D_2[3:, 2:] = D_1[:-3, :-2]
    whole = as_set(reciprocal_matches(DescriptorMaps(D_1, D_2), step=1))
    holes = {13, 14, 40}
    spoiled = D_1.clone()
    spoiled.view(-1, 16)[[13, 40]] = torch.nan
    spoiled.view(-1, 16)[14] = 0
    found = as_set(reciprocal_matches(DescriptorMaps(spoiled, D_2), step=1))
    assert {pair for pair in whole if pair[0] not in holes} <= found
    assert not holes & {p for p, _ in found}


@pytest.mark.parametrize("value", [0.0, torch.nan])
def test_a_map_without_any_descriptor_matches_nothing(value):
    maps = DescriptorMaps(unit_map(5, 12, 12), torch.full((9, 8, 16), value))
    for m in (maps, maps.swapped()):
        assert len(reciprocal_matches(m, step=2)) == 0
        assert len(matches_of_pixels(m, m.starts(4), tolerance_px=100.0)) == 0
        assert (basins(m) == NOBODY).all()


def test_a_photo_matches_itself_pixel_by_pixel():
    D = unit_map(9, 10, 11)
    found = reciprocal_matches(DescriptorMaps(D, D), step=1)
    assert torch.equal(found.pixel_1, torch.arange(110))
    assert torch.equal(found.pixel_2, found.pixel_1)


def test_starts_lie_in_the_middle_of_their_cells():
    assert grid_pixels((4, 6), 2).tolist() == [7, 9, 11, 19, 21, 23]
    assert grid_pixels((3, 3), 8).tolist() == [8]  # a photo smaller than a cell has a start too
    with pytest.raises(UserError, match="1 or more"):
        grid_pixels((4, 4), 0)


@pytest.mark.golden
def test_published_matches_from_grids(fast_nn):
    maps = DescriptorMaps(fast_nn["in/desc11"], fast_nn["in/desc21"])
    w1, w2 = maps.size_1[1], maps.size_2[1]
    names = {re.fullmatch(r"frnn/(S(\d+)_(?:dot|kdtree|basin))/xy1", name) for name in fast_nn} - {None}
    assert names
    for name in names:
        xy1, xy2 = (fast_nn[f"frnn/{name[1]}/xy{k}"] for k in "12")
        found = reciprocal_matches(maps, step=int(name[2]))
        same_sets(as_set(found), pixels(xy1, w1), pixels(xy2, w2))
    for name in {re.fullmatch(r"frnn/(S(\d+)_idx)/idx1", name) for name in fast_nn} - {None}:
        found = reciprocal_matches(maps, step=int(name[2]))
        same_sets(as_set(found), fast_nn[f"frnn/{name[1]}/idx1"], fast_nn[f"frnn/{name[1]}/idx2"])
    for name in {re.fullmatch(r"frnn/(S(\d+)_y_x)/yx1", name) for name in fast_nn} - {None}:
        yx1, yx2 = (fast_nn[f"frnn/{name[1]}/yx{k}"] for k in "12")
        found = reciprocal_matches(maps, step=int(name[2]))
        same_sets(as_set(found), pixels(yx1.flip(1), w1), pixels(yx2.flip(1), w2))


@pytest.mark.golden
def test_published_basins(fast_nn):
    maps = DescriptorMaps(fast_nn["in/desc11"], fast_nn["in/desc21"])
    for name in {re.fullmatch(r"frnn/S(\d+)_basin/basin", name) for name in fast_nn} - {None}:
        expected = fast_nn[name[0]][:-1].long()  # the last entry belongs to no pixel
        found = basins(maps, step=int(name[1]))
        touched = (expected != NOBODY) | (found != NOBODY)
        assert (found == expected)[touched].double().mean() >= 0.99


@pytest.mark.golden
def test_published_matches_of_given_pixels(fast_nn):
    maps = DescriptorMaps(fast_nn["in/desc11"], fast_nn["in/desc21"])
    w1, w2 = maps.size_1[1], maps.size_2[1]
    starts = fast_nn["frnn/init/y"] * w1 + fast_nn["frnn/init/x"]
    for name in {re.fullmatch(r"frnn/init_tol([\d.]+)/xy1", name) for name in fast_nn} - {None}:
        xy1, xy2 = fast_nn[name[0]], fast_nn[name[0][:-1] + "2"]
        found = matches_of_pixels(maps, starts, tolerance_px=float(name[1]))
        same_sets(as_set(found), pixels(xy1, w1), pixels(xy2, w2))


@pytest.mark.golden
def test_published_merging(fast_nn):
    pairs, first = unique_pairs(fast_nn["merge/idx1"].long(), fast_nn["merge/idx2"].long())
    w1, w2 = (int(fast_nn[f"merge/shape{k}_hw"][1]) for k in "12")
    assert torch.equal(pairs.pixel_1, pixels(fast_nn["merge/xy1"], w1))
    assert torch.equal(pairs.pixel_2, pixels(fast_nn["merge/xy2"], w2))
    assert torch.equal(first, fast_nn["merge/index"].long())


def pixels(xy, width):
    return xy[:, 1] * width + xy[:, 0]


def same_sets(found, pixel_1, pixel_2):
    """The stated tolerance: at most one match in a hundred differs."""
    expected = set(zip(pixel_1.tolist(), pixel_2.tolist()))
    assert len(found ^ expected) <= 0.01 * len(expected)
