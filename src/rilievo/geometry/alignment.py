"""Comparing two sets of poses of the same cameras that differ by a similarity and by their errors.

The similarity is found in two steps, so that noise in the centres cannot turn the frame: the rotation is the chordal
mean of the relative rotations, then scale and translation are least squares on the centres.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from rilievo.errors import clear
from rilievo.geometry import sim3, so3


@dataclass(frozen=True)
class CameraErrors:
    """What is left between estimated and reference cameras after alignment, camera by camera."""

    rotations_deg: Float[Tensor, "n"]
    centers_percent: Float[Tensor, "n"]
    """Distance of the centres in % of the extent: twice the largest distance of a reference centre from their mean."""

    @property
    def rotation_deg(self) -> float:
        """Mean rotation error."""
        return float(self.rotations_deg.mean())

    @property
    def center_percent(self) -> float:
        """Mean centre error."""
        return float(self.centers_percent.mean())


def align_cameras(
    world_from_cam_est: Float[Tensor, "n 4 4"], world_from_cam_ref: Float[Tensor, "n 4 4"]
) -> Float[Tensor, "4 4"]:
    """The similarity ref_from_est between the worlds of two sets of poses of the same cameras, in the same order.

    Where the estimated centres coincide the scale is 1. Raises `UserError` without cameras.
    """
    if len(world_from_cam_est) == 0:
        raise clear("cameras", expected="at least one to align", got="none", do="check that names of both sets agree")
    R = so3.mean(world_from_cam_ref[:, :3, :3] @ world_from_cam_est[:, :3, :3].mT)
    est, ref = world_from_cam_est[:, :3, 3] @ R.mT, world_from_cam_ref[:, :3, 3]
    a, b = est - est.mean(0), ref - ref.mean(0)
    spread = (a * a).sum()
    tiny = torch.finfo(spread.dtype).tiny
    # A negative least-squares scale would mirror the world; the best admissible one is then the smallest.
    scale = ((a * b).sum() / spread).clamp_min(tiny) if spread > tiny else torch.ones_like(spread)
    return sim3.compose(scale, R, ref.mean(0) - scale * est.mean(0))


def camera_errors(
    world_from_cam_est: Float[Tensor, "n 4 4"], world_from_cam_ref: Float[Tensor, "n 4 4"]
) -> CameraErrors:
    """Rotation and centre errors after `align_cameras`. Raises `UserError` where reference centres have no extent."""
    ref_from_est = align_cameras(world_from_cam_est, world_from_cam_ref)
    ref = world_from_cam_ref[:, :3, 3]
    extent = 2 * torch.linalg.vector_norm(ref - ref.mean(0), dim=-1).max()
    if not extent > 0:
        raise clear(
            "reference cameras",
            expected="at least two places to measure distances against",
            got=f"{len(ref)} at a single point",
            do="compare cameras that moved",
        )
    turned = sim3.split(ref_from_est)[1] @ world_from_cam_est[:, :3, :3]
    moved = sim3.apply(ref_from_est, world_from_cam_est[:, :3, 3])
    return CameraErrors(
        rotations_deg=torch.rad2deg(so3.angle(turned, world_from_cam_ref[:, :3, :3])),
        centers_percent=100 * torch.linalg.vector_norm(moved - ref, dim=-1) / extent,
    )
