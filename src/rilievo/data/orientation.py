"""A COLMAP model has no up, no centre and no scale of its own; these are the ways in which instant-nsr-pl gives it
some.

The new z axis is up, x and y are horizontal, the centre is the origin, and the nearest camera is at distance 1.
Published numbers on COLMAP captures are in this frame. rilievo itself needs none of it: the region of interest says
where the object is.
"""

from __future__ import annotations

from enum import StrEnum

import numpy as np
import torch
from jaxtyping import Float64

from rilievo.data.scene import Scene
from rilievo.errors import clear

RANSAC_ROUNDS = 1000
"""With a quarter of the points on the ground, the chance to miss three of them every time is 1e-7."""


class Up(StrEnum):
    """What tells which way is up."""

    CAMERA = "camera"
    """The mean direction from the centre to the cameras, which stand above the object."""
    GROUND = "ground"
    """The normal of the plane that holds most scene points, towards the side where the others are."""


class Center(StrEnum):
    """What tells where the middle is."""

    CAMERA = "camera"
    """The mean camera position."""
    LOOKAT = "lookat"
    """The mean of where the axes of consecutive cameras come closest to each other."""
    POINT = "point"
    """The mean of the scene points between the cameras (seen from above), without outliers."""


def oriented(scene: Scene, up: Up, center: Center, generator: torch.Generator, ground_tolerance: float = 0.01) -> Scene:
    """The scene in the frame that `up` and `center` define; `capture_from_world` leads back.

    `ground_tolerance` is how far, in the scene's units, a point may be from the ground plane and still count for it.
    Raises `UserError` when scene points are needed and there are none.
    """
    cameras, forwards = scene.cameras.centers.numpy(), scene.cameras.forwards.numpy()
    if scene.points is None and (up is Up.GROUND or center is Center.POINT):
        raise clear("orientation", expected="a capture with scene points", got="none", do="use camera and lookat")
    points = np.zeros((0, 3)) if scene.points is None else scene.points.xyz
    middle = lookat_center(cameras, forwards) if center is Center.LOOKAT else cameras.mean(0)
    if up is Up.GROUND:
        z = ground_normal(points, ground_tolerance, generator)
    else:
        z = (cameras - middle).mean(0)
    R = upright_from(z)
    if center is Center.POINT:
        middle = R.T @ points_center(points @ R.T, cameras @ R.T)
    nearest = float(np.linalg.norm(cameras - middle, axis=1).min())
    upright_from_world = np.eye(4)
    upright_from_world[:3, :3] = R / nearest
    upright_from_world[:3, 3] = -R @ middle / nearest
    return scene.transformed(upright_from_world)


def upright_from(up: Float64[np.ndarray, "3"]) -> Float64[np.ndarray, "3 3"]:
    """The rotation whose rows are x, y and z = `up`, with y in the old horizontal plane."""
    z = up / np.linalg.norm(up)
    y = np.array([z[1], -z[0], 0.0])
    if np.linalg.norm(y) < 1e-12:
        y = np.array([0.0, -1.0, 0.0])
    x = np.cross(y, z)
    x /= np.linalg.norm(x)
    return np.stack([x, np.cross(z, x), z])


def lookat_center(
    centers: Float64[np.ndarray, "n 3"], forwards: Float64[np.ndarray, "n 3"]
) -> Float64[np.ndarray, "3"]:
    """Mean over consecutive pairs (the last with the first) of the midpoint of the shortest segment between their
    axes."""
    others, other_forwards = np.roll(centers, 1, axis=0), np.roll(forwards, 1, axis=0)
    middles = []
    for c, f, d, g in zip(centers, forwards, others, other_forwards):
        s, t = np.linalg.lstsq(np.stack([f, -g], axis=1), d - c, rcond=None)[0]
        middles.append((c + s * f + d + t * g) / 2)
    return np.mean(middles, axis=0)


def points_center(points: Float64[np.ndarray, "p 3"], cameras: Float64[np.ndarray, "n 3"]) -> Float64[np.ndarray, "3"]:
    """Mean of the points whose x and y lie between the cameras', without those at an unusual distance from it.

    Usual is within 1.5 standard deviations, and within 1.5 interquartile ranges, of the mean distance.
    """
    low, high = cameras[:, :2].min(0), cameras[:, :2].max(0)
    between = points[((points[:, :2] > low) & (points[:, :2] < high)).all(1)]
    if len(between) == 0:
        raise clear("orientation", expected="scene points between the cameras", got="none", do="use lookat")
    distance = np.linalg.norm(between - between.mean(0), axis=1)
    deviation = np.std(distance, ddof=1) if len(distance) > 1 else np.inf
    reach = 1.5 * min(float(deviation), float(np.subtract(*np.quantile(distance, [0.75, 0.25]))))
    usual = np.abs(distance - distance.mean()) < reach
    return between[usual].mean(0) if usual.any() else between.mean(0)


def ground_normal(
    points: Float64[np.ndarray, "p 3"], tolerance: float, generator: torch.Generator
) -> Float64[np.ndarray, "3"]:
    """Unit normal of the plane with most points within `tolerance`, by RANSAC, towards the side of the other points."""
    best, best_count = np.array([0.0, 0.0, 1.0, 0.0]), -1
    for _ in range(RANSAC_ROUNDS):
        a, b, c = points[torch.randint(len(points), (3,), generator=generator).numpy()]
        normal = np.cross(b - a, c - a)
        length = np.linalg.norm(normal)
        if length < 1e-12:
            continue
        plane = np.append(normal / length, -normal @ a / length)
        count = int((np.abs(points @ plane[:3] + plane[3]) <= tolerance).sum())
        if count > best_count:
            best, best_count = plane, count
    above = float((points @ best[:3] + best[3]).mean())
    return best[:3] if above >= 0 else -best[:3]
