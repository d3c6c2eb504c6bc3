"""The visual hull of object masks: all points that fall inside the mask of (nearly) every view (Laurentini 1994).

A coarse hull is enough to say where the object is and how large. It is carved out of a cube of voxels twice: once out
of all that the cameras could mean, and again out of the box that was left. A voxel stays when at most a tenth of the
views that have it in sight say it is outside, so a few wrong masks do not erase the object.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float64, UInt8
from scipy import ndimage

from rilievo.data.scene import Scene

RESOLUTION = 48
"""Voxels per side, both times: the second pass resolves about a fiftieth of the object."""
MAX_VIEWS = 48
"""Views beyond this number add cost and no extent; an even selection is used."""
MASK_SIDE = 160
"""Masks are shrunk to about this many pixels, each the largest value in it, so that thin parts stay."""
DISSENT = 0.1
"""Share of views that may contradict."""


def mask_hull(scene: Scene) -> tuple[Float64[np.ndarray, "3"], float, int] | None:
    """Centre and radius of a ball round the hull and the number of masks used; None when nothing is left."""
    assert scene.coverage is not None
    views = np.unique(np.linspace(0, len(scene) - 1, min(len(scene), MAX_VIEWS)).round().astype(int))
    masks = [_shrink(scene.coverage[int(i)]) for i in views]
    useful = [k for k, mask in enumerate(masks) if mask.any() and not mask.all()]
    if len(useful) < 2:
        return None
    views, masks = views[useful], [masks[k] for k in useful]
    start = _cones_meet(scene, views, masks)
    if start is None:
        return None
    center, half = start
    low, high = center - half, center + half
    for _ in range(2):
        axes = [np.linspace(low[d], high[d], RESOLUTION) for d in range(3)]
        points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
        kept = points[_inside(scene, views, masks, points)]
        if len(kept) == 0:
            return None
        step = (high - low) / (RESOLUTION - 1)
        low, high = kept.min(0) - step, kept.max(0) + step
    center, radius = enclosing_ball(kept)
    return center, radius + float(np.linalg.norm(step)) / 2, len(views)


def enclosing_ball(points: Float64[np.ndarray, "p 3"]) -> tuple[Float64[np.ndarray, "3"], float]:
    """Centre and radius of a ball round all points, within a few percent of the smallest (Bădoiu & Clarkson 2003).

    The centre starts in the middle of the box and walks towards the farthest point by ever shorter steps.
    """
    center = (points.min(0) + points.max(0)) / 2
    best = center, float(np.linalg.norm(points - center, axis=1).max())
    for i in range(2, 60):
        center = center + (points[np.linalg.norm(points - center, axis=1).argmax()] - center) / i
        radius = float(np.linalg.norm(points - center, axis=1).max())
        best = min(best, (center, radius), key=lambda ball: ball[1])
    return best


def _shrink(coverage: UInt8[np.ndarray, "h w"]) -> Bool[np.ndarray, "_h _w"]:
    """The mask at about `MASK_SIDE` pixels, true where any of its pixels is."""
    block = max(1, round(max(coverage.shape) / MASK_SIDE))
    height, width = (-(-side // block) for side in coverage.shape)
    padded = np.zeros((height * block, width * block), dtype=np.uint8)
    padded[: coverage.shape[0], : coverage.shape[1]] = coverage
    mask = padded.reshape(height, block, width, block).max((1, 3)) >= 128
    parts, count = ndimage.label(mask)
    if count > 1:  # specks of a hundredth of the largest part are noise of the segmentation
        areas = np.bincount(parts.ravel())[1:]
        mask = np.isin(parts, 1 + np.flatnonzero(areas >= 0.01 * areas.max()))
    return mask


def _cones_meet(
    scene: Scene, views: np.ndarray, masks: list[np.ndarray]
) -> tuple[Float64[np.ndarray, "3"], float] | None:
    """The point nearest to the rays through the masks' middles, and half the side of a cube that holds the object."""
    from rilievo.data.region import look_at_point

    K, sizes = scene.cameras.K.numpy()[views], scene.cameras.sizes_px.numpy()[views]
    pose = scene.cameras.world_from_cam.numpy()[views]
    rays, half_angles = [], []
    for k, (width, height), M, mask in zip(K, sizes, pose, masks):
        rows, columns = np.nonzero(mask)
        u = (columns + 0.5) * width / mask.shape[1]
        v = (rows + 0.5) * height / mask.shape[0]
        rays_cam = np.stack([(u - k[0, 2]) / k[0, 0], (v - k[1, 2]) / k[1, 1], np.ones_like(u)], axis=1)
        rays_cam /= np.linalg.norm(rays_cam, axis=1, keepdims=True)
        middle = rays_cam.min(0) + rays_cam.max(0)
        middle /= np.linalg.norm(middle)
        half_angles.append(np.arccos(np.clip((rays_cam @ middle).min(), -1, 1)))
        rays.append(M[:3, :3] @ middle)
    centers = pose[:, :3, 3]
    point, stiffness = look_at_point(centers, np.stack(rays))
    if stiffness < np.sin(np.deg2rad(1.0)) ** 2:
        return None
    distances = np.linalg.norm(point - centers, axis=1)
    half = 1.5 * float(np.median(distances * np.tan(np.minimum(half_angles, 1.2))))
    return (point, half) if half > 0 else None


def _inside(
    scene: Scene, views: np.ndarray, masks: list[np.ndarray], points: Float64[np.ndarray, "p 3"]
) -> Bool[np.ndarray, "p"]:
    """Which points no more than `DISSENT` of the views contradict, of those (at least a third, and two) that see
    them."""
    cam_from_world, K = scene.cameras.cam_from_world.numpy()[views], scene.cameras.K.numpy()[views]
    sizes = scene.cameras.sizes_px.numpy()[views]
    seen, against = np.zeros(len(points), np.int32), np.zeros(len(points), np.int32)
    for M, k, (width, height), mask in zip(cam_from_world, K, sizes, masks):
        in_cam = points @ M[:3, :3].T + M[:3, 3]
        ahead = in_cam[:, 2] > 1e-9
        z = np.where(ahead, in_cam[:, 2], 1.0)
        u = np.floor((k[0, 0] * in_cam[:, 0] / z + k[0, 2]) * mask.shape[1] / width)
        v = np.floor((k[1, 1] * in_cam[:, 1] / z + k[1, 2]) * mask.shape[0] / height)
        visible = ahead & (u >= 0) & (u < mask.shape[1]) & (v >= 0) & (v < mask.shape[0])
        columns, rows = u[visible].astype(np.int64), v[visible].astype(np.int64)
        seen += visible
        against[visible] += ~mask[rows, columns]
    return (seen >= max(2, len(masks) / 3)) & (against <= DISSENT * seen)
