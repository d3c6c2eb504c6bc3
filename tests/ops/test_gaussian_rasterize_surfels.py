"""Surfels: where rays meet them, and the published numbers."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck

from rilievo.ops.gaussian_rasterize import reference
from rilievo.ops.gaussian_rasterize.surfels import hits, project_surfels, rasterize_surfels


@pytest.fixture(scope="module")
def surfels(shared: Path) -> dict[str, Tensor]:
    with np.load(shared / "golden" / "dynamic" / "splat_2dgs.npz") as file:
        given = {name: torch.from_numpy(np.asarray(file[name])) for name in file.files}
    return {name: v.double() if v.is_floating_point() else v for name, v in given.items()}


def facing_plane(z: float, slope: float) -> tuple[Tensor, ...]:
    """One huge surfel at depth z, turned about y so that its depth changes with x by `slope`."""
    half = torch.atan(torch.tensor(slope, dtype=torch.float64)) / 2
    quat = torch.stack((half.cos(), torch.zeros_like(half), -half.sin(), torch.zeros_like(half)))[None]
    mean = torch.tensor([[0, 0, z]], dtype=torch.float64)
    K = torch.tensor([[20, 0, 8], [0, 20, 6], [0, 0, 1]], dtype=torch.float64)
    scales = torch.tensor([[0.8, 50]], dtype=torch.float64)
    return mean, quat, scales, torch.eye(4, dtype=torch.float64), K


def test_depth_of_a_slanted_plane_is_the_algebraic_one():
    mean, quat, scales, pose, K = facing_plane(4.0, 0.5)
    seen = project_surfels(mean, quat, scales.clamp_max(1.0), pose, K, (16, 12))
    drawn = rasterize_surfels(seen, torch.full((1,), 0.9).double(), torch.ones(1, 1).double(), (16, 12))
    direction = (torch.arange(16).double() + 0.5 - 8) / 20
    expected = 4 / (1 - 0.5 * direction)  # z = 4 + x/2 along x = direction z
    there = drawn.alpha[6] > 0.2
    assert there.sum() > 5
    torch.testing.assert_close(drawn.expected_depth()[6][there], expected[there])
    torch.testing.assert_close(drawn.median_depth[6][there], expected[there])
    normal = drawn.normals[6][there] / drawn.alpha[6][there][:, None]
    exact = torch.tensor([0.5, 0, -1], dtype=torch.float64)
    torch.testing.assert_close(normal, (exact / exact.norm()).expand_as(normal))


def test_surfels_that_lie_together_are_not_distorted():
    mean, quat, scales, pose, K = facing_plane(4.0, 0.2)
    twice = [torch.cat((t, t)) for t in (mean, quat, scales.clamp_max(1.0))]
    seen = project_surfels(*twice, pose, K, (16, 12))
    drawn = rasterize_surfels(seen, torch.full((2,), 0.5).double(), torch.ones(2, 1).double(), (16, 12))
    assert drawn.alpha.max() > 0.7
    assert drawn.distortion.abs().max() < 1e-12


@pytest.mark.parametrize("n", [0, 3])
def test_of_nothing_only_the_background_is_seen(n):
    behind = torch.tensor([[0, 0, -2.0]]).expand(n, 3)
    seen = project_surfels(behind, torch.ones(n, 4), torch.ones(n, 2), torch.eye(4), torch.eye(3), (5, 3))
    drawn = rasterize_surfels(seen, torch.ones(n), torch.ones(n, 2), (5, 3), torch.tensor([0.3, 0.6]))
    assert torch.equal(drawn.features, torch.tensor([0.3, 0.6]).expand(3, 5, 2))
    assert not any(t.any() for t in (drawn.alpha, drawn.depth, drawn.median_depth, drawn.distortion, drawn.normals))


def test_derivatives_are_those_of_finite_differences(generator):
    def rand(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator, dtype=torch.float64)

    means = rand(4, 3) - 0.5 + torch.tensor([0, 0, 3.0])
    inputs = [means, rand(4, 4) - 0.3, rand(4, 2) * 0.5 + 0.2, rand(4) * 0.7 + 0.2, rand(4, 2), torch.eye(4).double()]
    K = torch.tensor([[8, 0, 4], [0, 9, 3], [0, 0, 1]], dtype=torch.float64)

    def drawn(means, quats, scales, opacities, features, pose):
        seen = project_surfels(means, quats, scales, pose, K, (8, 6))
        out = rasterize_surfels(seen, opacities, features, (8, 6))
        return out.features, out.alpha, out.normals, out.depth, 1e3 * out.distortion

    assert gradcheck(drawn, [t.requires_grad_() for t in inputs], eps=1e-7, atol=1e-5)


@pytest.mark.golden
def test_golden_geometry_of_surfels(surfels):
    g, size = surfels, tuple(surfels["width_height"].tolist())
    seen = project_surfels(g["means"], g["quats_wxyz"], g["scales"], g["viewmat"], g["K"], size)
    for name, value in {
        "means2d": seen.means2d,
        "center_depth": seen.depths,
        "ray_transform_M": seen.transforms,
        "normal_cam_facing": seen.normals,
    }.items():
        torch.testing.assert_close(value, g[name], rtol=2e-5, atol=2e-5, msg=lambda m, n=name: f"{n}: {m}")
    assert torch.equal(seen.radii, g["radii_xy"])
    columns, rows = (torch.arange(n) for n in size)
    pixels_px = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), dim=-1).flatten(0, 1)
    u, v, rho, depth = (t.unflatten(0, size[::-1]) for t in hits(seen.means2d, seen.depths, seen.transforms, pixels_px))
    near = (g["hit_u"].abs() < 1e3) & (g["hit_v"].abs() < 1e3)
    for name, value in {"hit_u": u, "hit_v": v, "sample_depth": depth}.items():
        torch.testing.assert_close(value[near], g[name][near], rtol=1e-3, atol=2e-5, msg=lambda m, n=name: f"{n}: {m}")
    expected = torch.minimum(g["rho3d"], g["rho2d"])
    torch.testing.assert_close(rho[near], expected[near], rtol=1e-3, atol=2e-5)


@pytest.mark.golden
def test_golden_pictures_of_surfels(surfels):
    g, size = surfels, tuple(surfels["width_height"].tolist())
    seen = project_surfels(g["means"], g["quats_wxyz"], g["scales"], g["viewmat"], g["K"], size)
    near, far = g["near_far_mapping"].tolist()
    drawn = rasterize_surfels(seen, g["opacities"], g["colors"], size, near=near, far=far)
    for name, value in {
        "render_rgb": drawn.features,
        "render_alpha": drawn.alpha,
        "render_normal": drawn.normals,
        "depth_hit_accumulated": drawn.depth,
        "depth_hit_expected": drawn.expected_depth(),
        "median_hit_depth": drawn.median_depth,
        "distort_sq_mapped_hit": drawn.distortion,
    }.items():
        torch.testing.assert_close(value, g[name], rtol=2e-5, atol=2e-5, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.golden
def test_golden_weights_of_surfels(surfels):
    """Opacity and weight of every surfel at every pixel, and what other codes sum with these weights."""
    g, size = surfels, tuple(surfels["width_height"].tolist())
    seen = project_surfels(g["means"], g["quats_wxyz"], g["scales"], g["viewmat"], g["K"], size)
    order = g["order_front_to_back"].long()
    pixels_px = reference.pixel_grid(size, order.device)
    _, _, rho, hit = hits(seen.means2d[order], seen.depths[order], seen.transforms[order], pixels_px)
    alpha = (g["opacities"][order] * torch.exp(-rho / 2)).masked_fill(hit <= 0, 0)
    layers = reference.layers_of_alpha(alpha, order)
    n = len(g["opacities"])
    weights = torch.zeros(len(pixels_px), n, dtype=torch.float64).index_copy(1, order, layers.weights)
    published = g["weight_per_surfel"].reshape(-1, n)
    torch.testing.assert_close(weights, published, rtol=2e-5, atol=2e-5)
    opaque = torch.zeros_like(weights).index_copy(1, order, alpha.clamp_max(reference.MAX_ALPHA))
    drawn = published > 0
    torch.testing.assert_close(opaque[drawn], g["alpha_per_surfel"].reshape(-1, n)[drawn], rtol=2e-5, atol=2e-5)
    w, z = layers.weights, seen.depths[order].expand_as(layers.weights)
    before, depth_before = (torch.cumsum(part, dim=1) - part for part in (w, w * z))
    last = torch.cat((z.new_zeros(len(z), 1), z), dim=1).gather(1, reference.median_rank(layers)[:, None])[:, 0]
    apart = (w[:, :, None] * w[:, None] * (hit[:, :, None] - hit[:, None]).abs()).masked_fill(
        (w[:, :, None] * w[:, None]) == 0, 0
    )
    for name, value in {
        "depth_center_accumulated": (w * z).sum(dim=1),
        "median_center_depth": last,
        "distort_linear_center": 2 * (w * (z * before - depth_before)).sum(dim=1),
        "distort_abs_hit_pairs_once": apart.sum(dim=(1, 2)) / 2,
    }.items():
        expected = g[name].reshape(-1)
        torch.testing.assert_close(value, expected, rtol=2e-5, atol=2e-5, msg=lambda m, n=name: f"{n}: {m}")
