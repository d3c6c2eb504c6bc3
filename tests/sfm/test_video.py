"""Which frames of a video are chosen."""

import numpy as np

from rilievo.sfm.video import SIDE, choose_frames


def scenery():
    generator = np.random.default_rng(0)
    rough = generator.uniform(0, 255, (SIDE * 2, SIDE * 3))
    for axis in (0, 1):
        rough = (rough + np.roll(rough, 1, axis) + np.roll(rough, 2, axis)) / 3
    return rough


def frame(x, blur=1):
    picture = scenery()[:SIDE, x : x + SIDE]
    return sum(np.roll(picture, s, 1) for s in range(blur)) / blur


def test_frames_of_a_still_stretch_are_not_taken_twice():
    small = [frame(0)] * 20 + [frame(4 * k) for k in range(1, 11)]
    chosen = choose_frames(small, 5)
    assert sum(i < 20 for i in chosen) <= 1
    assert len(chosen) == 5


def test_of_frames_that_moved_alike_the_sharpest_is_taken():
    small = [frame(2 * k, blur=1 if k % 4 == 2 else 6) for k in range(16)]
    assert all(i % 4 == 2 for i in choose_frames(small, 4))


def test_a_video_without_motion_has_one_frame():
    assert choose_frames([frame(0)] * 9, 5) == [0]
