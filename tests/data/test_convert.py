"""What goes out into another layout comes back: the same rays, the same pixels, in the capture's frame."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from rilievo.data.convert import Layout, convert, new_folder
from rilievo.data.load import load_scene
from rilievo.data.scene import MaskMeaning
from rilievo.errors import UserError

from .captures import ball_scene, ring_cameras, same_rays, sorted_by_name


def with_lens(scene, fisheye=False):
    """The scene with a distorting lens and a principal point off centre, another for every camera."""
    n = len(scene)
    coefficients = torch.zeros(n, 8, dtype=torch.float64)
    coefficients[:, :4] = torch.tensor([0.05, -0.01, 0.002, 0.001])
    if not fisheye:
        coefficients[:, 4:] = torch.tensor([0.01, 0.003, 0.0007, -0.0004])
    K = scene.cameras.K.clone()
    K[:, 0, 2] += torch.arange(n) / 10
    K[:, 1, 1] += 1.5
    cameras = replace(scene.cameras, K=K, distortion=coefficients, fisheye=torch.full((n,), fisheye))
    return replace(scene, cameras=cameras)


def same_pixels(a, b) -> bool:
    return all(np.array_equal(one, other) for one, other in zip(a, b, strict=True))


@pytest.mark.parametrize("to", list(Layout))
@pytest.mark.parametrize("normalised", [False, True])
def test_a_round_trip_keeps_rays_and_pixels(tmp_path, to, normalised):
    scene = ball_scene()
    convert(scene.normalised() if normalised else scene, tmp_path / "out", to)
    back = sorted_by_name(load_scene(tmp_path / "out"))
    assert same_rays(back.cameras, scene.cameras)
    assert same_pixels(back.images, scene.images)
    assert same_pixels(back.coverage, scene.coverage)
    assert back.mask_meaning is MaskMeaning.OBJECT
    assert back.test_views == scene.test_views
    if to is not Layout.BLENDER:
        np.testing.assert_allclose(back.points.xyz, scene.points.xyz, atol=1e-12)
        np.testing.assert_array_equal(back.points.rgb, scene.points.rgb)


@pytest.mark.parametrize("to", [Layout.COLMAP, Layout.NERFSTUDIO])
@pytest.mark.parametrize("fisheye", [False, True])
def test_a_round_trip_keeps_the_lens(tmp_path, to, fisheye):
    scene = with_lens(ball_scene(), fisheye)
    convert(scene, tmp_path / "out", to)
    back = load_scene(tmp_path / "out")
    torch.testing.assert_close(back.cameras.distortion, scene.cameras.distortion, rtol=0, atol=1e-15)
    assert same_rays(back.cameras, scene.cameras)


def test_ignore_masks_stay_ignore_masks_in_nerfstudio(tmp_path):
    scene = ball_scene(meaning=MaskMeaning.IGNORE)
    back = load_scene(convert(scene, tmp_path / "out", "nerfstudio"))
    assert back.mask_meaning is MaskMeaning.IGNORE
    assert same_pixels(back.coverage, scene.coverage)


def test_times_survive_in_nerfstudio(tmp_path):
    scene = ball_scene(meaning=None)
    scene = replace(scene, times=torch.linspace(0, 1, len(scene)))
    back = load_scene(convert(scene, tmp_path / "out", "nerfstudio"))
    torch.testing.assert_close(back.times, scene.times)
    assert back.coverage is None
    assert back.mask_meaning is None


def test_untouched_photos_are_copied_byte_for_byte(tmp_path):
    first = load_scene(convert(ball_scene(meaning=None), tmp_path / "a", "colmap"))
    convert(first, tmp_path / "b", "nerfstudio")
    for photo in (tmp_path / "a" / "images").iterdir():
        assert (tmp_path / "b" / "images" / photo.name).read_bytes() == photo.read_bytes()


def test_shrunken_photos_take_their_cameras_along(tmp_path):
    convert(ball_scene(meaning=None), tmp_path / "a", "colmap")
    small = load_scene(tmp_path / "a", downscale=2)
    back = load_scene(convert(small, tmp_path / "b", "nerfstudio"))
    assert back.images[0].shape == (20, 24, 3)
    assert same_rays(back.cameras, small.cameras)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: with_lens(s), "distortion"),
        (lambda s: replace(s, mask_meaning=MaskMeaning.IGNORE), "ignore masks"),
        (lambda s: replace(s, cameras=shifted(s, 0, 2)), "principal point"),
        (lambda s: replace(s, cameras=shifted(s, 0, 0)), "one focal length"),
        (lambda s: replace(s, cameras=other_size(s)), "several sizes"),
    ],
)
def test_blender_refuses_what_it_cannot_hold_and_leaves_nothing(tmp_path, change, said):
    with pytest.raises(UserError, match=f"{said}.*nerfstudio"):
        convert(change(ball_scene()), tmp_path / "out", "blender")
    assert list(tmp_path.iterdir()) == []


def shifted(scene, row, column):
    K = scene.cameras.K.clone()
    K[3, row, column] += 0.5
    return replace(scene.cameras, K=K)


def other_size(scene):
    sizes = scene.cameras.sizes_px.clone()
    sizes[2] += 2
    return replace(scene.cameras, sizes_px=sizes)


def test_a_folder_with_files_in_it_is_never_written_to(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("keep me")
    with pytest.raises(UserError, match="empty folder"):
        convert(ball_scene(), tmp_path / "out", "colmap")
    assert (tmp_path / "out" / "thesis.tex").read_text() == "keep me"
    with pytest.raises(UserError, match="layout"):
        convert(ball_scene(), tmp_path / "new", "3ds")


def test_a_conversion_that_breaks_midway_leaves_no_half_written_folder(tmp_path):
    def break_off(folder):
        (folder / "half.json").write_text("{")
        raise UserError("a photo cannot be read")

    with pytest.raises(UserError, match="photo"), new_folder(tmp_path / "out") as folder:
        break_off(folder)
    assert list(tmp_path.iterdir()) == []


def test_photos_of_one_name_in_several_folders_stay_apart(tmp_path):
    scene = ball_scene(n=4, meaning=None)
    scene = replace(scene, names=("left/0.png", "left/1.png", "right/0.png", "right/1.png"))
    back = load_scene(convert(scene, tmp_path / "out", "colmap"))
    assert same_pixels(back.images, scene.images)
    assert same_rays(back.cameras, ring_cameras(4, 48, 40))
