"""Where a new photo was taken, from matches between it and photos of an aligned scene.

A match between a pixel of the new photo and a pixel of an aligned one gives the new pixel a point of the scene
(`lift_matches`); such pairs, most of them right, give the camera: RANSAC finds those that agree, `geometry.resection`
the pose with the least reprojection error and how sure it is. Without a focal length, RANSAC runs at a range of them
and the focal length is then solved for together with the pose.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from rilievo.errors import clear
from rilievo.geometry.pnp import PnPPose, candidate_focals_px, pinhole, solve_pnp
from rilievo.geometry.resection import Resection, reprojection_errors, resect
from rilievo.matching.pair_result import Correspondences

THRESHOLD_PX = 5.0
FEWEST_INLIERS = 12
"""Half a dozen wrong matches may agree with some pose by chance, twice as many hardly."""
ITERATIONS = 1000
CANDIDATES = 3
"""Focal lengths from which the refinement sets out."""


@dataclass(frozen=True)
class LocalizedPhoto:
    """The new photo's camera, pixel centres at +0.5, and how far to trust it."""

    world_from_cam: Float64[Tensor, "4 4"]
    K: Float64[Tensor, "3 3"]
    inliers: Bool[Tensor, "matches"]
    """Matches within the threshold of where the camera sees their point."""
    error_px: float
    """Root mean square distance of the inliers from there."""
    center_std: float
    """Standard deviation of the centre, in units of the scene, if inliers err independently."""
    rotation_std_deg: float
    """Standard deviation of the rotation."""
    focal_std_px: float
    """Standard deviation of the focal length; 0 where it was given."""

    @property
    def inlier_count(self) -> int:
        return int(self.inliers.sum())


def lift_matches(
    matches: Correspondences, points: Float[Tensor, "h w 3"], valid: Bool[Tensor, "h w"] | None = None
) -> tuple[Float[Tensor, "lifted 3"], Float[Tensor, "lifted 2"]]:
    """World points and pixels (centres at +0.5) of the new photo, from matches (i = aligned photo, j = new photo).

    `points` are the aligned photo's, pixel by pixel; matches at a pixel that is not `valid`, outside, or without a
    finite point are left out. Results for several aligned photos are concatenated and given to `localize`.
    """
    h, w, _ = points.shape
    column, row = matches.xy_i.round().long().unbind(-1)
    inside = (column >= 0) & (column < w) & (row >= 0) & (row < h)
    column, row = column.clamp(0, w - 1), row.clamp(0, h - 1)
    found = points[row, column]
    keep = inside & found.isfinite().all(-1)
    if valid is not None:
        keep = keep & valid[row, column]
    return found[keep], matches.centres[1][keep]


def localize(
    points: Float[Tensor, "matches 3"],
    pixels: Float[Tensor, "matches 2"],
    size_px: tuple[int, int],
    *,
    focal_px: float | None = None,
    center_px: Float[Tensor, "2"] | None = None,
    threshold_px: float = THRESHOLD_PX,
    fewest_inliers: int = FEWEST_INLIERS,
) -> LocalizedPhoto:
    """The camera of a photo of `size_px` (width, height) that sees world `points` at `pixels` (centres at +0.5).

    Pixels are those of a pinhole: undistort first. The principal point is the middle of the photo unless given; an
    unknown focal length is sought between half and three times the longer side. Raises `UserError` where fewer than
    `fewest_inliers` matches agree, or where those that do leave the camera undetermined.
    """
    width, height = size_px
    center = torch.tensor([width / 2, height / 2], dtype=torch.float64) if center_px is None else center_px.double()
    points, pixels, center = points.double(), pixels.double(), center.to(points.device)
    focals = candidate_focals_px(width, height) if focal_px is None else [focal_px]
    tries = [
        solve_pnp(points, pixels, focal, center, threshold_px=threshold_px, iterations=ITERATIONS) for focal in focals
    ]
    begun = sorted((t for t in tries if t is not None), key=lambda t: -int(t.inliers.sum()))
    most = int(begun[0].inliers.sum()) if begun else 0
    refined = [_refined(points, pixels, t, center, threshold_px, focal_px is None) for t in begun[:CANDIDATES]]
    solved = [(camera, inliers) for camera, inliers in refined if camera is not None]
    best, inliers = max(solved, key=lambda s: _merit(s, points, pixels, center), default=(None, None))
    most = max(most, 0 if inliers is None else int(inliers.sum()))
    if most < fewest_inliers or (inliers is not None and int(inliers.sum()) < fewest_inliers):
        raise clear(
            "localisation",
            expected=f"at least {fewest_inliers} matches that agree on a camera within {threshold_px:g} px",
            got=f"{most} of {len(points)}",
            do="match against more photos of the scene, or photos nearer to the new one's view",
        )
    if best is None or inliers is None:
        raise clear(
            "localisation",
            expected="matched points that determine a camera",
            got=f"{most} that agree but leave it free, as points on a line do",
            do="match more of the scene" + ("" if focal_px is not None else ", or give the focal length"),
        )
    errors = reprojection_errors(points, pixels, best.world_from_cam, best.focal_px, center)[inliers]
    return LocalizedPhoto(
        best.world_from_cam,
        pinhole(best.focal_px, center),
        inliers,
        float(errors.square().mean().sqrt()),
        best.center_std,
        float(torch.rad2deg(torch.tensor(best.rotation_std))),
        best.focal_std_px,
    )


def _refined(
    points: Tensor, pixels: Tensor, begun: PnPPose, center: Tensor, threshold_px: float, solve_focal: bool
) -> tuple[Resection | None, Tensor]:
    """Solve for the inliers and look for them again, until they stay the same."""
    inliers = begun.inliers.to(points.device)
    pose, focal = begun.world_from_cam.to(points), begun.focal_px
    camera: Resection | None = None
    for _ in range(10):
        camera = resect(points[inliers], pixels[inliers], pose, focal, center, solve_focal=solve_focal)
        if camera is None:
            break
        pose, focal = camera.world_from_cam, camera.focal_px
        agree = reprojection_errors(points, pixels, pose, focal, center) < threshold_px
        if bool((agree == inliers).all()):
            break
        inliers = agree
    return camera, inliers


def _merit(solved: tuple[Resection, Tensor], points: Tensor, pixels: Tensor, center: Tensor) -> tuple[int, float]:
    """More inliers, then smaller errors."""
    camera, inliers = solved
    errors = reprojection_errors(points, pixels, camera.world_from_cam, camera.focal_px, center)[inliers]
    return int(inliers.sum()), -float(errors.square().sum())
