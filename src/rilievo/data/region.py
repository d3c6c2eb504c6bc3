"""The region of interest: a ball that holds what is to be reconstructed, found from what the capture has.

Best first: object masks (their visual hull), scene points that many cameras see, the cameras alone. The ball is what
`Scene.normalised` makes the unit of length, so it should be neither much larger than the object nor cut it.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64

from rilievo.data.scene import MaskMeaning, Region, Scene
from rilievo.data.visual_hull import mask_hull

MIN_POINTS = 100
"""Fewer scene points than this say little about extent."""
NEAR = 1.3
"""How far beyond the ball that cameras frame an object may reach; ground and walls go on much farther."""
CLEARANCE = 0.8
"""Largest radius of a ball found from cameras alone, in distances of the nearest camera: that must stay outside."""


def find_region(scene: Scene) -> Region:
    """The ball of interest of a scene, in its world. A video's masks move with what they show and have no hull."""
    has_hull = scene.mask_meaning is MaskMeaning.OBJECT and scene.times is None
    if has_hull and (ball := mask_hull(scene)) is not None:
        center, radius, used = ball
        return Region(center, radius, f"visual hull of {used} masks")
    return _from_points(scene) or _from_cameras(scene)


def look_at_point(
    centers: Float64[np.ndarray, "n 3"], forwards: Float64[np.ndarray, "n 3"]
) -> tuple[Float64[np.ndarray, "3"], float]:
    """The point nearest to all viewing axes in the least-squares sense, and how well the axes fix it.

    With P_i = 1 - f_i f_iᵀ the point solves (Σ P_i) x = Σ P_i c_i. The second value is the smallest eigenvalue of the
    mean P_i: sin² of the typical angle between axes, 0 when they are parallel and the depth is anyone's guess. Axes
    that miss by far are down-weighted over a few rounds (Geman-McClure), so a stray view does not pull.
    """
    P = np.eye(3) - forwards[:, :, None] * forwards[:, None, :]
    weights = np.ones(len(centers))
    point, stiffness = centers.mean(0), 0.0
    for _ in range(10):
        A = (weights[:, None, None] * P).sum(0)
        stiffness = float(np.linalg.eigvalsh(A / weights.sum())[0])
        point = np.linalg.lstsq(A, (weights[:, None] * (P @ centers[:, :, None])[:, :, 0]).sum(0), rcond=1e-9)[0]
        miss = np.linalg.norm((P @ (point - centers)[:, :, None])[:, :, 0], axis=1)
        spread = max(2 * float(np.median(miss)), 1e-12)
        weights = 1 / (1 + (miss / spread) ** 2) ** 2
    return point, stiffness


def _from_cameras(scene: Scene) -> Region:
    """Where the axes meet, as large as most cameras can see whole; for parallel axes, where the frusta overlap."""
    centers, forwards = scene.cameras.centers.numpy(), scene.cameras.forwards.numpy()
    half_angle = float(np.median(_half_angles(scene)))
    point, stiffness = look_at_point(centers, forwards)
    depths = ((point - centers) * forwards).sum(1)
    if len(centers) > 1 and stiffness > np.sin(np.deg2rad(2.0)) ** 2 and (depths > 0).mean() > 0.75:
        distances = np.linalg.norm(point - centers, axis=1)
        radius = min(float(np.median(distances) * np.sin(half_angle)), CLEARANCE * float(distances.min()))
        return Region(point, radius, "point that the cameras look at, as far as they see around it")
    center, axis = centers.mean(0), forwards.mean(0)
    axis = axis / max(float(np.linalg.norm(axis)), 1e-12)
    baseline = float(np.linalg.norm(centers - center, axis=1).max())
    if (depths <= 0).mean() > 0.25 and float(np.linalg.norm(forwards.mean(0))) < 0.5:
        return Region(center, max(2 * baseline, 1e-6), "around the cameras, which look outwards")
    depth = max(4 * baseline / np.tan(half_angle), 1.0 if baseline == 0 else 0.0)
    radius = float(depth * np.sin(half_angle))
    return Region(center + depth * axis, radius, "where the views of the nearly parallel cameras overlap")


def _from_points(scene: Scene) -> Region | None:
    """The ball round most of the points that many cameras see; near ones count, a far background does not.

    Only points in at least half as many frusta as the best-seen ones count, and of those only what lies within `NEAR`
    radii of the ball that the cameras frame; where fewer than a tenth lie there, all well-seen points are used.
    """
    if scene.points is None or len(scene.points.xyz) < MIN_POINTS:
        return None
    xyz = scene.points.xyz[np.isfinite(scene.points.xyz).all(1)]
    if len(xyz) > 20_000:
        xyz = xyz[:: len(xyz) // 20_000 + 1]
    seen = frusta_count(scene, xyz)
    wanted = max(2, 0.5 * float(np.percentile(seen, 95)))
    well_seen = xyz[seen >= wanted]
    if len(well_seen) < MIN_POINTS // 2:
        return None
    guess = _from_cameras(scene)
    near = well_seen[np.linalg.norm(well_seen - guess.center, axis=1) < NEAR * guess.radius]
    reason = "scene points that many cameras see"
    if len(near) >= 0.1 * len(well_seen):
        well_seen, reason = near, "scene points that many cameras see, near where they look"
    center = np.median(well_seen, axis=0)
    radius = float(np.percentile(np.linalg.norm(well_seen - center, axis=1), 95))
    return Region(center, 1.1 * radius, reason) if radius > 0 else None


def frusta_count(scene: Scene, points: Float64[np.ndarray, "p 3"]) -> Float64[np.ndarray, "p"]:
    """How many cameras have each point in their frustum (lens distortion, which moves only the border, left out)."""
    cam_from_world = scene.cameras.cam_from_world.numpy()
    K, sizes = scene.cameras.K.numpy(), scene.cameras.sizes_px.numpy()
    count = np.zeros(len(points))
    for M, k, (width, height) in zip(cam_from_world, K, sizes):
        in_cam = points @ M[:3, :3].T + M[:3, 3]
        z = np.maximum(in_cam[:, 2], 1e-9)
        u, v = k[0, 0] * in_cam[:, 0] / z + k[0, 2], k[1, 1] * in_cam[:, 1] / z + k[1, 2]
        count += (in_cam[:, 2] > 1e-9) & (u > 0) & (u < width) & (v > 0) & (v < height)
    return count


def _half_angles(scene: Scene) -> Float64[np.ndarray, "n"]:
    """Half the angle of view of each camera, in radians: the geometric mean of width and height.

    Objects are framed by the longer side as often as by the shorter.
    """
    K, sizes = scene.cameras.K.numpy(), scene.cameras.sizes_px.numpy()
    return np.arctan(np.sqrt((sizes[:, 0] / K[:, 0, 0]) * (sizes[:, 1] / K[:, 1, 1])) / 2)
