"""The door: every layout opens, every user's mistake gets one sentence, one bad photo never spoils the rest."""

import numpy as np
import pytest
import torch
from PIL import Image

from rilievo.data.load import load_scene
from rilievo.data.scene import MaskMeaning
from rilievo.data.stored import StoredImage
from rilievo.errors import UserError
from rilievo.io.image import write_image

from .captures import edit, same_rays


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


# names, regions, times


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
