"""Clips from videos and folders of frames: every frame has its time, and a camera that stood still needs no poses."""

import numpy as np
import pytest
import torch
from PIL import Image

from rilievo.cli import main
from rilievo.data.load import load_scene
from rilievo.data.scene import MaskMeaning
from rilievo.io.video import write_video
from rilievo.sfm.clip import timed
from rilievo.sfm.photos import find_photos
from rilievo.sfm.video import frames_of_video

SIZE = (160, 120)


def wall(seed=0):
    """A coarse random texture."""
    noise = np.random.default_rng(seed).integers(0, 255, (SIZE[1] // 8, SIZE[0] // 8, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(noise).resize(SIZE, Image.Resampling.BICUBIC))


def frames(count):
    """A bright square that crosses before a wall, seen by a camera that stands."""
    for i in range(count):
        frame = wall().copy()
        x = 5 + 6 * i
        frame[40:70, x : x + 30] = 255
        yield frame


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    path = tmp_path_factory.mktemp("videos") / "dog.mp4"
    write_video(path, frames(20), fps=10.0)
    return path


@pytest.fixture
def folder(tmp_path):
    """Six frames named by their numbers in the clip, which are ten apart, and masks of what moves."""
    (tmp_path / "masks").mkdir()
    (tmp_path / "images").mkdir()
    for i, frame in enumerate(frames(6)):
        Image.fromarray(frame).save(tmp_path / "images" / f"{10 * i + 5}.png")
        Image.fromarray(np.uint8((frame == 255).all(-1)) * 7).save(tmp_path / "masks" / f"{10 * i + 5}.png")
    return tmp_path


def test_frames_of_a_video_have_the_times_at_which_they_were_filmed(video, tmp_path):
    chosen = frames_of_video(video, tmp_path, 6)
    found = timed(find_photos(chosen), chosen)
    assert len(found.photos) == 6
    assert [photo.time for photo in found.photos] == [int(photo.path.stem) / 19 for photo in found.photos]


def test_a_video_of_a_fixed_camera_becomes_a_scene_of_one_camera(video, tmp_path):
    command = ["align", str(video), "-o", str(tmp_path / "scene"), "--fixed-camera", "--frames", "7"]
    assert main([*command, "--intrinsics", "150,150,80,60"]) == 0
    scene = load_scene(tmp_path / "scene")
    assert len(scene) == 7
    assert torch.equal(scene.cameras.world_from_cam, torch.eye(4, dtype=torch.float64).expand(7, 4, 4))
    assert (scene.cameras.K[:, 0, 0] == 150).all()
    assert (scene.times.diff() > 0).all()
    assert sorted(p.name for p in (tmp_path / "scene").iterdir()) == ["images", "transforms.json"]


def test_numbers_of_frames_are_their_times_and_masks_say_what_moves(folder, tmp_path):
    command = ["align", str(folder / "images"), "-o", str(tmp_path / "scene"), "--fixed-camera"]
    assert main([*command, "--masks", str(folder / "masks"), "--mask-meaning", "moving"]) == 0
    scene = load_scene(tmp_path / "scene")
    by_time = scene.times.argsort().tolist()
    assert [scene.names[i] for i in by_time] == [f"images/{10 * i + 5}.png" for i in range(6)]
    np.testing.assert_allclose(scene.times[by_time], np.arange(6) / 5, atol=1e-6)
    assert scene.coverage is None
    assert (scene.moving[by_time[0]] > 0).sum() == 900


def test_cameras_are_found_by_what_does_not_move(folder):
    found = find_photos(folder / "images", folder / "masks", MaskMeaning.MOVING)
    for photo in found.photos:
        assert (photo.mask_pixels() == 0).sum() == 900


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--fixed-camera", "--turntable"], "got --turntable"),
        (["--fixed-camera", "--poses", "cameras.json"], "got --poses"),
        (["--mask-meaning", "moving"], "give --masks DIR"),
    ],
)
def test_what_contradicts_itself_is_refused(flags, said, folder, tmp_path, capsys):
    for mask in (folder / "masks").iterdir():
        mask.unlink()
    (folder / "masks").rmdir()
    assert main(["align", str(folder / "images"), "-o", str(tmp_path / "scene"), *flags]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "scene").exists()


@pytest.mark.parametrize("count", [1, 3])
def test_a_video_in_which_nothing_happens_is_refused(count, tmp_path, capsys):
    write_video(tmp_path / "still.mp4", [wall()] * count)
    assert main(["align", str(tmp_path / "still.mp4"), "-o", str(tmp_path / "scene")]) == 2
    told = capsys.readouterr().err
    assert "expected a moving camera or object, got " + ("one frame" if count == 1 else "frames that") in told
    assert not (tmp_path / "scene").exists()


def test_masks_of_a_video_are_named_after_the_numbers_of_its_frames(video, tmp_path):
    (tmp_path / "masks").mkdir()
    for i in range(20):
        Image.fromarray(np.full(SIZE[::-1], i + 1, np.uint8)).save(tmp_path / "masks" / f"{i:06d}.png")
    command = ["align", str(video), "-o", str(tmp_path / "scene"), "--fixed-camera", "--frames", "5"]
    assert main([*command, "--masks", str(tmp_path / "masks"), "--mask-meaning", "moving"]) == 0
    scene = load_scene(tmp_path / "scene")
    assert len(scene) == 5
    for name, mask in zip(scene.names, scene.moving):
        assert (mask == int(name[-10:-4]) + 1).all()
