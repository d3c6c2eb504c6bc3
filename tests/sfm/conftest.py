"""A tiny world whose cameras are known: points seen by a camera that walks, or turning before one that stands."""

from dataclasses import dataclass

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from rilievo.sfm.bundle import Structure, Tracks
from rilievo.sfm.lens import project
from rilievo.sfm.motion import CircleMotion, FreeMotion, Motion

SIZE = (640, 480)


@dataclass(frozen=True)
class World:
    """Exact structure and noisy observations of it."""

    structure: Structure
    tracks: Tracks


def observe(motion: Motion, points: np.ndarray, theta: np.ndarray, noise_px: float, seed: int) -> World:
    generator = np.random.default_rng(seed)
    n, p = len(motion.R), len(points)
    view, point = (a.ravel() for a in np.meshgrid(np.arange(n), np.arange(p), indexing="ij"))
    in_cam = np.einsum("oij,oj->oi", motion.R[view], points[point]) + motion.t[view]
    xy = project(in_cam, np.tile(theta, (len(view), 1)))[0]
    inside = (xy > 0).all(1) & (xy < SIZE).all(1) & (in_cam[:, 2] > 0)
    inside &= generator.random(len(view)) < 0.8
    xy = xy + generator.normal(0, noise_px, xy.shape)
    tracks = Tracks(view[inside], point[inside], xy[inside])
    kept = np.bincount(tracks.point, minlength=p)[tracks.point] >= 2
    return World(Structure(motion, theta[None], np.zeros(n, dtype=np.int64), points), tracks.where(kept))


def walk(count: int, seed: int) -> FreeMotion:
    """Cameras around the origin, four units away, that look at it roughly, at several heights."""
    generator = np.random.default_rng(seed)
    R, t = [], []
    for k in range(count):
        yaw, pitch, roll = 0.35 * k, 0.3 * np.sin(1.7 * k) + 0.2, 0.5 * generator.normal()
        turn = Rotation.from_euler("zxy", [roll, pitch, yaw]).as_matrix()
        R.append(turn)
        t.append(np.array([0.1 * generator.normal(), 0.1 * generator.normal(), 4.0]))
    return FreeMotion(np.stack(R), np.stack(t))


def circle(count: int, step_deg: float, tilt_deg: float = 20.0) -> CircleMotion:
    tilt = np.deg2rad(tilt_deg)
    axis = np.array([0.0, -np.cos(tilt), -np.sin(tilt)])
    origin = np.array([0.0, -np.sin(tilt), np.cos(tilt)])
    frame = np.stack([axis, origin, np.cross(axis, origin)], axis=1)
    return CircleMotion(frame, np.deg2rad(step_deg) * np.arange(count))


@pytest.fixture
def ball_points():
    generator = np.random.default_rng(5)
    return generator.uniform(-1, 1, (150, 3))
