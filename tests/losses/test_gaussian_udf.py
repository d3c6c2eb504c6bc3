"""Terms that tie Gaussians to an unsigned distance: published values, and who is moved by which."""

import numpy as np
import pytest
import torch

from rilievo.losses.gaussian_udf import (
    best_view_ncc,
    height_error,
    projection_distance,
    pulled,
    raised,
    two_way_distance,
)

SETTINGS = ["dtu", "deepfashion"]


@pytest.fixture(scope="module")
def published(golden):
    arrays = np.load(golden / "gudf_losses.npz")
    return {k: torch.from_numpy(arrays[k]) for k in arrays.files if arrays[k].dtype.kind in "fib"}


def close(found, expected, atol=1e-6, rtol=1e-5):
    torch.testing.assert_close(found.detach(), expected, atol=atol, rtol=rtol)


@pytest.mark.golden
def test_published_two_way_distance(published):
    a, b = published["chamfer/a"].clone().requires_grad_(), published["chamfer/b"].clone().requires_grad_()
    shape = a.shape[-2:], b.shape[-2:]
    distance = two_way_distance(a.view(*shape[0]), b.view(*shape[1]))
    close(distance, published["chamfer/L1"])
    distance.backward()
    close(a.grad, published["chamfer/grad_a_of_L1"])
    close(b.grad, published["chamfer/grad_b_of_L1"])


@pytest.mark.golden
@pytest.mark.parametrize("setting", SETTINGS)
def test_published_far_term(published, setting):
    moved, centers = published[f"{setting}/far/samples_moved"], published[f"{setting}/far/surf_points"]
    close(two_way_distance(moved, centers), published[f"{setting}/far_loss"])


@pytest.mark.golden
@pytest.mark.parametrize("setting", SETTINGS)
def test_published_projection_term(published, setting):
    centers = published[f"{setting}/far/surf_points"]
    moved = published[f"{setting}/projection/surf_points_moved"]
    shift = centers - moved
    distance = projection_distance(centers, shift.norm(dim=-1), shift)
    close(distance.mean(), published[f"{setting}/projection_loss"])


@pytest.mark.golden
@pytest.mark.parametrize("setting", SETTINGS)
def test_published_near_term(published, setting):
    udf, height = (published[f"{setting}/near/{name}"].flatten() for name in ("udf", "delta"))
    close(height_error(udf, height).mean(), published[f"{setting}/near_loss"])


@pytest.mark.golden
def test_published_correlation_of_grey_patches(published):
    reference, sources = published["lncc/ref_gray"], published["lncc/src_grays"]
    patches = len(published["lncc/out"].flatten())
    pixels = reference.numel() // patches
    found = best_view_ncc(reference.reshape(patches, pixels), sources.reshape(-1, patches, pixels))
    close(found, published["lncc/out"].flatten(), 2e-5, 1e-4)


def test_points_are_pulled_onto_a_sphere():
    points = torch.randn(50, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    radius = points.norm(dim=-1)
    outside = torch.where(radius > 0.7, 1.0, -1.0)[:, None]
    on_sphere = pulled(points, (radius - 0.7).abs(), 3 * outside * points)
    torch.testing.assert_close(on_sphere.norm(dim=-1), torch.full_like(radius, 0.7))


def test_projection_moves_gaussians_and_not_the_field():
    centers = torch.tensor([[0.0, 0, 1]]).requires_grad_()
    udf, gradient = torch.tensor([0.3]).requires_grad_(), torch.tensor([[0.0, 0, 2]]).requires_grad_()
    projection_distance(centers, udf, gradient).sum().backward()
    assert udf.grad is None
    assert gradient.grad is None
    torch.testing.assert_close(centers.grad, torch.tensor([[0.0, 0, 1]]))


def test_raised_points_of_a_plane_have_no_height_error():
    height = torch.tensor([-0.2, 0.1])
    points = raised(torch.rand(2, 3) * torch.tensor([1.0, 1, 0]), torch.tensor([[0.0, 0, 1]] * 2), height)
    assert float(height_error(points[:, 2].abs(), height).max()) < 1e-6


def test_occluded_views_do_not_count():
    generator = torch.Generator().manual_seed(1)
    patch = torch.rand(3, 121, generator=generator)
    views = torch.stack([0.5 * patch + 0.1, patch, patch, 2 * patch, torch.rand(3, 121, generator=generator)])
    assert float(best_view_ncc(patch, views).max()) < 1e-4
    assert float(best_view_ncc(patch, views, best=5).min()) > 0.1
