"""Canonical views and anchors: the published averages, and no missing number whatever the mask."""

import numpy as np
import pytest
import torch

from rilievo.alignment.anchors import anchor_grid, core_depths, hang
from rilievo.alignment.canonical import CanonicalAverage, Relief, canonical_view
from rilievo.errors import UserError

MODES = {"avg-angle": Relief.ANGLE, "avg-reldepth": Relief.RATIO}


@pytest.fixture
def pointmaps():
    """Three noisy pointmaps of a slope, of different scales, and their confidences."""
    generator = torch.Generator().manual_seed(3)
    height, width, focal = 24, 32, 30.0
    y, x = torch.meshgrid(torch.arange(height) - height / 2, torch.arange(width) - width / 2, indexing="ij")
    z = 3 + 0.02 * x + 0.01 * y
    X = torch.stack((x * z / focal, y * z / focal, z), dim=-1)
    scales = torch.tensor([0.8, 1.0, 1.3])[:, None, None, None]
    noisy = scales * (X + 0.01 * torch.randn(3, height, width, 3, generator=generator))
    return noisy, 1 + 4 * torch.rand(3, height, width, generator=generator)


@pytest.mark.golden
def test_averages_are_the_published_ones(arrays):
    data = arrays("canonical.npz")
    cases = {tuple(name.split("/")[:2]) for name in data if name.endswith("/canon")}
    assert cases
    for case, variant in cases:
        mode, step = variant.split("_s")
        X, C = (torch.from_numpy(data[f"{case}/{part}"]) for part in ("ptmaps11", "confs11"))
        view = canonical_view(X, C, int(step), relief=MODES[mode])
        for ours, name in ((view.points, "canon"), (view.relative_depth, "canon2"), (view.confidence, "conf")):
            np.testing.assert_allclose(ours, data[f"{case}/{variant}/{name}"], rtol=1e-4, atol=1e-5)


@pytest.mark.golden
def test_pixels_hang_on_the_published_anchors(arrays):
    data = arrays("canonical.npz")
    cases = [name.rsplit("/", 2)[0] for name in data if name.endswith("anchor/pix_xy")]
    assert cases
    for case in cases:
        relative = torch.from_numpy(data[f"{case}/canon2"])
        grid = anchor_grid(*relative.shape, int(case.rsplit("_s", 1)[1]))
        hung = hang(relative, torch.from_numpy(data[f"{case}/anchor/pix_xy"]).float(), grid)
        np.testing.assert_array_equal(hung.anchor, data[f"{case}/anchor/idxs"])
        np.testing.assert_allclose(hung.offset, data[f"{case}/anchor/offsets"], rtol=1e-4, atol=1e-5)


def one_pixel(height, width):
    mask = torch.zeros(height, width, dtype=torch.bool)
    mask[5, 13] = True
    return mask


def left_half(height, width):
    return (torch.arange(width) < width // 2 - 3).expand(height, width).clone()


@pytest.mark.parametrize("relief", list(Relief))
@pytest.mark.parametrize("mask", [one_pixel, left_half, lambda h, w: torch.zeros(h, w, dtype=torch.bool)])
def test_no_number_is_missing_under_any_mask(pointmaps, mask, relief):
    X, C = pointmaps
    mask = mask(*C.shape[1:])
    view = canonical_view(X, C, 8, mask, relief)
    hung = hang(view.relative_depth, torch.nonzero(mask).flip(-1).float(), view.grid)
    for part in (view.points, view.relative_depth, view.confidence, core_depths(view.points, view.grid), hung.offset):
        assert torch.isfinite(part).all()
    assert (core_depths(view.points, view.grid) > 0).all()
    assert (view.confidence[~mask] == 0).all()
    assert (view.confidence[mask] > 0).all()
    assert hung.valid.all()


def test_confidences_of_ignorance_and_points_that_are_not_numbers_leave_no_hole(pointmaps):
    X, C = (part.clone() for part in pointmaps)
    C[:, :8, :8] = 0.999  # a whole block of which nothing is known
    C[:, 9, 9] = 0.0
    X[1, 12, 12] = torch.nan
    view = canonical_view(X, C, 8)
    assert torch.isfinite(view.points).all()
    assert torch.isfinite(view.relative_depth).all()
    np.testing.assert_allclose(view.points[:8, :8], X[:, :8, :8].mean(0), rtol=1e-5)
    np.testing.assert_allclose(view.points[9, 9], X[:, 9, 9].mean(0), rtol=1e-5)


def test_foreground_is_averaged_as_if_there_were_no_mask(pointmaps):
    X, C = pointmaps
    mask = left_half(*C.shape[1:])
    masked, whole = canonical_view(X, C, 8, mask), canonical_view(X, C, 8)
    np.testing.assert_allclose(masked.points[mask], whole.points[mask], rtol=1e-6)
    np.testing.assert_allclose(masked.confidence[mask], whole.confidence[mask], rtol=1e-6)


def test_relief_of_a_slope_does_not_depend_on_the_scales_of_its_pointmaps(pointmaps):
    X, C = pointmaps
    one = canonical_view(X, C, 8).relative_depth
    other = canonical_view(X * torch.tensor([2.0, 0.5, 1.0])[:, None, None, None], C, 8, relief=Relief.RATIO)
    np.testing.assert_allclose(canonical_view(X, C, 8, relief=Relief.RATIO).relative_depth, other.relative_depth, 1e-5)
    assert (one - 1).abs().max() < 0.2


def test_the_anchor_of_a_block_is_its_foreground_pixel_nearest_the_centre():
    mask = torch.zeros(16, 16, dtype=torch.bool)
    mask[6:, 10:] = True  # the upper right block keeps rows 6 and 7 of it
    grid = anchor_grid(16, 16, 8, mask)
    assert grid.usable.tolist() == [False, True, False, True]
    assert divmod(int(grid.pixel[1]), 16) == (6, 12)
    assert divmod(int(grid.pixel[3]), 16) == (12, 12)
    assert divmod(int(grid.pixel[0]), 16) == (4, 4)  # the centre, where there is no foreground


def test_sizes_that_are_no_multiple_of_the_step_have_anchors_inside_the_image():
    grid = anchor_grid(19, 21, 8, torch.ones(19, 21, dtype=torch.bool))
    assert len(grid) == 9
    assert grid.usable.all()
    assert (grid.of_every_pixel() < 19 * 21).all()


def test_a_photo_without_pairs_is_told():
    with pytest.raises(UserError, match="pair"):
        CanonicalAverage(8, 8, 8).view()
