"""Clips from a fixed camera, as MoDGS prepares them: the camera, the times, and depth and flow beside the frames."""

import numpy as np
import pytest
import torch

from rilievo.data.load import load_scene
from rilievo.errors import UserError
from rilievo.io.image import write_image

from .clips import photo, selfmade, write


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


def estimated(folder, stem, depth):
    """A depth file of GeoWizard's."""
    path = folder / "GeoWizardOut" / "depth_npy" / f"{stem}.npy"
    path.parent.mkdir(exist_ok=True)
    np.save(path, depth.astype(np.float32))


@pytest.mark.parametrize(
    ("scales", "factors", "expected"),
    [
        ({"00005.npy": {"scale": 2.0, "shift": 1.0}}, {"00005.npy": 3.0}, (6.0, 3.0)),
        ({"00005.npy": {"scale": 2.0, "shift": 1.0}}, {"00000.npy": 3.0}, (2.0, 1.0)),
        ({"00005.npy": {"scale": float("nan"), "shift": 1.0}, "mean_s": 4.0}, None, (4.0, 1.0)),
        (None, None, (0.3, 0.5)),
    ],
)
def test_estimated_depth_is_brought_to_one_scale(tmp_path, scales, factors, expected):
    raw = np.random.default_rng(3).uniform(1, 2, (48, 36))
    estimated(selfmade(tmp_path), "00005", raw)
    for name, content in (("__scene.json", scales), ("__re_scale_scene.json", factors)):
        if content is not None:
            write(tmp_path / name, content)
    np.testing.assert_allclose(load_scene(tmp_path).depth(1), expected[0] * raw + expected[1], rtol=1e-6)


def test_depth_that_jumps_is_not_trusted(tmp_path):
    estimated(selfmade(tmp_path), "00005", np.full((48, 36), 2.0))
    kept = np.full((48, 36), 255, np.uint8)
    kept[:, :9] = 0
    write_image(tmp_path / "GeoWizardOut" / "depth_valid_msk" / "00005.npy.png", kept)
    depth = load_scene(tmp_path).depth(1)
    assert not depth[:, :9].any()
    assert depth[:, 9:].all()


def test_flow_leads_between_any_two_frames_that_have_it(tmp_path):
    (selfmade(tmp_path) / "raft_exhaustive").mkdir()
    path = tmp_path / "raft_exhaustive" / "00000.png_00010.png.npy"
    np.save(path, np.zeros((48, 36, 2), np.float32))
    assert load_scene(tmp_path).flow_files == ({"rgb/2x/00010.png": path}, {}, {})


def test_all_frames_of_a_fixed_camera_train_unless_some_are_asked_for(tmp_path):
    selfmade(tmp_path, tuple(f"{i:05d}" for i in range(16)))
    scene = load_scene(tmp_path)
    assert scene.test_views == ()
    assert any("held out: none" in note and "--holdout 8" in note for note in scene.notes)
    assert load_scene(tmp_path, holdout=8).test_views == (0, 8)
