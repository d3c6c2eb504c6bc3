"""The smallest ball around points, and the middle of points with strays among them."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor


def bounding_ball(points: Float[np.ndarray, "p 3"]) -> tuple[Float[np.ndarray, "3"], float]:
    """Centre and radius of the smallest ball that holds all points, in float64.

    At most four points touch it. Starting from any, the farthest point left outside joins them and the smallest ball
    around these few replaces the old one; its radius grows each time, so the search ends (Gärtner 1999).
    """
    points = np.asarray(points, dtype=np.float64)
    middle = (points.min(0) + points.max(0)) / 2  # so that rounding is that of the points' spread, not of their place
    points = points - middle
    center, radius, support = points[0], 0.0, points[:1]
    for _ in range(1000):
        distances = np.linalg.norm(points - center, axis=1)
        farthest = int(distances.argmax())
        if distances[farthest] <= radius * (1 + 1e-12):
            break
        center, radius, support = _smallest(np.vstack((support, points[farthest])))
    return middle + center, float(np.linalg.norm(points - center, axis=1).max())


def robust_center(points: Float[Tensor, "p 3"]) -> Float[Tensor, "3"]:
    """Mean of the points after dropping those whose distance from the plain mean is unusual.

    Unusual is more than 1.5 standard deviations, or 1.5 times the interquartile range, away from the mean distance.
    Where strays are so far that this leaves nothing, the answer is the median of each coordinate.
    """
    distances = torch.linalg.vector_norm(points - points.mean(0), dim=-1)
    low, high = torch.quantile(distances, distances.new_tensor([0.25, 0.75]))
    reach = 1.5 * torch.minimum(distances.std(), high - low)
    usual = (distances - distances.mean()).abs() < reach
    return points[usual].mean(0) if usual.any() else points.median(0).values


def _smallest(points: np.ndarray) -> tuple[np.ndarray, float, np.ndarray]:
    """Smallest ball around at most five points: centre, radius, and the points that it was laid through."""
    best = points[0], np.inf, points[:1]
    for size in range(1, min(len(points), 4) + 1):
        for subset in combinations(points, size):
            touching = np.array(subset)
            edges = touching[1:] - touching[0]
            # The centre is equally far from all: 2 e·(c − p0) = e·e, with c − p0 in the span of the edges e.
            offset = np.linalg.lstsq(2 * edges, (edges**2).sum(1), rcond=1e-12)[0] if size > 1 else 0
            center = touching[0] + offset
            radius = float(np.linalg.norm(points - center, axis=1).max())
            if radius < best[1]:
                best = center, radius, touching
    return best
