"""Clips as others publish them: HyperNeRF and iPhone captures, MoDGS's fixed camera, rigs, LLFF."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from rilievo.data.load import load_scene
from rilievo.data.nvidia_dynamic import relative_pose
from rilievo.errors import UserError

ATOL = 1e-5


def turn(x: float, y: float, z: float) -> np.ndarray:
    """The rotation by x about the first axis, then y about the second, then z about the third, which stay put."""
    R = np.eye(3)
    for axis, angle in enumerate((x, y, z)):
        step, (a, b) = np.eye(3), ((axis + 1) % 3, (axis + 2) % 3)
        step[[a, b], [a, b]] = np.cos(angle)
        step[b, a], step[a, b] = np.sin(angle), -np.sin(angle)
        R = step @ R
    return R


def photo(path: Path, width: int = 36, height: int = 48) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def write(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def hypernerf_camera(**changes: object) -> dict[str, object]:
    camera: dict[str, object] = {
        "orientation": turn(0.2, -0.3, 0.1).tolist(),
        "position": [0.4, -0.3, 1.2],
        "focal_length": 70.5,
        "principal_point": [36.0, 48.0],
        "skew": 0.0,
        "pixel_aspect_ratio": 1.0,
        "radial_distortion": [0.0, 0.0, 0.0],
        "tangential_distortion": [0.0, 0.0],
        "image_size": [72, 96],
    }
    return camera | changes


def hypernerf(folder: Path, n: int = 8, stamps: str = "time_id", **changes: object) -> Path:
    """n frames of 72x96 pixels, kept at half size, on a ray of centres; the last is for testing."""
    ids = [f"{i:06d}" for i in range(n)]
    for i, name in enumerate(ids):
        write(folder / "camera" / f"{name}.json", hypernerf_camera(position=[0.1 * i, -0.3, 1.2]) | changes)
        photo(folder / "rgb" / "2x" / f"{name}.png")
    write(folder / "dataset.json", {"ids": ids, "train_ids": ids[:-1], "val_ids": ids[-1:]})
    write(folder / "metadata.json", {name: {stamps: 2 * i, "camera_id": 0} for i, name in enumerate(ids)})
    write(folder / "scene.json", {"scale": 0.25, "center": [0.1, 0.05, -0.4], "near": 0.1, "far": 2.0})
    return folder


def selfmade(folder: Path, stems: tuple[str, ...] = ("00000", "00005", "00010"), factor: int = 2) -> Path:
    for stem in stems:
        photo(folder / "rgb" / f"{factor}x" / f"{stem}.png")
    (folder / "GeoWizardOut").mkdir(exist_ok=True)
    return folder


def poses_bounds(n: int) -> np.ndarray:
    """LLFF rows of cameras turned and moved by their number, 36x48 pixels."""
    rows = []
    for i in range(n):
        right, down, forward = turn(0.02 * i, 0.05 * i, -0.03 * i).T
        rows.append(np.stack((down, right, -forward, [0.3 * i, 0.1, -0.2 * i], [48.0, 36.0, 40.0]), axis=1).ravel())
    return np.hstack((np.array(rows), np.tile([1.0, 10.0], (n, 1))))


def rig(folder: Path, n: int = 9, scale: float = 2.0) -> Path:
    """A clip of three frames with a rig of n cameras, all of whose photos are there."""
    selfmade(folder, ("00000", "00001", "00002"))
    for time in range(3):
        for i in range(n):
            photo(folder / "mv_images" / f"{time:05d}" / f"cam{i:02d}.png")
    np.save(folder / "poses_bounds.npy", poses_bounds(n))
    write(folder / "colmap_to_depth_scale.json", {"scale": scale})
    return folder


# HyperNeRF and iPhone


def test_a_point_on_the_axis_of_a_hypernerf_camera_is_seen_at_its_principal_point(tmp_path):
    scene = load_scene(hypernerf(tmp_path, principal_point=[30.0, 50.0]))
    camera = scene.cameras[0]
    pixel, depth = camera.project(0, camera.centers + 3 * camera.forwards)
    np.testing.assert_allclose(pixel[0], [15.0, 25.0], atol=1e-9)  # at half size
    np.testing.assert_allclose(depth, 3.0)


def test_hypernerf_lens_is_the_published_polynomial(tmp_path):
    k1, k2, k3, p1, p2, skew, aspect = 0.05, -0.02, 0.01, 0.003, -0.004, 0.7, 1.1
    lens = {"radial_distortion": [k1, k2, k3], "tangential_distortion": [p1, p2], "skew": skew}
    camera = load_scene(hypernerf(tmp_path, pixel_aspect_ratio=aspect, **lens)).cameras[0]
    x, y = 0.2, -0.3
    in_cam = torch.tensor([x, y, 1.0, 1.0], dtype=torch.float64)
    pixel, _ = camera.project(0, (camera.world_from_cam[0] @ in_cam)[None, :3])
    r = x * x + y * y
    radial = 1 + r * (k1 + r * (k2 + r * k3))
    dx = x * radial + 2 * p1 * x * y + p2 * (r + 2 * x * x)
    dy = y * radial + 2 * p2 * x * y + p1 * (r + 2 * y * y)
    full = [70.5 * dx + skew * dy + 36, 70.5 * aspect * dy + 48]
    np.testing.assert_allclose(pixel[0], np.array(full) / 2, atol=1e-9)


def test_results_leave_a_hypernerf_scene_in_capture_units(tmp_path):
    scene = load_scene(hypernerf(tmp_path)).in_capture_frame()
    np.testing.assert_allclose(scene.cameras.centers[3], [0.3, -0.3, 1.2], atol=1e-12)


def test_hypernerf_points_move_with_the_cameras(tmp_path):
    rng = np.random.default_rng(1)
    xyz = rng.normal(size=(20, 3))
    hypernerf(tmp_path)
    np.save(tmp_path / "points.npy", np.vstack((xyz, [np.nan, 0, 0])))
    points = load_scene(tmp_path).points
    assert points is not None
    np.testing.assert_allclose(points.xyz, (xyz - [0.1, 0.05, -0.4]) * 0.25)


@pytest.mark.parametrize("stamps", ["time_id", "warp_id", "appearance_id"])
def test_the_last_frame_of_a_clip_is_at_time_one(tmp_path, stamps):
    scene = load_scene(hypernerf(tmp_path, stamps=stamps))
    np.testing.assert_allclose(scene.times, np.arange(8) / 7, rtol=1e-6)
    assert scene.test_views == (7,)


def test_iphone_captures_keep_time_by_appearance(tmp_path):
    hypernerf(tmp_path, n=3)
    write(tmp_path / "emf.json", {})
    names = [f"{i:06d}" for i in range(3)]
    write(tmp_path / "metadata.json", {n: {"appearance_id": i, "time_id": 0} for i, n in enumerate(names)})
    np.testing.assert_allclose(load_scene(tmp_path).times, [0.0, 0.5, 1.0])


def test_without_validation_ids_every_fourth_frame_trains_and_every_fourth_tests(tmp_path):
    hypernerf(tmp_path, n=9)
    write(tmp_path / "dataset.json", {"ids": [f"{i:06d}" for i in range(9)]})
    scene = load_scene(tmp_path)
    numbers = [int(Path(name).stem) for name in scene.names]
    assert [numbers[i] for i in scene.train_views] == [0, 4, 8]
    assert [numbers[i] for i in scene.test_views] == [2, 6]


def test_no_frame_both_trains_and_tests(tmp_path):
    hypernerf(tmp_path, n=4)
    write(tmp_path / "dataset.json", {"train_ids": [f"{i:06d}" for i in range(4)], "val_ids": ["000001"]})
    scene = load_scene(tmp_path)
    assert len(scene) == 4
    assert [scene.names[i] for i in scene.test_views] == ["rgb/2x/000001.png"]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"position": [float("nan"), 0, 0]}, "finite"),
        ({"orientation": [[1, 0], [0, 1]]}, "finite"),
        ({"orientation": np.diag([1.0, 1.0, -1.0]).tolist()}, "rotation"),
        ({"focal_length": None}, "intrinsics"),
        ({"image_size": [72]}, "image_size"),
    ],
)
def test_a_hypernerf_frame_with_a_broken_camera_is_dropped_with_its_reason(tmp_path, changes, reason):
    hypernerf(tmp_path)
    write(tmp_path / "camera" / "000002.json", hypernerf_camera(**changes))
    scene = load_scene(tmp_path)
    assert len(scene) == 7
    assert "000002" in scene.dropped[0].name
    assert reason in scene.dropped[0].reason


def test_hypernerf_frames_without_photo_camera_or_time_are_dropped(tmp_path):
    hypernerf(tmp_path)
    (tmp_path / "rgb/2x/000001.png").unlink()
    (tmp_path / "camera/000003.json").unlink()
    times = {f"{i:06d}": {"time_id": i} for i in range(8) if i != 5}
    write(tmp_path / "metadata.json", times)
    scene = load_scene(tmp_path)
    assert len(scene) == 5
    assert sorted(drop.name for drop in scene.dropped) == ["000001", "000003", "000005"]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("scene.json", {"scale": 0.0, "center": [0, 0, 0]}, "scale"),
        ("scene.json", {"scale": 1.0, "center": [0, 0]}, "center"),
        ("metadata.json", {"000000": {"camera_id": 0}}, "time_id"),
        ("dataset.json", {"ids": []}, "ids"),
        ("dataset.json", {"train_ids": [1, 2]}, "names"),
    ],
)
def test_a_hypernerf_capture_without_frame_times_or_ids_is_refused(tmp_path, name, content, said):
    hypernerf(tmp_path)
    write(tmp_path / name, content)
    with pytest.raises(UserError, match=said):
        load_scene(tmp_path)


def test_points_that_are_no_points_are_refused(tmp_path):
    np.save(hypernerf(tmp_path) / "points.npy", np.zeros((4, 2)))
    with pytest.raises(UserError, match=r"points \[n, 3\]"):
        load_scene(tmp_path)


# A fixed camera


def test_a_fixed_camera_stands_still_while_time_runs_from_zero_to_one(tmp_path):
    scene = load_scene(selfmade(tmp_path))
    assert torch.equal(scene.cameras.world_from_cam, torch.eye(4, dtype=torch.float64).expand(3, 4, 4))
    np.testing.assert_allclose(scene.times, [0.0, 0.5, 1.0])


@pytest.mark.parametrize(("factor", "focal_px"), [(1, 1600.0), (2, 800.0), (4, 400.0)])
def test_the_assumed_focal_length_shrinks_with_the_photos(tmp_path, factor, focal_px):
    scene = load_scene(selfmade(tmp_path, factor=factor))
    assert scene.cameras.K[0, 0, 0] == scene.cameras.K[0, 1, 1] == focal_px
    assert any(f"{focal_px:g} px is assumed" in note for note in scene.notes)


def test_photos_at_half_size_are_preferred(tmp_path):
    for factor in (1, 2, 4):
        selfmade(tmp_path, factor=factor)
    assert load_scene(tmp_path).names[0] == "rgb/2x/00000.png"


@pytest.mark.parametrize("below", ["", "2x"])
def test_the_denser_frames_end_the_clip(tmp_path, below):
    selfmade(tmp_path)
    for i in range(21):
        photo(tmp_path / "rgb_interlval1" / below / f"{i:05d}.png")
    np.testing.assert_allclose(load_scene(tmp_path).times, [0.0, 0.25, 0.5])


def test_a_clip_of_one_frame_opens_at_time_zero(tmp_path):
    scene = load_scene(selfmade(tmp_path, ("00000",)))
    assert scene.times is not None
    assert scene.times.tolist() == [0.0]


def test_frames_without_a_number_are_dropped_and_a_clip_of_them_refused(tmp_path):
    selfmade(tmp_path / "some", ("00000", "00001", "cover"))
    assert [drop.name for drop in load_scene(tmp_path / "some").dropped] == ["cover.png"]
    selfmade(tmp_path / "all", ("one", "two"))
    with pytest.raises(UserError, match="named by frame number"):
        load_scene(tmp_path / "all")


def test_sized_photos_alone_are_not_taken_for_a_fixed_camera(tmp_path):
    photo(tmp_path / "rgb" / "2x" / "00000.png")
    with pytest.raises(UserError, match="without poses"):
        load_scene(tmp_path)


# Rigs and LLFF


def test_llff_cameras_look_where_their_rows_say(tmp_path):
    np.save(tmp_path / "poses_bounds.npy", poses_bounds(5))
    for i in range(5):
        photo(tmp_path / "images" / f"{i:03d}.png")
    scene = load_scene(tmp_path)
    np.testing.assert_allclose(scene.cameras.world_from_cam[3, :3, :3], turn(0.06, 0.15, -0.09), atol=1e-12)
    np.testing.assert_allclose(scene.cameras.centers[3], [0.9, 0.1, -0.6])
    np.testing.assert_allclose(scene.cameras.K[3], [[40, 0, 18], [0, 40, 24], [0, 0, 1]])
    assert scene.times is None
    (tmp_path / "mv_images").mkdir()
    np.testing.assert_allclose(load_scene(tmp_path).times, [0, 0.25, 0.5, 0.75, 1])


def test_llff_rows_that_are_not_finite_are_dropped_and_wrong_counts_refused(tmp_path):
    rows = poses_bounds(3)
    rows[1, 4] = np.nan
    np.save(tmp_path / "poses_bounds.npy", rows)
    for i in range(3):
        photo(tmp_path / "images" / f"{i:03d}.png")
    scene = load_scene(tmp_path)
    assert [drop.name for drop in scene.dropped] == ["images/001.png"]
    (tmp_path / "images" / "002.png").unlink()
    with pytest.raises(UserError, match="3 photos, one for each row"):
        load_scene(tmp_path)
    np.save(tmp_path / "poses_bounds.npy", rows[:, :15])
    with pytest.raises(UserError, match=r"\[n, 17\]"):
        load_scene(tmp_path)


def test_a_rigs_test_cameras_are_seen_from_the_training_camera_in_units_of_depth(tmp_path):
    scale = 2.0
    scene = load_scene(rig(tmp_path, scale=scale))
    assert len(scene.train_views) == 3
    assert [scene.names[i] for i in scene.test_views[:2]] == [f"mv_images/00000/cam0{i}.png" for i in (6, 7)]
    first = scene.test_views[0]
    np.testing.assert_allclose(scene.cameras.centers[first] * scale, [1.8, 0.0, -1.2], atol=1e-12)
    np.testing.assert_allclose(scene.cameras.world_from_cam[first, :3, :3], turn(0.12, 0.3, -0.18), atol=1e-12)
    assert scene.times is not None
    assert scene.times[list(scene.test_views)].tolist() == [0, 0, 0.5, 0.5, 1, 1]
    assert torch.equal(scene.cameras.K, scene.cameras.K[:1].expand(len(scene), 3, 3))


def test_a_colmap_rig_tests_on_the_neighbours_of_its_fourth_camera(tmp_path):
    rig(tmp_path)
    (tmp_path / "poses_bounds.npy").unlink()
    model = tmp_path / "sparse"
    model.mkdir()
    (model / "cameras.txt").write_text("1 PINHOLE 36 48 40 41 17 25\n")
    (model / "points3D.txt").write_text("")
    lines = [f"{i + 1} 1 0 0 0 {-0.5 * i} 0 0 1 {i:05d}.jpg\n\n" for i in range(5)]
    (model / "images.txt").write_text("".join(lines))
    scene = load_scene(tmp_path)
    held_out = list(scene.test_views[:2])
    assert [Path(scene.names[i]).stem for i in held_out] == ["cam03", "cam05"]
    np.testing.assert_allclose(scene.cameras.centers[held_out, 0], [-0.25, 0.25])
    np.testing.assert_allclose(scene.cameras.K[0], [[40, 0, 17], [0, 41, 25], [0, 0, 1]])


def test_a_rig_without_scale_is_opened_as_a_clip_and_one_too_small_refused(tmp_path):
    np.save(rig(tmp_path) / "poses_bounds.npy", poses_bounds(4))
    with pytest.raises(UserError, match="at least 8 cameras"):
        load_scene(tmp_path)
    write(tmp_path / "colmap_to_depth_scale.json", {"scale": -1})
    with pytest.raises(UserError, match="a scale above 0"):
        load_scene(tmp_path)
    (tmp_path / "colmap_to_depth_scale.json").unlink()
    scene = load_scene(tmp_path)
    assert len(scene) == 3
    assert any("mv_images/ are not used" in note for note in scene.notes)


def test_missing_photos_of_a_rig_are_dropped(tmp_path):
    rig(tmp_path)
    (tmp_path / "mv_images/00001/cam06.png").unlink()
    photo(tmp_path / "mv_images/00009/cam06.png")
    scene = load_scene(tmp_path)
    dropped = [drop.name for drop in scene.dropped]
    assert dropped == [f"mv_images/{name}" for name in ("00001/cam06", "00009/cam06", "00009/cam07")]


# Published numbers


@pytest.fixture(scope="module")
def published(shared: Path) -> dict[str, np.ndarray]:
    with np.load(shared / "golden" / "dynamic" / "dataset_cameras.npz") as archive:
        return {key: archive[key].astype(np.float64) for key in archive.files}


@pytest.fixture
def published_capture(tmp_path: Path) -> Path:
    """The camera that the published numbers are of; see their README."""
    lens = {"focal_length": 700.5, "principal_point": [360, 480], "image_size": [720, 960]}
    hypernerf(tmp_path, n=1, position=[0.4, -0.3, 1.2], **lens)
    write(tmp_path / "dataset.json", {"train_ids": ["000000"], "val_ids": []})
    photo(tmp_path / "rgb/2x/000000.png", 360, 480)
    return tmp_path


def published_extrinsics(scene) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """R (camera to world), T (world to camera) and the whole of cam_from_world, of the first camera."""
    cam_from_world = scene.cameras.cam_from_world[0].numpy()
    return cam_from_world[:3, :3].T, cam_from_world[:3, 3], cam_from_world


def angles_of_view(scene) -> np.ndarray:
    K, size = scene.cameras.K[0].numpy(), scene.cameras.sizes_px[0].numpy()
    return 2 * np.arctan(size / (2 * K[[0, 1], [0, 1]]))


@pytest.mark.golden
def test_hypernerf_cameras_are_the_published_ones(published, published_capture):
    scene = load_scene(published_capture)
    R, T, cam_from_world = published_extrinsics(scene)
    np.testing.assert_allclose(R, published["hyper/R"], atol=ATOL)
    np.testing.assert_allclose(T, published["hyper/T"], atol=ATOL)
    np.testing.assert_allclose(cam_from_world, published["hyper/w2c"], atol=ATOL)
    np.testing.assert_allclose(angles_of_view(scene), published["hyper/fov_xy"], atol=ATOL)


@pytest.mark.golden
def test_normalised_hypernerf_cameras_are_the_published_ones(published, published_capture):
    mean, scale = np.array([0.02, -0.1, 0.7]), 1.7
    new_from_world = np.diag([scale, scale, scale, 1.0])
    new_from_world[:3, 3] = -scale * mean
    scene = load_scene(published_capture).transformed(new_from_world)
    R, T, cam_from_world = published_extrinsics(scene)
    np.testing.assert_allclose(R, published["hyper_rescaled/R"], atol=ATOL)
    np.testing.assert_allclose(T, published["hyper_rescaled/T"], atol=ATOL)
    np.testing.assert_allclose(cam_from_world, published["hyper_rescaled/w2c"], atol=ATOL)
    capture_scale = np.cbrt(np.linalg.det(scene.capture_from_world[:3, :3].numpy()))
    np.testing.assert_allclose(1 / capture_scale, published["hyper_rescaled/depth_factor"], atol=ATOL)
    pixels, _ = scene.cameras.project(0, torch.from_numpy(published["hyper_rescaled/world_points"]))
    np.testing.assert_allclose(pixels, published["hyper_rescaled/pixels_halfres"], atol=1e-3)


@pytest.mark.golden
def test_llff_poses_are_the_published_ones(published, tmp_path):
    rows = published["llff/poses_bounds"]
    np.save(tmp_path / "poses_bounds.npy", rows)
    height, width = rows.reshape(-1, 17)[0, :15].reshape(3, 5)[:2, 4]
    for i in range(len(rows)):
        photo(tmp_path / "images" / f"{i:03d}.png", int(width) // 8, int(height) // 8)
    cameras = load_scene(tmp_path).cameras
    np.testing.assert_allclose(cameras.world_from_cam, published["llff/c2w"], atol=ATOL)
    np.testing.assert_allclose(cameras.world_from_cam[:, :3, :3], published["llff/R"], atol=ATOL)
    np.testing.assert_allclose(cameras.cam_from_world[:, :3, 3], published["llff/T"], atol=ATOL)


@pytest.mark.golden
def test_poses_of_a_rig_relative_to_its_training_camera_are_the_published_ones(published):
    at = {key.removeprefix("metric/"): value for key, value in published.items() if key.startswith("metric/")}
    relative = relative_pose(at["c2w_train"], at["c2w_test"], float(at["colmap_to_depth_scale"]))
    np.testing.assert_allclose(relative, at["relative_pose"], atol=ATOL)
    np.testing.assert_allclose(at["c2w_scene_train_cam"] @ relative, at["c2w_rendered"], atol=ATOL)


@pytest.mark.golden
def test_a_fixed_camera_is_the_published_one(shared):
    with np.load(shared / "golden" / "dynamic" / "flow.npz") as archive:
        at = {key: archive[key] for key in archive.files if key.startswith(("loader/", "dataset/"))}
    scene = load_scene(shared / "golden" / "dynamic" / "mini_selfmade")
    scale = float(at["dataset/rescale_scale"])
    new_from_world = np.diag([scale, scale, scale, 1.0])
    new_from_world[:3, 3] = -scale * at["dataset/rescale_min_max_mean"][2]
    scene = scene.transformed(new_from_world).subset([2])
    R, T, cam_from_world = published_extrinsics(scene)
    np.testing.assert_allclose(R, at["loader/R"], atol=ATOL)
    np.testing.assert_allclose(T, at["loader/T"], atol=ATOL)
    np.testing.assert_allclose(cam_from_world, at["loader/w2c"], atol=ATOL)
    np.testing.assert_allclose(angles_of_view(scene), at["loader/fov_xy"], atol=ATOL)
    np.testing.assert_allclose(scene.cameras.K[0, 0, 0], at["loader/focal"], atol=1e-3)
    np.testing.assert_allclose(scene.times, at["loader/time"], atol=ATOL)
