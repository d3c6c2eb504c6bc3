"""Terms that tie Gaussians to an unsigned distance: published values, and who is moved by which."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from rilievo import losses
from rilievo.engine.schedules import Cosine, Ramp, Sequence
from rilievo.gaussians.settings import LogLinear, RatesConfig
from rilievo.geometry.so3 import matrix_from_quaternion
from rilievo.losses.gaussian_udf import (
    best_view_ncc,
    height_error,
    nearest_points,
    projection_distance,
    pulled,
    raised,
    two_way_distance,
)
from rilievo.renderers.patch_blend import SourceViews, plane_homographies, plane_patches, warped_patches
from rilievo.renderers.planar_splat import normals_of_depth, pixel_rays

SETTINGS = ["dtu", "deepfashion"]


@pytest.fixture(scope="module")
def published(golden):
    arrays = np.load(golden / "gudf_losses.npz")
    return {k: torch.from_numpy(arrays[k]) for k in arrays.files if arrays[k].dtype.kind in "fib"}


def close(found, expected, atol=1e-6, rtol=1e-5):
    torch.testing.assert_close(found.detach(), expected, atol=atol, rtol=rtol)


@pytest.mark.golden
def test_published_two_way_squared_distance(published):
    a, b = published["chamfer/a"][0], published["chamfer/b"][0]
    there, back = ((x - y[nearest_points(x, y)]).square().sum(-1).mean() for x, y in ((a, b), (b, a)))
    close(there + back, published["chamfer/L2"])


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


def with_centres(K):
    """Published pixels are counted from their centres."""
    return K + torch.tensor([[0.0, 0.0, 0.5], [0.0, 0.0, 0.5], [0.0, 0.0, 0.0]])


@pytest.fixture(scope="module")
def warp(published):
    """Published patches of a depth and a normal picture, beside ours."""
    given = {k.removeprefix("warp/"): v for k, v in published.items() if k.startswith("warp/")}
    K, cam_from_world = with_centres(given["K"]), given["w2c"]
    height, width = given["depth"].shape[1:]
    depth = given["depth"][0].clone().requires_grad_()
    x, y = given["pixels_x"], given["pixels_y"]
    points = (depth[..., None] * pixel_rays(K, (width, height)))[y, x]
    normals = given["normal_world"][:, y, x].T @ cam_from_world[:3, :3].T
    normals = torch.nn.functional.normalize(normals, dim=-1)
    distance = -(normals * points).sum(-1) - 1e-5  # which keeps the published division safe, and its planes nearer
    chosen = given["src_idx"]
    grey, poses = given["images_gray"][:, None], torch.linalg.inv(given["pose_all"])
    sources = SourceViews(grey[chosen], with_centres(given["intrinsics_all"][chosen][:, :3, :3]), poses[chosen])
    pixels, half = given["pixels"] + 0.5, int(given["h_patch_size"])
    seen, valid = plane_patches(pixels, normals, distance, half, K, cam_from_world, sources)
    own = SourceViews(grey[:1], K[None], cam_from_world[None])
    reference, _ = warped_patches(torch.eye(3).expand(1, len(pixels), 3, 3), pixels, half, own)
    inside = given["inside_unit_sphere"][:, 0]
    error = best_view_ncc(reference[:, 0, :, 0], seen[..., 0]) * inside
    (gradient,) = torch.autograd.grad(0.5 * error.mean(), depth)
    world = (points.detach() - cam_from_world[:3, 3]) @ cam_from_world[:3, :3]
    on_plane, facing = world + 1e-5 * given["normal_world"][:, y, x].T, given["normal_world"][:, y, x].T
    H = plane_homographies(on_plane, facing, K, cam_from_world, sources)
    return SimpleNamespace(given=given, world=world, seen=seen[..., 0], valid=valid, reference=reference[:, 0, :, 0],
                           error=error, gradient=gradient, H=H)  # fmt: skip


@pytest.mark.golden
def test_published_patches_of_depth_and_normals(warp):
    given = warp.given
    close(warp.world, given["pts_world"])
    close(warp.reference, given["ref_gray"][0, :, :, 0], 2e-5, 1e-4)
    assert warp.valid.any()
    close(warp.seen[warp.valid], given["src_gray"][..., 0][warp.valid], 2e-5, 1e-4)
    assert torch.equal(warp.world.norm(dim=-1) < 1, given["inside_unit_sphere"][:, 0])


@pytest.mark.golden
def test_published_homographies_of_depth_and_normals(warp):
    """Where the corners of a patch come to lie, in pixels counted from their centres, which published ones are."""
    middle = warp.given["pixels"][:, None].double()
    half = int(warp.given["h_patch_size"])
    corners = middle + torch.tensor([[-half, -half], [half, -half], [-half, half], [half, half]])
    corners = torch.cat([corners, torch.ones_like(corners[..., :1])], -1)
    centre = torch.tensor([0.5, 0.5, 0.0])
    ours = torch.einsum("vnij,npj->nvpi", warp.H.double(), corners + centre)
    theirs = torch.einsum("nvij,npj->nvpi", warp.given["homography"].double(), corners)
    before = (ours[..., 2] > 0) & (theirs[..., 2] > 0)
    assert before.any()
    found, expected = ours[..., :2] / ours[..., 2:] - 0.5, theirs[..., :2] / theirs[..., 2:]
    close(found[before], expected[before], 2e-5, 1e-4)


def lost_in_one_pass(reference, sources):
    """What single patches lose in the published way, whose variances are differences of large sums: three times the
    most that they lose here."""
    n = reference.shape[-1]

    def squared_correlation(a, b):
        cross = (a * b).sum(-1) - a.sum(-1) * b.sum(-1) / n
        of_a, of_b = (x.square().sum(-1) - x.sum(-1).square() / n for x in (a, b))
        return cross.square() / (of_a * of_b + 1e-5)

    exact = squared_correlation(reference.double(), sources.double())
    return 3 * float((squared_correlation(reference, sources) - exact).abs().max())


@pytest.mark.golden
def test_published_unlikeness_of_patches(warp):
    """Ours is that of the published greys in float64; the published one is as far from it as its sums have it."""
    given = warp.given
    reference, sources = given["ref_gray"][0, :, :, 0], given["src_gray"][..., 0]
    exact = best_view_ncc(reference.double(), sources.double()) * given["inside_unit_sphere"][:, 0]
    close(warp.error.double(), exact, 2e-5, 1e-4)
    close(warp.error, given["ncc"][:, 0], 2e-5 + lost_in_one_pass(reference, sources), 1e-4)
    close(0.5 * warp.error.mean(), given["ncc_loss"], 2e-5 + lost_in_one_pass(reference, sources) / 2, 1e-4)


@pytest.mark.golden
def test_published_gradient_of_unlikeness_by_depth(warp):
    """Of the same length; single pixels differ by what the published sums lose. Its normals have none, ours may."""
    expected = warp.given["grad_depth"][0]
    assert float(warp.gradient.norm()) == pytest.approx(float(expected.norm()), abs=1e-5, rel=2e-3)
    assert float((warp.gradient - expected).norm()) < 1e-2 * float(expected.norm())


@pytest.mark.golden
def test_published_normals_of_a_depth_picture(published):
    """Differences of neighbours are first derivatives, and compared as such. Published rays go through the pixels'
    corners."""
    given = {k.removeprefix("depth_normal/"): v for k, v in published.items() if k.startswith("depth_normal/")}
    depth, cam_from_world = given["depth"][0], given["w2c"]
    height, width = depth.shape
    fx, fy = (size / (2 * (given[f"fov{axis}"] / 2).tan()) for size, axis in ((width, "x"), (height, "y")))
    K = torch.tensor([[fx, 0, width / 2 + 0.5], [0, fy, height / 2 + 0.5], [0, 0, 1]])
    rays, R = pixel_rays(K, (width, height)), cam_from_world[:3, :3]
    close(((depth[..., None] * rays).reshape(-1, 3) - cam_from_world[:3, 3]) @ R, given["points"])
    normals = normals_of_depth(depth, rays) @ R
    close(normals, given["surf_normal"], 1e-5, 1e-3)
    error = 1 - (normals * given["rend_normal"].movedim(0, -1)).sum(-1)
    close(error.mean(), given["normal_loss_unweighted"], 1e-5, 1e-3)


@pytest.mark.golden
def test_published_photometric_terms(published):
    given = {k.removeprefix("photometric/"): v for k, v in published.items() if k.startswith("photometric/")}
    a, b = (given[name].movedim(0, -1) for name in "ab")
    absolute, unlike = losses.l1(a.flatten(0, 1), b.flatten(0, 1)).mean(), losses.dssim(a, b).mean()
    close(absolute, given["l1"])
    close(1 - unlike, given["ssim"])
    close(0.8 * absolute + 0.2 * unlike, given["loss_lambda_dssim_0p2"])
    close(losses.mse(a.flatten(0, 1), b.flatten(0, 1)).mean(), given["l2"])


@pytest.mark.golden
def test_published_rates(published):
    """Of the field: 2000 steps up and half a cosine down, of 105000; of Gaussians: a straight line of the logarithm."""
    course = Sequence((Ramp(0.0, 1.0, 2000), Cosine(103000)), (2000,))
    for step, rate in zip(published["lr/inner_iter"].tolist(), published["lr/field_lr"].tolist()):
        assert 1e-3 * course(step) == pytest.approx(rate, rel=1e-5, abs=1e-11)
    rates = RatesConfig()
    falling = LogLinear(rates.means, rates.means_final, 30000)
    for step, rate in zip(published["lr/iteration"].tolist(), published["lr/xyz_lr_spatial_scale_1"].tolist()):
        assert falling(step) == pytest.approx(rate, rel=1e-5)


@pytest.mark.golden
def test_published_transforms_of_discs(published):
    R = matrix_from_quaternion(published["gaussians/rotation_wxyz_unnormalised"])
    expected = published["gaussians/transform4x4"]
    close(R[:, :, 2], expected[:, 2, :3])
    close(R[:, :, 2], published["gaussians/normals"])
    close(R[:, :, :2] * published["gaussians/scaling_log"].exp()[:, None], expected[:, :2, :3].mT)


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
