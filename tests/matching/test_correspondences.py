"""Correspondences with confidence, with and without masks."""

import re

import numpy as np
import pytest
import torch

from rilievo.errors import UserError
from rilievo.matching.correspondences import MatchingConfig, masked, match_pair, match_photo, merged
from rilievo.matching.pair_result import Correspondences, Descriptors, PairPrediction, score_of

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


def test_only_what_is_inside_the_masks_speaks_for_a_pair():
    maps = [torch.full((4, 5), value) for value in (2.0, 3.0, 4.0, 5.0)]
    points = torch.zeros(4, 5, 3)
    ij, ji = (PairPrediction(points, a, points, b) for a, b in (maps[:2], maps[2:]))
    none = Correspondences.none(points)
    assert score_of(ij, ji, none).mean_confidence == pytest.approx(120**0.25)
    mask = torch.zeros(4, 5, dtype=torch.bool)
    assert score_of(ij, ji, none, (None, mask)).mean_confidence == 0
    mask[1, 2] = True
    for C in (ij.C_1, ji.C_2):
        C[~mask] = 1e6
    assert score_of(ij, ji, none, (mask, None)).mean_confidence == pytest.approx(120**0.25)


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


@pytest.mark.golden
@pytest.mark.parametrize("which", ["sparse_ga_main", "sparse_ga_mixed", "sparse_ga_turntable"])
def test_published_correspondences_of_a_ray_cast_scene(mast3r, which):
    """Where descriptors are stored, their matches are those of the aligner's cache; scores follow from predictions."""
    with np.load(mast3r / f"{which}.npz") as file:
        stored = {
            name: torch.from_numpy(file[name]) for name in file.files if name.startswith(("desc", "corr", "pred"))
        }
    pairs = {re.fullmatch(r"corres/(\d+)_(\d+)/score", name) for name in stored} - {None}
    assert pairs
    for pair in pairs:
        i, j = pair[1], pair[2]
        published = Correspondences(
            stored[f"corres/{i}_{j}/xy_i"].float(),
            stored[f"corres/{i}_{j}/xy_j"].float(),
            stored[f"corres/{i}_{j}/conf"].float(),
        )
        ij, ji = (
            PairPrediction(*(stored[f"pred/{a}_{b}/{part}"].float() for part in ("X_i", "C_i", "X_j", "C_j")))
            for a, b in ((i, j), (j, i))
        )
        score = score_of(ij, ji, published)
        found = [score.mean_confidence, score.match_confidence, score.matches]
        assert found == pytest.approx(stored[f"corres/{i}_{j}/score"].tolist(), rel=1e-4)
        if f"desc/{i}_{j}/D_i" in stored:
            seen = [
                tuple(Descriptors(stored[f"desc/{a}_{b}/D_{k}"], stored[f"desc/{a}_{b}/Q_{k}"]) for k in "ij")
                for a, b in ((i, j), (j, i))
            ]
            matches = match_pair(*seen, MatchingConfig(8))
            mine, theirs = rows(matches), rows(published)
            assert len(mine.keys() ^ theirs.keys()) <= 0.01 * len(theirs)
            for match in mine.keys() & theirs.keys():
                assert mine[match] == pytest.approx(theirs[match], rel=1e-4)


def rows(matches):
    """Confidence by pixel indices (x, y) of i and of j."""
    return {(*a, *b): c for a, b, c in zip(matches.xy_i.tolist(), matches.xy_j.tolist(), matches.confidence.tolist())}


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
