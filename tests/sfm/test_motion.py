"""Motions and their tangents."""

import numpy as np
import pytest

from .conftest import circle, walk


@pytest.mark.parametrize("motion", [walk(5, 0), circle(6, 20.0)], ids=["free", "circle"])
def test_the_tangent_is_the_limit_of_small_motions(motion):
    X, h = np.array([0.3, -0.2, 0.5]), 1e-6
    T = motion.tangent().toarray().reshape(len(motion.R), 6, -1)
    x = motion.R @ X + motion.t
    for k in range(T.shape[2]):
        step = np.zeros(T.shape[2])
        step[k] = h
        ahead, behind = motion.moved(step), motion.moved(-step)
        slope = ((ahead.R @ X + ahead.t) - (behind.R @ X + behind.t)) / (2 * h)
        np.testing.assert_allclose(np.cross(T[:, :3, k], x) + T[:, 3:, k], slope, atol=1e-8)


def test_on_a_circle_every_pair_of_views_turns_about_the_same_axis():
    motion = circle(8, 17.0)
    for i in range(8):
        relative = motion.R[i] @ motion.R[0].T
        np.testing.assert_allclose(relative @ motion.frame[:, 0], motion.frame[:, 0], atol=1e-12)
        np.testing.assert_allclose(np.trace(relative), 1 + 2 * np.cos(np.deg2rad(17.0 * i)), atol=1e-12)
