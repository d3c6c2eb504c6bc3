"""NeRO's two layouts: poses, masks-to-be, frames of objects and the published splits."""

import pickle
import shutil

import numpy as np
import pytest
import torch
from tests.data.captures import ball_scene

from rilievo.data.load import load_scene
from rilievo.data.nero_real import object_frame
from rilievo.data.nero_split import LISTED_TEST_VIEWS, shuffled_split
from rilievo.data.nero_synthetic import depth_of
from rilievo.data.write_colmap import write_colmap
from rilievo.errors import UserError
from rilievo.io.image import write_image
from rilievo.io.ply import write_points
from rilievo.shading.photographer import photographer_frame
from rilievo.shading.ray_sphere import near_far

CLOSED_FORM = {"atol": 1e-6, "rtol": 1e-5}


def synthetic(folder, views: int, *, spoil=None):
    """A made-up GlossySynthetic capture: cameras on a ring that look at the origin."""
    folder.mkdir()
    cameras = ball_scene(views, 24, 20).cameras
    for k in range(views):
        write_image(folder / f"{k}.png", np.full((20, 24, 3), k, np.uint8))
        camera = [cameras.cam_from_world[k, :3].numpy(), cameras.K[k].numpy()]
        (folder / f"{k}-camera.pkl").write_bytes(pickle.dumps(camera))
    if spoil is not None:
        (folder / "1-camera.pkl").write_bytes(pickle.dumps(spoil))
    return folder, cameras


def test_a_synthetic_capture_is_read_in_our_axes(tmp_path):
    folder, cameras = synthetic(tmp_path / "bell", 5)
    scene = load_scene(folder)
    assert scene.names == tuple(f"{k}.png" for k in range(5))
    np.testing.assert_allclose(scene.cameras.world_from_cam, cameras.world_from_cam, atol=1e-9)
    assert (scene.region.radius, scene.region.center.tolist()) == (1.0, [0, 0, 0])
    assert len(scene.test_views) == 1


def test_the_split_of_128_views_is_the_published_list(tmp_path):
    folder, _ = synthetic(tmp_path / "bell", 128)
    assert set(load_scene(folder).test_views) == set(LISTED_TEST_VIEWS)
    assert len(LISTED_TEST_VIEWS) == 32


def test_a_camera_that_runs_code_is_dropped_and_told(tmp_path):
    folder, _ = synthetic(tmp_path / "bell", 4, spoil=print)
    scene = load_scene(folder)
    assert [d.name for d in scene.dropped] == ["1.png"]
    assert "builtins.print" in scene.dropped[0].reason


@pytest.mark.golden
def test_the_synthetic_capture_is_what_the_published_loader_makes_of_it(golden):
    at = {key: value for key, value in np.load(golden / "nero_dataset.npz").items() if key.startswith("synthetic/")}
    scene = load_scene(golden / "nero_glossy_synthetic")
    n = int(at["synthetic/n"])
    assert len(scene) == n
    np.testing.assert_allclose(scene.cameras.K, at["synthetic/K"], **CLOSED_FORM)
    np.testing.assert_allclose(scene.cameras.cam_from_world[:, :3], at["synthetic/pose_w2c"], **CLOSED_FORM)
    size = (int(at["synthetic/rays/w"]), int(at["synthetic/rays/h"]))
    assert scene.cameras.sizes_px.tolist() == [list(size)] * n
    rays = [scene.cameras.view_rays(i, torch.float64) for i in range(n)]
    origins, directions = torch.cat([r.origins for r in rays]), torch.cat([r.directions for r in rays])
    np.testing.assert_allclose(origins, at["synthetic/rays/rays_o"], atol=2e-6, rtol=1e-5)
    np.testing.assert_allclose(directions, at["synthetic/rays/rays_d"], **CLOSED_FORM)
    in_cam = torch.from_numpy(at["synthetic/rays/dirs_cam"]).double().view(n, -1, 3)
    turned = in_cam @ scene.cameras.cam_from_world[:, :3, :3]
    turned = (turned / turned.norm(dim=-1, keepdim=True)).flatten(0, 1)
    np.testing.assert_allclose(directions, turned, **CLOSED_FORM)
    np.testing.assert_allclose(scene.cameras.world_from_cam[0, :3], at["synthetic/pose_inverse_view0"], **CLOSED_FORM)
    near, far = near_far(origins, directions)
    np.testing.assert_allclose(near[:, None], at["synthetic/rays/near"], atol=5e-6, rtol=1e-5)
    np.testing.assert_allclose(far[:, None], at["synthetic/rays/far"], atol=5e-6, rtol=1e-5)
    rgb = np.concatenate([scene.images[i].reshape(-1, 3) for i in range(n)]) / 255
    np.testing.assert_allclose(rgb, at["synthetic/rays/rgbs"], atol=1e-6)
    index = np.repeat(np.arange(n), size[0] * size[1])
    np.testing.assert_array_equal(index, at["synthetic/rays/idxs"][:, 0])


@pytest.mark.golden
def test_the_photographer_of_each_view_is_the_intended_one(golden):
    at = np.load(golden / "nero_dataset.npz")
    expected = at["synthetic/rays/human_poses_of_4_view_batch"]
    poses = torch.from_numpy(at["synthetic/pose_w2c"])
    views = torch.cat([poses, poses[:1]])[: len(expected)]
    np.testing.assert_allclose(photographer_frame(views), expected, **CLOSED_FORM)


@pytest.mark.golden
def test_stored_depth_is_read_with_its_background(golden):
    from PIL import Image

    at = np.load(golden / "nero_dataset.npz")
    folder = golden / "nero_glossy_synthetic"
    for k in range(int(at["synthetic/n"])):
        depth = depth_of(np.asarray(Image.open(folder / f"{k}-depth.png")))
        mask = at["synthetic/depth_mask"][k]
        np.testing.assert_array_equal(np.isfinite(depth), mask)
        np.testing.assert_allclose(depth[mask], at["synthetic/depth"][k][mask], rtol=1e-6)


@pytest.mark.golden
def test_depth_leads_to_the_published_points_through_corners_of_pixels(golden):
    """For the evaluation integer coordinates are taken, half a pixel from where the rays go."""
    at = {
        key[10:]: value for key, value in np.load(golden / "nero_dataset.npz").items() if key.startswith("synthetic/")
    }
    cameras = load_scene(golden / "nero_glossy_synthetic").cameras[:1]
    seen = torch.from_numpy(at["depth_mask"][0].ravel())
    rays = cameras.rays(torch.zeros(len(seen), dtype=torch.long), cameras.pixel_centers(0) - 0.5, torch.float64)
    depth = torch.from_numpy(at["depth"][0]).double().view(-1, 1)
    points = rays.origins + rays.directions * depth / (rays.directions @ cameras.forwards[0])[:, None]
    np.testing.assert_allclose(points[seen], at["view0_depth_points_world"], atol=2e-6, rtol=1e-5)
    in_cam = (points - cameras.centers[0]) @ cameras.cam_from_world[0, :3, :3].T
    np.testing.assert_allclose(in_cam[seen], at["view0_depth_points_cam"], atol=2e-6, rtol=1e-5)


@pytest.mark.golden
def test_the_frame_of_an_object_is_the_published_one(golden):
    at = {
        key[10:]: value for key, value in np.load(golden / "nero_dataset.npz").items() if key.startswith("normalize/")
    }
    frame = object_frame(at["object_point_cloud"], at["up"].astype(float), at["forward"].astype(float))
    np.testing.assert_allclose(-frame.center, at["offset"], **CLOSED_FORM)
    np.testing.assert_allclose(frame.scale, at["scale"], **CLOSED_FORM)
    np.testing.assert_allclose(frame.R, at["R_rect"], **CLOSED_FORM)
    np.testing.assert_allclose(frame.points(at["object_point_cloud"]), at["ref_points"], atol=2e-6, rtol=1e-5)
    for before, after in zip(at["poses_w2c_in"], at["poses_w2c_out"]):
        capture_from_cam = np.linalg.inv(np.vstack([before.astype(float), [0, 0, 0, 1]]))
        cam_from_world = np.linalg.inv(frame.pose(capture_from_cam))[:3]
        np.testing.assert_allclose(cam_from_world, after, atol=5e-6, rtol=1e-5)


@pytest.mark.golden
def test_the_split_is_the_published_one(golden):
    at = np.load(golden / "nero_dataset.npz")
    train, test = shuffled_split([str(k) for k in range(int(at["split/n"]))])
    assert train == at["split/train_ids"].tolist()
    assert test == at["split/test_ids"].tolist()


def real(folder, *, directions: str | None = "0 0 2\n3 0 1\n"):
    """A made-up GlossyReal capture: the ball, photographed, with a cloud cut round it."""
    scene = ball_scene(9)
    write_colmap(scene, folder)
    (folder / "colmap").mkdir()
    shutil.move(str(folder / "sparse"), str(folder / "colmap" / "sparse"))
    write_points(folder / "object_point_cloud.ply", scene.points.xyz)
    if directions is not None:
        (folder / "meta_info.txt").write_text(directions)
    return scene


def test_an_object_is_brought_into_the_unit_ball_with_z_up(tmp_path):
    made = real(tmp_path / "pot", directions="0 -1 0\n1 0 0\n")
    scene = load_scene(tmp_path / "pot")
    assert "GlossyReal" in scene.notes[0]
    assert scene.region.radius == 1
    world_from_capture = np.linalg.inv(scene.capture_from_world.numpy())
    up = world_from_capture[:3, :3] @ [0, -1, 0]
    np.testing.assert_allclose(up / np.linalg.norm(up), [0, 0, 1], atol=1e-9)
    np.testing.assert_allclose(np.linalg.norm(scene.points.xyz, axis=1).max(), 1, atol=0.05)
    assert len(scene.test_views) == 1
    back = scene.in_capture_frame().cameras.centers
    by_name = {name.split("/")[-1]: i for i, name in enumerate(made.names)}
    order = [by_name[name.split("/")[-1]] for name in scene.names]
    np.testing.assert_allclose(back, made.cameras.centers[order], atol=1e-6)


def test_without_a_cropped_cloud_the_region_is_found(tmp_path):
    real(tmp_path / "pot")
    (tmp_path / "pot" / "object_point_cloud.ply").unlink()
    scene = load_scene(tmp_path / "pot")
    assert "COLMAP" in scene.notes[0]
    assert 0 < scene.region.radius < 5


@pytest.mark.parametrize("directions", ["0 0 1\n", "a b c\n1 0 0\n", "0 0 1\n0 0 -2\n"])
def test_directions_that_give_no_frame_are_refused(tmp_path, directions):
    real(tmp_path / "pot", directions=directions)
    with pytest.raises(UserError, match="up and forward"):
        load_scene(tmp_path / "pot")
