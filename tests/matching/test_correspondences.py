"""Correspondences with confidence, with and without masks."""

import re

import pytest
import torch

from rilievo.errors import UserError
from rilievo.matching.correspondences import MatchingConfig, masked, match_pair, match_photo, merged
from rilievo.matching.pair_result import Correspondences, Descriptors

from .conftest import descriptors, unit_map


def test_a_shifted_photo_is_matched_by_its_shift(shifted):
    found = match_pair(*shifted)
    right = (found.xy_j - found.xy_i == torch.tensor([3.0, 2.0])).all(dim=1)
    assert len(found) > 20
    assert right.double().mean() > 0.9
    dense = match_pair(*shifted, MatchingConfig(step=1))
    assert len(dense) > 10 * len(found)


def test_confidence_is_the_geometric_mean_for_alignment_and_the_lesser_for_localisation(shifted):
    (one, two), _ = shifted
    pair, photo = match_pair(shifted[0], (two, one)), match_photo(one, two)
    assert torch.equal(pair.xy_i, photo.xy_i)
    x1, y1 = pair.xy_i.long().T
    x2, y2 = pair.xy_j.long().T
    a, b = one.Q[y1, x1], two.Q[y2, x2]
    torch.testing.assert_close(pair.confidence, (a * b).sqrt())
    torch.testing.assert_close(photo.confidence, torch.minimum(a, b))


def test_swapping_the_photos_swaps_the_matches(shifted):
    ij, ji = shifted
    there, back = match_pair(ij, ji), match_pair(ji, ij)
    rows = {(*a, *b) for a, b in zip(there.xy_i.tolist(), there.xy_j.tolist())}
    assert rows == {(*b, *a) for a, b in zip(back.xy_i.tolist(), back.xy_j.tolist())}


@pytest.mark.parametrize("which", [(True, True), (True, False), (False, True)])
def test_both_ends_of_every_match_lie_inside_the_masks(shifted, which):
    masks = [torch.zeros(32, 40, dtype=torch.bool) for _ in which]
    masks[0][5:20, 6:30] = True
    masks[1][10:31, 3:25] = True
    given = tuple(mask if wanted else None for mask, wanted in zip(masks, which))
    free, found = match_pair(*shifted, MatchingConfig(2)), match_pair(*shifted, MatchingConfig(2), given)
    inside = torch.ones(len(free), dtype=torch.bool)
    for mask, xy in zip(given, (free.xy_i, free.xy_j)):
        if mask is not None:
            inside &= mask[xy[:, 1].long(), xy[:, 0].long()]
    assert 0 < len(found) < len(free)
    assert torch.equal(found.xy_i, free.xy_i[inside])
    assert torch.equal(found.confidence, free.confidence[inside])


def test_outside_the_mask_there_is_no_confidence_and_inside_it_is_untouched():
    D = descriptors(1, unit_map(1, 6, 7))
    mask = torch.zeros(6, 7, dtype=torch.bool)
    mask[2, 3] = True
    suppressed = masked(D, mask)
    assert suppressed.Q[2, 3] == D.Q[2, 3]
    assert suppressed.Q.count_nonzero() == 1
    assert suppressed.D is D.D
    assert masked(D, None) is D


@pytest.mark.parametrize("pixels", [0, 1])
def test_empty_and_one_pixel_masks_give_no_nan_and_a_clear_answer(shifted, pixels):
    mask = torch.zeros(32, 40, dtype=torch.bool)
    mask[10, 10] = bool(pixels)
    for found in (
        match_pair(*shifted, MatchingConfig(1), (mask, None)),
        match_photo(*shifted[0], MatchingConfig(1), (mask, None)),
    ):
        assert len(found) <= 2 * pixels
        assert found.is_empty == (len(found) == 0)
        assert found.confidence.isfinite().all()
        assert found.xy_i.shape == (len(found), 2)
    assert Correspondences.none(shifted[0][0].Q).is_empty


def test_confidence_that_is_not_a_number_makes_no_match(shifted):
    (one, two), ji = shifted
    spoiled = Descriptors(one.D, torch.full_like(one.Q, torch.nan))
    assert match_photo(spoiled, two).is_empty
    assert not match_pair((spoiled, two), ji).is_empty


def test_of_a_pair_found_twice_the_first_confidence_counts_and_rows_are_sorted():
    pixel_1, pixel_2 = torch.tensor([9, 2, 9, 2]), torch.tensor([1, 5, 1, 3])
    found = merged(pixel_1, pixel_2, torch.tensor([1.0, 2, 3, 4]), (4, 5), (3, 3))
    assert found.xy_i.tolist() == [[2, 0], [2, 0], [4, 1]]
    assert found.xy_j.tolist() == [[0, 1], [2, 1], [1, 0]]
    assert found.confidence.tolist() == [4, 2, 1]


def test_positions_in_half_precision_maps_are_still_exact():
    half = Descriptors(torch.ones(1, 1, 2).half(), torch.ones(1, 1).half())
    found = match_photo(half, half, MatchingConfig(1))
    assert found.xy_i.dtype == torch.float32
    assert found.centres[0].tolist() == [[0.5, 0.5]]


def test_a_mask_of_another_size_is_refused(shifted):
    with pytest.raises(UserError, match="40x32 pixels, got 32x40"):
        match_pair(*shifted, masks=(torch.ones(40, 32, dtype=torch.bool), None))


@pytest.mark.golden
def test_published_correspondences_for_alignment(fast_nn):
    D = {view: Descriptors(fast_nn[f"in/desc{view}"], fast_nn[f"in/conf{view}"]) for view in ("11", "21", "22", "12")}
    for name in {re.fullmatch(r"extract_sym/S(\d+)/conf", name) for name in fast_nn} - {None}:
        found = match_pair((D["11"], D["21"]), (D["22"], D["12"]), MatchingConfig(int(name[1])))
        same_matches(found, fast_nn, name[0].removesuffix("/conf"))


@pytest.mark.golden
def test_published_correspondences_for_localisation(fast_nn):
    one, two = (Descriptors(fast_nn[f"in/desc{view}"], fast_nn[f"in/conf{view}"]) for view in ("11", "21"))
    for name in {re.fullmatch(r"extract_nonsym/S(\d+)_tol([\d.]+)/conf", name) for name in fast_nn} - {None}:
        found = match_photo(one, two, MatchingConfig(int(name[1])), tolerance_px=float(name[2]))
        same_matches(found, fast_nn, name[0].removesuffix("/conf"))


def same_matches(found, fast_nn, where):
    """At most one match in a hundred differs; those in common agree in confidence, and all are in order."""
    expected = {
        (*a, *b): c for a, b, c in zip(*(fast_nn[f"{where}/{part}"].tolist() for part in ("xy1", "xy2", "conf")))
    }
    mine = {
        (*a, *b): c
        for a, b, c in zip(found.xy_i.long().tolist(), found.xy_j.long().tolist(), found.confidence.tolist())
    }
    assert len(mine.keys() ^ expected.keys()) <= 0.01 * len(expected)
    for match in mine.keys() & expected.keys():
        assert mine[match] == pytest.approx(expected[match], rel=1e-4)
    assert list(mine) == sorted(mine, key=lambda m: (m[1], m[0], m[3], m[2]))
