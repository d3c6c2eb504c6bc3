"""The published loaders' numbers: images, masks, poses, directions and rays of three layouts at two sizes."""

from pathlib import Path

import numpy as np
import pytest
import torch

from rilievo.cameras.camera import Cameras
from rilievo.cameras.paths import sphere_circle
from rilievo.data.load import load_scene
from rilievo.data.orientation import Center, Up, oriented, points_center
from rilievo.data.scene import Scene

pytestmark = pytest.mark.golden

ATOL, RTOL = 1e-6, 1e-5  # closed forms


def read(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as archive:
        return {key: archive[key] for key in archive.files}


def opengl_poses(scene: Scene) -> np.ndarray:
    return scene.cameras.world_from_cam_opengl[:, :3].numpy()


def opengl_directions(cameras: Cameras, i: int) -> np.ndarray:
    """Directions with z = -1 and y up through the pixel centres, before rotation, without the lens, as published."""
    plain = Cameras.pinhole(torch.eye(4, dtype=torch.float64)[None], cameras.K[i : i + 1], cameras.sizes_px[i : i + 1])
    d = plain.view_rays(0, torch.float64).directions
    width, height = cameras.sizes_px[i].tolist()
    return (d / d[:, 2:] * torch.tensor([1.0, -1.0, -1.0])).reshape(height, width, 3).numpy()


def check_pixels(scene: Scene, at: dict[str, np.ndarray], prefix: str, order: list[int], atol: float) -> None:
    for k, i in enumerate(order):
        np.testing.assert_allclose(scene.images[i] / 255, at[f"{prefix}images"][k], atol=atol)
        if scene.coverage is not None:
            np.testing.assert_allclose(scene.coverage[i] / 255, at[f"{prefix}fg_masks"][k], atol=atol)


def check_rays(cameras: Cameras, at: dict[str, np.ndarray], prefix: str, order: list[int], atol: float = ATOL) -> None:
    index = torch.tensor(order)[torch.from_numpy(at[f"{prefix}index"])]
    pixels = torch.from_numpy(np.stack([at[f"{prefix}x"], at[f"{prefix}y"]], 1)).double() + 0.5
    rays = cameras.rays(index, pixels, torch.float64)
    np.testing.assert_allclose(torch.cat([rays.origins, rays.directions], 1), at[f"{prefix}rays"], atol=atol, rtol=RTOL)
    first = cameras.view_rays(order[0], torch.float64)
    expected = at[f"{prefix}rays_view0_full"]
    np.testing.assert_allclose(torch.cat([first.origins, first.directions], 1), expected, atol=atol, rtol=RTOL)


def with_lens(scene: Scene, K: torch.Tensor) -> Cameras:
    return Cameras.pinhole(scene.cameras.world_from_cam, K, scene.cameras.sizes_px)


@pytest.mark.parametrize("downscale", [1, 2])
def test_dtu_is_what_the_published_loader_makes_of_it(golden, downscale):
    at = read(golden / "dtu_dataset" / "expected.npz")
    prefix = f"downscale_{downscale}/train/"
    scene = load_scene(golden / "dtu_dataset", downscale=downscale)
    size = [int(at[f"{prefix}w"]), int(at[f"{prefix}h"])]
    order = list(range(len(scene)))
    assert scene.cameras.sizes_px.tolist() == [size] * len(scene)
    np.testing.assert_allclose(opengl_poses(scene), at[f"{prefix}c2w"], atol=ATOL, rtol=RTOL)
    # the published loader scales both axes by the width's ratio, which is another number only for odd sizes
    K = load_scene(golden / "dtu_dataset").cameras.K.clone()
    K[:, :2] *= float(at[f"{prefix}factor"])
    for i in order:
        expected = at[f"{prefix}directions"][i]
        np.testing.assert_allclose(opengl_directions(with_lens(scene, K), i), expected, atol=ATOL, rtol=RTOL)
    check_rays(with_lens(scene, K), at, prefix, order)
    check_pixels(scene, at, prefix, order, atol=1e-6 if downscale == 1 else 1 / 255)


def test_dtu_projections_come_apart_into_k_and_pose(golden):
    at = read(golden / "dtu_dataset" / "expected.npz")
    scene = load_scene(golden / "dtu_dataset")
    K = at["load_K_Rt_from_P/K"][:, :3, :3].copy()
    K[:, 0, 1] = 0  # skew is dropped
    np.testing.assert_allclose(scene.cameras.K, K, atol=1e-4, rtol=RTOL)
    expected = at["load_K_Rt_from_P/c2w_opencv"]
    np.testing.assert_allclose(scene.cameras.world_from_cam, expected, atol=ATOL, rtol=RTOL)


@pytest.mark.parametrize(("downscale", "split"), [(1, "train"), (2, "train"), (1, "test")])
def test_blender_is_what_the_published_loader_makes_of_it(golden, downscale, split):
    at = read(golden / "blender_dataset" / "expected.npz")
    prefix = f"downscale_{downscale}/{split}/"
    scene = load_scene(golden / "blender_dataset", downscale=downscale)
    order = list(scene.train_views if split == "train" else scene.test_views)
    size = [int(at[f"{prefix}w"]), int(at[f"{prefix}h"])]
    assert scene.cameras.sizes_px.tolist() == [size] * len(scene)
    np.testing.assert_allclose(opengl_poses(scene)[order], at[f"{prefix}c2w"], atol=ATOL, rtol=RTOL)
    np.testing.assert_allclose(scene.cameras.K[:, 0, 0], float(at[f"{prefix}focal"]), rtol=RTOL)
    K = scene.cameras.K.clone()
    K[:, :2, 2] = K[:, :2, 2].floor()  # the published loader rounds the image centre down to whole pixels
    K[:, 1, 1] = K[:, 0, 0]
    cameras = with_lens(scene, K)
    expected = at[f"{prefix}directions"]
    np.testing.assert_allclose(opengl_directions(cameras, order[0]), expected, atol=ATOL, rtol=RTOL)
    check_rays(cameras, at, prefix, order)
    check_pixels(scene, at, prefix, order, atol=1e-6 if downscale == 1 else 1 / 255)


@pytest.mark.parametrize("name", ["scene_a", "scene_b"])
@pytest.mark.parametrize("downscale", [1, 2])
def test_colmap_photos_and_lens_are_what_the_published_loader_makes_of_them(golden, name, downscale):
    folder = golden / "colmap_dataset" / name
    at = read(folder / "expected.npz")
    prefix = "common/" if downscale == 1 else f"downscale_{downscale}/"
    scene = load_scene(folder, downscale=downscale)
    order = published_order(scene, at)
    assert scene.cameras.sizes_px.tolist() == [[int(at[f"{prefix}w"]), int(at[f"{prefix}h"])]] * len(scene)
    expected = at[f"{prefix}directions"]
    np.testing.assert_allclose(opengl_directions(scene.cameras, 0), expected, atol=ATOL, rtol=RTOL)
    check_pixels(scene, at, prefix, order, atol=1e-6 if downscale == 1 else 1 / 255)
    assert (scene.coverage is not None) == bool(at["common/has_mask"])


@pytest.mark.parametrize("name", ["scene_a", "scene_b"])
def test_colmap_model_holds_what_was_written(golden, name):
    folder = golden / "colmap_dataset" / name
    at = read(folder / "expected.npz")
    scene = load_scene(folder)
    order = published_order(scene, at)
    cam_from_world = scene.cameras.cam_from_world.numpy()[order]
    np.testing.assert_allclose(cam_from_world[:, :3, :3], at["raw/rotmat"], atol=1e-6, rtol=1e-5)
    np.testing.assert_allclose(cam_from_world[:, :3, 3], at["raw/tvec"], atol=1e-6, rtol=1e-5)
    np.testing.assert_allclose(scene.points.xyz, at["raw/points"], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("name", ["scene_a", "scene_b"])
@pytest.mark.parametrize("up", list(Up))
@pytest.mark.parametrize("center", list(Center))
def test_colmap_captures_are_set_upright_as_published(golden, name, up, center):
    if (up, center) == (Up.CAMERA, Center.POINT):
        pytest.skip("the published up direction is numerically arbitrary here")
    folder = golden / "colmap_dataset" / name
    at = read(folder / "expected.npz")
    scene = load_scene(folder)
    order = published_order(scene, at)
    upright = oriented(scene.subset(order), up, center, torch.Generator().manual_seed(0))
    prefix = f"up_{up}/center_{center}/"
    poses, points = opengl_poses(upright), upright.points.xyz
    assert np.linalg.norm(poses[:, :, 3], axis=1).min() == pytest.approx(1)
    if (up, center) == (Up.CAMERA, Center.CAMERA):  # arbitrary up again: compare what no rotation changes
        poses, expected = poses[:, :, 3], at[f"{prefix}c2w"][:, :, 3]
        for mine, theirs in ((poses, expected), (points, at[f"{prefix}pts3d"])):
            np.testing.assert_allclose(distances(mine), distances(theirs), atol=ATOL, rtol=RTOL)
        return
    atol = 2e-3 if up is Up.GROUND else ATOL
    np.testing.assert_allclose(poses, at[f"{prefix}c2w"], atol=atol, rtol=RTOL)
    np.testing.assert_allclose(points, at[f"{prefix}pts3d"], atol=atol, rtol=RTOL)
    path = sphere_circle(upright.cameras.centers, len(at[f"{prefix}test_c2w"]))
    path_opengl = (path @ torch.diag(path.new_tensor([1, -1, -1, 1])))[:, :3]
    np.testing.assert_allclose(path_opengl, at[f"{prefix}test_c2w"], atol=atol, rtol=RTOL)
    if (up, center) == (Up.GROUND, Center.LOOKAT):  # the frame that the stored rays are in
        check_rays(with_lens(upright, upright.cameras.K), at, "common/", list(range(len(order))), atol)


@pytest.mark.parametrize("name", ["scene_a", "scene_b"])
def test_center_of_points_leaves_outliers_out(golden, name):
    at = read(golden / "colmap_dataset" / name / "expected.npz")
    points = at["get_center/points"].astype(np.float64)
    everywhere = np.array([[-1e9] * 3, [1e9] * 3])
    np.testing.assert_allclose(points_center(points, everywhere), at["get_center/center"], atol=1e-5)


def published_order(scene: Scene, at: dict[str, np.ndarray]) -> list[int]:
    position = {Path(name).name: i for i, name in enumerate(scene.names)}
    return [position[str(name)] for name in at["raw/names"]]


def distances(points: np.ndarray) -> np.ndarray:
    return np.linalg.norm(points[:, None] - points[None], axis=-1)
