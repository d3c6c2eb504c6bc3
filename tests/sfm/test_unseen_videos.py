"""Frames of a video in which the camera stands and an object moves."""

import numpy as np

from rilievo.sfm.video import SIDE, choose_frames


def before_a_wall(angle: float, seed: int) -> np.ndarray:
    """A textured disc turned by `angle`, before a wall that is the same in every frame but for the sensor's noise."""
    wall = np.random.default_rng(0).uniform(60, 200, (SIDE, SIDE))
    y, x = np.mgrid[:SIDE, :SIDE] - SIDE / 2
    disc = np.hypot(x, y) < 25
    picture = np.where(disc, 128 + 90 * np.sin(6 * (np.arctan2(y, x) - angle)), wall)
    return picture + np.random.default_rng(seed).normal(0, 0.3, picture.shape)


def test_frames_are_found_where_only_the_object_moves():
    small = [before_a_wall(0.03 * k, k) for k in range(40)]
    chosen = choose_frames(small, 8)
    assert len(chosen) == 8
    assert max(np.diff(chosen)) <= 10


def test_noise_of_a_standing_camera_is_no_motion():
    assert choose_frames([before_a_wall(0.0, k) for k in range(30)], 8) == [0]
