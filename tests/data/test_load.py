"""The door: every layout opens, every user's mistake gets one sentence, one bad photo never spoils the rest."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from rilievo.data.convert import convert
from rilievo.data.load import load_scene
from rilievo.data.scene import MaskMeaning
from rilievo.data.stored import StoredImage
from rilievo.errors import UserError
from rilievo.io.image import write_image

from .captures import ball_coverage, ball_scene, same_rays, sorted_by_name


@pytest.fixture
def nerfstudio(tmp_path):
    """A sound capture without masks, 12 photos, in nerfstudio's layout."""
    return convert(ball_scene(meaning=None), tmp_path / "capture", "nerfstudio")


def edit(folder, change, name="transforms.json"):
    content = json.loads((folder / name).read_text())
    change(content)
    (folder / name).write_text(json.dumps(content))


def reasons(scene) -> dict[str, str]:
    return {d.name: d.reason for d in scene.dropped}


# what is dropped


def test_one_corrupt_photo_is_dropped_and_told(nerfstudio):
    path = nerfstudio / "images" / "003.png"
    path.write_bytes(path.read_bytes()[:500])
    scene = load_scene(nerfstudio)
    assert len(scene) == 11
    assert "003.png" in reasons(scene)["images/003.png"]
    assert "images/003.png" not in scene.names


def test_a_missing_photo_is_dropped_and_told(nerfstudio):
    (nerfstudio / "images" / "003.png").unlink()
    scene = load_scene(nerfstudio)
    assert reasons(scene) == {"images/003.png": "its file is missing"}


@pytest.mark.parametrize(
    "matrix", [[[float("nan")] * 4] * 4, [[1, 2], [3, 4]], "none", None, np.diag([2.0, 1, 1, 1]).tolist()]
)
def test_one_bad_pose_is_dropped_and_told(nerfstudio, matrix):
    edit(nerfstudio, lambda c: c["frames"][4].update(transform_matrix=matrix))
    scene = load_scene(nerfstudio)
    assert len(scene) == 11
    assert "pose" in reasons(scene)["images/004.png"]


def test_no_usable_frame_is_an_error(nerfstudio):
    def spoil(content):
        for frame in content["frames"]:
            frame["transform_matrix"][0][0] = float("nan")

    edit(nerfstudio, spoil)
    with pytest.raises(UserError, match="usable photo"):
        load_scene(nerfstudio)


def test_without_verification_only_headers_are_read(nerfstudio):
    path = nerfstudio / "images" / "003.png"
    path.write_bytes(path.read_bytes()[:500])
    scene = load_scene(nerfstudio, verify=False)
    assert len(scene) == 12
    with pytest.raises(UserError, match=r"003\.png"):
        scene.images[3]


def test_a_capture_is_opened_moved_and_cut_without_decoding_a_photo(nerfstudio, monkeypatch):
    def decode(picture):
        raise AssertionError(f"{picture.path} was decoded")

    monkeypatch.setattr(StoredImage, "decode", decode)
    scene = load_scene(nerfstudio, verify=False)
    assert len(scene.normalised().subset([3, 1]).images) == 2


# what is refused


def test_an_empty_folder_a_missing_one_and_a_video_are_refused(tmp_path):
    with pytest.raises(UserError, match="empty folder"):
        load_scene(tmp_path)
    with pytest.raises(UserError, match="nothing there"):
        load_scene(tmp_path / "nowhere")
    (tmp_path / "dog.mp4").write_bytes(b"")
    with pytest.raises(UserError, match=r"video.*rilievo align"):
        load_scene(tmp_path / "dog.mp4")


def test_photos_without_poses_point_to_align(tmp_path):
    write_image(tmp_path / "images" / "a.png", np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(UserError, match=r"1 photos without poses.*rilievo align"):
        load_scene(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"frames": 3}', '{"frames": []}', '{"frames": [1]}'])
def test_broken_json_is_named(nerfstudio, text):
    (nerfstudio / "transforms.json").write_text(text)
    with pytest.raises(UserError, match=r"transforms\.json"):
        load_scene(nerfstudio)


def test_a_missing_focal_length_is_told(nerfstudio):
    edit(nerfstudio, lambda c: [c.pop("fl_x"), c.pop("fl_y")])
    with pytest.raises(UserError, match="fl_x"):
        load_scene(nerfstudio)


def test_a_lens_that_is_not_ours_is_told(nerfstudio):
    edit(nerfstudio, lambda c: c.update(camera_model="EQUIRECTANGULAR"))
    with pytest.raises(UserError, match="EQUIRECTANGULAR"):
        load_scene(nerfstudio)


def test_a_mask_of_another_size_is_refused_with_both_sizes(nerfstudio):
    for i in range(12):
        write_image(nerfstudio / "masks" / f"{i:03d}.png", np.zeros((7, 9) if i == 5 else (40, 48), np.uint8))
    with pytest.raises(UserError, match=r"48x40.*9x7"):
        load_scene(nerfstudio)


def test_object_masks_for_some_photos_only_are_refused(nerfstudio):
    write_image(nerfstudio / "masks" / "000.png", np.zeros((40, 48), np.uint8))
    with pytest.raises(UserError, match=r"one per image.*1 for 12"):
        load_scene(nerfstudio)
    scene = load_scene(nerfstudio, mask_meaning=MaskMeaning.IGNORE)
    assert scene.coverage[0].max() == 0
    assert scene.coverage[1].min() == 255


def test_masks_that_match_no_photo_are_refused(nerfstudio):
    write_image(nerfstudio / "masks" / "something.png", np.zeros((40, 48), np.uint8))
    with pytest.raises(UserError, match="none of which matches"):
        load_scene(nerfstudio)


@pytest.mark.parametrize(
    "options",
    [{"downscale": 0}, {"downscale": float("nan")}, {"holdout": 1}, {"holdout": -2}, {"max_side": 0},
     {"region": (0, 0, 0, -1)}, {"region": (0, 0, 0)}, {"mask_meaning": MaskMeaning.IGNORE}],
)  # fmt: skip
def test_impossible_wishes_are_refused(nerfstudio, options):
    with pytest.raises(UserError):
        load_scene(nerfstudio, **options)


# intrinsics and sizes


def test_intrinsics_of_another_resolution_are_rescaled_and_told(nerfstudio):
    def enlarge(content):
        for key in ("w", "h", "fl_x", "fl_y", "cx", "cy"):
            content[key] *= 3

    expected = load_scene(nerfstudio)
    edit(nerfstudio, enlarge)
    scene = load_scene(nerfstudio)
    assert same_rays(scene.cameras, expected.cameras)
    assert any("144x120" in note and "48x40" in note for note in scene.notes)


def test_intrinsics_of_another_shape_are_refused(nerfstudio):
    edit(nerfstudio, lambda c: c.update(w=40, h=48))
    with pytest.raises(UserError, match=r"48x40.*40x48"):
        load_scene(nerfstudio)


def test_a_principal_point_outside_the_photo_is_refused(nerfstudio):
    edit(nerfstudio, lambda c: c.update(cx=400.0))
    with pytest.raises(UserError, match="principal point"):
        load_scene(nerfstudio)


def test_one_frame_may_have_its_own_lens(nerfstudio):
    edit(nerfstudio, lambda c: c["frames"][2].update(fl_x=70.0, fl_y=71.0, k1=0.1, camera_model="OPENCV_FISHEYE"))
    cameras = load_scene(nerfstudio).cameras
    assert cameras.K[2, 0, 0] == 70
    assert cameras.K[2, 1, 1] == 71
    assert cameras.fisheye.tolist() == [i == 2 for i in range(12)]
    assert cameras.distortion[:, 0].tolist() == [0.1 if i == 2 else 0 for i in range(12)]


def test_an_angle_of_view_is_a_focal_length(nerfstudio):
    expected = load_scene(nerfstudio)
    angle = 2 * np.arctan(24 / expected.cameras.K[0, 0, 0].item())

    def forget(content):
        for key in ("fl_x", "fl_y", "cx", "cy", "w", "h", "camera_model"):
            content.pop(key)
        content["camera_angle_x"] = angle

    edit(nerfstudio, forget)
    assert same_rays(load_scene(nerfstudio).cameras, expected.cameras)


def test_a_shrunken_photo_is_seen_by_the_same_camera(nerfstudio):
    full, half = load_scene(nerfstudio), load_scene(nerfstudio, max_side=24)
    assert half.images[0].shape == (20, 24, 3)
    point = torch.tensor([[0.4, -0.3, 0.2]], dtype=torch.float64)
    torch.testing.assert_close(half.cameras.project(3, point)[0] * 2, full.cameras.project(3, point)[0])


def test_exif_orientation_is_ignored_where_the_camera_is_for_the_stored_pixels(nerfstudio):
    path = nerfstudio / "images" / "001.png"
    before = load_scene(nerfstudio).images[1].copy()
    exif = Image.Exif()
    exif[0x0112] = 6
    with Image.open(path) as image:
        image.load()
        image.save(path, exif=exif)
    scene = load_scene(nerfstudio)
    np.testing.assert_array_equal(scene.images[1], before)
    assert any("EXIF" in note for note in scene.notes)


# masks


def test_a_masks_folder_is_taken_as_object_and_told(tmp_path):
    folder = convert(ball_scene(), tmp_path / "capture", "colmap")
    scene = load_scene(folder)
    assert scene.mask_meaning is MaskMeaning.OBJECT
    assert any("--mask-meaning ignore" in note for note in scene.notes)
    asked = load_scene(folder, mask_meaning=MaskMeaning.IGNORE)
    assert asked.mask_meaning is MaskMeaning.IGNORE
    assert not any("--mask-meaning" in note for note in asked.notes)


@pytest.mark.parametrize("name", ["mask/{}.png", "masks/{}.png", "masks/{}.png.png"])
def test_masks_are_found_by_their_photos_name(nerfstudio, name):
    expected = ball_scene()
    for i in range(12):
        write_image(nerfstudio / name.format(f"{i:03d}"), ball_coverage(expected.cameras, i))
    scene = load_scene(nerfstudio)
    for i in range(12):
        np.testing.assert_array_equal(scene.coverage[i], expected.coverage[i])


def test_a_mask_path_means_ignore_by_the_formats_definition(tmp_path):
    folder = convert(ball_scene(meaning=MaskMeaning.IGNORE), tmp_path / "capture", "nerfstudio")
    scene = load_scene(folder)
    assert scene.mask_meaning is MaskMeaning.IGNORE
    edit(folder, lambda c: c.update(mask_meaning="object"))
    assert load_scene(folder).mask_meaning is MaskMeaning.OBJECT


# splits, names, regions


def test_every_eighth_photo_by_name_is_held_out_where_nobody_says_otherwise(nerfstudio):
    def forget(content):
        for key in ("train_filenames", "val_filenames", "test_filenames"):
            content.pop(key)
        content["frames"].reverse()

    edit(nerfstudio, forget)
    assert load_scene(nerfstudio).test_views == (0, 8)
    assert load_scene(nerfstudio, holdout=5).test_views == (0, 5, 10)
    assert load_scene(nerfstudio, holdout=0).test_views == ()


def test_lists_of_filenames_win_over_the_habit(nerfstudio):
    names = [f"images/{i:03d}.png" for i in range(12)]
    edit(nerfstudio, lambda c: c.update(train_filenames=names[:7], test_filenames=names[9:], val_filenames=names[7:9]))
    scene = load_scene(nerfstudio)
    assert scene.names == tuple(names[:7] + names[9:])
    assert scene.test_views == (7, 8, 9)


def test_names_without_extension_are_found(nerfstudio):
    expected = load_scene(nerfstudio)

    def shorten(content):
        for key in ("train_filenames", "val_filenames", "test_filenames"):
            content.pop(key)
        for frame in content["frames"]:
            frame["file_path"] = "./" + frame["file_path"].removesuffix(".png")

    edit(nerfstudio, shorten)
    assert load_scene(nerfstudio).names == expected.names


def test_the_users_region_is_in_the_captures_frame(golden):
    scene = load_scene(golden / "dtu_dataset", region=(1.0, 2.0, 3.0, 4.0))
    back = scene.normalised().in_capture_frame()
    np.testing.assert_allclose(back.region.center, [1, 2, 3], atol=1e-9)
    assert back.region.radius == pytest.approx(4)


def test_times_must_be_in_the_unit_interval(nerfstudio):
    edit(nerfstudio, lambda c: [frame.update(time=2.0) for frame in c["frames"]])
    with pytest.raises(UserError, match="time"):
        load_scene(nerfstudio)


# layouts


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


# real captures


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
