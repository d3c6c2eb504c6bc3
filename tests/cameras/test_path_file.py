"""Paths are read from files in the frame and lens that the file states, or refused with a sentence."""

import json
import math

import pytest
import torch

from rilievo.cameras.path_file import path_from_file
from rilievo.errors import UserError

from .cameras_at_hand import mixed_cameras


def test_a_list_of_poses_is_followed_with_the_lens_at_hand(tmp_path):
    cameras = mixed_cameras()
    file = tmp_path / "path.json"
    for poses in (cameras.world_from_cam, cameras.world_from_cam[:, :3], cameras.world_from_cam.flatten(1)):
        file.write_text(json.dumps(poses.tolist()))
        path = path_from_file(file, cameras)
        torch.testing.assert_close(path.world_from_cam, cameras.world_from_cam)
        assert (cameras.K[0] == path.K).all()


def test_a_nerfstudio_path_brings_axes_field_of_view_and_size(tmp_path):
    cameras = mixed_cameras()
    frames = [{"camera_to_world": p.flatten().tolist(), "fov": 50, "aspect": 1} for p in cameras.world_from_cam_opengl]
    file = tmp_path / "camera_path.json"
    file.write_text(json.dumps({"camera_path": frames, "render_width": 64.0, "render_height": 48, "seconds": 4}))
    path = path_from_file(file, cameras)
    torch.testing.assert_close(path.world_from_cam, cameras.world_from_cam)
    assert path.sizes_px[0].tolist() == [64, 48]
    top = torch.tensor([[0.0, -math.tan(math.radians(25)), 1.0]], dtype=torch.float64)
    world = top @ path.world_from_cam[0, :3, :3].mT + path.centers[0]
    torch.testing.assert_close(path.project(0, world)[0][0], torch.tensor([32.0, 0.0]).double(), atol=1e-9, rtol=0)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "expected JSON"),
        ("[]", "list of 4x4"),
        ('{"frames": []}', "list of 4x4"),
        ("[[1, 2, 3]]", "frame 0: expected a pose"),
        ('[[["a", 1], 2]]', "frame 0: expected a pose"),
        ('{"camera_path": [], "render_width": 8, "render_height": 8}', "at least one frame"),
        ('{"camera_path": [{"fov": 50}]}', "render_width"),
        ('{"camera_path": [{"fov": 0}], "render_width": 8, "render_height": 8}', "frame 0.*field of view"),
        ('{"camera_path": [{"fov": 50}], "render_width": 8, "render_height": 8}', "frame 0: expected a pose"),
    ],
)
def test_what_is_no_path_is_refused(tmp_path, content, message):
    file = tmp_path / "path.json"
    file.write_text(content)
    with pytest.raises(UserError, match=message):
        path_from_file(file, mixed_cameras())


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(UserError, match="no file"):
        path_from_file(tmp_path / "none.json", mixed_cameras())
