"""Gaussians on a screen: what light does, and kernels against the definition."""

import inspect

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck

from rilievo.errors import UserError
from rilievo.ops.gaussian_rasterize import (
    Projection,
    Raster,
    project_gaussians,
    raster,
    rasterize_at_pixels,
    rasterize_gaussians,
    reference,
    register,
)

SIZES = {"one pixel": (1, 1), "less than a tile": (13, 9), "odd": (37, 21), "whole tiles": (32, 16)}


def draw_cloud(n: int, generator: torch.Generator, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """Means, quaternions, scales, opacities and colours in front of a camera at the origin; one is behind it."""

    def rand(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator, dtype=torch.float64).to(dtype)

    means = (rand(n, 3) * 2 - 1) * means_extent(dtype) + torch.tensor([0, 0, 3], dtype=dtype)
    means[n // 2 : n // 2 + 1, 2] *= -1
    return [means, rand(n, 4) - 0.3, rand(n, 3) * 0.2 + 0.02, rand(n) * 0.9 + 0.1, rand(n, 3)]


def means_extent(dtype: torch.dtype) -> Tensor:
    return torch.tensor([1.2, 0.8, 1.0], dtype=dtype)


def camera(size_px: tuple[int, int], dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """cam_from_world, a little turned, and K."""
    width, height = size_px
    pose = torch.eye(4, dtype=dtype)
    pose[:3, :3] = reference.matrix_from_quaternion(torch.tensor([1, 0.05, -0.1, 0.02], dtype=dtype))
    f = 0.9 * max(size_px)
    return pose, torch.tensor([[f, 0, 0.45 * width], [0, 1.1 * f, 0.55 * height], [0, 0, 1]], dtype=dtype)


def draw(
    cloud: list[Tensor], pose: Tensor, K: Tensor, size_px: tuple[int, int], **options
) -> tuple[Projection, Raster]:
    means, quats, scales, opacities, colours = cloud
    seen = project_gaussians(means, quats, scales, pose, K, size_px, opacities=opacities)
    drawn = rasterize_gaussians(
        seen.means2d, seen.conics, seen.depths, seen.radii, opacities, colours, size_px, **options
    )
    return seen, drawn


def fields(drawn: Raster) -> tuple[Tensor, ...]:
    return drawn.features, drawn.alpha, drawn.depth, drawn.median_depth


def defined(means, quats, scales, opacities, colours, pose, K, size_px):
    """The definition from beginning to end."""
    width, height = size_px
    means2d, depths, conics, radii, compensation = reference.project_gaussians(
        means, quats, scales, pose, K, None, width, height, 0.3, 0.01, torch.inf
    )
    pixels_px = reference.pixel_grid(size_px, means.device)
    features, depth, alpha, _, median = reference.rasterize(
        means2d, conics, depths, radii, opacities * compensation, colours, pixels_px
    )
    return features, alpha, depth, torch.cat((depths, depths.new_zeros(1)))[median]


def ours(means, quats, scales, opacities, colours, pose, K, size_px):
    seen = project_gaussians(means, quats, scales, pose, K, size_px)
    opacities = opacities * seen.compensation
    drawn = rasterize_gaussians(seen.means2d, seen.conics, seen.depths, seen.radii, opacities, colours, size_px)
    return tuple(f.flatten(0, 1) for f in fields(drawn))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("n", [1, 60])
def test_kernels_agree_with_the_definition_in_value_and_gradient(generator, size, n):
    """In double precision, anti-aliased, with the camera's pose among the inputs."""
    inputs = [*draw_cloud(n, generator, torch.float64), *camera(SIZES[size], torch.float64)]
    inputs = [t.requires_grad_(i != 6) for i, t in enumerate(inputs)]
    results = []
    for function in (ours, defined):
        outputs = function(*inputs, SIZES[size])
        draws = torch.Generator().manual_seed(3)
        total = sum((o * torch.randn(o.shape, generator=draws, dtype=o.dtype)).sum() for o in outputs)
        results.append([*outputs, *torch.autograd.grad(total, inputs[:6])])
    for a, b in zip(*results):
        assert torch.allclose(a, b, rtol=1e-9, atol=1e-9 * max(1, b.abs().max().item()))


def test_needles_at_any_angle_reach_the_pixels_that_they_reach_by_definition(generator):
    """A group of pixels visits the Gaussians whose ellipse meets it, and long thin ellipses miss most boxes."""
    size = (61, 47)
    cloud = draw_cloud(150, generator, torch.float64)
    cloud[2] = cloud[2] * torch.tensor([3, 0.03, 0.03])
    inputs = [t.requires_grad_() for t in cloud]
    results = []
    for function in (ours, defined):
        features, alpha, *_ = function(*inputs, *camera(size, torch.float64), size)
        results.append((features, alpha, *torch.autograd.grad(features.square().sum() + alpha.sum(), inputs)))
    for a, b in zip(*results):
        assert torch.allclose(a, b, rtol=1e-9, atol=1e-9 * max(1, b.abs().max().item()))


def test_single_precision_loses_no_more_than_the_definition_does(generator, assert_as_accurate_as):
    size = SIZES["odd"]
    inputs = [t.requires_grad_() for t in (*draw_cloud(40, generator), camera(size)[0])]
    assert_as_accurate_as(ours, defined, *inputs, camera(size)[1], size, slack=8)


def test_derivatives_are_those_of_finite_differences(generator):
    size = (9, 7)
    inputs = [t.requires_grad_() for t in (*draw_cloud(6, generator, torch.float64), camera(size, torch.float64)[0])]
    K = camera(size, torch.float64)[1]

    def smooth(*inputs: Tensor) -> tuple[Tensor, ...]:
        return ours(*inputs, K, size)[:3]  # no threshold lies within the step of a difference, for this seed

    assert gradcheck(smooth, inputs, eps=1e-7, atol=1e-5)


def test_chosen_pixels_are_those_of_the_picture(generator):
    size, cloud = (37, 21), draw_cloud(80, generator)
    pose, K = camera(size)
    background = torch.tensor([0.2, 0.5, 0.7])
    seen, whole = draw(cloud, pose, K, size, background=background)
    x, y = torch.randint(37, (700,), generator=generator), torch.randint(21, (700,), generator=generator)
    x[:300], y[:300] = 5, 6  # more than a tile holds, all in one
    pixels_px = torch.stack((x, y), dim=1)
    chosen = rasterize_at_pixels(
        *(seen.means2d, seen.conics, seen.depths, seen.radii, *cloud[3:], size, pixels_px), background=background
    )
    for a, b in zip(fields(chosen), fields(whole)):
        assert torch.equal(a, b[y, x])


def test_chosen_pixels_teach_what_the_picture_does(generator):
    size, cloud = (37, 21), [t.requires_grad_() for t in draw_cloud(80, generator, torch.float64)]
    pose, K = camera(size, torch.float64)
    x, y = torch.randint(37, (700,), generator=generator), torch.randint(21, (700,), generator=generator)
    x[:300], y[:300] = 18, 12
    seen, whole = draw(cloud, pose, K, size)
    arguments = (seen.means2d, seen.conics, seen.depths, seen.radii, *cloud[3:], size)
    chosen = rasterize_at_pixels(*arguments, torch.stack((x, y), dim=1))
    gradients = [
        torch.autograd.grad(f.features.sin().sum() + f.depth.sum(), cloud, retain_graph=True)
        for f in (chosen, Raster(*(field[y, x] for field in fields(whole))))
    ]
    for a, b in zip(*gradients):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


def test_of_nothing_only_the_background_is_seen(generator):
    size, background = (20, 17), torch.tensor([0.1, 0.2, 0.3], requires_grad=True)
    pose, K = camera(size)
    behind = draw_cloud(5, generator)
    behind[0] = behind[0] * torch.tensor([1, 1, -1.0])
    behind[0][:, 2] = -behind[0][:, 2].abs()
    for cloud in ([t[:0] for t in behind], behind):
        cloud = [t.clone().requires_grad_() for t in cloud]
        _, drawn = draw(cloud, pose, K, size, background=background)
        assert torch.equal(drawn.features, background.expand(17, 20, 3))
        assert not any(t.any() for t in (drawn.alpha, drawn.depth, drawn.median_depth, drawn.expected_depth()))
        gradients = torch.autograd.grad(drawn.features.sum() + drawn.depth.sum(), cloud)
        assert not any(g.any() for g in gradients)


def test_gaussians_that_are_not_numbers_are_not_seen(generator):
    size, cloud = (24, 24), draw_cloud(30, generator)
    pose, K = camera(size)
    clean = [torch.cat((t[:5], t[8:])) for t in cloud]
    cloud[0][5], cloud[1][6], cloud[2][7] = torch.nan, 0, torch.inf
    for a, b in zip(fields(draw(cloud, pose, K, size)[1]), fields(draw(clean, pose, K, size)[1])):
        assert torch.equal(a, b)


def test_weights_and_escaping_light_add_to_one(generator):
    """A background of light, and Gaussians that shine as much as they hide, make an even picture."""
    size, cloud = (37, 21), draw_cloud(100, generator)
    cloud[4] = torch.ones(100, 1)
    _, drawn = draw(cloud, *camera(size), size, background=torch.ones(1))
    torch.testing.assert_close(drawn.features, torch.ones(21, 37, 1))
    assert drawn.alpha.max() > 0.9


def test_moving_scene_and_camera_together_changes_no_pixel(generator):
    size, cloud = (31, 33), draw_cloud(50, generator, torch.float64)
    pose, K = camera(size, torch.float64)
    q = torch.tensor([0.3, -0.4, 0.8, 0.1], dtype=torch.float64)
    motion = torch.eye(4, dtype=torch.float64)
    motion[:3, :3], motion[:3, 3] = reference.matrix_from_quaternion(q), torch.tensor([1, -2, 0.5])
    (w, v), (a, b) = (q[:1], q[1:]), (cloud[1][:, :1], cloud[1][:, 1:])
    product = torch.cat(
        (w * a - (v * b).sum(1, keepdim=True), w * b + a * v + torch.linalg.cross(v.expand_as(b), b)), 1
    )
    moved = [cloud[0] @ motion[:3, :3].T + motion[:3, 3], product, *cloud[2:]]
    still, after = draw(cloud, pose, K, size)[1], draw(moved, pose @ torch.linalg.inv(motion), K, size)[1]
    for x, y in zip(fields(still), fields(after)):
        torch.testing.assert_close(x, y, rtol=1e-9, atol=1e-9)


def test_median_depth_is_that_of_the_gaussian_that_takes_the_second_half_of_the_light():
    n = 5
    cloud = [torch.zeros(n, 3), torch.tensor([[1.0, 0, 0, 0]]).expand(n, 4), torch.full((n, 3), 0.5)]
    cloud[0][:, 2] = torch.tensor([2.0, 1.0, 3.0, 5.0, 4.0])
    opacities = torch.full((n,), 0.3)  # light before each, front to back: 1, 0.7, 0.49, ...
    K = torch.tensor([[10.0, 0, 0.5], [0, 10, 0.5], [0, 0, 1]])
    _, drawn = draw([*cloud, opacities, torch.ones(n, 1)], torch.eye(4), K, (1, 1))
    assert drawn.median_depth.item() == 2
    weights = 0.3 * 0.7 ** torch.arange(5.0)
    expected = (weights * torch.arange(1.0, 6)).sum()
    torch.testing.assert_close(drawn.depth[0, 0], expected)
    torch.testing.assert_close(drawn.expected_depth()[0, 0], expected / weights.sum())


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_the_number_of_threads_changes_nothing(generator, threads):
    before = torch.get_num_threads()
    expected = everything(generator.clone_state())
    torch.set_num_threads(threads)
    try:
        assert all(torch.equal(a, b) for a, b in zip(everything(generator.clone_state()), expected))
    finally:
        torch.set_num_threads(before)


def test_tensors_with_gaps_in_memory_are_read_right(generator):
    with_gaps = everything(generator.clone_state(), lambda t: torch.stack((t, t + 1), dim=-1)[..., 0])
    assert all(torch.equal(a, b) for a, b in zip(with_gaps, everything(generator.clone_state())))


def test_every_output_is_written_whatever_the_memory_held(generator, monkeypatch):
    clean = everything(generator.clone_state())
    monkeypatch.setattr(torch.utils.deterministic, "fill_uninitialized_memory", True)
    torch.use_deterministic_algorithms(True)
    try:
        dirty = everything(generator.clone_state())
    finally:
        torch.use_deterministic_algorithms(False)
    assert all(torch.equal(a, b) for a, b in zip(clean, dirty))


def everything(generator: torch.Generator, layout=lambda t: t) -> list[Tensor]:
    size, cloud = (70, 50), draw_cloud(900, generator)
    pose, K = camera(size)
    inputs = [t.requires_grad_() for t in (*cloud, pose)]
    seen, drawn = draw([layout(t) for t in inputs[:5]], layout(inputs[5]), layout(K), size)
    total = sum(f.square().sum() for f in fields(drawn))
    return [*(f.detach() for f in fields(drawn)), seen.radii, *torch.autograd.grad(total, inputs)]


def test_operators_keep_the_rules_of_torch(generator):
    size, cloud = (20, 18), draw_cloud(12, generator)
    pose, K = camera(size)
    means, quats, scales, opacities, colours = cloud
    seen = project_gaussians(means, quats, scales, pose, K, size)
    shapes = (seen.means2d, seen.conics, seen.depths, seen.radii, opacities)
    pixels = raster._tiled_picture(size, means.device)
    *pairs, levels = register.bin_gaussians(*shapes, pixels[1], *size)
    wanted = [t.clone().requires_grad_() for t in (means, quats, scales, pose)]
    torch.library.opcheck(register.project_gaussians, (*wanted, K, None, *size, 0.3, 0.01, torch.inf))
    torch.library.opcheck(register.bin_gaussians, (*shapes, pixels[1], *size))
    drawn = [t.clone().requires_grad_() for t in (seen.means2d, seen.conics, opacities, colours)]
    torch.library.opcheck(register.composite, (*drawn, levels, *pairs, *pixels))


def test_what_belongs_to_other_gaussians_is_refused(generator):
    size, cloud = (20, 18), draw_cloud(12, generator)
    seen = project_gaussians(*cloud[:3], *camera(size), size)
    arguments = (seen.means2d, seen.conics, seen.depths, seen.radii)
    unchecked, at_pixels = inspect.unwrap(rasterize_gaussians), inspect.unwrap(rasterize_at_pixels)
    with pytest.raises(UserError, match="opacities: expected one per Gaussian, 12, got 5"):
        unchecked(*arguments, cloud[3][:5], cloud[4], size)
    with pytest.raises(UserError, match="background"):
        unchecked(*arguments, *cloud[3:], size, torch.zeros(4))
    with pytest.raises(UserError, match="at least one pixel"):
        unchecked(*arguments, *cloud[3:], (0, 5))
    with pytest.raises(UserError, match="pixels_px"):
        at_pixels(*arguments, *cloud[3:], size, torch.tensor([[20, 3]]))
