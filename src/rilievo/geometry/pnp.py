"""Perspective-n-point: the pose of a pinhole from points and their pixels, some of them wrong.

RANSAC draws small samples, solves each (SQPnP, Terzakis & Lourakis 2020) and keeps the pose that most pixels agree
with; the pose is then solved once more from all of those. OpenCV does it; it is imported on first use. Without a focal
length, a range of them is tried and the one with most agreement kept. A finer answer, with its uncertainty, is
`geometry.resection`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from rilievo.geometry import se3

MIN_POINTS = 4
THRESHOLD_PX = 5.0


@dataclass(frozen=True)
class PnPPose:
    """A pose that some of the points agree with."""

    world_from_cam: Float64[Tensor, "4 4"]
    focal_px: float
    inliers: Bool[Tensor, "points"]


def pinhole(focal_px: float, center_px: Float[Tensor, "2"]) -> Float64[Tensor, "3 3"]:
    """K of square pixels."""
    K = torch.eye(3, dtype=torch.float64)
    K[0, 0] = K[1, 1] = focal_px
    K[:2, 2] = center_px.double().cpu()
    return K


def candidate_focals_px(width: int, height: int, count: int = 21) -> list[float]:
    """Focal lengths from half to three times the longer side, each a constant factor above the last."""
    longer = max(width, height)
    return np.geomspace(longer / 2, longer * 3, count).tolist()


def solve_pnp(
    points: Float[Tensor, "points 3"],
    pixels: Float[Tensor, "points 2"],
    focals_px: float | list[float],
    center_px: Float[Tensor, "2"],
    *,
    threshold_px: float = THRESHOLD_PX,
    iterations: int = 100,
) -> PnPPose | None:
    """The pose with most points within `threshold_px` of their pixels (centres at +0.5), over all focal lengths given.

    None where fewer than 4 points, or no pose, can be found. The same input gives the same answer.
    """
    import cv2

    if len(points) < MIN_POINTS:
        return None
    xyz, uv = _array(points), _array(pixels)
    best: PnPPose | None = None
    for focal in [focals_px] if isinstance(focals_px, float | int) else focals_px:
        found, turn, shift, agree = cv2.solvePnPRansac(
            xyz,
            uv,
            pinhole(focal, center_px).numpy(),
            None,
            iterationsCount=iterations,
            reprojectionError=threshold_px,
            flags=cv2.SOLVEPNP_SQPNP,
        )
        if not found or agree is None or (best is not None and len(agree) <= int(best.inliers.sum())):
            continue
        R, t = torch.from_numpy(cv2.Rodrigues(turn)[0]).double(), torch.from_numpy(shift[:, 0]).double()
        if not (R.isfinite().all() and t.isfinite().all()):
            continue
        inliers = torch.zeros(len(points), dtype=torch.bool)
        inliers[torch.from_numpy(agree[:, 0]).long()] = True
        best = PnPPose(se3.inverse(se3.compose(R, t)), float(focal), inliers)
    return best


def _array(x: Tensor) -> np.ndarray:
    return np.ascontiguousarray(x.detach().cpu().double().numpy())
