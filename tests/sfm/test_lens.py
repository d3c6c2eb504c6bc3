"""How a lens images points, and its derivatives."""

import numpy as np
import torch

from rilievo.cameras.distortion import distort
from rilievo.sfm.lens import belief, distortion_of, known, matrix_of, project, unproject

THETA = np.array([600.0, 1.01, 330.0, 236.0, -0.08, 0.03, 0.002, -0.001])


def points(count=40):
    generator = np.random.default_rng(0)
    return np.concatenate([generator.uniform(-0.5, 0.5, (count, 2)), np.ones((count, 1))], 1) * generator.uniform(
        1, 4, (count, 1)
    )


def test_pixels_are_those_of_the_one_distortion_model():
    X = points()
    flat = torch.from_numpy(X[:, :2] / X[:, 2:])
    bent = distort(flat, torch.from_numpy(distortion_of(THETA)).expand(len(X), 8)).numpy()
    expected = bent @ matrix_of(THETA)[:2, :2].T + matrix_of(THETA)[:2, 2]
    np.testing.assert_allclose(project(X, np.tile(THETA, (len(X), 1)))[0], expected, atol=1e-9)


def test_derivatives_are_the_limits_of_differences():
    X, theta, h = points(), np.tile(THETA, (40, 1)), 1e-6
    _, by_point, by_lens = project(X, theta)
    for axis in range(3):
        step = h * np.eye(3)[axis]
        slope = (project(X + step, theta)[0] - project(X - step, theta)[0]) / (2 * h)
        np.testing.assert_allclose(by_point[:, :, axis], slope, rtol=1e-6, atol=1e-4)
    for k in range(8):
        step = h * np.eye(8)[k]
        slope = (project(X, theta + step)[0] - project(X, theta - step)[0]) / (2 * h)
        np.testing.assert_allclose(by_lens[:, :, k], slope, rtol=1e-6, atol=1e-4)


def test_unproject_inverts_project():
    X = points()
    theta = np.tile(THETA, (len(X), 1))
    np.testing.assert_allclose(unproject(project(X, theta)[0], theta), X[:, :2] / X[:, 2:], atol=1e-7)


def test_a_calibrated_lens_is_believed_exactly():
    b = known(matrix_of(THETA), distortion_of(THETA))
    np.testing.assert_allclose(b.mean, THETA)
    assert not b.deviation.any()


def test_an_exif_focal_length_is_trusted_more_than_a_guess():
    assert belief((640, 480), 700.0).deviation[0] < 0.2 * belief((640, 480), None).deviation[0]
