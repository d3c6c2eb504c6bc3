"""Layouts of others: DTU, cameras.json, turntables, COLMAP, and the captures beside the project."""

import json
import shutil

import numpy as np
import pytest

from rilievo.data.convert import convert
from rilievo.data.load import load_scene
from rilievo.data.scene import MaskMeaning
from rilievo.errors import UserError
from rilievo.io.image import write_image

from .captures import ball_scene, same_rays, sorted_by_name


def dtu_capture(folder, scene, scale=7.0, center=(1.0, 2.0, 3.0)):
    """The scene in the layout of IDR and NeuS, its world the normalised sphere."""
    scale_mat = np.diag([scale, scale, scale, 1.0])
    scale_mat[:3, 3] = center
    matrices = {}
    for i in range(len(scene)):
        P = np.eye(4)
        P[:3] = scene.cameras.K[i].numpy() @ scene.cameras.cam_from_world[i, :3].numpy()
        matrices[f"world_mat_{i}"] = -3.0 * P @ np.linalg.inv(scale_mat)  # known up to a factor of any sign
        matrices[f"scale_mat_{i}"] = scale_mat
        write_image(folder / "image" / f"{i:06d}.png", scene.images[i])
        write_image(folder / "mask" / f"{i:03d}.png", scene.coverage[i])
    np.savez(folder / "cameras_sphere.npz", **matrices)
    return scale_mat


def test_dtu_gives_the_cameras_in_the_sphere_and_the_way_back(tmp_path):
    expected = ball_scene()
    scale_mat = dtu_capture(tmp_path, expected)
    scene = load_scene(tmp_path)
    assert same_rays(scene.cameras, expected.cameras)
    assert scene.is_normalised
    assert scene.mask_meaning is MaskMeaning.OBJECT
    np.testing.assert_allclose(scene.capture_from_world, scale_mat)


def test_dtu_views_keep_their_numbers_when_a_photo_is_missing(tmp_path):
    expected = ball_scene()
    dtu_capture(tmp_path, expected)
    (tmp_path / "image" / "000002.png").unlink()
    scene = load_scene(tmp_path)
    rest = [i for i in range(12) if i != 2]
    assert same_rays(scene.cameras, expected.cameras[rest])
    np.testing.assert_array_equal(scene.coverage[5], expected.coverage[6])


def test_one_nan_camera_of_dtu_is_dropped(tmp_path):
    dtu_capture(tmp_path, ball_scene())
    with np.load(tmp_path / "cameras_sphere.npz") as archive:
        matrices = dict(archive)
    matrices["world_mat_3"][0, 0] = np.nan
    np.savez(tmp_path / "cameras_sphere.npz", **matrices)
    scene = load_scene(tmp_path)
    assert [d.name for d in scene.dropped] == ["image/000003.png"]


def test_a_cut_off_npz_is_named(tmp_path):
    dtu_capture(tmp_path, ball_scene(n=3))
    path = tmp_path / "cameras_sphere.npz"
    path.write_bytes(path.read_bytes()[:700])
    with pytest.raises(UserError, match=r"cameras_sphere\.npz"):
        load_scene(tmp_path)


def cameras_json(folder, scene, key="camera_to_world", **more):
    frames = []
    for i in range(len(scene)):
        write_image(folder / "images" / f"{i:03d}.png", scene.images[i])
        pose = scene.cameras.world_from_cam[i].tolist()
        frames.append({"image": f"images/{i:03d}.png", "K": scene.cameras.K[i].tolist(), key: pose, **more})
    (folder / "cameras.json").write_text(json.dumps({"width": 48, "height": 40, "frames": frames}))


def test_cameras_json_gives_the_cameras(tmp_path):
    expected = ball_scene(meaning=None)
    cameras_json(tmp_path, expected)
    assert same_rays(load_scene(tmp_path).cameras, expected.cameras)


def test_a_turntable_is_seen_from_the_object(tmp_path):
    expected = ball_scene(meaning=None)
    cameras_json(tmp_path, expected, "camera_to_object", camera_to_world=np.eye(4).tolist())
    scene = load_scene(tmp_path)
    assert same_rays(scene.cameras, expected.cameras)
    assert any("turntable" in note for note in scene.notes)


@pytest.mark.parametrize("where", ["sparse/0", "sparse", "."])
def test_a_colmap_model_may_lie_in_several_places(tmp_path, where):
    expected = ball_scene(meaning=None)
    folder = convert(expected, tmp_path / "capture", "colmap")
    if where != "sparse/0":
        for path in (folder / "sparse" / "0").iterdir():
            shutil.move(path, folder / where / path.name)
        (folder / "sparse" / "0").rmdir()
    assert same_rays(sorted_by_name(load_scene(folder)).cameras, expected.cameras)


def test_a_truncated_colmap_model_is_named(tmp_path):
    folder = convert(ball_scene(meaning=None), tmp_path / "capture", "colmap")
    path = folder / "sparse" / "0" / "images.bin"
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(UserError, match=r"images\.bin"):
        load_scene(folder)


def test_the_fox_opens_with_its_missing_photos_told(shared):
    scene = load_scene(shared / "photos" / "fox")
    listed = json.loads((shared / "photos" / "fox" / "transforms.json").read_text())["frames"]
    assert len(scene) + len(scene.dropped) == len(listed)
    assert {d.reason for d in scene.dropped} == {"its file is missing"}
    assert scene.cameras.distortion[:, 0].all()
    assert scene.test_views == tuple(range(0, len(scene), 8))
    nearest = np.linalg.norm(scene.cameras.centers.numpy() - scene.region.center, axis=1).min()
    assert scene.region.radius < nearest


def test_a_video_with_held_out_cameras_has_times_for_both(shared):
    scene = load_scene(shared / "scenes" / "dynamic", verify=False)
    assert scene.times is not None
    assert scene.times[0] == 0
    assert scene.times.max() == 1
    assert scene.test_views
    assert all("test" in scene.names[i] for i in scene.test_views)
