"""Rigs of cameras that film one moment from many sides, and LLFF, whose rows pose them."""

from pathlib import Path

import numpy as np
import pytest
import torch

from rilievo.data.load import load_scene
from rilievo.errors import UserError

from .clips import photo, poses_bounds, rig, turn, write


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
