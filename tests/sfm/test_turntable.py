"""A turntable's circle from matches alone."""

import numpy as np
import pytest

from rilievo.sfm.features import Matches
from rilievo.sfm.lens import belief
from rilievo.sfm.turntable import SPREAD, solve_turntable

from .conftest import SIZE, circle, observe

TRUE = np.array([900.0, 1.0, 320.0, 240.0, 0.0, 0.0, 0.0, 0.0])


def capture(steps, points, noise_px):
    """Keypoints and matches of neighbouring and next-but-one photos, as a matcher would give them."""
    world = observe(circle(*steps), 0.25 * points, TRUE, noise_px, 0)
    keypoints, index = [], []
    for k in range(steps[0]):
        mine = world.tracks.view == k
        keypoints.append(world.tracks.xy[mine])
        index.append({int(p): i for i, p in enumerate(world.tracks.point[mine])})
    matches = []
    for i in range(steps[0]):
        for j in (i + 1, i + 2):
            if j < steps[0]:
                both = sorted(index[i].keys() & index[j].keys())
                matches.append(Matches(i, j, np.array([(index[i][p], index[j][p]) for p in both])))
    return keypoints, matches


@pytest.mark.parametrize("steps", [(8, 15.0), (7, -20.0)])
def test_angles_focal_length_and_axis_are_found(ball_points, steps):
    keypoints, matches = capture(steps, ball_points, 0.1)
    turned = solve_turntable(keypoints, matches, belief(SIZE, 900.0, SPREAD), SIZE)
    assert turned is not None
    motion = turned.motion
    truth = circle(*steps)
    found, true = (np.rad2deg(np.abs(np.diff(np.unwrap(m.angles)))) for m in (motion, truth))
    np.testing.assert_allclose(found, true, atol=0.2)
    axis = motion.frame[:, 0] * np.sign(motion.frame[1, 0] * truth.frame[1, 0])
    assert np.rad2deg(np.arccos(min(1.0, axis @ truth.frame[:, 0]))) < 1.0
    assert abs(turned.adjusted.structure.lenses[0, 0] - 900) < 30
    assert turned.guessed == ()


def test_a_photo_without_matches_stands_between_its_neighbours(ball_points):
    keypoints, matches = capture((8, 15.0), ball_points, 0.1)
    without = [m for m in matches if 3 not in (m.first, m.second)]
    turned = solve_turntable(keypoints, without, belief(SIZE, 900.0, SPREAD), SIZE)
    assert turned is not None
    assert turned.guessed == (3,)
    steps = np.rad2deg(np.abs(np.diff(np.unwrap(turned.motion.angles))))
    np.testing.assert_allclose(steps[2:4], 15.0, atol=0.5)


def test_matches_that_stand_still_are_no_evidence(ball_points):
    keypoints, matches = capture((6, 15.0), ball_points, 0.1)
    still = np.random.default_rng(0).uniform(50, 400, (60, 2))
    keypoints = [np.concatenate([k, still]) for k in keypoints]
    more = [
        Matches(
            m.first,
            m.second,
            np.concatenate(
                [
                    m.features,
                    np.stack(
                        [np.arange(60) + len(keypoints[m.first]) - 60, np.arange(60) + len(keypoints[m.second]) - 60], 1
                    ),
                ]
            ),
        )
        for m in matches
    ]
    turned = solve_turntable(keypoints, more, belief(SIZE, 900.0, SPREAD), SIZE)
    assert turned is not None
    steps = np.rad2deg(np.abs(np.diff(np.unwrap(turned.motion.angles))))
    np.testing.assert_allclose(steps, 15.0, atol=0.2)


def test_no_matches_fit_no_circle():
    assert solve_turntable([np.zeros((0, 2))] * 3, [], belief(SIZE, None, SPREAD), SIZE) is None
