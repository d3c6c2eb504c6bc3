"""Patches seen from elsewhere: published warps, and a plane that looks the same from everywhere."""

import numpy as np
import pytest
import torch

from rilievo.cameras.camera import Cameras
from rilievo.renderers.patch_blend import (
    SourceViews,
    blended,
    nearest_views,
    patch_offsets,
    plane_homographies,
    projected_colors,
    warped_patches,
)

HALF_PIXEL = torch.tensor([[0.0, 0.0, 0.5], [0.0, 0.0, 0.5], [0.0, 0.0, 0.0]])


@pytest.fixture(scope="module")
def plane(golden):
    arrays = np.load(golden / "udf_patch.npz")
    return {k.removeprefix("plane/"): torch.from_numpy(arrays[k]) for k in arrays.files if k.startswith("plane/")}


def sources(plane):
    K = plane["intrinsics"][1:, :3, :3] + HALF_PIXEL
    return SourceViews(plane["images"][1:], K, torch.linalg.inv(plane["c2w"][1:]))


def warped(plane):
    rays, samples = plane["pts"].shape[:2]
    half = int(plane["h_patch_size"])
    views = sources(plane)
    K = plane["intrinsics"][0, :3, :3] + HALF_PIXEL
    points, normals = plane["pts"].reshape(-1, 3), plane["normals"].reshape(-1, 3)
    H = plane_homographies(points, normals, K, torch.linalg.inv(plane["c2w"][0]), views)
    pixels = (plane["ref_pixels"].float() + 0.5).repeat_interleave(samples, 0)
    colors, valid = warped_patches(H, pixels, half, views)
    return colors.view(rays, samples, *colors.shape[1:]), valid.view(rays, samples, *valid.shape[1:])


@pytest.mark.golden
def test_published_patches_of_a_plane(plane):
    colors, valid = warped(plane)
    assert torch.equal(valid, plane["warp_mask"])
    torch.testing.assert_close(colors[valid], plane["warp_color"][valid], atol=2e-5, rtol=1e-4)


@pytest.mark.golden
def test_patch_on_the_plane_looks_like_the_plane(plane):
    """The analytic colours, up to bilinear interpolation of the texture."""
    colors, valid = warped(plane)
    truth = plane["true_patch_color_of_sample0"][:, None].expand_as(colors[:, 0])
    whole = valid[:, 0].all(-1)
    published_error = (plane["warp_color"][:, 0] - truth)[whole].abs().mean()
    assert (colors[:, 0] - truth)[whole].abs().mean() < 1.05 * published_error + 1e-4


@pytest.mark.golden
def test_published_colours_of_points(plane):
    colors, valid = projected_colors(plane["pts"].reshape(-1, 3), sources(plane))
    shape = plane["pts"].shape[:2]
    assert torch.equal(valid.view(*shape, -1), plane["pixel_mask"])
    seen = plane["pixel_mask"]
    torch.testing.assert_close(colors.view(*shape, -1, 3)[seen], plane["pixel_color"][seen], atol=2e-5, rtol=1e-4)


@pytest.mark.golden
def test_published_projector_sees_the_same_colours(golden, plane):
    arrays = np.load(golden / "udf_patch.npz")
    expected = torch.from_numpy(arrays["projector/colors"]).permute(2, 3, 0, 1)
    mask = torch.from_numpy(arrays["projector/mask"]).permute(1, 2, 0)
    colors, valid = projected_colors(plane["pts"].reshape(-1, 3), sources(plane))
    assert torch.equal(valid.view_as(mask), mask)
    torch.testing.assert_close(colors.view_as(expected), expected, atol=2e-5, rtol=1e-4)


@pytest.mark.golden
def test_published_projector_has_our_cameras_pixels(golden, plane):
    """Of points within the pictures; published ones beyond are held near the border."""
    arrays = np.load(golden / "udf_patch.npz")
    expected, depth = (torch.from_numpy(arrays[f"projector/{name}"]) for name in ("xys", "zs"))
    views, points = sources(plane), plane["pts"].reshape(-1, 3)
    n, (width, height) = len(views.K), views.size_px
    poses = plane["c2w"][1:].double()
    cameras = Cameras.pinhole(poses, views.K.double(), torch.tensor([[width, height]] * n))
    for i in range(n):
        pixels, z = cameras.project(i, points.double())
        given = expected[i].reshape(-1, 2)
        inside = ((given > 0) & (given < torch.tensor([width - 1, height - 1]))).all(-1)
        assert inside.any()
        torch.testing.assert_close((pixels - 0.5)[inside].float(), given[inside], atol=2e-5, rtol=1e-4)
        torch.testing.assert_close(z.float(), depth[i].flatten(), atol=1e-6, rtol=1e-5)


@pytest.mark.golden
@pytest.mark.parametrize("name", ["importance_0_h3", "importance_0_h5", "importance_1_h3", "importance_1_h5"])
def test_published_target_patches_are_stretched_ones(golden, name):
    """They were read with pixels counted as if the corners' centres were the picture's corners: as a camera would see
    them whose picture is wider by W / (W - 1). `engine.patch_sampler` takes the pixels themselves."""
    arrays = np.load(golden / "udf_patch.npz")
    given = {k.rsplit("/", 1)[1]: torch.from_numpy(arrays[k]) for k in arrays.files if f"rays_patches/{name}/" in k}
    image = torch.from_numpy(arrays["dataset/images"])[int(given["img_idx"])].movedim(-1, 0)
    height, width = image.shape[1:]
    view = SourceViews(image[None], torch.eye(3)[None], torch.eye(4)[None])
    pixels = torch.stack([given["pixels_x"], given["pixels_y"]], dim=-1).float()
    stretch = torch.diag(torch.tensor([width / (width - 1), height / (height - 1), 1.0]))
    colors, _ = warped_patches(stretch.expand(1, len(pixels), 3, 3), pixels, int(name[-1]), view)
    torch.testing.assert_close(colors[:, 0], given["rays_patch_color"], atol=2e-5, rtol=1e-4)


@pytest.mark.golden
@pytest.mark.parametrize("half", [1, 3, 5])
def test_published_offsets_run_along_rows(golden, half):
    expected = torch.from_numpy(np.load(golden / "udf_patch.npz")[f"build_patch_offset/h{half}"])
    assert torch.equal(patch_offsets(half), expected[0])


@pytest.mark.golden
def test_published_blending(golden):
    arrays = np.load(golden / "udf_fields.npz")
    given = {k.removeprefix("color_blend/"): torch.from_numpy(arrays[k]) for k in arrays.files if "color_blend/" in k}
    rays, samples, views = given["pixel_mask"].shape
    logits = given["blending_weights"][..., :views].reshape(-1, views)
    color, seen = blended(logits, given["pixel_color"].flatten(0, 1), given["pixel_mask"].flatten(0, 1))
    torch.testing.assert_close(color.view(rays, samples, 3), given["out_pixel_color"], atol=1e-6, rtol=1e-5)
    assert torch.equal(seen.view(rays, samples, 1), given["out_pixel_mask"])
    whole = given["patch_mask"].all(-1).flatten(0, 1)
    patch, seen = blended(logits, given["patch_color"].flatten(0, 1), whole)
    torch.testing.assert_close(patch.view_as(given["out_patch_color"]), given["out_patch_color"], atol=1e-6, rtol=1e-5)
    assert torch.equal(seen.view(rays, samples, 1), given["out_patch_mask"])


def test_homography_moves_pixels_as_the_points_of_the_plane_move():
    generator = torch.Generator().manual_seed(0)
    K = torch.tensor([[50.0, 0, 32], [0, 55, 24], [0, 0, 1]]).double()
    target, source = torch.eye(4).double(), torch.eye(4).double()
    source[:3, :3] = torch.linalg.matrix_exp(torch.tensor([[0, -0.1, 0.2], [0.1, 0, -0.1], [-0.2, 0.1, 0]]))
    source[:3, 3] = torch.tensor([0.3, -0.2, 0.1])
    normal = torch.nn.functional.normalize(torch.tensor([0.3, -0.2, -1.0]).double(), dim=0)
    on_plane = torch.tensor([0.1, 0.2, 2.0]).double()
    across = torch.linalg.svd(normal[None]).Vh[1:]
    points = on_plane + torch.randn(20, 2, generator=generator).double() * 0.2 @ across
    views = SourceViews(torch.zeros(1, 3, 48, 64).double(), K[None], source[None])
    H = plane_homographies(on_plane[None], normal[None], K, target, views)[0, 0]

    def pixels(points, cam_from_world):
        projected = (points @ cam_from_world[:3, :3].T + cam_from_world[:3, 3]) @ K.T
        return projected / projected[:, 2:]

    moved = pixels(points, target) @ H.T
    torch.testing.assert_close(moved / moved[:, 2:], pixels(points, source))


def test_nearest_views_look_the_same_way():
    angle = torch.tensor([0.0, 0.1, 1.0, -0.3, 3.0])
    forwards = torch.stack([angle.cos(), angle.sin(), torch.zeros(5)], dim=-1)
    assert nearest_views(-forwards, forwards, 0, 2).tolist() == [1, 3]
    assert len(nearest_views(-forwards, forwards, 0, 9)) == 4


def test_blend_ignores_views_that_do_not_see():
    colors = torch.tensor([[[1.0, 0, 0], [0, 1, 0]]])
    color, seen = blended(torch.zeros(1, 2), colors, torch.tensor([[True, False]]))
    torch.testing.assert_close(color, torch.tensor([[1.0, 0, 0]]))
    color, seen = blended(torch.zeros(1, 2), colors, torch.tensor([[False, False]]))
    assert not seen.any()
    assert float(color.abs().max()) == 0
